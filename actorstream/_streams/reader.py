"""The consumer's iterators: of values, and of events.

They are classes and not async generators. A generator that holds a scope open while it yields to
the consumer breaks when the consumer leaves, and one that is dropped half-read causes a warning
on trio. A reader holds only its channel. When the last reference to the reader goes, as with
``break``, its ``__del__`` asks the event loop to close the channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import time as now
from typing import Any, Generic, NoReturn, Self, TypeVar

from actorstream._errors import raise_if
from actorstream._message import AsyncStreamMessage, blank_event
from actorstream._streams.buffer import Buffer
from actorstream._streams.channel import END, Channel

R = TypeVar("R")
T = TypeVar("T")

EMPTY_BUFFER: Buffer[Any] = Buffer(1)
"""What a reader reads before its channel is open, and during its first reads."""

_FIRST_READS = 4
"""How many items a reader takes before it may take the fast path, which checks no event loop."""


class Reader(ABC, Generic[R]):
    """Takes the items out of a channel.

    A traceback keeps the frames that it passed through. Those frames must not keep the reader,
    because the channel is closed when the reader is dropped; hence ``del self``.
    """

    __slots__ = ("__weakref__", "_buffer", "_channel")

    def __init__(self) -> None:
        self._channel: Any = None  # a Channel, once it is open
        self._buffer: Buffer[Any] = EMPTY_BUFFER

    def __aiter__(self) -> Self:
        if self._channel is not None:
            self._channel.check_loop()
        return self

    async def __anext__(self) -> R:
        buffer = self._buffer
        if len(buffer.items) > buffer.low:  # the fast path that buffer.py explains
            buffer.delivered += 1
            item = buffer.items.popleft()
        else:
            try:
                channel = self._channel or await self._open()
                item = await channel.take()
            except BaseException:
                del self
                raise
            if item is END:
                return self._finish()
            if self._buffer is EMPTY_BUFFER:
                self._note_first_read()
        if type(item) is AsyncStreamMessage:
            return self._unwrap(item)  # pyright: ignore[reportUnknownArgumentType]
        value: R = item
        return value

    def __del__(self) -> None:
        if self._channel is not None:
            self._channel.abandon()

    @abstractmethod
    async def _open(self) -> Channel:
        """Open the channel, at the first read, and return it."""

    @abstractmethod
    def _unwrap(self, event: AsyncStreamMessage[Any]) -> R:
        """Convert an event that the actor made itself."""

    def _use(self, channel: Channel) -> Channel:
        """Read this channel from now on."""
        self._channel = channel
        return channel

    def _note_first_read(self) -> None:
        """Allow the fast path after a few reads, all in the event loop of the channel."""
        buffer = self._channel.buffer
        if buffer.delivered >= _FIRST_READS:
            self._buffer = buffer

    def _finish(self) -> R:
        """Return or raise what comes after the last item."""
        return stop(self._channel.take_closing_error())


class StreamReader(Reader[R]):
    """Starts a stream when it is first read, and closes it when it is dropped."""

    __slots__ = ("_start",)

    def __init__(self, start: Callable[[], Channel]) -> None:
        super().__init__()
        self._start: Callable[[], Channel] | None = start

    async def aclose(self) -> None:
        """Close the stream and wait until its producer has ended.

        Raises:
            Exception: What the producer raised in its clean-up.
            RouterClosedError: The stream runs in another event loop.
        """
        if self._channel is not None:
            self._channel.check_loop()
            raise_if(await close_and_wait(self._channel))
        self._start = None

    async def _open(self) -> Channel:  # noqa: ASYNC124 - a subscription waits for its port
        start, self._start = self._start, None  # do not keep the stream alive
        if start is None:
            raise StopAsyncIteration
        return self._use(start())


class PayloadReader(StreamReader[T]):
    """Iterates the bare payloads."""

    __slots__ = ()

    def _unwrap(self, event: AsyncStreamMessage[T]) -> T:
        return event.payload


class EventReader(StreamReader[AsyncStreamMessage[T]]):
    """Iterates the events, the closing one included.

    It has an ``__anext__`` of its own, since a call for each item would cost a tenth.
    """

    __slots__ = ()

    async def __anext__(self) -> AsyncStreamMessage[T]:
        buffer = self._buffer
        items = buffer.items
        if len(items) > buffer.low:  # the fast path that buffer.py explains
            number = buffer.delivered = buffer.delivered + 1
            item = items.popleft()
        else:
            try:
                channel = self._channel or await self._open()
                item = await channel.take()
            except BaseException:
                del self
                raise
            if item is END:
                return self._finish()
            number = channel.buffer.delivered
            if buffer is EMPTY_BUFFER:
                self._note_first_read()
        if type(item) is AsyncStreamMessage:
            return self._unwrap(item)  # pyright: ignore[reportUnknownArgumentType]
        # The constructor would fill in fields that few consumers read; see AsyncStreamMessage.
        event = blank_event()
        event.type = "data"
        event.payload = item
        event.timestamp = now()
        event.identity = self._channel.identity
        event.number = number
        filled_in: AsyncStreamMessage[T] = event  # cast() would be a call
        return filled_in

    def _unwrap(self, event: AsyncStreamMessage[Any]) -> AsyncStreamMessage[T]:
        channel = self._channel
        completed: AsyncStreamMessage[T] = channel.complete(event, channel.buffer.delivered)
        return completed

    def _finish(self) -> AsyncStreamMessage[T]:
        event: AsyncStreamMessage[T] | None = self._channel.take_closing_event()
        return super()._finish() if event is None else event


async def close_and_wait(channel: Channel) -> BaseException | None:
    """Close a channel, wait for its producer, and return its clean-up error."""
    channel.close()
    return None if channel.task is None else await channel.task.join()


def stop(error: BaseException | None) -> NoReturn:
    """Raise what an iterator raises after its last item."""
    try:
        raise StopAsyncIteration if error is None else error
    finally:
        del error  # break the cycle traceback -> frame -> error
