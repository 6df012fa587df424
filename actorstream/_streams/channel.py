"""One stream, from its request, through its buffer, to its one outcome.

The path of an item::

    actor's `yield item`              producer.py takes it from the generator
        -> put(channel, item)         waits while the buffer is full
            -> the buffer             at most `buffer_size` items
                -> channel.take()     waits while the buffer is empty
                    -> `async for`    reader.py makes an event of it

Everything runs in the event loop's thread, except ``abandon()``, which any thread may call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from anyio import BusyResourceError, ClosedResourceError, EndOfStream
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._errors import ActorStreamError, RouterClosedError, StreamConsumedError
from actorstream._lazy_fields import StreamIdentity
from actorstream._loop.runtime import Runtime
from actorstream._loop.timers import Timer
from actorstream._message import AsyncStreamMessage, Message, complete, end_event
from actorstream._options import StreamAsyncOptions, needs_watch
from actorstream._statistics import StreamStatistics, ThreadSafeCounter
from actorstream._streams.outcome import (
    CLOSED,
    ENDED,
    Outcome,
    overflowed,
    router_closed,
    timed_out,
)
from actorstream._streams.pace import SHORT_TURN, PacedBuffer
from actorstream._streams.producer_task import ProducerTask
from actorstream._streams.watchdog import Watchdog

END: Any = object()
"""Marks the end of the items."""


class Channel:
    """One stream, from its start to its end.

    Args:
        request: What the consumer asks for, and from which actor.
        options: The limits of the stream.

    Attributes:
        identity: What the events of the stream share.
        task: The producer's task; ``None`` if the stream was over before it started.
        began: When the stream started, on the event loop's clock.
        dropped: Items lost to the overflow policy.
        concluded: Whether the consumer has reached the end.
        closing_event: The actor's own end or error event, kept until the actor is done, so
            that a consumer that sees the end knows that the producer is done.
    """

    opened_by: ClassVar[str] = "stream_async()"

    __slots__ = (
        "__weakref__",
        "_end_seen",
        "_lost",
        "_on_left",
        "_outcome",
        "_rest_at",
        "_runtime",
        "_timeout",
        "_watchdog",
        "began",
        "buffer",
        "closing_event",
        "concluded",
        "dropped",
        "identity",
        "options",
        "request",
        "task",
    )

    def __init__(self, request: Message, options: StreamAsyncOptions) -> None:
        self.request: Message = request
        self.options: StreamAsyncOptions = options
        self.identity: StreamIdentity = StreamIdentity(
            request.id, request.correlation_id, request.to
        )
        self.buffer: PacedBuffer[Any] = PacedBuffer(options.buffer_size)
        self.task: ProducerTask | None = None
        self.dropped: int = 0
        self._rest_at = SHORT_TURN - 1
        self._lost: ThreadSafeCounter | None = None  # items lost on the way to the loop
        self.closing_event: AsyncStreamMessage[Any] | None = None
        self.concluded: bool = False
        self._end_seen = False
        self._runtime: Runtime | None = None
        self._outcome: Outcome | None = None
        self._watchdog: Watchdog | None = None
        self._timeout: Timer | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.request.type!r} from {self.request.to}>"

    # Properties

    @property
    def live(self) -> bool:
        """Whether the producer's task is running, clean-up included."""
        return self.task is not None and self.task.live

    @property
    def over(self) -> bool:
        """Whether the outcome is decided. The consumer may not have reached it yet."""
        return self._outcome is not None

    @property
    def state(self) -> str:
        """The state of the stream, in words."""
        if self.concluded:
            return "ended" if not self.live else "ended, producer cleaning up"
        return "ending" if self.over else "open"

    def statistics(self) -> StreamStatistics:
        """Return how full the buffer is, who waits, and how many items have passed."""
        return StreamStatistics(
            buffered=self.buffer.fill,
            buffer_size=self.buffer.size,
            delivered=self.buffer.delivered,
            dropped=self.dropped + (0 if self._lost is None else self._lost.value()),
            producer_waiting=self.buffer.producer_waiting,
            consumer_waiting=self.buffer.consumer_waiting,
        )

    # Starting and leaving

    def start(
        self,
        runtime: Runtime,
        on_left: Callable[[Channel], object],
        task: ProducerTask | None = None,
    ) -> None:
        """Start to watch the signal and the time limits; ``task``, if any, is about to run."""
        self.task = task
        self._runtime = runtime
        self._on_left = on_left
        self.began: float = runtime.timers.now()
        options = self.options
        if options.timeout is not None and options.timeout != math.inf:
            self._timeout = runtime.timers.call_at(self.began + options.timeout, self._time_out)
        if needs_watch(options):
            self._watchdog = Watchdog(
                options, self.request.to, self.buffer, runtime, self.terminate
            )

    def leave(self) -> None:
        """The producer's task has ended, clean-up included."""
        if not self.over:
            self.terminate(router_closed(self.request.to))
        self._on_left(self)

    # The producer's side

    def keep_closing_event(self, event: AsyncStreamMessage[Any]) -> None:
        """Keep the actor's own end or error event until the actor is done."""
        self.closing_event = event
        self.buffer.hold()

    def rest_is_due(self) -> bool:
        """Whether a producer that drops items must let other tasks run, once in a turn.

        The rest comes before a drop, so that the consumer finds the items that are kept.
        """
        is_due = self.dropped >= self._rest_at
        if is_due:
            self._rest_at = self.dropped + self.buffer.next_turn()
        return is_due

    def make_room(self) -> bool:
        """Apply an overflow policy other than ``"wait"``; return whether to try again."""
        policy = self.options.overflow
        if policy == "fail":
            self.terminate(overflowed(self.request, self.buffer.size))
            return True
        self.dropped += 1
        if policy == "drop_oldest":
            self.buffer.drop_oldest()
        return policy == "drop_oldest"

    async def wait_writable(self) -> None:
        """Wait until there may be room; this is how backpressure reaches the producer."""
        await (self.buffer if self._watchdog is None else self._watchdog).wait_writable()

    def note_item(self) -> None:
        """The producer has made an item."""
        if self._watchdog is not None:
            self._watchdog.on_item()

    def lost_counter(self) -> ThreadSafeCounter:
        """Return the counter of items that are lost before they reach the event loop."""
        self._lost = self._lost or ThreadSafeCounter()
        return self._lost

    def rename(self, correlation_id: str) -> None:
        """Give later events another correlation id, unless it is empty."""
        self.identity = self.identity.after(None, correlation_id)

    # The consumer's side

    def check_loop(self) -> None:
        """Raise ``RouterClosedError`` in another event loop, unless all is over."""
        if self._runtime is not None and (self.live or not self.concluded):
            self._runtime.check_loop()

    async def take(self) -> Any:
        """Take the next item; wait while the buffer is empty. The slow path of the consumer.

        Cancelling it loses nothing.

        Returns:
            The item, or ``END`` when there are no more.

        Raises:
            StreamConsumedError: Another task is waiting for an item.
            RouterClosedError: This is another event loop.
        """
        if self._runtime is not None and not self._runtime.in_loop():
            self.check_loop()
        buffer = self.buffer
        while True:
            if buffer.paused:
                self.apply_abort()
            if buffer.take_turn_over:
                await buffer.rest()
            try:
                if buffer.items or buffer.ended or buffer.reserve:
                    return buffer.receive_nowait()
                if self.task is not None and self.task.reading is not None:
                    self.task.check_reader(self.task.reading)
                await buffer.wait_readable()
            except (EndOfStream, ClosedResourceError):
                if not self._end_seen:
                    await self._see_end()
                return END
            except BusyResourceError:
                raise StreamConsumedError(
                    "two tasks read the same stream at once; let one task read it, or call "
                    f"{self.opened_by} once for each"
                ) from None

    async def _see_end(self) -> None:
        """Let a cancellation go first, once: what cancelled the router may cancel this, too."""
        self._end_seen = True
        if self._outcome is not None and isinstance(self._outcome.error, RouterClosedError):
            await checkpoint_if_cancelled()

    def complete(self, event: AsyncStreamMessage[Any], number: int) -> AsyncStreamMessage[Any]:
        """Fill in what the actor left out of its own event."""
        completed, self.identity = complete(event, self.identity, number)
        return completed

    def take_closing_event(self) -> AsyncStreamMessage[Any] | None:
        """Return the event that closes the stream, once. The consumer has reached the end."""
        outcome = self._conclude()
        number = self.buffer.delivered + 1
        if outcome is ENDED:
            self._outcome = CLOSED
            return end_event(self.identity, number)
        if outcome.event is None:
            return None
        self._outcome = attrs.evolve(outcome, event=None)
        return self.complete(outcome.event, number)

    def take_closing_error(self) -> ActorStreamError | None:
        """Return the error that ended the stream, once. The consumer has reached the end."""
        outcome = self._conclude()
        self._outcome = CLOSED
        return outcome.error

    def _conclude(self) -> Outcome:
        self.concluded = True
        if self._watchdog is not None:
            self._watchdog.detach()
        assert self._outcome is not None
        return self._outcome

    def close(self) -> None:
        """End the stream because its consumer is done with it."""
        self.terminate(CLOSED)
        self.take_closing_error()

    # Ending

    def terminate(self, outcome: Outcome) -> None:
        """End the stream from outside: cancel the producer, wake the consumer.

        Does nothing if the consumer has reached the end already. An outcome that discards
        overrides one that still waits behind buffered items.
        """
        if self._watchdog is not None:  # an earlier abort may not have arrived yet
            outcome = self._watchdog.find_abort() or outcome
        waiting = self._outcome
        if self.concluded or (waiting and not outcome.overrides(waiting)):
            return
        if waiting is not None:
            waiting.log_unseen(self.request)
        self.end(outcome)
        if self.task is not None:
            self.task.cancel()

    def abandon(self) -> None:
        """Close the stream soon, because its iterator is gone. Any thread may call this."""
        if self.concluded:
            return
        if self._watchdog is not None:
            self._watchdog.forget_signal()  # now, since the event loop may be gone
        if self._runtime is None:  # over before it started
            self.close()
        else:
            self._runtime.call_soon(self.close)

    def apply_abort(self) -> None:
        """End the stream with its signal's reason: an abort has paused the buffer."""
        if self._watchdog is not None:
            self._watchdog.apply_abort()

    def end(self, outcome: Outcome) -> None:
        """Decide the outcome. The producer, if it is live, is not cancelled."""
        self._outcome = outcome
        if self.task is not None:
            self.task.forget_reader()
        if self._timeout is not None:
            self._timeout.cancel()
        if self._watchdog is not None:
            self._watchdog.stop_timers()
        if outcome.discards:
            self.buffer.close()
        else:
            self.buffer.end()

    def _time_out(self) -> None:
        self.terminate(timed_out("total", self.options, self.request.to))
