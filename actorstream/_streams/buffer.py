"""The bounded buffer between one producer and one consumer.

It keeps the interface and the semantics of AnyIO's memory object streams, with both ends in
one object, and adds what makes this library fast: marks that a side can test without a call.

The fast path. A side that need not wait does one comparison and one operation on a deque::

    producer:  if len(buffer.items) < buffer.high: buffer.items.append(item)
    consumer:  if len(buffer.items) > buffer.low:  buffer.items.popleft()

In every other case the marks are set so that the comparison fails, and the side takes the
slow path, the methods below: the buffer is full, empty, closed or paused, the other side
waits, or this side has used up its turn. A turn is ``TURN`` items; ``high`` and ``low`` are
never further than that from the fill at the last rest. A side that does not rest runs alone,
so neither side handles many more items than that before the other tasks of the loop get their
turn. So fairness costs nothing per item.

An item is with the producer, in the buffer, or with the consumer. Each side waits until it is
woken and then tries again, so a cancelled wait cannot lose an item.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TypeVar

from anyio import BusyResourceError, ClosedResourceError, EndOfStream, WouldBlock
from anyio.abc import ObjectStream
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectStreamStatistics

from actorstream._loop.waiter import Waiter, make_waiter
from actorstream._streams.reserve import Reserve

T = TypeVar("T")

TURN = 500
"""How many items one side may handle before the other tasks of the loop get their turn."""

_NEVER = sys.maxsize  # more items than there can be


class Buffer(ObjectStream[T]):
    """Passes items on in order; at most ``size`` of them wait.

    Attributes:
        items: The buffered items.
        high: The producer may append while there are fewer items; see the fast path above.
        low: The consumer may take while there are more.
        size: The most items that may wait; at least 1.
        delivered: How many items have been taken.
        ended: Whether the buffer accepts no more items.
        waits: How often a producer had to wait for room.
        diverted: Whether the producer has something else to do before it puts the next item in.
        paused: Whether both sides must leave the fast path, until ``resume()``.
        reserve: What the consumer takes from when the buffer is empty, if set. Code that adds
            to the reserve calls ``wake_consumer()``.
    """

    __slots__ = (
        "_closed",
        "_held",
        "_put_turn",
        "_put_until",
        "_reader",
        "_spare_reader",
        "_spare_writer",
        "_take_until",
        "_turn_began",
        "_writers",
        "delivered",
        "diverted",
        "ended",
        "high",
        "items",
        "low",
        "paused",
        "reserve",
        "size",
        "waits",
    )

    def __init__(self, size: int) -> None:
        self.items: deque[T] = deque()
        self.size: int = size
        self.delivered: int = 0
        self.waits: int = 0
        self.paused: bool = False
        self.diverted: bool = False
        self.ended: bool = False
        self.reserve: Reserve[T] | None = None
        self._closed = False
        self._held = False
        self._reader: Waiter | None = None  # set while the consumer waits
        self._writers: list[Waiter] = []
        self._spare_reader: Waiter | None = None  # reused for the next wait
        self._spare_writer: Waiter | None = None
        self.high: int = size if size < TURN else TURN
        self.low: int = 0
        self._turn_began = 0.0  # for pace.py
        self._put_turn = self._put_until = TURN
        self._take_until = -TURN

    # Properties

    @property
    def fill(self) -> int:
        """How many items wait for the consumer, the reserve included."""
        return len(self.items) + (0 if self.reserve is None else len(self.reserve))

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self.items) >= self.size

    @property
    def consumer_waiting(self) -> bool:
        """Whether the consumer waits for an item."""
        return self._reader is not None

    @property
    def producer_waiting(self) -> bool:
        """Whether a producer waits for room and has not been woken yet."""
        return bool(self._writers)

    def statistics(self) -> MemoryObjectStreamStatistics:
        """Return the fill and the waiting tasks, in AnyIO's terms."""
        return MemoryObjectStreamStatistics(
            current_buffer_used=len(self.items),
            max_buffer_size=self.size,
            open_send_streams=int(not self.ended),
            open_receive_streams=int(not self._closed),
            tasks_waiting_send=len(self._writers),
            tasks_waiting_receive=int(self.consumer_waiting),
        )

    # Sending, receiving, waiting

    def send_nowait(self, item: T) -> None:
        """Put an item in.

        Raises:
            WouldBlock: The buffer is full.
            ClosedResourceError: The buffer has been ended or closed.
        """
        if self.ended:
            raise ClosedResourceError
        if len(self.items) >= self.size:
            raise WouldBlock
        self.items.append(item)
        if self._reader is not None:
            self.wake_consumer()

    def receive_nowait(self) -> T:
        """Take the oldest item out.

        Raises:
            WouldBlock: There is no item yet.
            EndOfStream: There is no item, and the buffer has been ended.
            ClosedResourceError: The buffer has been closed.
        """
        if not self.items and self.reserve is not None:
            self.reserve.move(self.items)
            self._take_until += 1  # counts in this turn, though the fill stays the same
        if not self.items:
            if self._closed:
                raise ClosedResourceError
            raise EndOfStream if self.ended else WouldBlock
        self.delivered += 1
        if self._writers:
            self._wake_producers()
        return self.items.popleft()

    async def send(self, item: T) -> None:
        """Put an item in; wait while the buffer is full. If cancelled, the item was not put in.

        Raises:
            ClosedResourceError: The buffer has been ended or closed, perhaps during the wait.
        """
        await self.rest()
        while True:
            try:
                return self.send_nowait(item)
            except WouldBlock:
                await self.wait_writable()

    async def receive(self) -> T:
        """Take the oldest item out; wait while there is none. If cancelled, no item was taken.

        Raises:
            EndOfStream: There is no item, and the buffer has been ended.
            ClosedResourceError: The buffer has been closed, perhaps during the wait.
            BusyResourceError: Another task is waiting for an item.
        """
        await self.rest()
        while True:
            try:
                return self.receive_nowait()
            except WouldBlock:
                await self.wait_readable()

    async def wait_writable(self) -> None:
        """Wait until there may be room, or the buffer ends."""
        self.waits += 1
        waiter, self._spare_writer = self._spare_writer or make_waiter(), None
        self._writers.append(waiter)
        self._set_marks()
        try:
            await waiter.wait()
        finally:
            if waiter in self._writers:  # not woken but cancelled
                self._writers.remove(waiter)
            self._spare_writer = waiter
            self._begin_turn()

    async def wait_readable(self) -> None:
        """Wait until there may be an item, or the buffer ends.

        Raises:
            BusyResourceError: Another task is waiting for an item.
        """
        if self._reader is not None:
            raise BusyResourceError("receiving from")
        waiter, self._spare_reader = self._spare_reader or make_waiter(), None
        self._reader = waiter
        self._set_marks()
        try:
            await waiter.wait()
        finally:
            if self._reader is waiter:  # not woken but cancelled
                self._reader = None
            self._spare_reader = waiter
            self._begin_turn()

    def wake_consumer(self) -> None:
        """Wake the consumer, if it waits."""
        if self._reader is not None:
            self._reader.wake()
            self._reader = None
            self._set_marks()

    def _wake_producers(self) -> None:
        for waiter in self._writers:
            waiter.wake()
        self._writers.clear()
        self._set_marks()

    # Turns

    @property
    def put_turn_over(self) -> bool:
        """Whether a producer must rest before it puts more."""
        return len(self.items) >= self._put_until

    @property
    def take_turn_over(self) -> bool:
        """Whether the consumer must rest before it takes more."""
        return len(self.items) <= self._take_until

    async def rest(self) -> None:
        """Let other tasks run: a checkpoint. Even if cancelled, it begins a new turn."""
        try:
            await checkpoint()
        finally:
            self._begin_turn()

    def _begin_turn(self) -> None:
        fill = len(self.items)
        self._put_until = fill + self._put_turn
        self._take_until = fill - TURN
        self._set_marks()

    def _set_marks(self) -> None:
        size, put_until, take_until = self.size, self._put_until, self._take_until
        busy = self._reader is not None or self._held or self.ended or self.diverted
        self.high = 0 if busy else size if size < put_until else put_until
        self.low = _NEVER if self._writers else take_until if take_until > 0 else 0
        if self.paused:  # checked last: another thread may have just set it
            self.high = 0
            self.low = _NEVER

    # Holding, pausing, ending

    def hold(self) -> None:
        """Make the producer call ``send_nowait()`` for each item, until ``release()``."""
        self._held = True
        self.high = 0

    def release(self) -> None:
        """Undo ``hold()``."""
        self._held = False
        self._set_marks()

    def divert(self, *, on: bool = True) -> None:
        """Make the producer leave the fast path, to do something else before its next item."""
        self.diverted = on
        self._set_marks()

    def pause(self) -> None:
        """Make both sides leave the fast path until ``resume()``. Any thread may call this."""
        self.paused = True
        self.high = 0
        self.low = _NEVER

    def resume(self) -> None:
        """Undo ``pause()``."""
        self.paused = False
        self._set_marks()

    def attach_reserve(self, reserve: Reserve[T]) -> None:
        """Let the consumer take from a reserve when the buffer is empty."""
        self.reserve = reserve

    def drop_oldest(self) -> None:
        """Drop the oldest item to make room."""
        self.items.popleft()

    def end(self) -> None:
        """Accept no more items; buffered ones can still be taken. Wakes both sides."""
        reserve, self.reserve = self.reserve, None
        if reserve is not None:
            reserve.drain(self.items)
        self.ended = True
        self.high = 0
        self.wake_consumer()
        self._wake_producers()

    async def send_eof(self) -> None:
        """Like ``end()``, under AnyIO's name."""
        self.end()
        await checkpoint()

    def close(self) -> None:
        """Accept no more items, and discard the buffered ones. Wakes both sides."""
        self._closed = True
        self.end()
        self.items.clear()

    async def aclose(self) -> None:
        """Like ``close()``, under AnyIO's name."""
        self.close()
        await checkpoint()
