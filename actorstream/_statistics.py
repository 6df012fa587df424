"""What a look at a stream or a router shows."""

from __future__ import annotations

from itertools import count

import attrs


class ThreadSafeCounter:
    """A number that any thread may raise at any point of a program; it takes no lock.

    Only the event loop's thread may look at it.
    """

    __slots__ = ("_raised", "_reads")

    def __init__(self) -> None:
        self._raised = count()
        self._reads = 0

    def add(self) -> None:
        """Raise it by one."""
        next(self._raised)  # atomic, which `+=` is not

    def value(self) -> int:
        """Return how often it has been raised."""
        raised = next(self._raised) - self._reads
        self._reads += 1
        return raised


@attrs.frozen
class StreamStatistics:
    """A look at one stream.

    Attributes:
        buffered: Items produced and not yet consumed.
        buffer_size: The most that there may be.
        delivered: Items that the consumer has taken.
        dropped: Items lost to an ``overflow`` policy.
        producer_waiting: Whether the producer is blocked on a full buffer.
        consumer_waiting: Whether the consumer is blocked on an empty one.
    """

    buffered: int
    buffer_size: int
    delivered: int
    dropped: int
    producer_waiting: bool
    consumer_waiting: bool


@attrs.frozen
class PortStatistics:
    """A look at one port.

    Attributes:
        subscribers: How many are attached.
        published: How many values have been published.
        dropped: How many values the subscribers have lost to their ``overflow`` policies,
            in all; those that have left included.
        publishers_waiting: How many calls of ``publish()`` wait for subscribers to read.
    """

    subscribers: int
    published: int
    dropped: int
    publishers_waiting: int


@attrs.frozen
class RouterStatistics:
    """A look at a router.

    Attributes:
        actors: How many are registered.
        active_streams: How many have a producer that is not gone yet.
        opened_streams: How many there have been in all.
        subscriptions: How many subscribe to ports.
        dead_letters: How many messages have reached nobody.
        restarts: How many times supervisors have started an actor anew.
        queued_messages: How many messages have been sent and not yet handled.
    """

    actors: int
    active_streams: int
    opened_streams: int
    subscriptions: int
    dead_letters: int
    restarts: int
    queued_messages: int
