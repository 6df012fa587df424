"""The life of one stream: from its request, through its buffer, to its one outcome.

An item's way::

    actor's `yield item`              _producer.py takes it from the generator
        -> channel.put(item)          waits while the buffer is full
            -> the buffer             `buffer_size` items at most
                -> channel.take()     waits while the buffer is empty
                    -> `async for`    _stream.py makes an event of it

All of it runs in the event loop's thread, except ``interrupt()`` and ``abandon()``, which
any thread may call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import attrs
from anyio import CancelScope, ClosedResourceError, Event, WouldBlock
from anyio.lowlevel import checkpoint

from actorstream._buffer import Buffer
from actorstream._clock import Clock
from actorstream._limits import Limits, find_early_outcome
from actorstream._message import AsyncStreamMessage, Message, is_event
from actorstream._options import StreamAsyncOptions
from actorstream._outcome import (
    CLOSED,
    Outcome,
    ended,
    failed,
    failed_by_event,
    overflowed,
    router_closed,
)
from actorstream._wakeup import CallSoon

logger = logging.getLogger("actorstream")


@attrs.frozen
class StreamStatistics:
    """A look at one stream.

    Attributes:
        buffered: Items produced and not yet consumed.
        buffer_size: The most that there may be.
        delivered: Items that the consumer has taken.
        dropped: Items lost to an ``overflow`` policy.
        producer_waiting: Whether the producer is blocked on a full buffer.
        consumer_waiting: Whether the consumer is blocked on an empty one.
    """

    buffered: int
    buffer_size: int
    delivered: int
    dropped: int
    producer_waiting: bool
    consumer_waiting: bool


class Channel:
    """One stream, from its start to its end.

    Args:
        request: What the consumer asks, and of whom.
        options: The limits of the stream.
        clock: Runs the timers.
        call_soon: Reaches the event loop from anywhere.

    Attributes:
        scope: The cancel scope of the producer, clean-up included.
        live: Whether the producer's task is running.
        awaited: Whether somebody will see ``cleanup_error``, so that no log need tell.
        cleanup_error: What the producer raised after the stream had ended.
    """

    __slots__ = (
        "__weakref__",
        "_call_soon",
        "_closing_event",
        "_concluded",
        "_left",
        "_limits",
        "_on_left",
        "_outcome",
        "awaited",
        "buffer",
        "cleanup_error",
        "correlation_id",
        "dropped",
        "live",
        "options",
        "request",
        "scope",
    )

    def __init__(
        self, request: Message, options: StreamAsyncOptions, clock: Clock, call_soon: CallSoon
    ) -> None:
        self.request: Message = request
        self.options: StreamAsyncOptions = options
        self.correlation_id: str = request.correlation_id
        self.buffer: Buffer[Any] = Buffer(options.buffer_size)
        self.scope: CancelScope = CancelScope()
        self.live: bool = False
        self.awaited: bool = False
        self.cleanup_error: BaseException | None = None
        self.dropped: int = 0
        self._call_soon = call_soon
        self._closing_event: AsyncStreamMessage[Any] | None = None
        self._concluded = False
        self._left: Event | None = None
        self._outcome: Outcome | None = None
        self._limits = Limits(options, request.to, clock, self.terminate, self.interrupt)
        early = find_early_outcome(options, request.to)
        if early is not None:
            self.terminate(early)

    def __repr__(self) -> str:
        return f"<Channel {self.request.type!r} from {self.request.to}>"

    @property
    def state(self) -> str:
        """Where the stream is in its life, in a few words."""
        if self._concluded:
            return "ended" if not self.live else "ended, producer cleaning up"
        return "ending" if self.over else "open"

    @property
    def over(self) -> bool:
        """Whether the outcome is decided; the consumer may not have come to it yet."""
        return self._outcome is not None

    def statistics(self) -> StreamStatistics:
        """Return how the stream stands."""
        return StreamStatistics(
            buffered=len(self.buffer),
            buffer_size=self.buffer.size,
            delivered=self.buffer.delivered,
            dropped=self.dropped,
            producer_waiting=self.buffer.producers_waiting > 0,
            consumer_waiting=self.buffer.consumer_waiting,
        )

    # The producer's side

    def try_put(self, item: Any) -> bool:
        """Hand a plain item over if that takes no waiting: the fast path of ``put()``."""
        if self._closing_event is not None or type(item) is AsyncStreamMessage:
            return False
        if self._limits.watches_items:
            self._limits.on_item()
        try:
            self.buffer.put_nowait(item)
        except (WouldBlock, ClosedResourceError):
            return False
        return True

    async def put(self, item: Any) -> None:
        """Hand an item over; wait while the buffer is full.

        What the wait raises, a cancellation above all, means that the item was not handed
        over. Once the stream is over, this is a checkpoint and the item is dropped.

        Raises:
            RuntimeError: The actor has yielded its end event already.
        """
        if self._closing_event is not None:
            self._refuse(item, self._closing_event)
        if is_event(item) and item.type != "data":
            self._closing_event = item
            return
        if self._limits.watches_items:
            self._limits.on_item()
        while not self.over:
            try:
                self.buffer.put_nowait(item)
                return
            except (WouldBlock, ClosedResourceError):
                pass
            if not self.over and not await self._make_room():
                return
        await checkpoint()

    async def _make_room(self) -> bool:
        """Do what the overflow policy says; return whether to try again with this item."""
        policy = self.options.overflow
        if policy == "wait" or not self.buffer.full:
            await self._wait_writable()
        elif policy == "fail":
            self.terminate(overflowed(self.request, self.buffer.size))
        else:
            self.dropped += 1
            if policy == "drop_newest":
                await self.buffer.take_turn()
                return False
            self.buffer.drop_oldest()
        return True

    async def _wait_writable(self) -> None:
        if not (self._limits.watches_blocking and self.buffer.full):
            await self.buffer.wait_writable()
            return
        self._limits.on_blocked()
        try:
            await self.buffer.wait_writable()
        finally:
            self._limits.on_unblocked()

    def _refuse(self, item: object, closing: AsyncStreamMessage[Any]) -> NoReturn:
        raise RuntimeError(
            f"{self.request.to} yielded {item!r} after its {closing.type!r} event; "
            "yield nothing after it, or leave it out: the stream ends by itself"
        )

    def enter(self, on_left: Callable[[Channel], object]) -> None:
        """Note that a producer's task runs now; ``on_left`` is called when it is over."""
        self.live = True
        self._on_left = on_left

    def finish(self) -> None:
        """The actor came to its natural end.

        Its own end or error event has been kept until now. So whoever sees the end knows
        that the producer is done, and an actor that forwards a stream of another is never
        stopped between that stream's end event and its end.
        """
        event = self._closing_event
        if self.over:
            return
        if event is not None and event.type == "error":
            self._end(failed_by_event(self.request, event))
        else:
            self._end(ended(event))

    def fail(self, exception: BaseException) -> None:
        """The actor raised: a failure of the stream, or of the clean-up after it."""
        if self.over:
            self.cleanup_error = exception
        else:
            self._end(failed(self.request, exception))

    def leave(self) -> None:
        """The producer's task is over, its clean-up included."""
        self.live = False
        self.terminate(router_closed(self.request.to))  # unless there is a reason already
        self._on_left(self)
        if self._left is not None:
            self._left.set()
        if self.cleanup_error is not None and not self.awaited:
            self._log(logging.ERROR, self.cleanup_error, "in its clean-up, after the end of")

    async def wait_left(self) -> None:
        """Wait until the producer's task is over."""
        while self.live:
            if self._left is None:
                self._left = Event()
            await self._left.wait()

    # The consumer's side

    async def take(self) -> Any:
        """Take the next item; wait while the buffer is empty. Cancelling it loses nothing.

        Raises:
            EndOfStream: The items are over; ``conclude()`` tells how.
        """
        while True:
            if self.buffer.paused:
                self._obey_signal()
            try:
                return self.buffer.take_nowait()
            except WouldBlock:
                await self.buffer.wait_readable()

    def to_event(self, item: Any) -> AsyncStreamMessage[Any]:
        """Make an event of an item, or complete the actor's own."""
        serial = f"{self.request.id}-{self.buffer.delivered + self._concluded:012x}"
        if not is_event(item):
            return AsyncStreamMessage(
                "data",
                item,
                id=serial,
                correlation_id=self.correlation_id,
                sender=self.request.to,
            )
        if item.correlation_id:
            self.correlation_id = item.correlation_id
        return item.completed(serial, self.correlation_id, self.request.to)

    def conclude(self) -> Outcome:
        """Return how the items ended; from now on the stream has just ended."""
        outcome, self._outcome = self._outcome, CLOSED
        self._concluded = True
        assert outcome is not None
        return outcome

    def close(self) -> None:
        """End the stream because its consumer wants no more of it."""
        self.terminate(CLOSED)
        self._concluded = True

    # From anywhere

    def terminate(self, outcome: Outcome) -> None:
        """End the stream from outside: the producer is cancelled, the consumer is woken.

        Does nothing if the consumer has seen an end already. An outcome that discards
        overrides one that is still waiting behind buffered items.
        """
        waiting = self._outcome
        if self._concluded or (waiting and (waiting.discards or not outcome.discards)):
            return
        if waiting is not None and waiting.event is not None and waiting.error is not None:
            self._log(logging.WARNING, waiting.error.__cause__, "unseen by the consumer of")
        self._end(outcome)
        self.scope.cancel()

    def interrupt(self) -> None:
        """Heed an abort: let nothing more be taken, and end the stream soon. Any thread."""
        self.buffer.paused = True
        self._call_soon(self._obey_signal)

    def abandon(self) -> None:
        """Close the stream soon, for its iterator is gone. Any thread."""
        if self._concluded:
            return
        if self.live:
            self._call_soon(self.close)
        else:
            self.close()  # nobody is left who could touch it

    def _obey_signal(self) -> None:
        self.buffer.paused = False
        self._limits.end_by_signal()

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._limits.disarm()
        if outcome.discards:
            self.buffer.discard()
        else:
            self.buffer.close()

    def _log(self, level: int, exception: BaseException | None, when: str) -> None:
        logger.log(
            level, "%s failed %s its stream of %r", self.request.to, when, self.request.type,
            exc_info=exception,
        )  # fmt: skip
