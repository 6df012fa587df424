"""The wait-for graph: it refuses an ask that would deadlock.

An actor handles one message at a time. So a handler that waits for an actor, which waits for
another, which waits for the first handler's actor, would wait forever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from actorstream._address import Address


class Node(Protocol):
    """An actor in the graph."""

    address: Address

    @property
    def waits_for(self) -> Iterable[Node]:
        """The actors that the running code waits for."""
        ...

    def note_waits(self) -> WaitsFor:
        """Return where to note the actors that the running code waits for."""
        ...


class WaitsFor:
    """The actors that some code waits for, with the number of waits for each."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Node, int] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._counts)

    def add(self, other: Node) -> None:
        """Count a wait that begins."""
        self._counts[other] = self._counts.get(other, 0) + 1

    def remove(self, other: Node) -> None:
        """Count a wait that has ended."""
        self._counts[other] -= 1
        if not self._counts[other]:
            del self._counts[other]


class WaitingFor:
    """Notes, inside of ``with``, that the code of ``waiter``, if any, waits for another actor."""

    __slots__ = ("_other", "_waiter", "_waits_for")

    def __init__(self, waiter: Node | None, other: Node) -> None:
        self._waiter = waiter
        self._other = other

    def __enter__(self) -> None:
        if self._waiter is not None:
            # Keep this list: the actor may go on to its next message.
            self._waits_for = self._waiter.note_waits()
            self._waits_for.add(self._other)

    def __exit__(self, *exc_info: object) -> None:
        if self._waiter is not None:
            self._waits_for.remove(self._other)


def find_cycle(waiter: Node, other: Node) -> list[str] | None:
    """Return the ids on a path from ``waiter`` through ``other`` back, if there is one."""
    paths = [(other, [waiter.address.id, other.address.id])]
    seen: set[Node] = set()
    while paths:
        node, path = paths.pop()
        if node is waiter:
            return path
        if node not in seen:
            seen.add(node)
            paths += [(next, [*path, next.address.id]) for next in node.waits_for]
    return None
