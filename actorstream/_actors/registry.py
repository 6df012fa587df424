"""The registry: adds, launches, finds, stops and forgets the actors of one router."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal
from weakref import ref

from actorstream._actors.actor_task import abandon_actor, run_actor
from actorstream._actors.cell import Behavior, Cell, Parent
from actorstream._actors.dead_letters import DeadLetters
from actorstream._actors.expected import (
    EXPECTED,
    Expecting,
    may_bring_more,
    stop_waiting,
    wait_for_actor,
)
from actorstream._actors.lifecycle import Ending
from actorstream._actors.options import ActorOptions
from actorstream._address import Address
from actorstream._errors import ActorNotFoundError, RouterClosedError
from actorstream._loop.runtime import Runtime
from actorstream._streams.buffer import TURN
from actorstream._streams.channel import Channel
from actorstream._texts import find_similar, loggable, repr_of

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
        dead_letters: Where undeliverable messages go.
        restarts: Number of restarts so far.
        opened_streams: Number of streams opened so far.
    """

    def __init__(self, router: Any, on_failure: OnFailure) -> None:
        self._router = ref(router)
        self.runtime = Runtime()
        self.cells: dict[Cell, None] = {}
        self.restarts = 0
        self.opened_streams = 0
        self.dead_letters = DeadLetters(self.runtime)
        self._names: dict[str, Cell] = {}
        self._nameless: dict[str, list[Cell]] = {}  # they still end, and their ids are free
        self._on_failure = on_failure
        self._tell_count = 0

    # Opening and closing

    async def open(self) -> None:
        """Open the runtime, and launch the actors that are registered already."""
        await self.runtime.open()
        for cell in list(self.cells):
            if cell.supervisor is None:
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

    def _finish_if_empty(self) -> None:
        if self.runtime.state == "closing" and not self.cells:
            self.finish()

    @property
    def router(self) -> Any:
        """The router, which is there as long as it is open; weak, since it has this registry."""
        return self._router()

    # Adding and launching

    def add(
        self,
        to: Address,
        behavior: Behavior | None,
        options: ActorOptions,
        parent: Parent | None = None,
    ) -> Cell:
        """Make a cell for an actor, or take over the cell that waits for one.

        Without a behavior, the actor is made later.

        Raises:
            ValueError: The id is taken.
            RouterClosedError: The router is being left, and launches no more actors.
        """
        if self.runtime.state in ("closing", "closed"):
            raise RouterClosedError(
                f"{to} cannot be registered with a router that is {self.runtime.state}; write "
                "register_actor() before its block ends"
            )
        parent = parent or self
        cell = self._names.get(to.id)
        if cell is None:
            cell = self._add_cell(Cell(to, parent, options, self.dead_letters))
        elif cell.may_pass_to(parent):
            cell.pass_to(parent, options)
        else:
            raise ValueError(
                f"{to} is taken by {repr_of(cell.behavior)}; choose another id, or "
                f"call `await router.unregister_actor({to.id!r})` first"
            )
        if behavior is not None:
            cell.put_actor(behavior)
        return cell

    def _add_cell(self, cell: Cell) -> Cell:
        self._names[cell.address.id] = cell
        self.cells[cell] = None
        return cell

    def launch_soon(self, cell: Cell) -> None:
        """Launch an actor if the router is open. Any thread may call this."""
        if self.runtime.state == "open":
            self.runtime.run_in_loop(partial(self._launch_registered, cell))

    def _launch_registered(self, cell: Cell) -> None:
        is_open = self.runtime.state == "open"
        if cell.state == "registered" and is_open:
            self.launch(cell)

    def launch(self, cell: Cell) -> None:
        """Start the task of the actor in a cell."""
        self.restarts += cell.incarnation.number > 0
        cell.launch()
        self.runtime.start_soon_apart(
            run_actor, cell, self.runtime, name=cell.address.id, undo=abandon_actor
        )

    # Stopping and forgetting

    def stop(self, cell: Cell) -> None:
        """Stop a cell for good: one without a supervisor, or whose supervisor ends, too."""
        cell.stop(restart=False)
        self.forget_if_stopped(cell)

    def forget_name(self, cell: Cell) -> None:
        """Free the id of an actor that ends."""
        id = cell.address.id
        if self._names.get(id) is cell:
            del self._names[id]
            self._nameless.setdefault(id, []).append(cell)

    def forget_if_stopped(self, cell: Cell) -> None:
        """Forget a cell that stopped without a task: it never ran, or waited for a restart."""
        if cell.state == "stopped":
            self.forget(cell)

    def forget(self, cell: Cell) -> None:
        """Forget a stopped cell. Its name stays known if the router's end stopped it.

        Call this last: the cell lets go of its actor and its failure.
        """
        if self.runtime.state != "closing" and not cell.router_closing:
            self.forget_name(cell)
        self.cells.pop(cell, None)
        nameless = self._nameless.get(cell.address.id, [])
        if cell in nameless:
            nameless.remove(cell)
        if not nameless:
            self._nameless.pop(cell.address.id, None)
        cell.release()
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
        cell = self._names.get(to.id)
        if cell is None:
            raise self._not_found(to)
        return cell

    def reach(self, to: Address) -> Cell:
        """Return the cell of an actor, or of one that an actor above it may bring when it starts.

        Raises:
            ActorNotFoundError: There is none.
        """
        cell = self._names.get(to.id) or self.expect(to)
        if cell is None:
            raise self._not_found(to)
        return cell

    def expect(self, to: Address) -> Cell | None:
        """Make a cell for an actor that one above it may bring when it starts, if there is one."""
        above = self._find_above(to)
        if above is None or self.runtime.state != "open" or not may_bring_more(above):
            return None
        absence = partial(self._not_found, to)
        cell = Cell(to, Expecting(above, self), EXPECTED, self.dead_letters, absence)
        self.runtime.start_soon_apart(wait_for_actor, cell, above, name=to.id, undo=stop_waiting)
        return self._add_cell(cell)

    def _find_above(self, to: Address) -> Cell | None:
        """Return the cell of the actor that is registered next above an address."""
        path = to.id
        while "/" in path:
            path = path.rpartition("/")[0]
            cell = self._names.get(path)
            if cell is not None and cell.absence is None:
                return cell
        return None

    def _not_found(self, to: Address) -> ActorNotFoundError:
        similar = ", ".join(map(repr, find_similar(to.id, self._iterate_ids())))
        return ActorNotFoundError(
            f"no actor is registered as {to}{similar and f'; similar: {similar}'}; "
            f"write router.register_actor({to.id!r}, actor)"
        )

    def cells_at(self, to: Address) -> list[Cell]:
        """Return the cells at an address: those that still end, and the one that has the name."""
        cell = self._names.get(to.id)
        named = [] if cell is None or cell not in self.cells else [cell]
        return self._nameless.get(to.id, []) + named

    def find_streaming(self, channel: Channel) -> Cell | None:
        """Return the cell of the actor that streams into a channel."""
        cells = self.cells_at(channel.request.to)
        return next((cell for cell in cells if channel in cell.channels), None)

    def find_ending(self, to: Address) -> Cell:
        """Return the cell of an actor, or else that of an unregistered one that still ends.

        Raises:
            ActorNotFoundError: There is none.
        """
        cells = self.cells_at(to)
        return cells[0] if cells and to.id not in self._names else self.find(to)

    def ids(self) -> list[str]:
        """Return the ids of all actors, in the order of registration."""
        return list(self._iterate_ids())

    def _iterate_ids(self) -> Iterator[str]:
        for id, cell in self._names.items():
            if cell.state != "stopped" and cell.absence is None:
                yield id

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

    def keeps_name(self, cell: Cell) -> bool:
        """Return False: another actor may have the id at once."""
        return False

    def on_terminated(self, cell: Cell) -> None:
        """Forget an actor without a supervisor; raise or log its failure.

        Raises:
            BaseException: The actor's failure, if ``on_failure`` is ``"raise"``.
        """
        failure = cell.incarnation.failure
        self.forget(cell)
        if failure is None:
            return
        if self._on_failure != "raise":
            logger.error("%s failed, and was stopped", cell.address, exc_info=loggable(failure))
            return
        try:
            raise failure
        finally:
            del failure  # break the cycle traceback -> frame -> error
