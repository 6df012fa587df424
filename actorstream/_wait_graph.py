"""The wait-for graph: it refuses what would wait for itself.

An actor handles one message at a time. So a handler that waits for an actor, which waits for
another, which waits for the first handler's actor, would wait forever.

A node is what has code that may wait: an actor, or the producer of a stream. Its waits are those of
the code that must end before the node goes on to its next message. A task that such code has left
running is not part of it, and a wait of that task is not in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, Self

from actorstream._context import current_cell, current_channel


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
    """Return the actor, or else the producer of a stream, that the running code belongs to."""
    node: Waiter | None = current_cell()
    if node is None:
        channel = current_channel()
        node = None if channel is None else channel.task
    return node if node is not None and node.contains_caller else None


class Wait:
    """One wait, noted in the graph inside of ``with``.

    Args:
        waiter: The node whose code waits; without one, nothing is noted.
        node: What is waited for.
        for_end: Whether the wait is only for the end of the code that ``node`` runs now.
    """

    __slots__ = ("_noted_in", "for_end", "node", "waiter")

    def __init__(self, waiter: Waiter | None, node: Node, *, for_end: bool = False) -> None:
        self.waiter: Waiter | None = waiter
        self.node: Node = node
        self.for_end: bool = for_end

    def __enter__(self) -> Self:
        if self.waiter is not None:
            # Keep this table: the node may go on to its next message.
            self._noted_in = self.waiter.note_waits()
            self._noted_in[self] = None
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.waiter is not None:
            del self._noted_in[self]

    @property
    def is_active(self) -> bool:
        """Whether the code waits now; it may do so from time to time."""
        return True

    def refuse(self, path: list[str]) -> bool:
        """Give this wait up, which has become part of a cycle; return whether it can be."""
        return False


def find_cycle(waiter: Waiter, node: Node, *, for_end: bool = False) -> list[str] | None:
    """Return the path from ``waiter`` through ``node`` back, if there is one."""
    for chain in _walk(Wait(None, node, for_end=for_end)):
        if chain[-1].node is waiter:
            return [waiter.label, *(wait.node.label for wait in chain)]
    return None


def refuse_waits(waiter: Node, node: Node) -> bool:
    """Refuse what ``waiter`` needs of ``node``, which waits for ``waiter`` from now on.

    Returns:
        Whether there was anything to refuse.
    """
    found = [
        chain[1:]
        for chain in _walk(Wait(None, waiter, for_end=True))
        if len(chain) > 1 and chain[-1].node is node and not chain[-1].for_end
    ]
    refused = [_refuse_last(waiter, chain) for chain in found]
    return any(refused)


def _refuse_last(waiter: Node, chain: Sequence[Wait]) -> bool:
    """Refuse the last wait of a cycle that can be; show it first in the error."""
    ring = [waiter.label, *(wait.node.label for wait in chain)]
    for place in reversed(range(len(chain))):
        if chain[place].refuse([*ring[place:], *ring[: place + 1]]):
            return True
    return False


def _walk(start: Wait) -> Iterator[tuple[Wait, ...]]:
    """Follow a wait to all that it leads to; give the chain of waits to each node."""
    chains: list[tuple[Wait, ...]] = [(start,)]
    seen: set[tuple[Node, bool]] = set()
    while chains:
        chain = chains.pop()
        yield chain
        key = chain[-1].node, chain[-1].for_end
        if key not in seen:
            seen.add(key)
            waits = chain[-1].node.waits(for_end=chain[-1].for_end)
            chains += [(*chain, wait) for wait in waits if wait.is_active]
