"""What an actor can stream from: items, items with an eye on backpressure, a blocking iterable.

Each is an object that makes events of its items: data events, then one end or error event.
They are classes and not async generators, so that dropping one half-read is no warning.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import contextmanager
from inspect import isawaitable
from itertools import islice
from typing import Any, Generic, Self, TypeVar, cast

from anyio import CancelScope, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._address import Address
from actorstream._channel import Channel, running_channel
from actorstream._ids import generate_correlation_id
from actorstream._message import AsyncStreamMessage, error_event, is_event
from actorstream._options import check_count
from actorstream._producer import Feeder, close, pump, throw_into
from actorstream._worker import Pending, Worker

T = TypeVar("T")

OnBackpressure = Callable[[bool], Awaitable[object] | object]

_END: Any = object()


@contextmanager
def no_end_by_accident() -> Generator[None]:
    """Let no ``StopAsyncIteration`` of the user's code pass for the end of the items.

    Python does the same for generators (PEP 479, PEP 525).
    """
    try:
        yield
    except StopAsyncIteration as exc:
        raise RuntimeError(
            "StopAsyncIteration was raised where an item was to come; "
            "write `return` to end the items"
        ) from exc


class EventSource(Feeder, Generic[T]):
    """Items as events.

    An exception of the items becomes an error event; an item that is an
    ``AsyncStreamMessage`` already is passed on as it is.

    Args:
        items: What to read. It is closed when this is.
        sender: The actor, where it is registered.
        correlation_id: For the events; by default the stream's own, or one made for a source
            that is read outside of any producer.
    """

    def __init__(
        self, items: AsyncIterator[T], sender: Address | None, correlation_id: str | None
    ) -> None:
        self._items = items
        self._sender = sender
        self._correlation_id = correlation_id or ""
        self._id_outside = ""  # the correlation id of what is read outside of any producer
        self._over = False
        self._closed = False  # whether the items are events, and have brought their own end
        self._adopted_by: dict[Any, None] | None = None

    def __repr__(self) -> str:
        return f"<EventSource of {self._items!r}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncStreamMessage[T]:
        if self._over:
            raise StopAsyncIteration
        if self._adopted_by is None:
            self._find_owner()
        return await self._event_of(anext(self._items))

    async def athrow(self, exception: BaseException) -> AsyncStreamMessage[T]:
        """Throw an exception into the items at their ``yield``, if they have one."""
        if self._over:
            raise exception
        return await self._event_of(throw_into(self._items, exception))

    async def aclose(self) -> None:
        """Close the items, if they can be closed and have not come to their end."""
        if self._over:
            return
        self._retire()
        await close(self._items)

    async def feed(self, channel: Channel) -> None:
        """Put the bare items into a channel, which makes the same events of them.

        This is how the runtime reads a source that ``stream_async`` returned.
        """
        if self._correlation_id:
            channel.origin = channel.origin.renamed(self._correlation_id)
        self._over = True  # read here, once, and nowhere else
        if isinstance(self._items, Feeder):
            await self._items.feed(channel)
        else:
            await pump(self._items, channel)

    async def _event_of(self, step: Awaitable[T]) -> AsyncStreamMessage[T]:
        try:
            item = await step
        except StopAsyncIteration:
            self._retire()
            if self._closed:
                raise
            return self._signed(AsyncStreamMessage("end"))
        except Exception as exc:  # it becomes an event
            self._retire()
            return self._signed(error_event(exc))
        if not is_event(item):
            return self._signed(AsyncStreamMessage("data", item))
        self._closed = self._closed or item.type != "data"
        return item

    def _signed(self, event: AsyncStreamMessage[Any]) -> AsyncStreamMessage[T]:
        event.correlation_id = self._correlation_id
        if self._id_outside and running_channel() is None:
            event.correlation_id = self._id_outside
        event.sender = self._sender
        return event

    def _find_owner(self) -> None:
        """Have the producer that reads this close it, should it be left half-read."""
        channel = running_channel()
        if channel is None:
            self._adopted_by = {}  # by nobody: whoever drops it half-read lets it go at once
            self._id_outside = self._correlation_id or generate_correlation_id()
        else:
            if channel.half_read is None:
                channel.half_read = {}
            self._adopted_by = channel.half_read
            self._adopted_by[self] = None

    def _retire(self) -> None:
        self._over = True
        if self._adopted_by is not None:
            self._adopted_by.pop(self, None)


class ItemsOf(Feeder, Generic[T]):
    """The items of an iterable, as an async iterator that never waits."""

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterator = iter(iterable)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        with no_end_by_accident():
            item = next(self._iterator, _END)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterator, if it is a generator."""
        close: Callable[[], object] | None = getattr(self._iterator, "close", None)
        if close is not None:
            close()

    async def feed(self, channel: Channel) -> None:
        """Put all items into a channel, as many in one go as there is room for.

        What came before an exception is put first.
        """
        buffer = channel.buffer
        fetched: list[T] = []
        failure: Exception | None = None
        try:
            while failure is None:
                room = buffer.high - len(buffer.items)
                wanted = max(room, 1)  # without room, one by one: putting it waits
                try:
                    fetched.extend(islice(self._iterator, wanted))
                except Exception as exc:
                    failure = exc
                over = len(fetched) < wanted
                if room > 0 and AsyncStreamMessage not in {*map(type, fetched)}:
                    buffer.items.extend(fetched)
                else:
                    for item in fetched:
                        await channel.put(item)
                fetched.clear()
                if over and failure is None:
                    return
            raise failure
        finally:
            await self.aclose()


class WatchedItems(Generic[T]):
    """Items that are read with an eye on whether the consumer holds their reader up.

    Args:
        items: What to read.
        check_interval: Look each time that so many items have been read.
        on_backpressure: Called with whether the producer had to wait since the last look,
            or would have to now. May be a coroutine function.
    """

    def __init__(
        self,
        items: AsyncIterator[T],
        check_interval: int,
        on_backpressure: OnBackpressure | None,
    ) -> None:
        check_count("check_interval", check_interval)
        if on_backpressure is not None and not callable(on_backpressure):
            raise TypeError(f"on_backpressure is a function of one bool, not {on_backpressure!r}")
        self._items = items
        self._check_interval = check_interval
        self._on_backpressure = on_backpressure
        self._count = 0
        self._waits = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._on_backpressure is not None:
            self._count += 1
            if self._count > self._check_interval:
                self._count = 1
                with no_end_by_accident():
                    told = self._on_backpressure(self._is_paused())
                    if isawaitable(told):
                        await told
        return await anext(self._items)

    async def athrow(self, exception: BaseException) -> T:
        """Throw an exception into the items at their ``yield``, if they have one."""
        return await throw_into(self._items, exception)

    async def aclose(self) -> None:
        """Close the items, if they can be closed."""
        await close(self._items)

    def _is_paused(self) -> bool:
        channel = running_channel()
        if channel is None:
            return False  # read by hand: nothing stands between this and its reader
        buffer = channel.buffer
        waits, self._waits = self._waits, buffer.waits
        return buffer.waits > waits or buffer.full


class ThreadItemsOf(Generic[T]):
    """The items of a blocking iterable, all fetched in one worker thread.

    One item is fetched at a time, and only when it is asked for, so the thread is never
    ahead of the stream's buffer. A fetch cannot be interrupted: a cancellation takes effect
    when it returns. The thread belongs to the producer that reads first, and goes with it.
    Outside of a producer there is no task that could keep a thread, and each fetch takes the
    next one that is free.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[T] | None = None
        self._worker: Worker | None = None
        self._pending: Pending | None = None  # a fetch whose reader was cancelled by asyncio

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            with no_end_by_accident():
                item = await self._next()
        except Exception:
            self._stop()
            raise
        if item is _END:
            self._stop()
            raise StopAsyncIteration
        return cast("T", item)

    async def aclose(self) -> None:
        """Close the iterator in its thread, if it is a generator; shielded, for it cleans up."""
        try:
            with CancelScope(shield=True):
                if self._pending is not None:
                    await self._pending.wait()
                close: Callable[[], object] | None = getattr(self._iterator, "close", None)
                if close is not None:
                    await self._close(close)
        finally:
            self._stop()

    async def _close(self, close: Callable[[], object]) -> None:
        if self._worker is None or self._worker.gone:
            await to_thread.run_sync(close)
        else:
            await self._worker.call(close)

    async def _next(self) -> object:
        await checkpoint_if_cancelled()  # the wait for the thread is shielded
        pending, self._pending = self._pending, None
        if pending is None:
            worker = self._find_worker()
            if worker is None:
                return await to_thread.run_sync(self._fetch)
            pending = worker.submit(self._fetch)
        try:
            await pending.wait()
        except BaseException:
            self._pending = pending  # its item is for the next reader
            raise
        return pending.result()

    def _find_worker(self) -> Worker | None:
        if self._worker is None or self._worker.gone:
            channel = running_channel()
            self._worker = None if channel is None else channel.open_worker()
        return self._worker

    def _fetch(self) -> object:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, _END)

    def _stop(self) -> None:
        self._iterator = None  # it is at its end, and need not be closed again
        self._pending = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


def items_of(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Return an async iterator over either kind of iterable.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(items, AsyncIterable):
        return aiter(items)
    check_iterable(items)
    return ItemsOf(items)


def check_iterable(items: object) -> None:
    """Raise ``TypeError`` for what is no iterable."""
    if not isinstance(items, Iterable):
        raise TypeError(
            f"there is nothing to stream in {items!r} ({type(items).__name__}); "
            "give an iterable or an async iterable, such as a list or a generator"
        )
