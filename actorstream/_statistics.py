"""Snapshots of streams, ports and routers, and a counter for all threads."""

from __future__ import annotations

from itertools import count

import attrs


class ThreadSafeCounter:
    """A counter that any thread may raise at any point of a program; it takes no lock.

    Only the event loop's thread may read it.
    """

    __slots__ = ("_raised", "_reads")

    def __init__(self) -> None:
        self._raised = count()
        self._reads = 0

    def add(self) -> None:
        """Raise the counter by one."""
        next(self._raised)  # atomic, which `+=` is not

    def value(self) -> int:
        """Return how often ``add()`` has been called."""
        raised = next(self._raised) - self._reads
        self._reads += 1
        return raised


@attrs.frozen
class StreamStatistics:
    """A snapshot of one stream.

    Attributes:
        buffered: Items produced and not yet consumed.
        buffer_size: The limit of ``buffered``.
        delivered: Items that the consumer has taken.
        dropped: Items dropped by an ``overflow`` policy.
        producer_waiting: Whether the producer is blocked on a full buffer.
        consumer_waiting: Whether the consumer is blocked on an empty buffer.
    """

    buffered: int
    buffer_size: int
    delivered: int
    dropped: int
    producer_waiting: bool
    consumer_waiting: bool


@attrs.frozen
class PortStatistics:
    """A snapshot of one port.

    Attributes:
        subscribers: How many subscribers are attached.
        published: How many values have been published.
        dropped: How many values the ``overflow`` policies have dropped in total, including
            those of subscribers that have left.
        publishers_waiting: How many calls of ``publish()`` wait for subscribers to read.
    """

    subscribers: int
    published: int
    dropped: int
    publishers_waiting: int


@attrs.frozen
class RouterStatistics:
    """A snapshot of a router.

    Attributes:
        actors: How many actors are registered.
        active_streams: How many streams have a live producer, clean-up included.
        opened_streams: How many streams have been opened in total.
        subscriptions: How many subscriptions to ports there are.
        dead_letters: How many messages have become dead letters.
        restarts: How many times supervisors have restarted an actor.
        queued_messages: How many messages have been sent and not yet handled.
    """

    actors: int
    active_streams: int
    opened_streams: int
    subscriptions: int
    dead_letters: int
    restarts: int
    queued_messages: int
