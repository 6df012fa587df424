"""Callbacks of another library as a source.

A callback cannot wait, so there is no backpressure: an overflow policy deals with items that
come faster than they are read. The policy must see all unread items, so they stay in one place,
a ``CallbackQueue``, until the consumer wants them::

    any thread: push(item) -> the queue, `buffer_size` items at most
        returned from `stream_async`:  the queue is the reserve of the stream's buffer; the
                                       consumer takes each item out itself
        iterated in the actor:         the actor gets an item when the buffer is empty
        iterated by hand:              the reader gets an item when it asks for one

The producer's task only hooks the callback, waits for its end, and unhooks it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, Self, TypeVar, cast, get_args

from anyio import Event
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from actorstream._checks import check_choice
from actorstream._errors import StreamOverflowError
from actorstream._kinds import is_a, is_awaitable, is_coroutine
from actorstream._loop.interrupts import interruptible
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
from actorstream._sources.hook import Hook, Unhook
from actorstream._sources.iterables import NoStopIteration
from actorstream._statistics import ThreadSafeCounter
from actorstream._streams.buffer import TURN
from actorstream._streams.channel import Channel
from actorstream._streams.half_read import Droppable, Way, current_sources
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import Source, put
from actorstream._streams.running import running_channel
from actorstream._texts import loggable, repr_of

T = TypeVar("T")

_OVERFLOWS = get_args(CallbackOverflow)

logger = logging.getLogger("actorstream")


class Push(Generic[T]):
    """The function to hook into a callback API: call it with each item.

    It and its methods may be called in any thread, in a signal handler, and in the event loop's
    thread; they never block. After the end of the stream they do nothing.
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
        """End the stream after the items that have been pushed."""
        self._queue.end(NATURAL)

    def fail(self, exception: Exception, /) -> None:
        """Fail the stream with an exception, after the items that have been pushed.

        Raises:
            TypeError: ``exception`` is not an instance of ``Exception``.
        """
        if not is_a(exception, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"fail() takes an exception, not {repr_of(exception)}; "
                'write push.fail(RuntimeError("what went wrong"))'
            )
        self._queue.end(Ending(error=exception))


Register = Callable[[Push[T]], Awaitable[Unhook | None] | Unhook | None]


class CallbackSource(Source, Droppable, Generic[T]):
    """The items that a callback is called with, as an async iterator.

    Args:
        register: Hooks a ``Push`` in, when the first item is asked for, and returns a function
            that unhooks it, or ``None``. Either may be a coroutine function.
        overflow: What to do with an item that finds no room.
    """

    _hook: Hook | None = None  # set once `register` has been called

    def __init__(self, register: Register[T], overflow: CallbackOverflow) -> None:
        _check_overflow(overflow)
        if not callable(register):
            raise TypeError(
                f"register is a function that hooks a callback in, not {repr_of(register)}; "
                "write `def register(push): library.subscribe(push)`"
            )
        self._register = register
        self._overflow: CallbackOverflow = overflow
        self._over = False
        self._feeds_channel = False  # a channel reads the queue, perhaps after this is closed
        self._reads = 0
        self._news = _AutoResetEvent()
        self._channel: Channel | None = None
        self._queue: CallbackQueue[T] | None = None
        self._call_soon: CallSoon

    def __repr__(self) -> str:
        return f"<CallbackSource of {repr_of(self._register)}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        try:
            queue = self._open(running_channel()) if self._queue is None else self._queue
            if self._hook is None:
                await self._hook_in(queue)
            return await self._next(queue)
        except Exception:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Unhook the callback, once; as a clean-up, this is shielded from cancellation."""
        self._over = True
        self._news.watch(None)
        if self._queue is not None:
            self._queue.close()
            if not self._feeds_channel:  # the items left will not be read
                self._queue.drain(deque(maxlen=0))
        self._news.set()  # a task that is reading reaches the end
        if self._hook is not None:
            await self._hook.close()

    @property
    def way_to_close(self) -> Way:
        """In a task: the function that unhooks may be a coroutine function."""
        return "in a task"

    def __del__(self) -> None:
        unhook = None if self._hook is None else self._hook.take_unhook()
        if unhook is not None:  # read by hand, and dropped half-read
            self._call_soon(partial(_unhook_late, unhook))

    async def feed(self, channel: Channel) -> None:
        """Let the consumer of a channel take the items out itself, until they end."""
        queue = self._open(channel)
        channel.buffer.attach_reserve(queue)
        self._feeds_channel = True
        try:
            await self._hook_in(queue)
            while queue.ending is None:
                await self._news.wait()
                channel.note_item()
            await _end_channel(channel, queue, queue.ending)
        finally:
            await self.aclose()

    def _open(self, channel: Channel | None) -> CallbackQueue[T]:
        """Make the queue, with the size and the loss counter of its stream, if it has one."""
        size, overflow, lost = DEFAULTS.buffer_size, self._overflow, ThreadSafeCounter()
        if channel is not None:
            size = channel.buffer.size
            lost = channel.lost_counter()
            if channel.options.overflow != "wait":  # the consumer's choice wins
                overflow = channel.options.overflow
        self._channel = channel
        self._call_soon = current_call_soon()
        on_news = self._news.set if channel is None else partial(_notify, self._news, channel)
        self._queue = CallbackQueue(size, overflow, lost, self._call_soon, on_news)
        return self._queue

    @interruptible
    async def _hook_in(self, queue: CallbackQueue[T]) -> None:
        """Hook the callback in. Only where no task can be started, wait until that is done."""
        await checkpoint_if_cancelled()
        sources = current_sources()
        hook = Hook(partial(self._register, Push(queue)), partial(_fail, queue))
        self._news.watch(partial(_stop_waiting, hook, queue))
        try:
            await hook.open(None if sources is None else sources.runtime)
        finally:
            self._news.watch(None)
        self._hook = hook

    async def _next(self, queue: CallbackQueue[T]) -> T:
        self._reads += 1
        if self._reads % TURN == 0:  # threads may push faster than this reader reads
            await checkpoint()
        while True:
            ending = queue.ending  # read first: then no item before it can be missed
            if len(queue) > 0:
                await self._wait_consumed()
                taken: deque[T] = deque(maxlen=1)
                queue.move(taken)
                if taken:
                    return taken.pop()
            elif ending is None:
                await self._news.wait()
            else:
                return await self._finish(queue, ending)

    async def _wait_consumed(self) -> None:
        """Wait until the consumer has read what the actor made of the earlier items."""
        channel = self._channel
        if channel is not None:
            while channel.buffer.items and not channel.over:
                await channel.wait_writable()

    async def _finish(self, queue: CallbackQueue[T], ending: Ending) -> T:
        """Close, then return the event of the ending, or raise."""
        await self.aclose()
        if ending.event is not None:
            return cast("T", ending.event)
        if ending is OVERFLOWED:
            if self._channel is not None:
                self._channel.terminate(Outcome(error=_overflow_error(queue)))
                await checkpoint()  # the producer has been cancelled
            raise _overflow_error(queue)
        if ending.error is not None:
            with NoStopIteration():
                raise ending.error
        raise StopAsyncIteration


class _AutoResetEvent:
    """An event for one waiting task, which resets when the task has seen it.

    Set it in the event loop's thread only; no task of the loop need be running then.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._event: Event | None = None
        self._watcher: Callable[[], object] | None = None

    def watch(self, watcher: Callable[[], object] | None) -> None:
        """Call a function whenever the event is set, until there is another one."""
        self._watcher = watcher

    def set(self) -> None:
        self._is_set = True
        if self._watcher is not None:
            self._watcher()
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until the event has been set since the last wait."""
        if not self._is_set:
            self._event = Event()
            await self._event.wait()
        self._is_set = False


def _fail(queue: CallbackQueue[Any], failure: BaseException) -> None:
    """Fail the stream of a callback that could not be hooked in, after what was pushed."""
    queue.end(Ending(error=failure))


def _stop_waiting(hook: Hook, queue: CallbackQueue[Any]) -> None:
    """Do not wait until a callback is hooked in whose stream has ended."""
    if queue.ending is not None:
        hook.stop_waiting()


def _notify(news: _AutoResetEvent, channel: Channel) -> None:
    """Wake the consumer, which takes what was pushed, and the producer."""
    channel.buffer.wake_consumer()
    news.set()


async def _end_channel(channel: Channel, queue: CallbackQueue[Any], ending: Ending) -> None:
    """End a channel that a queue feeds; unread items stay readable."""
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


@interruptible
def _unhook_late(unhook: Unhook) -> None:
    """Unhook the callback of a stream that was dropped half-read; errors can only be logged."""
    try:
        result = unhook()
    except Exception as exc:
        logger.exception(
            "%s failed for a callback stream that was dropped half-read",
            repr_of(unhook),
            exc_info=loggable(exc),
        )
        return
    if is_awaitable(result):
        if is_coroutine(result):
            result.close()
        logger.error(
            "%s was not awaited: its callback stream was dropped half-read; "
            "write `async with aclosing(...)` around the loop",
            repr_of(unhook),
        )


def _check_overflow(overflow: object) -> None:
    if overflow == "wait":
        raise ValueError(
            f"overflow is one of {', '.join(_OVERFLOWS)}, not 'wait': a callback cannot wait"
        )
    check_choice("overflow", overflow, _OVERFLOWS)
