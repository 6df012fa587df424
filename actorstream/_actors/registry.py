"""The actors of one router: who lives where, and in what they run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Literal

from anyio.abc import TaskGroup

from actorstream._actors.cell import Behavior, Cell, Parent
from actorstream._actors.lifecycle import Ending
from actorstream._address import Address
from actorstream._errors import ActorNotFoundError, RouterClosedError
from actorstream._loop.timers import Timers
from actorstream._loop.wakeup import CallSoon, current_call_soon, watch_loop
from actorstream._message import Message
from actorstream._ports.options import PortOptions
from actorstream._ports.port import Home, Port, post

if TYPE_CHECKING:
    from actorstream._router import MessageRouter

logger = logging.getLogger("actorstream")

OnFailure = Literal["raise", "stop"]


class Registry:
    """Finds actors, gives them tasks, and takes note of their ends.

    Args:
        router: Whose actors they are.
        on_failure: What the failure of an actor without a supervisor does.

    Attributes:
        router: Whose actors they are.
        state: ``"not entered"``, ``"open"``, ``"closing"`` (the actors end) or ``"closed"``.
        cells: Every actor that is not stopped for good, in the order of registration.
        timers: Runs the timers.
        call_soon: Reaches the event loop from anywhere.
        dead_letters: Where messages to nobody are published.
        told: How many messages have been told.
        restarts: How many actors have taken the place of another.
    """

    def __init__(self, router: MessageRouter, on_failure: OnFailure) -> None:
        self.router = router
        self.state = "not entered"
        self.cells: dict[Cell, None] = {}
        self.told = 0
        self.restarts = 0
        self.timers: Timers  # these belong to an event loop: made on opening
        self.call_soon: CallSoon
        self._names: dict[str, Cell] = {}
        self._on_failure = on_failure
        self.dead_letters: Port[Message] = Port(
            "dead_letters",
            PortOptions(overflow="drop_oldest"),
            lambda: self.home(Address("dead_letters")),
        )
        self._tasks: TaskGroup
        self._context: Context
        self._in_loop: Callable[[], bool]

    # The router's life

    def open(self, tasks: TaskGroup) -> None:
        """Begin: the actors that are here already are started."""
        self._tasks = tasks
        self._context = copy_context()
        self._in_loop = watch_loop()
        self.call_soon = current_call_soon()
        self.timers = Timers()
        tasks.start_soon(self.timers.run)
        self.state = "open"
        for cell in list(self.cells):
            self._launch_late(cell)

    def close(self) -> None:
        """Have every actor end; a supervisor ends its children."""
        self.state = "closing"
        for cell in list(self.cells):
            if cell.parent is None:
                self.stop(cell)
        self._stop_clock_if_empty()

    def stop(self, cell: Cell) -> None:
        """End a cell that has no supervisor, or whose supervisor is about to end, at once."""
        cell.stop(again=False)
        if cell.state == "stopped":
            self.forget(cell)

    def check_open(self, closing_too: bool = False) -> None:
        """Raise ``RouterClosedError`` unless the router runs, and in this event loop."""
        if self.state != "open" and not (closing_too and self.state == "closing"):
            raise RouterClosedError(
                f"the router is {self.state}; use it inside of "
                "`async with MessageRouter() as router:`"
            )
        if not self._in_loop():
            raise RouterClosedError(
                "the router runs in another event loop; use it in the thread and loop where it "
                "was entered, or through anyio.from_thread.run()"
            )

    def home(self, to: Address) -> Home:
        """Return what the subscriptions of a port need.

        Raises:
            RouterClosedError: The router does not run.
        """
        self.check_open()
        return Home(to, self.timers, self.call_soon)

    # Who lives where

    def add(
        self,
        to: Address,
        behavior: Behavior,
        mailbox_size: int,
        stop_timeout: float | None,
        host: Parent | None = None,
        parent: Cell | None = None,
    ) -> Cell:
        """Make a cell for an actor.

        Raises:
            ValueError: The id is taken.
            RouterClosedError: The router is being left; nobody would start the actor.
        """
        if self.state == "closing":
            raise RouterClosedError(
                f"{to} comes too late, for the router is being left; write register_actor() "
                "before its block ends"
            )
        if to.id in self._names:
            raise ValueError(
                f"{to} is taken by {self._names[to.id].behavior!r}; choose another id, or call "
                f"`await router.unregister_actor({to.id!r})` first"
            )
        cell = Cell(to, host or self, mailbox_size, stop_timeout, parent)
        self._names[to.id] = cell
        self.cells[cell] = None
        cell.put_actor(behavior)
        return cell

    def launch_soon(self, cell: Cell) -> None:
        """Begin the first life in a cell, once the router is open. Any thread may call this."""
        if self.state == "open":
            if self._in_loop():
                self.launch(cell)
            else:
                self.call_soon(partial(self._launch_late, cell))

    def _launch_late(self, cell: Cell) -> None:
        if cell.state == "registered" and cell.parent is None and self.state == "open":
            self.launch(cell)

    def launch(self, cell: Cell) -> None:
        """Begin a life in a cell, in the context in which the router was entered.

        Whoever registers or restarts an actor may be serving a request, which is not the actor's.
        """
        self.restarts += cell.incarnation > 0
        cell.launch()
        start = partial(self._tasks.start_soon, cell.run, name=cell.address.id)
        self._context.copy().run(start)

    def forget_name(self, cell: Cell) -> None:
        """Let the id go; the actor ends."""
        if self._names.get(cell.address.id) is cell:
            del self._names[cell.address.id]

    def forget(self, cell: Cell) -> None:
        """Let a cell go, for it is over for good. Its name is known after the router's end."""
        if self.state != "closing" and not cell.router_closing:
            self.forget_name(cell)
        self.cells.pop(cell, None)
        self._stop_clock_if_empty()

    def get(self, to: Address) -> Cell | None:
        """Return the cell of an actor, if there is one."""
        return self._names.get(to.id)

    def find(self, to: Address) -> Cell:
        """Return the cell of an actor.

        Raises:
            ActorNotFoundError: There is none.
        """
        try:
            return self._names[to.id]
        except KeyError:
            known = ", ".join(self.ids()) or "none"
            raise ActorNotFoundError(
                f"no actor is registered as {to}; registered: {known}; "
                f"write router.register_actor({to.id!r}, actor)"
            ) from None

    def find_ending(self, to: Address) -> Cell:
        """Return the cell of an actor; if there is none, of one that is about to end.

        Raises:
            ActorNotFoundError: There is neither.
        """
        if to.id not in self._names:
            for cell in self.cells:
                if cell.address == to:
                    return cell
        return self.find(to)

    def ids(self) -> list[str]:
        """Return the ids of all actors, in the order of their registration."""
        return [id for id, cell in self._names.items() if cell.state != "stopped"]

    # What the cells report

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Nobody restarts an actor that has no supervisor."""
        return False

    def on_terminated(self, cell: Cell) -> None:
        """Let an actor without a supervisor go; its failure is raised, or logged.

        Raises:
            BaseException: The actor's failure, if such failures are to leave the router.
        """
        self.forget(cell)
        if cell.failure is None:
            return
        if self._on_failure == "raise":
            raise cell.failure
        logger.error("%s failed, and was stopped", cell.address, exc_info=cell.failure)

    def on_dead_letter(self, message: Message, why: str) -> None:
        """Log a message that reached nobody, and publish it for those who listen."""
        logger.warning("a message of type %r to %s is lost: %s", message.type, message.to, why)
        if self.state != "closed":
            post(self.dead_letters, message)

    def _stop_clock_if_empty(self) -> None:
        if self.state == "closing" and not self.cells:
            self.shut()
            self.timers.stop()

    def shut(self) -> None:
        """Note that all actors are gone."""
        if self.state != "closed":
            self.state = "closed"
            self.dead_letters.close()
