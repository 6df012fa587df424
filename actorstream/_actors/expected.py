"""Addresses below an actor that has not started: it may bring an actor for each of them.

A supervisor makes its children when it starts, and an actor may register others in its
``on_start()``. Until then it is open which addresses below it exist. A message to one of them
waits in a cell without an actor. Once the actor above has started, either an actor has taken the
cell over, or the address does not exist. There is a cell for each address asked for, until then;
each holds up to 100 messages.
"""

from __future__ import annotations

from actorstream._actors.cell import Cell, Parent
from actorstream._actors.lifecycle import Ending
from actorstream._actors.options import ActorOptions
from actorstream._context import current_cell

EXPECTED = ActorOptions(mailbox_size=100, start_timeout=None, stop_timeout=None)
"""The limits of a cell until an actor takes it over, with its own."""


class Expecting:
    """The parent of a cell that waits for an actor.

    Args:
        above: The cell of the actor that may bring it.
        registry: Where the cell is known.
    """

    def __init__(self, above: Cell, registry: Parent) -> None:
        self._above = above
        self._registry = registry

    @property
    def cell(self) -> Cell | None:
        """The cell of the actor above."""
        return self._above

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Return False: there is no actor."""
        return False

    def keeps_name(self, cell: Cell) -> bool:
        """Return False: there is no actor."""
        return False

    def on_terminated(self, cell: Cell) -> None:
        """Forget the cell: no actor has come."""
        self._registry.on_terminated(cell)


def may_bring_more(above: Cell) -> bool:
    """Return whether an actor may bring actors below it when it starts.

    Not if its own code is running: that knows what it has registered so far.
    """
    return above.accepting and above.state != "running" and current_cell() is not above


async def wait_for_actor(cell: Cell, above: Cell) -> None:
    """Wait until an actor comes into a cell, or the actor above has started without one."""
    try:
        await above.wait_running()
    finally:
        stop_waiting(cell)


def stop_waiting(cell: Cell, *_: object) -> None:
    """Stop a cell for good, unless an actor has come."""
    if cell.absence is not None and cell.state != "stopped":
        cell.finish()
        cell.parent.on_terminated(cell)
