"""What an actor can stream from: items, items with an eye on backpressure, a blocking iterable.

Each is an object that makes events of its items: data events, then one end or error event.
They are classes and not async generators, so that dropping one half-read is no warning.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from inspect import isawaitable
from typing import Any, Generic, Self, TypeVar, cast

from anyio import CancelScope, to_thread

from actorstream._address import Address
from actorstream._message import AsyncStreamMessage
from actorstream._options import check_count
from actorstream._producer import current_producer

T = TypeVar("T")

OnBackpressure = Callable[[bool], Awaitable[object] | object]

_END: Any = object()


class EventSource(Generic[T]):
    """Items as events.

    An exception of the items becomes an error event; an item that is an
    ``AsyncStreamMessage`` already is passed on as it is.

    Args:
        items: What to read. It is closed when this is.
        sender: The actor, where it is registered.
        correlation_id: For the events; the stream's own by default.
    """

    def __init__(
        self, items: AsyncIterator[T], sender: Address | None, correlation_id: str | None
    ) -> None:
        self._items = items
        self._sender = sender
        self._correlation_id = correlation_id or ""
        self._over = False
        self._adopted_by: dict[Any, None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._items!r}>"

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
        throw: Callable[[BaseException], Awaitable[T]] | None
        throw = getattr(self._items, "athrow", None)
        if throw is None or self._over:
            raise exception
        return await self._event_of(throw(exception))

    async def aclose(self) -> None:
        """Close the items, if they can be closed and have not come to their end."""
        if self._over:
            return
        self._retire()
        aclose: Callable[[], Awaitable[None]] | None = getattr(self._items, "aclose", None)
        if aclose is not None:
            await aclose()

    async def _event_of(self, step: Awaitable[T]) -> AsyncStreamMessage[T]:
        try:
            item = await step
        except StopAsyncIteration:
            self._retire()
            return self._event("end")
        except Exception as exc:  # it becomes an event
            self._retire()
            event = self._event("error", error=str(exc) or repr(exc))
            event.exception = exc
            return event
        if isinstance(item, AsyncStreamMessage):
            return cast("AsyncStreamMessage[T]", item)
        return self._event("data", item)

    def _event(self, *args: Any, **kwargs: Any) -> AsyncStreamMessage[T]:
        return AsyncStreamMessage(
            *args, correlation_id=self._correlation_id, sender=self._sender, **kwargs
        )

    def _find_owner(self) -> None:
        """Have the producer that reads this close it, should it be left half-read."""
        producer = current_producer.get()
        self._adopted_by = {} if producer is None else producer.half_read
        self._adopted_by[self] = None

    def _retire(self) -> None:
        self._over = True
        if self._adopted_by is not None:
            self._adopted_by.pop(self, None)


class WatchedSource(EventSource[T]):
    """Looks now and then whether the consumer holds it up, and tells.

    Args:
        check_interval: Look each time that so many items have been read.
        on_backpressure: Called with whether the producer had to wait since the last look,
            or would have to now. May be a coroutine function.
    """

    def __init__(
        self,
        items: AsyncIterator[T],
        sender: Address | None,
        correlation_id: str | None,
        *,
        check_interval: int,
        on_backpressure: OnBackpressure | None,
    ) -> None:
        super().__init__(items, sender, correlation_id)
        check_count("check_interval", check_interval)
        if on_backpressure is not None and not callable(on_backpressure):
            raise TypeError(f"on_backpressure is a function of one bool, not {on_backpressure!r}")
        self._check_interval = check_interval
        self._on_backpressure = on_backpressure
        self._count = 0
        self._waits = 0

    async def __anext__(self) -> AsyncStreamMessage[T]:
        if self._on_backpressure is not None and not self._over:
            self._count += 1
            if self._count > self._check_interval:
                self._count = 1
                return await self._event_of(self._look_and_read(self._on_backpressure))
        return await super().__anext__()

    async def _look_and_read(self, tell: OnBackpressure) -> T:
        told = tell(self._is_paused())
        if isawaitable(told):
            await told
        return await anext(self._items)

    def _is_paused(self) -> bool:
        producer = current_producer.get()
        if producer is None:
            return False  # read by hand: nothing stands between this and its reader
        buffer = producer.channel.buffer
        waits, self._waits = self._waits, buffer.waits
        return buffer.waits > waits or buffer.full


class ItemsOf(Generic[T]):
    """The items of an iterable, as an async iterator that never waits."""

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterator = iter(iterable)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        for item in self._iterator:
            return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the iterator, if it is a generator."""
        close: Callable[[], object] | None = getattr(self._iterator, "close", None)
        if close is not None:
            close()


class ThreadItemsOf(Generic[T]):
    """The items of a blocking iterable, each fetched in a worker thread.

    One item is fetched at a time, and only when it is asked for, so the thread is never
    ahead of the stream's buffer. A fetch cannot be interrupted: a cancellation takes effect
    when it returns.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[T] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await to_thread.run_sync(self._fetch)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the iterator in a thread, too, if it is a generator; shielded, for it cleans up."""
        close: Callable[[], object] | None = getattr(self._iterator, "close", None)
        if close is not None:
            with CancelScope(shield=True):
                await to_thread.run_sync(close)

    def _fetch(self) -> T:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, _END)


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
