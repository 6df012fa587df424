"""The bounded buffer between one producer and one consumer.

It keeps the interface and the semantics of AnyIO's memory object streams, both ends in one
object, and adds what makes this library fast: marks that either side can test without a call.

The fast path. A side that need not wait does one comparison and one operation on a deque::

    producer:  if len(buffer.items) < buffer.high: buffer.items.append(item)
    consumer:  if len(buffer.items) > buffer.low:  buffer.items.popleft()

Whenever anything else is to be done, the marks are set so that the comparison fails, and the
side comes to the methods below: the buffer is full or empty, somebody waits, it is closed, it
is paused, or the side has had its turn. A turn is ``TURN`` items; ``high`` and ``low`` are
never further than that from the fill at the last rest, and since a side that does not rest
runs alone, neither handles many more items than that before the other tasks of the loop get
theirs. So fairness costs nothing per item.

An item is in the producer's hand, in the buffer, or with the consumer. Each side waits until
it is woken and then tries again, so a wait that is cancelled on the way can lose nothing.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Protocol, TypeVar

from anyio import BusyResourceError, ClosedResourceError, EndOfStream, WouldBlock
from anyio.abc import ObjectStream
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectStreamStatistics

from actorstream._loop.waiter import Waiter, make_waiter

T = TypeVar("T")

TURN = 500
"""How many items one side may handle before the other tasks of the loop get their turn."""


_NEVER = sys.maxsize  # more items than there can be


class Reserve(Protocol[T]):
    """Items that stay elsewhere until the consumer comes for them."""

    def __len__(self) -> int: ...

    def move(self, items: deque[T]) -> None:
        """Append the oldest one to ``items``, if there is any."""

    def drain(self, items: deque[T]) -> None:
        """Append all of them to ``items``, and take in no more."""


class Buffer(ObjectStream[T]):
    """Hands items over, in order, at most ``size`` of them waiting.

    Attributes:
        items: What is in it.
        high: The producer may append while there are fewer items; see the fast path above.
        low: The consumer may take while there are more.
        size: The most items that may wait in it; at least 1.
        delivered: How many items have been taken.
        ended: Whether nothing more may be put in.
        waits: How often a producer had to wait for room.
        paused: Whether both sides are to look before they go on, until ``resume()``.
        reserve: Where the consumer looks when there is nothing in it, if anywhere. Whoever
            puts something there calls ``wake_consumer()``.
    """

    __slots__ = (
        "_closed",
        "_held",
        "_put_until",
        "_reader",
        "_spare_reader",
        "_spare_writer",
        "_take_until",
        "_writers",
        "delivered",
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
        self.ended: bool = False
        self.reserve: Reserve[T] | None = None
        self._closed = False
        self._held = False
        self._reader: Waiter | None = None  # where the consumer waits, if it does
        self._writers: list[Waiter] = []
        self._spare_reader: Waiter | None = None  # for its next wait
        self._spare_writer: Waiter | None = None
        self.high: int = size if size < TURN else TURN
        self.low: int = 0
        self._put_until = TURN
        self._take_until = -TURN

    # What it looks like

    @property
    def fill(self) -> int:
        """How many items wait for the consumer, those in reserve included."""
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
        """Whether a producer waits for room, and has found none yet."""
        return bool(self._writers)

    def statistics(self) -> MemoryObjectStreamStatistics:
        """Return how it stands, in AnyIO's terms."""
        return MemoryObjectStreamStatistics(
            current_buffer_used=len(self.items),
            max_buffer_size=self.size,
            open_send_streams=int(not self.ended),
            open_receive_streams=int(not self._closed),
            tasks_waiting_send=len(self._writers),
            tasks_waiting_receive=int(self.consumer_waiting),
        )

    # Handing over: a synchronous core, and a shell that waits

    def send_nowait(self, item: T) -> None:
        """Put an item in.

        Raises:
            WouldBlock: The buffer is full.
            ClosedResourceError: It has been ended or closed.
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
            WouldBlock: There is none yet.
            EndOfStream: There will be none, for it has been ended.
            ClosedResourceError: It has been closed.
        """
        if not self.items and self.reserve is not None:
            self.reserve.move(self.items)
            self._take_until += 1  # one more of this turn that no producer's turn put in
        if not self.items:
            if self._closed:
                raise ClosedResourceError
            raise EndOfStream if self.ended else WouldBlock
        self.delivered += 1
        if self._writers:
            self._wake_producers()
        return self.items.popleft()

    async def send(self, item: T) -> None:
        """Put an item in; wait while the buffer is full. If cancelled, it was not put in.

        Raises:
            ClosedResourceError: It has been ended or closed, perhaps during the wait.
        """
        await self.rest()
        while True:
            try:
                return self.send_nowait(item)
            except WouldBlock:
                await self.wait_writable()

    async def receive(self) -> T:
        """Take the oldest item out; wait while there is none. If cancelled, none was taken.

        Raises:
            EndOfStream: There will be none, for it has been ended.
            ClosedResourceError: It has been closed, perhaps during the wait.
            BusyResourceError: Another task is waiting for an item.
        """
        await self.rest()
        while True:
            try:
                return self.receive_nowait()
            except WouldBlock:
                await self.wait_readable()

    async def wait_writable(self) -> None:
        """Wait until it is worth trying to put again."""
        self.waits += 1
        waiter, self._spare_writer = self._spare_writer or make_waiter(), None
        self._writers.append(waiter)
        self._set_marks()
        try:
            await waiter.wait()
        finally:
            if waiter in self._writers:  # it gave up
                self._writers.remove(waiter)
            self._spare_writer = waiter
            self._begin_turn()

    async def wait_readable(self) -> None:
        """Wait until it is worth trying to take again.

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
            if self._reader is waiter:  # it gave up
                self._reader = None
            self._spare_reader = waiter
            self._begin_turn()

    def wake_consumer(self) -> None:
        """Let the consumer look again, if it waits."""
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
        """Whether a producer is to rest before it puts more."""
        return len(self.items) >= self._put_until

    @property
    def take_turn_over(self) -> bool:
        """Whether the consumer is to rest before it takes more."""
        return len(self.items) <= self._take_until

    async def rest(self) -> None:
        """Let other tasks have their turn; a checkpoint. It counts even if cancelled."""
        try:
            await checkpoint()
        finally:
            self._begin_turn()

    def _begin_turn(self) -> None:
        fill = len(self.items)
        self._put_until = fill + TURN
        self._take_until = fill - TURN
        self._set_marks()

    def _set_marks(self) -> None:
        size, put_until, take_until = self.size, self._put_until, self._take_until
        busy = self._reader is not None or self._held or self.ended
        self.high = 0 if busy else size if size < put_until else put_until
        self.low = _NEVER if self._writers else take_until if take_until > 0 else 0
        if self.paused:  # looked at last: another thread may have just set it
            self.high = 0
            self.low = _NEVER

    # Out of the ordinary

    def hold(self) -> None:
        """Have the producer come to ``send_nowait()`` for each item, from now on."""
        self._held = True
        self.high = 0

    def release(self) -> None:
        """Undo ``hold()``."""
        self._held = False
        self._set_marks()

    def pause(self) -> None:
        """Have both sides leave the fast path until ``resume()``. Any thread may call this."""
        self.paused = True
        self.high = 0
        self.low = _NEVER

    def resume(self) -> None:
        """Undo ``pause()``."""
        self.paused = False
        self._set_marks()

    def attach_reserve(self, reserve: Reserve[T]) -> None:
        """Let the consumer look there, too, when there is nothing in the buffer."""
        self.reserve = reserve

    def drop_oldest(self) -> None:
        """Throw the oldest item away to make room."""
        self.items.popleft()

    def end(self) -> None:
        """Let nothing more in; what is in can still be taken. Wakes everybody."""
        reserve, self.reserve = self.reserve, None
        if reserve is not None:
            reserve.drain(self.items)
        self.ended = True
        self.high = 0
        self.wake_consumer()
        self._wake_producers()

    async def send_eof(self) -> None:
        """Do as ``end()``, under AnyIO's name."""
        self.end()
        await checkpoint()

    def close(self) -> None:
        """Let nothing in or out any more; what is in is thrown away. Wakes everybody."""
        self._closed = True
        self.end()
        self.items.clear()

    async def aclose(self) -> None:
        """Do as ``close()``."""
        self.close()
        await checkpoint()
