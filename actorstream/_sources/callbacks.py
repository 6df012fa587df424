"""Callbacks of another library as a source.

A callback cannot wait, so nothing holds it up: what comes faster than it is read is dealt with
by an overflow policy. For the policy to see all that is unread, the items stay in one place, an
``CallbackQueue``, until the consumer wants them::

    any thread: push(item) -> the queue, `buffer_size` items at most
        returned from `stream_async`:  the queue is the reserve of the stream's buffer; the
                                       consumer takes each item out by itself
        iterated in the actor:         the actor gets an item when the buffer is empty
        iterated by hand:              the reader gets an item when it asks for one

The producer's task only hooks the callback, waits for its end, and unhooks it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, Generic, Self, TypeVar, cast, get_args

from anyio import CancelScope, Event
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from actorstream._checks import check_choice
from actorstream._errors import StreamOverflowError
from actorstream._loop.wakeup import CallSoon, current_call_soon
from actorstream._message import is_event
from actorstream._options import DEFAULTS
from actorstream._sources.callback_queue import (
    NATURAL,
    OVERFLOWED,
    CallbackOverflow,
    CallbackQueue,
    Ending,
)
from actorstream._sources.iterables import no_end_by_accident
from actorstream._statistics import ThreadSafeCounter
from actorstream._streams.buffer import TURN
from actorstream._streams.channel import Channel, running_channel
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import Source, put

T = TypeVar("T")

Unhook = Callable[[], Awaitable[object] | object]

_OVERFLOWS = get_args(CallbackOverflow)

logger = logging.getLogger("actorstream")


class Push(Generic[T]):
    """What to hook into a callback API: call it with each item.

    All of it may be called in any thread, in a signal handler, and in the event loop's thread;
    it never blocks. After the end of the stream it does nothing.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: CallbackQueue[T]) -> None:
        self._queue = queue

    def __repr__(self) -> str:
        state = "open" if self._queue.ending is None else "ended"
        return f"<Push {state}: {len(self._queue)} of {self._queue.size} items unread>"

    def __call__(self, item: T, /) -> None:
        """Put an item into the stream; an end or error event ends it."""
        if is_event(item) and item.type != "data":
            self._queue.end(Ending(event=item))
        else:
            self._queue.put(item)

    def end(self) -> None:
        """End the stream after what has been pushed."""
        self._queue.end(NATURAL)

    def fail(self, exception: Exception, /) -> None:
        """Fail the stream with an exception, after what has been pushed.

        Raises:
            TypeError: It is no instance of ``Exception``.
        """
        if not isinstance(exception, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"fail() takes an exception, not {exception!r}; "
                'write push.fail(RuntimeError("what went wrong"))'
            )
        self._queue.end(Ending(error=exception))


Register = Callable[[Push[T]], Awaitable[Unhook | None] | Unhook | None]


class CallbackSource(Source, Generic[T]):
    """What a callback is called with, as an async iterator.

    Args:
        register: Hooks a ``Push`` in, when the first item is asked for. What it returns
            unhooks it. Either may be a coroutine function.
        overflow: What to do with an item that finds no room.
    """

    _unhook: Unhook | None = None

    def __init__(self, register: Register[T], overflow: CallbackOverflow) -> None:
        _check_overflow(overflow)
        if not callable(register):
            raise TypeError(
                f"register is a function that hooks a callback in, not {register!r}; "
                "write `def register(push): library.subscribe(push)`"
            )
        self._register = register
        self._overflow: CallbackOverflow = overflow
        self._registered = False
        self._over = False
        self._fed = False  # whether a channel reads the queue, perhaps for longer than this
        self._reads = 0
        self._news = _AutoResetEvent()
        self._channel: Channel | None = None
        self._queue: CallbackQueue[T] | None = None
        self._call_soon: CallSoon

    def __repr__(self) -> str:
        return f"<CallbackSource of {self._register!r}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        try:
            queue = self._open(running_channel()) if self._queue is None else self._queue
            if not self._registered:
                await self._hook_in(queue)
            return await self._next(queue)
        except Exception:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Unhook the callback, once; what that awaits is shielded, for it cleans up."""
        self._over = True
        if self._queue is not None:
            self._queue.close()
            if not self._fed:  # nobody reads what is left
                self._queue.drain(deque(maxlen=0))
        self._news.set()  # should another task be reading, it comes to the end
        unhook, self._unhook = self._unhook, None
        if unhook is not None:
            with no_end_by_accident(), CancelScope(shield=True):
                told = unhook()
                if isawaitable(told):
                    await told

    def __del__(self) -> None:
        if self._unhook is not None:  # read by hand, and dropped half-read
            self._call_soon(partial(_unhook_late, self._unhook))

    async def feed(self, channel: Channel) -> None:
        """Have the consumer of a channel take the items out by itself, until their end."""
        queue = self._open(channel)
        channel.buffer.attach_reserve(queue)
        self._fed = True
        try:
            await self._hook_in(queue)
            while queue.ending is None:
                await self._news.wait()
                channel.note_item()
            await _end(channel, queue, queue.ending)
        finally:
            await self.aclose()

    def _open(self, channel: Channel | None) -> CallbackQueue[T]:
        """Make the queue, whose size and losses are those of the stream that it is for."""
        size, overflow, lost = DEFAULTS.buffer_size, self._overflow, ThreadSafeCounter()
        if channel is not None:
            size = channel.buffer.size
            lost = channel.lost_counter()
            if channel.options.overflow != "wait":  # the consumer's own wish
                overflow = channel.options.overflow
        self._channel = channel
        self._call_soon = current_call_soon()
        on_news = self._news.set if channel is None else partial(_tell, self._news, channel)
        self._queue = CallbackQueue(size, overflow, lost, self._call_soon, on_news)
        return self._queue

    async def _hook_in(self, queue: CallbackQueue[T]) -> None:
        await checkpoint_if_cancelled()
        with no_end_by_accident():
            made = self._register(Push(queue))
            unhook = await made if isawaitable(made) else made
        self._registered = True
        if unhook is not None and not callable(unhook):
            raise TypeError(
                f"register returned {unhook!r}; return a function that unhooks the callback, "
                "or None"
            )
        self._unhook = unhook

    async def _next(self, queue: CallbackQueue[T]) -> T:
        self._reads += 1
        if self._reads % TURN == 0:  # threads may push faster than this reader reads
            await checkpoint()
        while True:
            ending = queue.ending  # looked at first: what was pushed before it is in then
            if len(queue) > 0:
                await self._wait_wanted()
                taken: deque[T] = deque(maxlen=1)
                queue.move(taken)
                if taken:
                    return taken.pop()
            elif ending is None:
                await self._news.wait()
            else:
                return await self._last(queue, ending)

    async def _wait_wanted(self) -> None:
        """Wait until the consumer has read what the actor has made of the items before."""
        channel = self._channel
        if channel is not None:
            while channel.buffer.items and not channel.over:
                await channel.wait_writable()

    async def _last(self, queue: CallbackQueue[T], ending: Ending) -> T:
        """Do at the end what it says: give an event, or raise."""
        await self.aclose()
        if ending.event is not None:
            return cast("T", ending.event)
        if ending is OVERFLOWED:
            if self._channel is not None:
                self._channel.terminate(Outcome(error=_overflow_error(queue)))
                await checkpoint()  # the producer has been cancelled
            raise _overflow_error(queue)
        if ending.error is not None:
            with no_end_by_accident():
                raise ending.error
        raise StopAsyncIteration


class _AutoResetEvent:
    """An event that happens again and again, for one task that waits for it.

    Only the event loop's thread may ring it; no event loop's task need be running then.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._event: Event | None = None

    def set(self) -> None:
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until it has been rung since the last time."""
        if not self._is_set:
            self._event = Event()
            await self._event.wait()
        self._is_set = False


def _tell(news: _AutoResetEvent, channel: Channel) -> None:
    """Something was pushed: wake the consumer, who can take it, and the producer."""
    channel.buffer.wake_consumer()
    news.set()


async def _end(channel: Channel, queue: CallbackQueue[Any], ending: Ending) -> None:
    """End a channel that an queue feeds; what is unread stays readable."""
    if ending is OVERFLOWED:
        channel.terminate(Outcome(error=_overflow_error(queue)))
    elif ending.error is not None:
        raise ending.error
    elif ending.event is not None:
        await put(channel, ending.event)


def _overflow_error(queue: CallbackQueue[Any]) -> StreamOverflowError:
    return StreamOverflowError(
        f"callbacks came faster than they were read: more than {queue.size} items were waiting; "
        'raise buffer_size, or write overflow="drop_oldest"'
    )


def _unhook_late(unhook: Unhook) -> None:
    """Unhook the callback of a stream that was dropped half-read. Nobody can be told."""
    try:
        told = unhook()
    except Exception:
        logger.exception("%r failed for a callback stream that was dropped half-read", unhook)
        return
    if isawaitable(told):
        if iscoroutine(told):
            told.close()
        logger.error(
            "%r was not awaited: its callback stream was dropped half-read; "
            "write `async with aclosing(...)` around the loop",
            unhook,
        )


def _check_overflow(overflow: object) -> None:
    if overflow == "wait":
        raise ValueError(
            f"overflow is one of {', '.join(_OVERFLOWS)}, not 'wait': a callback cannot wait"
        )
    check_choice("overflow", overflow, _OVERFLOWS)
