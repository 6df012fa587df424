"""An actor that starts other actors, stops them, and restarts those that fail.

What is to be done is decided in ``policy.py``, after Erlang/OTP. Here it is done: in the
supervisor's own task, one end of a child after the other.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import attrs
from anyio import current_time

from actorstream._actors.actor import Actor
from actorstream._actors.behavior import ActorBehavior, NotStarted, check_actor
from actorstream._actors.cell import Behavior, Cell
from actorstream._actors.lifecycle import Ending
from actorstream._actors.registry import Registry
from actorstream._actors.wait_graph import waiting_for
from actorstream._address import Address
from actorstream._errors import RestartLimitError
from actorstream._loop.timers import Timer
from actorstream._message import Message
from actorstream._streams.outcome import Outcome
from actorstream._supervision.policy import (
    Backoff,
    ChildSpec,
    RestartBudget,
    Strategy,
    check_supervisor,
    delay,
    plan,
    restarts,
)

logger = logging.getLogger("actorstream")


@attrs.frozen
class SupervisorOptions:
    """By what a supervisor goes; see `Supervisor`."""

    children: tuple[ChildSpec, ...]
    strategy: Strategy
    max_restarts: int
    within: float
    backoff: Backoff


class Supervisor(Actor):
    """An actor whose children are actors, after Erlang/OTP's ``supervisor``.

    ::

        router.register_actor("workers", Supervisor([ChildSpec("a", Worker)]))
        await router.ask("workers/a", "count", text)

    Children start in order, each when the one before has begun, and stop in reverse. A restart
    makes a fresh actor from the factory. It keeps the address and what is queued in the mailbox;
    the message that failed is not handled again. The actor's open streams end with
    ``ActorRestartedError``. Supervisors nest: a factory may make one.

    Args:
        children: What to start, in order.
        strategy: Who is restarted when a child is: ``"one_for_one"``: that child;
            ``"one_for_all"``: all of them; ``"rest_for_one"``: it and those after it.
        max_restarts: Most restarts within ``within`` seconds, a sliding window. One more, and
            the supervisor stops its children and fails itself, with ``RestartLimitError``.
        within: Length of that window, in seconds.
        backoff: Seconds before a restart, or a function of the number of restarts in a row.

    Raises:
        TypeError, ValueError: An argument has the wrong kind or an impossible value; the
            message names it.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within: float = 5.0,
        backoff: Backoff = None,
    ) -> None:
        check_supervisor(children, strategy, max_restarts, within, backoff)
        self._actorstream_options = SupervisorOptions(
            tuple(children), strategy, max_restarts, within, backoff
        )

    def __repr__(self) -> str:
        options = self._actorstream_options
        return f"<Supervisor {options.strategy}, {len(options.children)} children>"


class _RestartBatch:
    """Children that wait for a restart together.

    Attributes:
        pending: The ids of those that have not been started yet, in order.
        timer: Ends the backoff.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.pending = deque(ids)
        self.timer: Timer | None = None


class _Child:
    """One child: its specification, its cell, and how often it came back in a row."""

    def __init__(self, spec: ChildSpec, cell: Cell) -> None:
        self.spec = spec
        self.cell = cell
        self.began = -math.inf
        self.attempts = 0
        self.batch = _RestartBatch(())  # with which it was started last, or is to be started next
        self.raised = False  # its first start failed, and so does its supervisor
        self.commanded = False  # its supervisor ends it, and need not be told


class SupervisorBehavior(ActorBehavior):
    """A supervisor at work: it lives in a cell, and is the host of its children's cells."""

    def __init__(self, supervisor: Supervisor, registry: Registry) -> None:
        super().__init__(supervisor, registry)
        self._options = supervisor._actorstream_options  # pyright: ignore[reportPrivateUsage]
        self._budget = RestartBudget(self._options.max_restarts, self._options.within)
        self._children: dict[str, _Child] = {}
        self._watching = False  # while it ends, its children are not restarted

    # As the resident of its own cell

    @property
    def starts_at_once(self) -> bool:
        """A supervisor never does."""
        return False

    def attach(self, cell: Cell) -> None:
        """Give the children their addresses: who knows the supervisor's may use them at once."""
        super().attach(cell)
        for spec in self._options.children:
            with suppress(ValueError):  # the id is taken; begin() tells, if it still is
                self._add(spec)

    async def begin(self) -> None:
        """Call ``on_start()``, then start the children in order."""
        await super().begin()
        self._watching = True
        for spec in self._options.children:
            await self._start_first(self._children.get(spec.id) or self._add(spec))

    async def stop_dependents(self) -> None:
        """Stop the children, in the reverse order of their start."""
        self._watching = False
        for spec in reversed(self._options.children):
            if spec.id in self._children:
                await self._stop(self._children[spec.id], again=False)

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """Leave the cell; children that were never started lose their addresses."""
        for child in self._children.values():
            self.registry.stop(child.cell)
        super().detach(outcome)

    # As the host of its children's cells

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Whether a fresh actor is to come after one that came to its end by itself."""
        if not self._watching or _failed_first(cell):
            return False
        return restarts(self._child_in(cell).spec.restart, ending)

    def on_terminated(self, cell: Cell) -> None:
        """Look, in the supervisor's own task, at what is to be done."""
        child = self._child_in(cell)
        again = cell.state == "restarting"
        if not again:
            self.registry.forget(cell)
        raised = child.raised or (self._watching and _failed_first(cell))
        if cell.failure is not None and not raised:
            _log_failure(cell, again)
        if self._watching and not child.commanded:
            end = partial(self._on_end, child, cell.ending, cell.failure)
            self.cell.mailbox.put_system(end)

    def on_dead_letter(self, message: Message, why: str) -> None:
        """Pass a lost message on."""
        self.registry.on_dead_letter(message, why)

    def _child_in(self, cell: Cell) -> _Child:
        return next(child for child in self._children.values() if child.cell is cell)

    # What it does

    def _add(self, spec: ChildSpec) -> _Child:
        to = Address(f"{self.cell.address.id}/{spec.id}")
        cell = self.registry.add(
            to, NotStarted(), spec.mailbox_size, spec.stop_timeout, host=self, parent=self.cell
        )
        child = self._children[spec.id] = _Child(spec, cell)
        return child

    async def _start_first(self, child: _Child) -> None:
        if child.cell.state != "registered":
            return  # it was stopped before it was started
        child.cell.put_actor(self._make(child))
        if not await self._begin(child) and child.cell.failure is not None:
            child.raised = True
            raise child.cell.failure

    async def _begin(self, child: _Child) -> bool:
        """Start a child; return whether it has come to its messages."""
        child.began = current_time()
        self.registry.launch(child.cell)
        with waiting_for(self.cell, child.cell):
            return await child.cell.wait_started()

    async def _on_end(self, child: _Child, ending: Ending, failure: BaseException | None) -> None:
        """Do what is planned for the end of a child."""
        if child.commanded:
            return  # a sibling's failure brings it back already
        if child.cell.state == "stopped":
            await self._start_again(child.batch)  # those that were to start after it
            return
        self._spend(child, failure)
        logger.info("%s ended (%s), and is restarted", child.cell.address, ending)
        live = [id for id, other in self._children.items() if other.cell.state != "stopped"]
        todo = plan(self._options.strategy, self._options.children, child.spec.id, ending, live)
        for id in todo.stop:
            await self._stop(self._children[id], again=id in todo.start)
        self._start_later(child, _RestartBatch(todo.start))

    def _spend(self, child: _Child, failure: BaseException | None) -> None:
        if not self._budget.spend(current_time()):
            raise RestartLimitError(
                f"the children of {self.cell.address} failed too often: {child.cell.address} was "
                f"the last, and there are {self._options.max_restarts} restarts within "
                f"{self._options.within:g} s; allow more with max_restarts=... or within=..."
            ) from failure

    async def _stop(self, child: _Child, *, again: bool) -> None:
        child.commanded = True
        child.cell.router_closing |= self.cell.router_closing
        if child.batch.timer is not None:
            child.batch.timer.cancel()
        child.cell.stop(again)
        with waiting_for(self.cell, child.cell):
            await (child.cell.wait_ended() if again else child.cell.wait_stopped())
        child.commanded = again
        if not again:
            self.registry.forget(child.cell)

    def _start_later(self, child: _Child, batch: _RestartBatch) -> None:
        """Start children again, after the backoff of the one that ended."""
        for id in batch.pending:
            self._children[id].batch = batch
        now = current_time()
        if now - child.began > self._options.within:
            child.attempts = 0
        child.attempts += 1
        seconds = delay(self._options.backoff, child.attempts)
        start = partial(self.cell.mailbox.put_system, partial(self._start_again, batch))
        if seconds:
            batch.timer = self.registry.timers.call_at(now + seconds, start)
        else:
            start()

    async def _start_again(self, batch: _RestartBatch) -> None:
        """Put fresh actors into the cells that wait for one, in order, as long as they begin."""
        while batch.pending:
            child = self._children[batch.pending[0]]
            if child.batch is batch and child.cell.state == "restarting":
                if not self._put_fresh_actor(child, batch):
                    return
                batch.pending.popleft()
                if not await self._begin(child):
                    return  # its end is looked at next, and the others with it
            else:
                batch.pending.popleft()  # it was stopped meanwhile, or waits for another one

    def _put_fresh_actor(self, child: _Child, batch: _RestartBatch) -> bool:
        """Make a fresh actor; if that fails, have it tried again later, and return False."""
        try:
            child.cell.put_actor(self._make(child))
        except Exception as exc:
            logger.warning("%s cannot be made again", child.cell.address, exc_info=exc)
            self._spend(child, exc)
            self._start_later(child, batch)
            return False
        child.commanded = False
        return True

    def _make(self, child: _Child) -> ActorBehavior:
        try:
            actor = check_actor(child.spec.factory())
            _check_fresh(actor, child.cell.behavior)
        except (TypeError, ValueError) as exc:
            exc.add_note(f"It was made by the factory of ChildSpec({child.spec.id!r}, ...)")
            raise
        return make_behavior(actor, self.registry)


def _failed_first(cell: Cell) -> bool:
    """Return whether a child's first start failed, which is a failure of its supervisor."""
    return cell.incarnation == 1 and not cell.has_started and cell.failure is not None


def _log_failure(cell: Cell, again: bool) -> None:
    level, what = (logging.WARNING, "is to be") if again else (logging.ERROR, "is not")
    logger.log(level, "%s failed, and %s restarted", cell.address, what, exc_info=cell.failure)


def _check_fresh(actor: Actor, last: Behavior) -> None:
    if isinstance(last, ActorBehavior) and last.actor is actor:
        raise ValueError(
            f"a restart needs a fresh actor, not {actor!r} again, which has come to its end; "
            "write a factory that makes one each time"
        )


def make_behavior(actor: Actor, registry: Registry) -> ActorBehavior:
    """Return what lives in a cell for an actor."""
    if isinstance(actor, Supervisor):
        return SupervisorBehavior(actor, registry)
    return ActorBehavior(actor, registry)
