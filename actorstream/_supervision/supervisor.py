"""An actor that starts other actors, stops them, and restarts those that fail.

``policy.py`` decides what to do, after Erlang/OTP. This module does it, in the supervisor's own
task, for one ended child after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from anyio import current_time
from anyio.lowlevel import checkpoint

from actorstream._actors.actor import Actor
from actorstream._actors.behavior import ActorBehavior
from actorstream._actors.cell import Cell
from actorstream._actors.incarnation import Incarnation
from actorstream._actors.lifecycle import Ending
from actorstream._actors.options import ActorOptions
from actorstream._actors.registry import Registry
from actorstream._address import Address
from actorstream._errors import RestartLimitError
from actorstream._kinds import is_a
from actorstream._supervision.child import Child, RestartBatch
from actorstream._supervision.factory import call_apart, make_actor
from actorstream._supervision.policy import (
    Backoff,
    ChildSpec,
    Plan,
    RestartBudget,
    Strategy,
    SupervisorOptions,
    delay,
    plan,
    restarts,
)
from actorstream._texts import loggable
from actorstream._wait_graph import Wait

logger = logging.getLogger("actorstream")

_OPTIONS = "_actorstream_options"
_TURN = 100  # children that are started or stopped before other tasks run

T = TypeVar("T")


class Supervisor(Actor):
    """An actor whose children are actors, after Erlang/OTP's ``supervisor``.

    ::

        router.register_actor("workers", Supervisor([ChildSpec("a", Worker)]))
        await router.ask("workers/a", "count", text)

    Children start in order, each after the one before has started, and stop in reverse. A restart
    makes a fresh actor from the factory. The address and the queued messages stay; the message
    that failed is not handled again. The actor's open streams end with
    ``ActorRestartedError``. Supervisors nest: a factory may make one.

    Args:
        children: What to start, in order.
        strategy: What is restarted when a child is: ``"one_for_one"``: that child;
            ``"one_for_all"``: all children; ``"rest_for_one"``: that child and those after it.
        max_restarts: Most restarts within ``within`` seconds, a sliding window. One more, and
            the supervisor stops its children and fails itself, with ``RestartLimitError``.
        within: Length of the window, in seconds.
        backoff: Seconds before a restart, or a function of the number of restarts in a row.

    Raises:
        TypeError, ValueError: An argument has the wrong type or an impossible value; the
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
        self._actorstream_options = SupervisorOptions(
            children, strategy, max_restarts, within, backoff
        )

    def __repr__(self) -> str:
        options = self._actorstream_options
        return f"<Supervisor {options.strategy}, {len(options.children)} children>"


class SupervisorBehavior(ActorBehavior):
    """Runs a supervisor, and is the parent of its children's cells."""

    def __init__(self, supervisor: Supervisor, registry: Registry) -> None:
        super().__init__(supervisor, registry)
        self._options: SupervisorOptions = getattr(supervisor, _OPTIONS)
        self._budget = RestartBudget(self._options.max_restarts, self._options.within)
        self._children: dict[str, Child] = {}
        self._by_cell: dict[Cell, Child] = {}
        self._restarts_children = False  # only between on_start() and the stop
        self._since_rest = 0

    # As an actor in its own cell

    @property
    def starts_at_once(self) -> bool:
        """Whether ``start()`` does nothing: never, it starts the children."""
        return False

    def attach(self, cell: Cell) -> None:
        """Register the children, so that their addresses work at once.

        The cells of a supervisor that is restarted are taken over, with what is queued in them.
        """
        super().attach(cell)
        for spec in self._options.children:
            with suppress(ValueError):  # the id is taken; start() raises if it still is
                self._add(spec)

    async def start(self) -> None:
        """Call ``on_start()``, then start the children in order."""
        await super().start()
        self._restarts_children = True
        for spec in self._options.children:
            await self._start_first(self._children.get(spec.id) or self._add(spec))

    def note_draining(self) -> None:
        """Restart no child from now on, and stop those that do not run: they hold up the end."""
        self._restarts_children = False
        for child in self._children.values():
            if child.cell.state in ("starting", "stopping", "restarting"):
                child.batch.cancel()
                child.cell.stop(restart=self.cell.will_restart)
                self.registry.forget_if_stopped(child.cell)

    async def stop_children(self) -> None:
        """Stop the children, in the reverse order of their start, and then the helpers.

        If the supervisor is restarted, the cells of its children are kept for the fresh one.
        """
        self._restarts_children = False
        for spec in reversed(self._options.children):
            if spec.id in self._children:
                await self._stop(self._children[spec.id], restart=self.cell.will_restart)
        await super().stop_children()

    def release_children(self) -> None:
        """Stop those children for good whose cells were kept, and not taken over."""
        for child in self._children.values():
            if child.cell.parent is self and child.cell.state != "stopped":
                self.registry.stop(child.cell)

    # As the parent of its children's cells

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Return whether a restart follows an end that this supervisor did not order."""
        child = self._by_cell.get(cell)
        if child is None:
            return super().should_restart(cell, ending)
        never_ran = cell.state == "registered" or child.has_failed_at_first
        if self._restarts_children and not never_ran:
            return restarts(child.spec.restart, ending)
        # A fresh supervisor starts all of its children, this one included.
        is_final = ending != "abnormal" and child.spec.restart != "permanent"
        return self._may_be_restarted() and not is_final

    def keeps_name(self, cell: Cell) -> bool:
        """Return whether the id is taken until the actor has ended: that of a child is."""
        return cell in self._by_cell

    def on_terminated(self, cell: Cell) -> None:
        """Log a failure; have the supervisor's own task react to the end."""
        child, ended = self._by_cell.get(cell), cell.incarnation
        if child is None:
            super().on_terminated(cell)
            return
        is_awaited = self._restarts_children and child.has_failed_at_first
        if ended.failure is not None and not (child.failed_first or is_awaited):
            _log_failure(cell)
        if self._restarts_children and not ended.ordered:
            self.cell.mailbox.put_system(partial(self._on_end, child, ended))
        if cell.state == "stopped" and not is_awaited:  # the failure is read and raised first
            self.registry.forget(cell)

    def _may_be_restarted(self) -> bool:
        """Return whether this supervisor's own supervisor restarts it, should it fail now."""
        if self.cell.state == "starting":
            return self.cell.parent.should_restart(self.cell, "abnormal")
        return self.cell.will_restart

    # Starting, stopping and restarting

    def _add(self, spec: ChildSpec) -> Child:
        to = Address(f"{self.cell.address.id}/{spec.id}")
        options = ActorOptions(
            mailbox_size=spec.mailbox_size,
            start_timeout=spec.start_timeout,
            stop_timeout=spec.stop_timeout,
        )
        cell = self.registry.add(to, None, options, self)
        child = self._children[spec.id] = self._by_cell[cell] = Child(spec, cell)
        return child

    async def _start_first(self, child: Child) -> None:
        if child.cell.state not in ("registered", "restarting"):
            return  # stopped before its start
        child.cell.put_actor(self._make(child))
        started = await self._start(child)
        failure = child.cell.incarnation.failure
        if not started and failure is not None:
            child.note_failed_first()
            try:
                raise failure
            finally:
                del failure  # break the cycle traceback -> frame -> error

    async def _start(self, child: Child) -> bool:
        """Start a child; return whether its start succeeded."""
        await self._rest()
        self.registry.launch(child.cell)
        with Wait(self.cell, child.cell, for_end=True):
            return await child.cell.wait_started()

    async def _on_end(self, child: Child, ended: Incarnation) -> None:
        """React to the end of a child."""
        if ended.ordered:
            return  # a sibling's failure restarts it already
        if child.cell.state == "stopped":
            await self._restart(child.batch)  # go on with the children after it
            return
        self._spend(child, ended.failure)
        logger.info("%s ended (%s); restarting it", child.cell.address, ended.ending)
        todo = self._plan(child)
        restarted = frozenset(todo.start)
        for id in todo.stop:
            await self._stop(self._children[id], restart=id in restarted)
        self._restart_later(child, RestartBatch(todo.start))

    def _plan(self, child: Child) -> Plan:
        strategy, specs = self._options.strategy, self._options.children
        if strategy == "one_for_one":  # do not look at thousands of siblings
            return plan(strategy, [child.spec], child.spec.id, ())
        live = [id for id, other in self._children.items() if other.cell.state != "stopped"]
        return plan(strategy, specs, child.spec.id, live)

    def _spend(self, child: Child, failure: BaseException | None) -> None:
        if not self._budget.spend(current_time()):
            raise RestartLimitError(
                f"the children of {self.cell.address} failed too often: {child.cell.address} was "
                f"the last, and at most {self._options.max_restarts} restarts are allowed within "
                f"{self._options.within:g} s; allow more with max_restarts=... or within=..."
            ) from failure

    async def _stop(self, child: Child, *, restart: bool) -> None:
        await self._rest()
        child.batch.cancel()
        if restart and child.cell.state == "registered":
            return
        if self.cell.router_closing:
            child.cell.note_router_closing()
        child.cell.stop(restart=restart)
        with Wait(self.cell, child.cell, for_end=True):
            await (child.cell.wait_ended() if restart else child.cell.wait_stopped())
        if not restart:
            self.registry.forget(child.cell)

    async def _rest(self) -> None:
        """Let other tasks run now and then: there may be thousands of children."""
        self._since_rest = (self._since_rest + 1) % _TURN
        if not self._since_rest:
            await checkpoint()

    def _restart_later(self, child: Child, batch: RestartBatch) -> None:
        """Restart children after the backoff of the one that ended."""
        for id in batch:
            self._children[id].join(batch)
        attempt = child.next_attempt(self._options.within)
        seconds = call_apart(partial(delay, self._options.backoff, attempt))
        start = partial(self.cell.mailbox.put_system, partial(self._restart, batch))
        if seconds:
            batch.wait(self.registry.runtime.timers.call_after(seconds, start))
        else:
            start()

    async def _restart(self, batch: RestartBatch) -> None:
        """Restart the waiting children of a batch, in order, until a start fails."""
        while batch.first is not None:
            child = self._children[batch.first]
            if child.batch is batch and child.cell.state == "restarting":
                if not self._put_fresh_actor(child, batch):
                    return
                batch.pop_first()
                if not await self._start(child):
                    return  # _on_end() goes on, for the others as well
            else:
                batch.pop_first()  # stopped in the meantime, or in another batch now

    def _put_fresh_actor(self, child: Child, batch: RestartBatch) -> bool:
        """Make a fresh actor; if that fails, schedule another attempt and return False."""
        try:
            child.cell.put_actor(self._make(child))
        except Exception as exc:
            logger.warning(
                "cannot make a fresh actor for %s", child.cell.address, exc_info=loggable(exc)
            )
            self._spend(child, exc)
            self._restart_later(child, batch)
            return False
        return True

    def _make(self, child: Child) -> ActorBehavior:
        return make_behavior(make_actor(child.spec, child.cell.behavior), self.registry)


def _log_failure(cell: Cell) -> None:
    will_restart = cell.state == "restarting"
    level, what = (logging.WARNING, "will be") if will_restart else (logging.ERROR, "is not")
    failure = cell.incarnation.failure
    logger.log(level, "%s failed, and %s restarted", cell.address, what, exc_info=loggable(failure))


def make_behavior(actor: Actor, registry: Registry) -> ActorBehavior:
    """Return the behavior for an actor."""
    if is_a(actor, Supervisor):
        return SupervisorBehavior(actor, registry)
    return ActorBehavior(actor, registry)
