"""Iterables as sources: bare items, and items with a check for backpressure.

They are classes and not async generators, so that dropping one half-read does not cause a
warning.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from inspect import isgenerator
from itertools import islice, repeat
from operator import is_
from typing import Any, Generic, Self, TypeVar, cast

from actorstream._checks import check_count, check_iterable
from actorstream._kinds import is_a, is_awaitable
from actorstream._loop.clock import current_time
from actorstream._loop.interrupts import interruptible
from actorstream._message import AsyncStreamMessage
from actorstream._streams.channel import Channel
from actorstream._streams.half_read import Droppable, Way, close, closer_of, way_to_close
from actorstream._streams.pace import SHORT_TURN
from actorstream._streams.producer import Source, put, throw_into
from actorstream._streams.running import running_channel
from actorstream._texts import repr_of

T = TypeVar("T")

OnBackpressure = Callable[[bool], Awaitable[object] | object]

_EXHAUSTED: Any = object()

_INSTANT = frozenset(map(type, map(iter, ([0], (), range(0), "", b""))))
"""The iterators whose items are there, or made at once."""

_NOTICEABLE = 0.0006
"""Seconds for an item: a reader that is slower by less than that is not called slow.

The clock of uvloop, for one, goes by the millisecond.
"""


class NoStopIteration:
    """Turns a ``StopAsyncIteration`` of the user's code into a ``RuntimeError``.

    Otherwise it would end the items silently. Python does the same for generators (PEP 479,
    PEP 525).
    """

    # Context managers around the user's code are classes here. `@contextmanager` sets
    # `__traceback__`, and an exception of a frozen class answers that with another exception.

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: object
    ) -> None:
        if exc_type is not None and issubclass(exc_type, StopAsyncIteration):
            raise RuntimeError(
                "StopAsyncIteration was raised where an item was expected; "
                "write `return` to end the items"
            ) from exc


class IterableSource(Source, Droppable, Generic[T]):
    """The items of an iterable, as an async iterator that never waits."""

    @interruptible
    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator = iter(iterable)
        # Reading a batch with islice() calls iter() on the iterator. One of the user's own class
        # may start over then, or may have no __iter__, so map() asks it for one item at a time.
        self._computes_nothing = type(self._iterator) in _INSTANT
        is_builtin = type(self._iterator).__module__ == "builtins"
        self._items = self._iterator if is_builtin else map(next, repeat(self._iterator))

    def __aiter__(self) -> Self:
        return self

    @interruptible
    async def __anext__(self) -> T:
        with NoStopIteration():
            item = next(self._iterator, _EXHAUSTED)
        if item is _EXHAUSTED:
            raise StopAsyncIteration
        return item

    @property
    def way_to_close(self) -> Way:
        """At once for a generator and for what has nothing to close, else it may have to wait."""
        has_own = self._iterable is not self._iterator and closer_of(self._iterable) is not None
        is_plain = isgenerator(self._iterator) or closer_of(self._iterator) is None
        return "at once" if is_plain and not has_own else "in a task"

    @interruptible
    def close_at_once(self) -> None:
        """Close the iterator, if it is a generator."""
        if isgenerator(self._iterator):
            self._iterator.close()

    async def aclose(self) -> None:
        """Close the iterator and the iterable, if they can be closed."""
        await close_both(self._iterator, self._iterable)

    @interruptible
    async def feed(self, channel: Channel) -> None:
        """Put all items into a channel, as many at a time as there is room for.

        Items that came before an exception are put first.
        """
        buffer = channel.buffer
        fetched: list[T] = []
        failure: Exception | None = None
        exhausted = False
        try:
            while failure is None:
                room = buffer.high - len(buffer.items)
                if room < SHORT_TURN and buffer.goes_on(trusted=self._computes_nothing):
                    room = buffer.high - len(buffer.items)
                wanted = max(room, 1)  # without room, one at a time: putting it waits
                try:
                    fetched.extend(islice(self._items, wanted))
                except Exception as exc:
                    failure = exc
                exhausted = failure is None and len(fetched) < wanted
                # The iterable may have ended the stream, or aborted it: the marks say so.
                if len(buffer.items) + len(fetched) <= buffer.high and not _has_event(fetched):
                    buffer.items.extend(fetched)
                else:
                    for item in fetched:
                        await put(channel, item)
                fetched.clear()
                if exhausted:
                    return
            raise failure
        finally:
            del failure  # break the cycle traceback -> frame -> error
            if not exhausted:
                await self.aclose()


def _has_event(items: list[Any]) -> bool:
    """Return whether one of the items is an event; runs no code of their classes."""
    return any(map(is_, map(type, items), repeat(AsyncStreamMessage)))


class WatchedSource(Droppable, Generic[T]):
    """Items whose reader checks at intervals whether the consumer holds it up.

    In a stream, the buffer shows that. Outside of a stream, there is no buffer, and the consumer is
    the reader itself: it holds the items up if they wait for it longer than it waits for them.

    Args:
        items: The items to read.
        check_interval: How many items to read between two checks.
        on_backpressure: Called at each check with whether the consumer has held the producer
            up since the last check. May be a coroutine function.
    """

    def __init__(
        self,
        items: AsyncIterator[T],
        check_interval: int,
        on_backpressure: OnBackpressure | None,
    ) -> None:
        check_count("check_interval", check_interval)
        if on_backpressure is not None and not callable(on_backpressure):
            raise TypeError(
                f"on_backpressure is a function of one bool, not {repr_of(on_backpressure)}"
            )
        self._items = items
        self._check_interval = check_interval
        self._on_backpressure = on_backpressure
        self._count = 0
        self._waits = 0
        self._given_at: float | None = None  # when the reader got an item, outside of a stream
        self._kept_for = 0.0  # seconds that the items have waited for the reader
        self._asked_for = 0.0  # seconds that the reader has waited for the items

    def __aiter__(self) -> Self:
        return self

    @interruptible
    async def __anext__(self) -> T:
        if self._on_backpressure is None:
            return await anext(self._items)
        channel = running_channel()
        if channel is None:
            self._note_asked()
        self._count += 1
        if self._count > self._check_interval:
            self._count = 1
            with NoStopIteration():
                result = self._on_backpressure(self._is_paused(channel))
                if is_awaitable(result):
                    await result
        if channel is not None:
            return await anext(self._items)
        return await self._time_next()

    @interruptible
    async def athrow(self, exception: BaseException) -> T:
        """Throw an exception into the items at their ``yield``; without one, raise it."""
        try:
            return await throw_into(self._items, exception)
        finally:
            del exception  # break the cycle traceback -> frame -> error

    @property
    def way_to_close(self) -> Way:
        """The way of the items."""
        return way_to_close(self._items)

    def close_at_once(self) -> None:
        """Close the items without waiting."""
        if is_a(self._items, Droppable):
            self._items.close_at_once()

    @interruptible
    async def aclose(self) -> None:
        """Close the items, if they can be closed."""
        await close(self._items)

    @interruptible
    async def _time_next(self) -> T:
        """Return the next item, and note how long it took."""
        asked_at = current_time()
        try:
            return await anext(self._items)
        finally:
            given_at = self._given_at = current_time()
            self._asked_for += given_at - asked_at

    def _note_asked(self) -> None:
        """Note how long the items have waited for their reader."""
        if self._given_at is not None:
            self._kept_for += current_time() - self._given_at

    def _is_paused(self, channel: Channel | None) -> bool:
        if channel is None:
            kept_for, self._kept_for = self._kept_for, 0.0
            asked_for, self._asked_for = self._asked_for, 0.0
            return kept_for - asked_for > self._check_interval * _NOTICEABLE
        buffer = channel.buffer
        waits, self._waits = self._waits, buffer.waits
        return buffer.waits > waits or buffer.full


@interruptible
def iterate(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Return an async iterator over either kind of iterable.

    Raises:
        TypeError: It is neither.
    """
    if not is_a(items, AsyncIterable):
        check_iterable(items)
        return IterableSource(cast("Iterable[T]", items))
    source = cast("AsyncIterable[T]", items)
    iterator = aiter(source)
    if iterator is source or closer_of(source) is None:
        return iterator
    return _ClosedWithItems(iterator, source)


class _ClosedWithItems(Generic[T]):
    """An async iterator whose iterable is closed, too, such as the response of a client."""

    def __init__(self, iterator: AsyncIterator[T], items: AsyncIterable[T]) -> None:
        self._iterator = iterator
        self._iterable = items

    def __repr__(self) -> str:
        return repr_of(self._iterable)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        return anext(self._iterator)

    async def athrow(self, exception: BaseException) -> T:
        """Throw an exception into the iterator at its ``yield``; without one, raise it."""
        return await throw_into(self._iterator, exception)

    async def aclose(self) -> None:
        """Close the iterator and the iterable, if they can be closed."""
        await close_both(self._iterator, self._iterable)


@interruptible
async def close_both(iterator: object, iterable: object) -> None:
    """Close an iterator, and the iterable that it came from."""
    try:
        await close(iterator)
    finally:
        if iterable is not iterator:
            await close(iterable)  # noqa: ASYNC102 - the source's own clean-up
