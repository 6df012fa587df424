"""The bounded buffer between one producer and one consumer.

It is AnyIO's memory object stream, touched only through its ``_nowait`` methods; each side
waits on an event of its own, and only when the buffer is full or empty. So an item is in the
producer's hand, in the buffer, or with the consumer, and a wait that is cancelled on the way
can lose nothing, whatever the version of AnyIO.

A side that never has to wait lets the other tasks of the loop have a turn now and then: its
``_nowait`` method raises ``WouldBlock`` once in ``TURN`` items.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Generic, TypeVar

from anyio import (
    ClosedResourceError,
    EndOfStream,
    Event,
    WouldBlock,
    create_memory_object_stream,
)
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from actorstream._errors import StreamConsumedError

T = TypeVar("T")

TURN = 500
"""How many items one side may handle before the other tasks of the loop get their turn."""


class Buffer(Generic[T]):
    """Hands items over, in order, at most ``size`` of them waiting.

    Attributes:
        size: The most items that may wait in it.
        delivered: How many items have been taken.
        paused: While true, nothing can be taken; any thread may set it.
        producers_waiting: How many tasks wait for room.
        waits: How often a producer had to wait for room.
    """

    __slots__ = (
        "_puts_left",
        "_readable",
        "_receive",
        "_send",
        "_takes_left",
        "_writable",
        "delivered",
        "paused",
        "producers_waiting",
        "size",
        "waits",
    )

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.delivered: int = 0
        self.paused: bool = False
        self.producers_waiting: int = 0
        self.waits: int = 0
        self._puts_left = self._takes_left = TURN
        self._readable: Event | None = None
        self._writable: Event | None = None
        self._send: MemoryObjectSendStream[T]
        self._receive: MemoryObjectReceiveStream[T]
        self._send, self._receive = create_memory_object_stream[Any](size)

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self) >= self.size

    @property
    def consumer_waiting(self) -> bool:
        """Whether the consumer waits for an item."""
        return self._readable is not None

    def put_nowait(self, item: T) -> None:
        """Put an item in.

        Raises:
            WouldBlock: The buffer is full, or others are to have a turn first; await
                ``wait_writable()`` and try again.
            ClosedResourceError: The buffer is closed.
        """
        if not self._puts_left:
            raise WouldBlock
        self._send.send_nowait(item)
        self._puts_left -= 1
        if self._readable is not None:
            self._readable.set()

    def take_nowait(self) -> T:
        """Take the oldest item out.

        Raises:
            WouldBlock: There is none yet, or others are to have a turn first; await
                ``wait_readable()`` and try again.
            EndOfStream: There will be none.
            StreamConsumedError: Another task is waiting for an item.
        """
        if self._readable is not None:
            raise StreamConsumedError(
                "two tasks read the same stream at once; let one task read it, or call "
                "stream_async() once for each"
            )
        if self.paused or not self._takes_left:
            raise WouldBlock
        try:
            item = self._receive.receive_nowait()
        except ClosedResourceError:
            raise EndOfStream from None
        self._takes_left -= 1
        self.delivered += 1
        if self._writable is not None:
            self._wake_producers()
        return item

    async def take_turn(self) -> None:
        """Count an item that was never put in, so that a producer of such is no less fair."""
        self._puts_left -= 1
        if self._puts_left <= 0:
            self._puts_left = TURN
            await checkpoint()

    async def wait_writable(self) -> None:
        """Wait until it is worth trying to put again. Cancelling it loses nothing."""
        if not self._puts_left:
            self._puts_left = TURN
            await checkpoint()
            return
        if self._writable is None:
            self._writable = Event()
        self.producers_waiting += 1
        self.waits += 1
        try:
            await self._writable.wait()
        finally:
            self.producers_waiting -= 1
        self._puts_left = TURN

    async def wait_readable(self) -> None:
        """Wait until it is worth trying to take again. Cancelling it loses nothing."""
        if not self._takes_left:
            self._takes_left = TURN
            await checkpoint()
            return
        self._readable = Event()
        try:
            await self._readable.wait()
        finally:
            self._readable = None
        self._takes_left = TURN

    def drop_oldest(self) -> None:
        """Throw the oldest item away to make room."""
        self._receive.receive_nowait()

    def close(self) -> None:
        """Let nothing more in; what is in can still be taken. Wakes everybody."""
        self._send.close()
        if self._readable is not None:
            self._readable.set()
        if self._writable is not None:
            self._wake_producers()

    def discard(self) -> None:
        """Close, and throw away what is in."""
        self.close()
        with suppress(EndOfStream, ClosedResourceError):
            while True:
                self._receive.receive_nowait()
        self._receive.close()

    def _wake_producers(self) -> None:
        assert self._writable is not None
        self._writable.set()
        self._writable = None
