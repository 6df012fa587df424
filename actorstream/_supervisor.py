"""An actor that starts other actors, stops them, and restarts those that fail.

What is to be done is decided in ``_supervision.py``, after Erlang/OTP. Here it is done: in the
supervisor's own task, one end of a child after the other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial

import attrs
from anyio import current_time

from actorstream._actor import Actor, check_actor
from actorstream._address import Address
from actorstream._cell import Cell
from actorstream._errors import RestartLimitError
from actorstream._message import Message
from actorstream._registry import Registry
from actorstream._resident import Resident
from actorstream._supervision import (
    Backoff,
    ChildSpec,
    Ending,
    RestartBudget,
    Strategy,
    check_supervisor,
    delay,
    plan,
    restarts,
)

logger = logging.getLogger("actorstream")


@attrs.frozen
class Rules:
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
        self.rules: Rules = Rules(tuple(children), strategy, max_restarts, within, backoff)

    def __repr__(self) -> str:
        rules = self.rules
        return f"<Supervisor {rules.strategy}, {len(rules.children)} children>"


class _Child:
    """One child: its specification, its cell, and how often it came back in a row."""

    def __init__(self, spec: ChildSpec, cell: Cell) -> None:
        self.spec = spec
        self.cell = cell
        self.began = -math.inf
        self.attempts = 0
        self.commanded = False  # its supervisor ends it, and need not be told


class Office(Resident):
    """A supervisor at work: it lives in a cell, and is the host of its children's cells."""

    def __init__(self, supervisor: Supervisor, registry: Registry) -> None:
        super().__init__(supervisor, registry)
        self._rules = supervisor.rules
        self._budget = RestartBudget(self._rules.max_restarts, self._rules.within)
        self._children: dict[str, _Child] = {}
        self._watching = False  # while it begins and ends, its children are not restarted

    # As the resident of its own cell

    @property
    def begins_at_once(self) -> bool:
        """A supervisor never does."""
        return False

    async def begin(self) -> None:
        """Call ``on_start()``, then start the children in order."""
        await super().begin()
        for spec in self._rules.children:
            await self._start_first(spec)
        self._watching = True

    async def stop_dependents(self) -> None:
        """Stop the children, in the reverse order of their start."""
        self._watching = False
        for child in reversed(self._children.values()):
            await self._stop(child, again=False)

    # As the host of its children's cells

    def wants_again(self, cell: Cell, ending: Ending) -> bool:
        """Whether a fresh actor is to come after one that came to its end by itself."""
        return self._watching and restarts(self._child_in(cell).spec.restart, ending)

    def on_ended(self, cell: Cell) -> None:
        """Look, in the supervisor's own task, at what is to be done."""
        child = self._child_in(cell)
        if cell.state == "stopped":
            self.registry.forget(cell)
        if self._watching and not child.commanded:
            self.cell.mailbox.order(partial(self._on_end, child, cell.life, cell.ending))

    def on_dead_letter(self, message: Message, why: str) -> None:
        """Pass a lost message on."""
        self.registry.on_dead_letter(message, why)

    def _child_in(self, cell: Cell) -> _Child:
        return next(child for child in self._children.values() if child.cell is cell)

    # What it does

    async def _start_first(self, spec: ChildSpec) -> None:
        to = Address(f"{self.cell.address.id}/{spec.id}")
        resident = self._make(spec)
        cell = self.registry.add(
            to, resident, spec.mailbox_size, spec.stop_timeout, host=self, parent=self.cell
        )
        child = self._children[spec.id] = _Child(spec, cell)
        await self._begin(child)
        if cell.failure is not None:
            raise cell.failure

    async def _begin(self, child: _Child) -> bool:
        """Start a child; return whether it runs."""
        child.began = current_time()
        self.registry.launch(child.cell)
        return await child.cell.wait_running()

    async def _on_end(self, child: _Child, life: int, ending: Ending) -> None:
        """Do what is planned for the end of a child."""
        cell = child.cell
        if cell.life != life or child.commanded:
            return  # a sibling's failure has brought it back already
        failure = cell.failure
        if not restarts(child.spec.restart, ending):
            if failure is not None:
                logger.error("%s failed, and is not restarted", cell.address, exc_info=failure)
            return
        self._spend(child, failure)
        logger.warning("%s ended (%s), and is restarted", cell.address, ending, exc_info=failure)
        live = [id for id, other in self._children.items() if other.cell.state != "stopped"]
        todo = plan(self._rules.strategy, self._rules.children, child.spec.id, ending, live)
        for id in todo.stop:
            await self._stop(self._children[id], again=id in todo.start)
        self._start_later(child, todo.start)

    def _spend(self, child: _Child, failure: BaseException | None) -> None:
        if not self._budget.spend(current_time()):
            raise RestartLimitError(
                f"the children of {self.cell.address} failed too often: {child.cell.address} was "
                f"the last, and there are {self._rules.max_restarts} restarts within "
                f"{self._rules.within:g} s; allow more with max_restarts=... or within=..."
            ) from failure

    async def _stop(self, child: _Child, *, again: bool) -> None:
        child.commanded = True
        child.cell.halt(again)
        await (child.cell.wait_ended() if again else child.cell.wait_stopped())
        child.commanded = again
        if not again:
            self.registry.forget(child.cell)

    def _start_later(self, child: _Child, ids: Sequence[str]) -> None:
        """Start children again, after the backoff of the one that ended."""
        now = current_time()
        if now - child.began > self._rules.within:
            child.attempts = 0
        child.attempts += 1
        seconds = delay(self._rules.backoff, child.attempts)
        again = partial(self.cell.mailbox.order, partial(self._start_again, ids))
        if seconds:
            self.registry.clock.call_at(now + seconds, again)
        else:
            again()

    async def _start_again(self, ids: Sequence[str]) -> None:
        """Put fresh actors into the cells that wait for one, in order, as long as they begin."""
        for child in map(self._children.__getitem__, ids):
            if child.cell.state != "restarting":
                continue  # it was stopped meanwhile
            child.commanded = False
            try:
                child.cell.take_in(self._make(child.spec))
            except Exception as exc:
                self._spend(child, exc)
                logger.warning("%s cannot be made again", child.cell.address, exc_info=exc)
                self._start_later(child, ids)
                return
            if not await self._begin(child):
                return  # its end is looked at next, and these others with it

    def _make(self, spec: ChildSpec) -> Resident:
        try:
            actor = check_actor(spec.factory())
        except (TypeError, ValueError) as exc:
            exc.add_note(f"It was made by the factory of ChildSpec({spec.id!r}, ...)")
            raise
        return make_resident(actor, self.registry)


def make_resident(actor: Actor, registry: Registry) -> Resident:
    """Return what lives in a cell for an actor."""
    if isinstance(actor, Supervisor):
        return Office(actor, registry)
    return Resident(actor, registry)
