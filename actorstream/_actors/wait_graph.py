"""The wait-for graph: it refuses an ask that would deadlock.

An actor handles one message at a time. So a handler that waits for an actor, which waits for
another, which waits for the first handler's actor, would wait for ever.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from actorstream._address import Address


class Node(Protocol):
    """An actor in the graph."""

    address: Address

    @property
    def waits_for(self) -> Iterable[Node]:
        """The actors that its running code waits for."""
        ...

    def note_waits(self) -> WaitsFor:
        """Return where to note for whom its running code waits."""
        ...


class WaitsFor:
    """The actors that some code waits for, and how many times each."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Node, int] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._counts)

    def add(self, other: Node) -> None:
        """One more wait begins."""
        self._counts[other] = self._counts.get(other, 0) + 1

    def remove(self, other: Node) -> None:
        """One wait has ended."""
        self._counts[other] -= 1
        if not self._counts[other]:
            del self._counts[other]


@contextmanager
def waiting_for(waiter: Node | None, other: Node) -> Generator[None]:
    """Note that the code of one actor, if of any, waits for another actor."""
    if waiter is None:
        yield
        return
    waits_for = waiter.note_waits()  # this one, though the actor may go on to its next message
    waits_for.add(other)
    try:
        yield
    finally:
        waits_for.remove(other)


def find_cycle(waiter: Node, other: Node) -> list[str] | None:
    """Return the ids on the way from ``waiter`` over ``other`` back to it, if there is one."""
    ways = [(other, [waiter.address.id, other.address.id])]
    seen: set[Node] = set()
    while ways:
        node, path = ways.pop()
        if node is waiter:
            return path
        if node not in seen:
            seen.add(node)
            ways += [(next, [*path, next.address.id]) for next in node.waits_for]
    return None
