"""What the producer's task runs: it reads an actor's source to the end, and closes it.

One task does all of it, so an actor may hold cancel scopes and task groups open across a
``yield``. PEP 789 explains what breaks otherwise: a scope that is entered in one task and left
in another. For the same reason, an exception that hits this task while it hands an item over
(a scope in the actor may have expired) is thrown into the source at its ``yield``, where that
scope can catch it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint

from actorstream._context import begin_work
from actorstream._errors import ActorError, StreamClosedError, StreamingNotSupportedError
from actorstream._kinds import has_method, is_a, is_awaitable
from actorstream._loop.failures import (
    is_cancellation,
    is_scope_cancelled,
    is_task_cancelled,
    split_failure,
)
from actorstream._loop.interrupts import interruptible
from actorstream._message import AsyncStreamMessage, is_event
from actorstream._streams.channel import Channel
from actorstream._streams.half_read import close, close_all
from actorstream._streams.outcome import (
    Outcome,
    actor_stopped,
    done,
    failed,
    router_closed,
    unsupported,
)
from actorstream._streams.producer_task import ProducerTask
from actorstream._texts import repr_of

Opener = Callable[[Channel, Callable[..., Any]], Awaitable[Awaitable[None]]]
"""Calls a method of an actor, and returns an awaitable that puts its items into a channel.

Two steps, so that the frame of the first does not live as long as the stream: that is 0.4 KB.
"""

T = TypeVar("T")

logger = logging.getLogger("actorstream")


async def produce(
    channel: Channel, task: ProducerTask, opener: Opener, method: Callable[..., Any]
) -> None:
    """Run a method of an actor to its end. Its failure stays in the stream.

    Args:
        channel: Where the items go.
        task: The task that this runs in.
        opener: Calls the method.
        method: The actor's method.
    """
    begin_work(channel.request, channel=channel)
    task.begin()
    left_open: RuntimeError | None = None
    try:
        with task.scope:
            try:
                try:
                    if not channel.over:
                        await (await opener(channel, method))
                finally:
                    half_read = task.take_half_read()
                    if half_read:
                        await close_all(half_read)  # noqa: ASYNC102
                _settle(done(channel.request, channel.closing_event), channel, task)
            except BaseException as exc:  # noqa: ASYNC103 - forwarded, or raised again
                _forward(exc, channel, task)
    except RuntimeError as exc:  # the actor has left a scope open inside of this one
        left_open = exc
        _fail_left_open(exc, channel, task)
    finally:
        task.finish()
        channel.leave()
        task.report()
    if left_open is not None:
        await task.end_left_open(left_open.__context__)


def abandon(channel: Channel, task: ProducerTask, *_: object) -> None:
    """End a stream whose producer's task does not run; does nothing once ``produce()`` has."""
    if task.live:
        if not channel.over:
            channel.end(actor_stopped(channel.request.to))
        task.finish()
        channel.leave()


class NothingToStreamError(Exception):
    """The library found nothing to stream in this actor.

    Not a ``StreamingNotSupportedError``: an actor that consumes another stream may raise that.
    """


def _settle(outcome: Outcome, channel: Channel, task: ProducerTask) -> None:
    """End the stream with the actor's outcome; an error after the end is a clean-up error."""
    interruption = None if channel.over else _find_interruption(channel)
    if interruption is not None:
        channel.end(interruption)
    if not channel.over:
        channel.end(outcome)
    elif outcome.error is not None:
        cause = outcome.error.__cause__  # the actor's own exception, which may be falsy
        task.fail_cleanup(outcome.error if cause is None else cause)


def _fail_left_open(exc: RuntimeError, channel: Channel, task: ProducerTask) -> None:
    """Fail the stream of an actor that has left a cancel scope or a task group open."""
    task.cancel()  # and with it what runs in that task group
    error = ActorError(
        f"{channel.request.to} left a cancel scope or a task group open when its stream of "
        f"{channel.request.type!r} ended; leave it before, best with `with` or `async with`"
    )
    error.__cause__ = exc
    if channel.over:
        task.fail_cleanup(error)
    else:
        channel.end(failed(channel.request, error))


def _find_interruption(channel: Channel) -> Outcome | None:
    """Return the outcome of a producer that is cancelled from outside, even if it returned."""
    if is_scope_cancelled():
        return router_closed(channel.request.to)
    if is_task_cancelled():  # asyncio has cancelled this task alone
        return actor_stopped(channel.request.to)
    return None


def _forward(exc: BaseException, channel: Channel, task: ProducerTask) -> None:
    """Pass the actor's failure on to the consumer; raise again what is not the actor's."""
    if is_a(exc, NothingToStreamError):
        _settle(unsupported(StreamingNotSupportedError(*exc.args)), channel, task)
        return
    failure, rest = split_failure(exc)
    if failure is not None and not (channel.over and _says_closed(failure)):
        _settle(failed(channel.request, failure), channel, task)
    if rest is None:
        return
    if is_cancellation(rest):
        # This task ends now, as a cancellation demands. If raised, one by asyncio would also
        # cancel the router.
        if not channel.over and not is_scope_cancelled():
            channel.end(actor_stopped(channel.request.to))
        return
    if not is_a(rest, BaseExceptionGroup):
        _settle(failed(channel.request, rest), channel, task)
    del exc, failure
    try:
        raise rest
    finally:
        del rest  # break the cycle traceback -> frame -> error


def _says_closed(failure: BaseException) -> bool:
    """Return whether a failure only tells that the stream is over."""
    if is_a(failure, BaseExceptionGroup):
        return all(map(_says_closed, failure.exceptions))
    return is_a(failure, StreamClosedError)


class Source(ABC):
    """An async iterable that can put its items into a channel itself, which is faster."""

    @abstractmethod
    async def feed(self, channel: Channel) -> None:
        """Put all items into a channel."""


@interruptible
async def open_iterable(channel: Channel, method: Callable[..., Any]) -> Awaitable[None]:
    """Call a method that takes the payload and returns an iterable."""
    return await _open(channel, method(channel.request.payload))


@interruptible
async def open_with_message(channel: Channel, method: Callable[..., Any]) -> Awaitable[None]:
    """Call a method that takes the message and returns an iterable."""
    return await _open(channel, method(channel.request))


@interruptible
async def _open(channel: Channel, made: Any) -> Awaitable[None]:
    if not has_method(made, "__aiter__") and is_awaitable(made):
        made = await made
    if is_a(made, Source):
        return made.feed(channel)
    if has_method(made, "__aiter__"):
        return pump(aiter(made), channel)
    raise NothingToStreamError(
        f"{channel.request.to} does not support async streaming: its stream_async() returned "
        f"{repr_of(made)}, which is not an async iterable; write `yield` in it, or "
        "`return self.create_async_stream(items)`"
    )


@interruptible
async def open_callback(  # noqa: ASYNC124 - one kind of opener with open_iterable()
    channel: Channel, method: Callable[..., Any]
) -> Awaitable[None]:
    """Call a ``stream`` method, the older form."""
    made = method(channel.request.payload, partial(put, channel))
    if is_awaitable(made):
        return made
    raise NothingToStreamError(
        f"{channel.request.to} does not support async streaming: its stream() is not a coroutine "
        "function; write `async def stream(self, payload, on_chunk)`"
    )


@interruptible
async def pump(iterator: AsyncIterator[Any], channel: Channel) -> None:
    """Read an iterator to its end, into a channel, and close it."""
    buffer = channel.buffer
    items = buffer.items
    try:
        async for item in iterator:
            if (len(items) < buffer.high or buffer.goes_on()) and (
                type(item) is not AsyncStreamMessage or item.type == "data"
            ):
                items.append(item)  # the fast path that buffer.py explains
            elif not await _hand_over(item, channel, iterator):
                return
    except BaseException:
        # A generator that raised is closed already; another kind of iterator may not be.
        await close(iterator)  # noqa: ASYNC102 - a cancellation cancels the closing, too
        raise


async def _hand_over(item: Any, channel: Channel, iterator: AsyncIterator[Any]) -> bool:
    """Hand an item over; an exception meanwhile is thrown into the source at its ``yield``.

    Returns:
        Whether the source goes on; it may end when an exception is thrown into it.
    """
    swallowed, warn_at = 0, 10
    while True:
        try:
            await put(channel, item)
            return True
        except BaseException as exc:  # noqa: ASYNC103 - forwarded
            swallowed += channel.over and is_cancellation(exc)  # not by a scope of the actor's
            if swallowed >= warn_at:
                _warn_of_swallowing(channel, warn_at)
                warn_at *= 10
            try:
                item = await throw_into(iterator, exc)  # noqa: ASYNC102 - the source decides
            except StopAsyncIteration:
                return False  # noqa: ASYNC104 - the source ended on the exception


def _warn_of_swallowing(channel: Channel, times: int) -> None:
    """Log that an actor cannot be stopped; it may do so for ever."""
    logger.warning(
        "%s has swallowed %d cancellations in a row, and yields on in its stream of %r, which is "
        "over; write `except Exception`, which lets a cancellation through",
        channel.request.to,
        times,
        channel.request.type,
    )


@interruptible
async def throw_into(iterator: AsyncIterator[T], exception: BaseException) -> T:
    """Throw an exception into an iterator at its ``yield``; without one, raise it."""
    throw: Callable[[BaseException], Awaitable[T]] | None = getattr(iterator, "athrow", None)
    try:
        if throw is None:
            raise exception
        return await throw(exception)
    finally:
        del exception  # break the cycle traceback -> frame -> error


async def put(channel: Channel, item: Any) -> None:
    """Hand an item over; wait while the buffer is full. The slow path of the producer.

    If the wait raises, for example a cancellation, the item was not handed over.

    Raises:
        RuntimeError: The actor has yielded its end or error event already.
        StreamClosedError: The stream is over. A cancellation comes first, so the producer's own
            task gets that instead, unless it is shielded.
    """
    if channel.buffer.diverted:
        await _close_dropped(channel)
    if channel.closing_event is not None:
        await checkpoint()  # other tasks run even if the actor keeps yielding
        raise RuntimeError(
            f"{channel.request.to} yielded {repr_of(item)} after its "
            f"{channel.closing_event.type!r} event; yield nothing after it, or leave it out: the "
            "stream ends by itself"
        )
    if is_event(item) and item.type != "data":
        channel.keep_closing_event(item)
        return
    channel.note_item()
    buffer = channel.buffer
    while not channel.over:
        if buffer.paused:
            channel.apply_abort()
        elif buffer.put_turn_over:
            await buffer.rest_producer()
        elif len(buffer.items) < buffer.size:
            buffer.send_nowait(item)
            return
        elif channel.options.overflow == "wait":
            await channel.wait_writable()
        elif not await _make_room(channel):
            return
    await checkpoint()
    raise StreamClosedError(
        f"the stream of {channel.request.type!r} from {channel.request.to} is over, and takes no "
        "more items; let this error end the code that makes them"
    )


async def _close_dropped(channel: Channel) -> None:
    """Close the sources that the actor has dropped half-read, in the task that read them."""
    channel.buffer.divert(on=False)
    if channel.task is not None:
        await channel.task.close_dropped()


async def _make_room(channel: Channel) -> bool:
    """Apply the overflow policy; return whether to try again."""
    if channel.rest_is_due():
        await channel.buffer.rest_producer()
        if channel.over or not channel.buffer.full:
            return True
    return channel.make_room()
