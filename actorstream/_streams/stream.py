"""The consumer's side: a stream to iterate, bare or scoped."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from actorstream._errors import RouterClosedError, StreamConsumedError, raise_if
from actorstream._message import AsyncStreamMessage, Message
from actorstream._options import StreamAsyncOptions
from actorstream._statistics import StreamStatistics
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import CLOSED, Outcome, aborted
from actorstream._streams.reader import EventReader, PayloadReader, close_and_wait
from actorstream._texts import loggable

T = TypeVar("T")

logger = logging.getLogger("actorstream")

Launch = Callable[[Message, StreamAsyncOptions, Outcome | None], Channel]


class Stream(Generic[T]):
    """The stream of an actor's items.

    Nothing runs until the stream is iterated or entered, which works once::

        async for event in router.stream_async("actor", "query"):  # bare
            ...

        async with router.stream_async("actor", "query") as stream:  # scoped
            async for event in stream:
                ...

    In the bare form, leaving the loop early stops the producer within a few turns of the
    event loop. In the scoped form the producer has ended when the block ends, its clean-up
    included; that wait is shielded from cancellation, just as a task group waits for its
    tasks. An exception of the block is raised unchanged.

    Reading raises ``StreamError`` (the actor failed; after its error event) and its subclasses
    ``StreamAbortedError``, ``StreamTimeoutError`` and ``StreamOverflowError``;
    ``ActorNotFoundError`` and ``StreamingNotSupportedError`` at the first read;
    ``ActorStoppedError`` and ``RouterClosedError`` when the actor or the router goes away.
    Cancelling a read is safe at any time and loses nothing.
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
            StreamConsumedError: The stream has been iterated, or closed, before.
        """
        self._claim_iteration()
        return EventReader[T](self._start)

    def payloads(self) -> AsyncIterator[T]:
        """Iterate the bare payloads; a failure of the actor is raised as ``StreamError``.

        Raises:
            StreamConsumedError: The stream has been iterated, or closed, before.
        """
        self._claim_iteration()
        return PayloadReader[T](self._start)

    async def collect(self) -> list[T]:
        """Return all payloads as a list. Cancelling it closes the stream.

        Raises:
            StreamError: The actor failed; the payloads collected so far are lost.
            StreamConsumedError: The stream has been iterated, or closed, before.
        """
        payloads = self.payloads()
        try:
            items = [payload async for payload in payloads]
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, exc.__traceback__)  # noqa: ASYNC102 - shielded
            raise
        await self.__aexit__(None, None, None)
        return items

    def cancel(self, reason: object = "cancel() was called") -> None:
        """Abort this stream: its next read raises ``StreamAbortedError`` with ``reason``.

        Buffered items are discarded. Does nothing after the end. In another thread, abort a
        signal instead.

        Raises:
            RouterClosedError: The stream runs in another event loop.
        """
        if self._channel is not None:
            self._channel.check_loop()
            self._channel.terminate(aborted(reason))
        elif self._early is None:
            self._early = aborted(reason)

    async def aclose(self) -> None:
        """Close the stream and wait until its producer has ended; closing twice is harmless.

        A loop over the stream ends. The wait is shielded from cancellation.

        Raises:
            Exception: What the producer raised in its clean-up.
            RouterClosedError: The stream runs in another event loop.
        """
        raise_if(await self._close())

    async def __aenter__(self) -> Self:
        if self._entered or self._channel is not None or self._early is CLOSED:
            raise StreamConsumedError(
                f"{self!r} is in use already; call stream_async() again for a new stream"
            )
        iterated = self._iterated
        self._entered = self._iterated = True  # used up, even if it fails to start
        channel = self._start()
        if channel.task is not None:
            channel.task.will_be_awaited()
        self._iterated = iterated
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            raise_if(await self._close())  # noqa: ASYNC102 - shielded; bounded by the clean-up
            return
        del exc, traceback  # they lead back to this frame if a cancellation is raised here
        try:
            error = await self._close()  # noqa: ASYNC102 - shielded; bounded by the clean-up
        except RouterClosedError:  # in another event loop; the block's exception comes instead
            return
        if error is not None:
            logger.error("%r failed during its clean-up", self, exc_info=loggable(error))

    def _start(self) -> Channel:
        """Start the producer, unless it has been started."""
        if self._channel is None:
            self._channel = self._launch(self._request, self._options, self._early)
        return self._channel

    async def _close(self) -> BaseException | None:
        """Close, wait for the producer, and return what it raised in its clean-up."""
        if self._channel is not None:
            self._channel.check_loop()
        self._iterated = True
        if self._channel is None:
            self._early = CLOSED
            return None
        return await close_and_wait(self._channel)

    def _claim_iteration(self) -> None:
        if self._channel is not None:
            self._channel.check_loop()
        if self._iterated:
            raise StreamConsumedError(
                f"{self!r} can be iterated only once; call stream_async() again for a new stream"
            )
        self._iterated = True
