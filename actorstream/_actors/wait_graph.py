"""Who waits for whom, so that nobody begins to wait for himself.

An actor handles one message at a time. So a handler that waits for an actor, which waits for
another, which waits for the first one's actor, would wait for ever.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from actorstream._actors.cell import Cell, serving_cell
from actorstream._context import current_channel


@contextmanager
def waiting_for(waiter: Cell | None, other: Cell) -> Generator[None]:
    """Note that what runs in a cell's task, if in any, waits for another actor."""
    if waiter is None:
        yield
        return
    waits_for = waiter.waits_for
    waits_for[other] = waits_for.get(other, 0) + 1
    try:
        yield
    finally:
        waits_for[other] -= 1
        if not waits_for[other]:
            del waits_for[other]


def find_cycle(waiter: Cell, other: Cell) -> list[str] | None:
    """Return the ids on the way from ``waiter`` over ``other`` back to it, if there is one."""
    ways = [(other, [waiter.address.id, other.address.id])]
    seen: set[Cell] = set()
    while ways:
        cell, path = ways.pop()
        if cell is waiter:
            return path
        if cell not in seen:
            seen.add(cell)
            ways += [(next, [*path, next.address.id]) for next in cell.waits_for]
    return None


def waits_for_this(cell: Cell, cells: Iterable[Cell]) -> bool:
    """Return whether a cell's end waits for the actor that runs this code, or for its handler."""
    here, channel = serving_cell(), current_channel.get()
    if here is not None and find_cycle(here, cell):
        return True
    if here is None and channel is not None:
        here = next((other for other in cells if channel in other.channels), None)
    while here is not None and here is not cell:
        here = here.parent
    return here is cell
