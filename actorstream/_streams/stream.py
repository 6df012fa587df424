"""The consumer's side: a stream to iterate, bare or scoped.

The iterators are classes and not async generators. A generator that holds a scope open while
it yields to the consumer breaks when the consumer leaves, and one that is dropped half-read
is a warning on trio. These hold nothing but the channel, and when the last reference to one
goes (that is what ``break`` does) its ``__del__`` asks the event loop to close the channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from time import time as now
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar, cast

from anyio import CancelScope, get_cancelled_exc_class

from actorstream._context import current_channel
from actorstream._errors import StreamConsumedError
from actorstream._message import AsyncStreamMessage, Message, blank_event
from actorstream._options import StreamAsyncOptions
from actorstream._statistics import StreamStatistics
from actorstream._streams.buffer import Buffer
from actorstream._streams.channel import END, Channel, logger
from actorstream._streams.outcome import CLOSED, Outcome, aborted

T = TypeVar("T")
R = TypeVar("R")

Launch = Callable[[Message, StreamAsyncOptions, Outcome | None], Channel]


EMPTY_BUFFER: Buffer[Any] = Buffer(1)
"""What an iterator reads before its stream is started: always empty."""


class Stream(Generic[T]):
    """What an actor streams.

    Nothing runs until it is iterated or entered, once::

        async for event in router.stream_async("actor", "query"):  # bare
            ...

        async with router.stream_async("actor", "query") as stream:  # scoped
            async for event in stream:
                ...

    In the bare form, leaving the loop early stops the producer within a few turns of the
    event loop. In the scoped form the producer is gone when the block ends, its clean-up
    included; that wait is shielded from cancellation, just as a task group waits for its
    tasks. An exception of the block leaves it as it is.

    Reading raises ``StreamError`` (the actor failed; after its error event) and its kinds
    ``StreamAbortedError``, ``StreamTimeoutError`` and ``StreamOverflowError``;
    ``ActorNotFoundError`` and ``StreamingNotSupportedError`` at the first pull;
    ``ActorStoppedError`` and ``RouterClosedError`` when those go away. A read may be
    cancelled at any time and loses nothing.
    """

    __slots__ = (
        "__weakref__",
        "_channel",
        "_early",
        "_entered",
        "_iterated",
        "_launch",
        "_options",
        "_request",
    )

    def __init__(self, request: Message, options: StreamAsyncOptions, launch: Launch) -> None:
        self._request = request
        self._options = options
        self._launch = launch
        self._entered = False
        self._iterated = False
        self._early: Outcome | None = None
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        state = "not started" if self._channel is None else self._channel.state
        return f"<Stream {self._request.type!r} from {self._request.to}: {state}>"

    @property
    def correlation_id(self) -> str:
        """Links the events of this stream; an actor may set its own in its first event."""
        return (
            self._request.correlation_id
            if self._channel is None
            else self._channel.identity.correlation_id
        )

    def statistics(self) -> StreamStatistics:
        """Return how full the buffer is, who waits, and how many items have passed."""
        if self._channel is None:
            return StreamStatistics(0, self._options.buffer_size, 0, 0, False, False)
        return self._channel.statistics()

    def __aiter__(self) -> AsyncIterator[AsyncStreamMessage[T]]:
        """Iterate the events.

        Raises:
            StreamConsumedError: It has been iterated, or closed, before.
        """
        self._claim_iteration()
        return _Events[T](self._start)

    def payloads(self) -> AsyncIterator[T]:
        """Iterate the bare payloads; a failure of the actor is raised as ``StreamError``.

        Raises:
            StreamConsumedError: The stream has been iterated, or closed, before.
        """
        self._claim_iteration()
        return _Payloads[T](self._start)

    async def collect(self) -> list[T]:
        """Return all payloads as a list. Cancelling it closes the stream.

        Raises:
            StreamError: The actor failed; what had been collected is lost.
            StreamConsumedError: The stream has been iterated, or closed, before.
        """
        payloads = self.payloads()
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self)
            return [payload async for payload in payloads]

    def cancel(self, reason: object = "cancel() was called") -> None:
        """Abort this stream: its next read raises ``StreamAbortedError`` with ``reason``.

        What is still buffered is discarded. Does nothing after the end. To be called in the
        event loop's thread; from another one, abort a signal.
        """
        if self._channel is not None:
            self._channel.terminate(aborted(reason))
        elif self._early is None:
            self._early = aborted(reason)

    async def aclose(self) -> None:
        """Close the stream and wait until its producer is gone; does no harm twice.

        A loop over the stream ends. The wait is shielded from cancellation.

        Raises:
            Exception: What the producer raised in its clean-up.
        """
        error = await self._close()
        if error is not None:
            raise error

    async def __aenter__(self) -> Self:
        if self._entered or self._iterated:
            raise StreamConsumedError(
                f"{self!r} is in use already; call stream_async() again for a new stream"
            )
        self._entered = self._iterated = True  # should it not start, it is used up
        self._start().awaited = True
        self._iterated = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        error = await self._close()  # noqa: ASYNC102 - shielded; bounded by the clean-up
        if error is None:
            return
        if exc is None:
            raise error
        logger.error("%r failed in its clean-up", self, exc_info=error)

    def _start(self) -> Channel:
        """Start the producer, unless it has been started."""
        if self._channel is None:
            self._channel = self._launch(self._request, self._options, self._early)
        return self._channel

    async def _close(self) -> BaseException | None:
        """Close, wait for the producer, and return what it raised in its clean-up."""
        self._iterated = True
        if self._channel is None:
            self._early = CLOSED
            return None
        return await _close(self._channel)

    def _claim_iteration(self) -> None:
        if self._iterated:
            raise StreamConsumedError(
                f"{self!r} can be iterated only once; call stream_async() again for a new stream"
            )
        self._iterated = True


async def _close(channel: Channel) -> BaseException | None:
    """Close a channel, wait for its producer, and return what that raised in its clean-up."""
    channel.awaited = True
    channel.close()
    if channel.live and channel is not current_channel.get():
        try:
            await _wait_shielded(channel)
        except BaseException:
            channel.log_cleanup_error()  # this is raised instead of it
            channel.cleanup_error = None
            raise
    error, channel.cleanup_error = channel.cleanup_error, None
    return error


async def _wait_shielded(channel: Channel) -> None:
    """Wait for a producer as a task group waits for its tasks, then let a cancellation through.

    A shield holds off AnyIO's cancellations; asyncio's own come in, and wait here.
    """
    cancelled: BaseException | None = None
    with CancelScope(shield=True):
        while channel.live:
            try:
                await channel.wait_left()
            except get_cancelled_exc_class() as exc:  # noqa: ASYNC103 - asyncio's own; see below
                cancelled = exc
    try:
        if cancelled is not None:
            raise cancelled
    finally:
        del cancelled  # or its traceback would lead back to itself


class _Reader(ABC, Generic[T, R]):
    """An iterator that starts the stream when it is first pulled, and closes it when dropped.

    A traceback keeps the frames that it came through. They must not keep the iterator, whose
    end is what tells the channel that nobody reads on; hence the ``del self`` below.
    """

    __slots__ = ("__weakref__", "_buffer", "_channel", "_start")

    def __init__(self, start: Callable[[], Channel]) -> None:
        self._start: Callable[[], Channel] | None = start
        self._channel: Any = None  # a Channel, once it is open
        self._buffer: Buffer[Any] = EMPTY_BUFFER

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> R: ...

    async def aclose(self) -> None:
        """Close the stream and wait until its producer is gone.

        Raises:
            Exception: What the producer raised in its clean-up.
        """
        if self._channel is None:
            self._start = None
            return
        error = await _close(self._channel)
        if error is not None:
            raise error

    def __del__(self) -> None:
        if self._channel is not None:
            self._channel.abandon()

    def _open(self) -> Channel:
        if self._channel is None:
            start, self._start = self._start, None  # once; the stream need not be kept
            if start is None:
                raise StopAsyncIteration
            self._channel = start()
            self._buffer = self._channel.buffer
        return cast("Channel", self._channel)


class _Events(_Reader[T, AsyncStreamMessage[T]]):
    """Iterates events, the closing one included."""

    __slots__ = ()

    async def __anext__(self) -> AsyncStreamMessage[T]:
        buffer = self._buffer
        channel: Channel = self._channel
        items = buffer.items
        if len(items) > buffer.low:  # the fast path that _streams/buffer.py explains
            number = buffer.delivered = buffer.delivered + 1
            item = items.popleft()
        else:
            try:
                channel = self._open()
                item = await channel.take()
            except BaseException:
                del self  # see _Reader
                raise
            number = channel.buffer.delivered
            if item is END:
                return channel.take_closing_event() or stop(channel.take_closing_error())
        if type(item) is AsyncStreamMessage:
            made: AsyncStreamMessage[T] = item  # pyright: ignore[reportUnknownVariableType]
            return channel.complete(made, number)
        # The constructor would make what few consumers ask for; see AsyncStreamMessage.
        event = blank_event()
        event.type = "data"
        event.payload = item
        event.timestamp = now()
        event.identity = channel.identity
        event.number = number
        filled_in: AsyncStreamMessage[T] = event  # cast() would be a call
        return filled_in


class _Payloads(_Reader[T, T]):
    """Iterates bare payloads."""

    __slots__ = ()

    async def __anext__(self) -> T:
        buffer = self._buffer
        if len(buffer.items) > buffer.low:  # the fast path that _streams/buffer.py explains
            buffer.delivered += 1
            item = buffer.items.popleft()
        else:
            try:
                channel = self._open()
                item = await channel.take()
            except BaseException:
                del self  # see _Reader
                raise
            if item is END:
                return stop(channel.take_closing_error())
        if type(item) is AsyncStreamMessage:
            made: AsyncStreamMessage[T] = item  # pyright: ignore[reportUnknownVariableType]
            return made.payload
        payload: T = item
        return payload


def stop(error: BaseException | None) -> NoReturn:
    """Raise what an iterator raises where the items are over."""
    try:
        raise StopAsyncIteration if error is None else error
    finally:
        del error  # or its traceback would lead back to itself
