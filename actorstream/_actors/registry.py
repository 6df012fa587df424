"""The registry: adds, launches, finds, stops and forgets the actors of one router."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Literal

from actorstream._actors.actor_task import run_actor
from actorstream._actors.cell import Behavior, Cell, Parent
from actorstream._actors.dead_letters import DeadLetterLog
from actorstream._actors.lifecycle import Ending
from actorstream._actors.options import ActorOptions
from actorstream._address import Address
from actorstream._errors import ActorNotFoundError, RouterClosedError
from actorstream._loop.runtime import Runtime
from actorstream._message import Message
from actorstream._ports.options import PortOptions
from actorstream._ports.port import Port, post
from actorstream._streams.buffer import TURN
from actorstream._texts import find_similar, repr_of

logger = logging.getLogger("actorstream")

OnFailure = Literal["raise", "stop"]


class Registry:
    """Keeps the actors by id, and is the parent of those without a supervisor.

    Args:
        router: The router, for ``Actor.router``.
        on_failure: What the failure of an actor without a supervisor does.

    Attributes:
        runtime: The event loop side of the router.
        cells: The actors that are not stopped for good, in the order of registration.
        dead_letters: The port where undeliverable messages are published.
        restarts: Number of restarts so far.
        opened_streams: Number of streams opened so far.
    """

    def __init__(self, router: Any, on_failure: OnFailure) -> None:
        self.router = router
        self.runtime = Runtime()
        self.cells: dict[Cell, None] = {}
        self.restarts = 0
        self.opened_streams = 0
        self.dead_letters: Port[Message] = Port(
            "dead_letters",
            PortOptions(overflow="drop_oldest"),
            self._locate_dead_letters,
            can_wait=False,
        )
        self._dead_letter_log = DeadLetterLog(self.runtime)
        self._names: dict[str, Cell] = {}
        self._on_failure = on_failure
        self._tell_count = 0

    # Opening and closing

    async def open(self) -> None:
        """Open the runtime, and launch the actors that are registered already."""
        await self.runtime.open()
        for cell in list(self.cells):
            self._launch_registered(cell)

    def close(self) -> None:
        """End every stream, subscription and actor; a supervisor stops its children."""
        for cell in self.cells:
            cell.close_with_router()
        self.runtime.start_closing()
        for cell in list(self.cells):
            if cell.supervisor is None:
                self.stop(cell)
        self._finish_if_empty()

    def finish(self) -> None:
        """Close the runtime and the dead letters. A second call does nothing."""
        if self.runtime.state != "closed":
            self.runtime.close()
            self.dead_letters.close()
            self._dead_letter_log.flush()

    def _finish_if_empty(self) -> None:
        if self.runtime.state == "closing" and not self.cells:
            self.finish()

    # Adding and launching

    def add(
        self,
        to: Address,
        behavior: Behavior,
        options: ActorOptions,
        parent: Parent | None = None,
    ) -> Cell:
        """Make a cell for an actor.

        Raises:
            ValueError: The id is taken.
            RouterClosedError: The router is being left, and launches no more actors.
        """
        if self.runtime.state in ("closing", "closed"):
            raise RouterClosedError(
                f"{to} cannot be registered with a router that is {self.runtime.state}; write "
                "register_actor() before its block ends"
            )
        if to.id in self._names:
            raise ValueError(
                f"{to} is taken by {repr_of(self._names[to.id].behavior)}; choose another id, or "
                f"call `await router.unregister_actor({to.id!r})` first"
            )
        cell = Cell(to, parent or self, options)
        self._names[to.id] = cell
        self.cells[cell] = None
        cell.put_actor(behavior)
        return cell

    def launch_soon(self, cell: Cell) -> None:
        """Launch an actor if the router is open. Any thread may call this."""
        if self.runtime.state == "open":
            self.runtime.run_in_loop(partial(self._launch_registered, cell))

    def _launch_registered(self, cell: Cell) -> None:
        is_open = self.runtime.state == "open"
        if cell.state == "registered" and cell.supervisor is None and is_open:
            self.launch(cell)

    def launch(self, cell: Cell) -> None:
        """Start the task of the actor in a cell."""
        self.restarts += cell.incarnation.number > 0
        cell.launch()
        self.runtime.start_soon_apart(run_actor, cell, name=cell.address.id)

    # Stopping and forgetting

    def stop(self, cell: Cell) -> None:
        """Stop a cell for good: one without a supervisor, or whose supervisor ends, too."""
        cell.stop(restart=False)
        self.forget_if_stopped(cell)

    def forget_name(self, cell: Cell) -> None:
        """Free the id of an actor that ends."""
        if self._names.get(cell.address.id) is cell:
            del self._names[cell.address.id]

    def forget_if_stopped(self, cell: Cell) -> None:
        """Forget a cell that stopped without a task: it never ran, or waited for a restart."""
        if cell.state == "stopped":
            self.forget(cell)

    def forget(self, cell: Cell) -> None:
        """Forget a stopped cell. Its name stays known if the router's end stopped it."""
        if self.runtime.state != "closing" and not cell.router_closing:
            self.forget_name(cell)
        self.cells.pop(cell, None)
        self._finish_if_empty()

    # Finding

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
            similar = ", ".join(map(repr, find_similar(to.id, self.ids())))
            raise ActorNotFoundError(
                f"no actor is registered as {to}{similar and f'; similar: {similar}'}; "
                f"write router.register_actor({to.id!r}, actor)"
            ) from None

    def find_ending(self, to: Address) -> Cell:
        """Return the cell of an actor, or else that of an unregistered one that still ends.

        Raises:
            ActorNotFoundError: There is none.
        """
        if to.id not in self._names:
            for cell in self.cells:
                if cell.address == to:
                    return cell
        return self.find(to)

    def ids(self) -> list[str]:
        """Return the ids of all actors, in the order of registration."""
        return [id for id, cell in self._names.items() if cell.state != "stopped"]

    # Counting

    def count_stream(self) -> None:
        """Count an opened stream."""
        self.opened_streams += 1

    def count_tell(self) -> bool:
        """Count a tell; return whether it is time for a checkpoint."""
        self._tell_count += 1
        return self._tell_count % TURN == 0

    # As the parent of cells

    cell = None
    """The registry is not an actor, so it has no cell."""

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Return False: only supervisors restart actors."""
        return False

    def on_terminated(self, cell: Cell) -> None:
        """Forget an actor without a supervisor; raise or log its failure.

        Raises:
            BaseException: The actor's failure, if ``on_failure`` is ``"raise"``.
        """
        self.forget(cell)
        failure = cell.incarnation.failure
        if failure is None:
            return
        if self._on_failure == "raise":
            raise failure
        logger.error("%s failed, and was stopped", cell.address, exc_info=failure)

    def on_dead_letter(self, message: Message, why: str) -> None:
        """Log an undeliverable message, and publish it."""
        self._dead_letter_log.add(message, why)
        self._publish_dead_letters([message])

    def on_dead_letters(self, messages: list[Message], why: str) -> None:
        """Log the lost queue of an actor in one line, and publish it."""
        self._dead_letter_log.write(messages, why)
        self._publish_dead_letters(messages)

    def _publish_dead_letters(self, messages: list[Message]) -> None:
        if self.runtime.state != "closed":
            for message in messages:
                post(self.dead_letters, message)

    def _locate_dead_letters(self) -> tuple[Address, Runtime]:
        self.runtime.check_open()
        return Address("dead_letters"), self.runtime
