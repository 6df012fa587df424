"""The wait-for graph: it refuses what would wait for itself.

An actor handles one message at a time. So a handler that waits for an actor, which waits for
another, which waits for the first handler's actor, would wait forever.

A node is what has code that may wait: an actor. Its waits are those of the code that must end
before the node goes on to its next message. A task that such code has left running is not part of
it, and a wait of that task is not in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from actorstream._context import current_cell


class Node(Protocol):
    """What is waited for, and may wait itself."""

    @property
    def label(self) -> str:
        """What an error message calls it."""
        ...

    def waits(self, *, for_end: bool) -> Iterable[Wait]:
        """Return what must come before this node ends its running code, or else serves.

        Args:
            for_end: Only the end of the running code is of interest; otherwise also what comes
                before the node serves again, such as a restart.
        """
        ...


class Waiter(Node, Protocol):
    """A node with code of its own, which waits."""

    @property
    def contains_caller(self) -> bool:
        """Whether the running code belongs to what the node does now."""
        ...

    def note_waits(self) -> dict[Wait, None]:
        """Return where to note the waits of the running code."""
        ...


def running_node() -> Waiter | None:
    """Return the node that the running code belongs to, if there is one."""
    node: Waiter | None = current_cell()
    return node if node is not None and node.contains_caller else None


class Wait:
    """One wait, noted in the graph inside of ``with``.

    Args:
        waiter: The node whose code waits; without one, nothing is noted.
        node: What is waited for.
        for_end: Whether the wait is only for the end of the code that ``node`` runs now.
    """

    __slots__ = ("_noted_in", "_waiter", "for_end", "node")

    def __init__(self, waiter: Waiter | None, node: Node, *, for_end: bool = False) -> None:
        self._waiter = waiter
        self.node = node
        self.for_end = for_end

    def __enter__(self) -> Self:
        if self._waiter is not None:
            # Keep this table: the node may go on to its next message.
            self._noted_in = self._waiter.note_waits()
            self._noted_in[self] = None
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._waiter is not None:
            del self._noted_in[self]

    def refuse(self, path: list[str]) -> bool:
        """Give this wait up, which has become part of a cycle; return whether it can be."""
        return False


def find_cycle(waiter: Waiter, node: Node, *, for_end: bool = False) -> list[str] | None:
    """Return the path from ``waiter`` through ``node`` back, if there is one."""
    for wait, path in _walk(Wait(None, node, for_end=for_end), waiter.label):
        if wait.node is waiter:
            return path
    return None


def refuse_waits(waiter: Node, node: Node) -> bool:
    """Refuse what ``waiter`` needs of ``node``, which waits for ``waiter`` from now on.

    Returns:
        Whether there was anything to refuse.
    """
    start = Wait(None, waiter, for_end=True)
    found = [
        (wait, path)
        for wait, path in _walk(start)
        if wait.node is node and not (wait.for_end or wait is start)
    ]
    # The path to the node, and back to the one whose wait it is.
    refused = [wait.refuse([*path[-2:], *path[:-1]]) for wait, path in found]
    return any(refused)


def _walk(start: Wait, *path: str) -> Iterator[tuple[Wait, list[str]]]:
    """Follow a wait, and those that it leads to; give each with the path to its node."""
    waits = [(start, [*path, start.node.label])]
    seen: set[tuple[Node, bool]] = set()
    while waits:
        wait, path_here = waits.pop()
        yield wait, path_here
        key = wait.node, wait.for_end
        if key not in seen:
            seen.add(key)
            waits += [
                (next, [*path_here, next.node.label])
                for next in wait.node.waits(for_end=wait.for_end)
            ]
