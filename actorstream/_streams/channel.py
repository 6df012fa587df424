"""The life of one stream: from its request, through its buffer, to its one outcome.

An item's way::

    actor's `yield item`              _streams/producer.py takes it from the generator
        -> channel.put(item)          waits while the buffer is full
            -> the buffer             `buffer_size` items at most
                -> channel.take()     waits while the buffer is empty
                    -> `async for`    _streams/stream.py makes an event of it

All of it runs in the event loop's thread, except ``interrupt()`` and ``abandon()``, which
any thread may call.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, NoReturn, Protocol

from anyio import (
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    current_effective_deadline,
    current_time,
)
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from actorstream._context import current_channel
from actorstream._errors import (
    ActorStreamError,
    RouterClosedError,
    StreamConsumedError,
    StreamingNotSupportedError,
)
from actorstream._loop.timers import Timer, Timers
from actorstream._loop.wakeup import Callback, CallSoon
from actorstream._loop.worker import WorkerThread
from actorstream._message import (
    AsyncStreamMessage,
    Message,
    StreamIdentity,
    complete,
    end_event,
    own_id_of,
)
from actorstream._options import StreamAsyncOptions, needs_watch
from actorstream._statistics import StreamStatistics, ThreadSafeCounter
from actorstream._streams.buffer import TURN, Buffer
from actorstream._streams.outcome import (
    CLOSED,
    ENDED,
    Outcome,
    ended_by_event,
    failed,
    failed_by_event,
    overflowed,
    router_closed,
    timed_out,
    unsupported,
)
from actorstream._streams.watchdog import Watchdog

END: Any = object()
"""What is taken from a stream that is over."""

logger = logging.getLogger("actorstream")


Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


class Closeable(Protocol):
    """Something half-read that wants to be closed."""

    async def aclose(self) -> None: ...


def _call_now(callback: Callback) -> None:
    """Stands in for ``call_soon`` before there is a producer, when nothing is shared yet."""
    callback()


class Channel:
    """One stream, from its start to its end.

    Args:
        request: What the consumer asks, and of whom.
        options: The watchdog of the stream.

    Attributes:
        began: When, on the event loop's timers.
        scope: The cancel scope of the producer, clean-up included.
        live: Whether the producer's task is running.
        awaited: Whether somebody will see ``cleanup_error``, so that no log need tell.
        lost: Items lost on their way here, outside of the event loop's thread, if any.
        half_read: Sources that the actor has opened and not read to their end, if any.
        cleanup_error: What the producer raised after the stream had ended.
    """

    opened_by: ClassVar[str] = "stream_async()"

    __slots__ = (
        "__weakref__",
        "_call_soon",
        "_closing_event",
        "_concluded",
        "_left",
        "_on_left",
        "_outcome",
        "_router_heeded",
        "_total",
        "_watchdog",
        "_workers",
        "awaited",
        "began",
        "buffer",
        "cleanup_error",
        "dropped",
        "half_read",
        "identity",
        "live",
        "lost",
        "options",
        "request",
        "scope",
        "spawn",
    )

    def __init__(self, request: Message, options: StreamAsyncOptions) -> None:
        self.request: Message = request
        self.options: StreamAsyncOptions = options
        self.identity: StreamIdentity = StreamIdentity(
            request.id, request.correlation_id, request.to
        )
        self.buffer: Buffer[Any] = Buffer(options.buffer_size)
        self.scope: CancelScope = CancelScope()
        self.live: bool = False
        self.awaited: bool = False
        self.cleanup_error: BaseException | None = None
        self.dropped: int = 0
        self.lost: ThreadSafeCounter | None = None
        self._closing_event: AsyncStreamMessage[Any] | None = None
        self._concluded = False
        self._router_heeded = False
        self._call_soon: CallSoon = _call_now
        self._left: Event | None = None
        self._outcome: Outcome | None = None
        self._watchdog: Watchdog | None = None
        self._total: Timer | None = None
        self._workers: dict[WorkerThread, None] | None = None
        self.half_read: dict[Closeable, None] | None = None

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
            buffered=self.buffer.fill,
            buffer_size=self.buffer.size,
            delivered=self.buffer.delivered,
            dropped=self.dropped + (0 if self.lost is None else self.lost.value()),
            producer_waiting=self.buffer.producer_waiting,
            consumer_waiting=self.buffer.consumer_waiting,
        )

    # The producer's side

    async def put(self, item: Any) -> None:
        """Hand an item over; wait while the buffer is full. The slow path of the producer.

        What the wait raises, a cancellation above all, means that the item was not handed
        over. Once the stream is over, this is a checkpoint and the item is dropped.

        Raises:
            RuntimeError: The actor has yielded its end event already.
        """
        if self._closing_event is not None:
            await checkpoint()  # for the others' sake, should the actor go on and on
            self._refuse(item, self._closing_event)
        if type(item) is AsyncStreamMessage and item.type != "data":
            self._closing_event = item
            self.buffer.hold()
            return
        self.note_item()
        buffer = self.buffer
        while self._outcome is None:
            if buffer.paused:
                self._obey_signal()
            elif buffer.put_turn_over:
                await buffer.rest()
            elif len(buffer.items) < buffer.size:
                buffer.send_nowait(item)
                return
            elif self.options.overflow == "wait":
                await (buffer if self._watchdog is None else self).wait_writable()
            elif not await self._make_room():
                return
        await checkpoint()

    def note_item(self) -> None:
        """The producer has made an item: time begins anew for those who count it."""
        watchdog = self._watchdog
        if watchdog is not None and watchdog.watches_items:
            watchdog.on_item()
            if not watchdog.watches_items:
                self.buffer.release()

    async def _make_room(self) -> bool:
        """Do as the policy says, which is not to wait; return whether to try again."""
        again = self.make_room_nowait()
        if self.dropped and self.dropped % TURN == 0:  # it never has to wait for room
            await self.buffer.rest()
        return again

    def make_room_nowait(self) -> bool:
        """Do as the policy says, which is not to wait; return whether to try again."""
        policy = self.options.overflow
        if policy == "fail":
            self.terminate(overflowed(self.request, self.buffer.size))
            return True
        self.dropped += 1
        if policy == "drop_oldest":
            self.buffer.drop_oldest()
        return policy == "drop_oldest"

    async def wait_writable(self) -> None:
        """Wait until it is worth trying to put again: the consumer holds the producer up."""
        watchdog = self._watchdog
        if watchdog is None or not watchdog.watches_blocking:
            await self.buffer.wait_writable()
            return
        watchdog.on_blocked()
        try:
            await self.buffer.wait_writable()
        finally:
            if not self.buffer.producer_waiting:
                watchdog.on_unblocked()

    def _refuse(self, item: object, closing: AsyncStreamMessage[Any]) -> NoReturn:
        raise RuntimeError(
            f"{self.request.to} yielded {item!r} after its {closing.type!r} event; "
            "yield nothing after it, or leave it out: the stream ends by itself"
        )

    def enter(
        self,
        timers: Timers,
        call_soon: CallSoon,
        spawn: Spawn,
        on_left: Callable[[Channel], object],
    ) -> None:
        """Note that a producer's task is about to run.

        Args:
            timers: Runs the timers.
            call_soon: Reaches the event loop from anywhere.
            spawn: Starts a task beside the producer's, which is to end it.
            on_left: Called when the task is over.
        """
        self.live = True
        self.spawn: Spawn = spawn
        self._on_left = on_left
        self.watch(timers, call_soon)

    def watch(self, timers: Timers, call_soon: CallSoon) -> None:
        """Begin to heed the signal and the time watchdog."""
        self._call_soon = call_soon
        self.began: float = current_time()
        options = self.options
        if options.timeout is not None and options.timeout != math.inf:
            self._total = timers.call_at(self.began + options.timeout, self._time_out)
        if needs_watch(options):
            watchdog = Watchdog(options, self.request.to, timers, self.terminate, self.interrupt)
            self._watchdog = watchdog
            if watchdog.watches_items:
                self.buffer.hold()

    def open_worker(self) -> WorkerThread:
        """Start a worker thread; it is let go when the producer leaves, if not before."""
        if self._workers is None:
            self._workers = {}
        worker = WorkerThread(self._workers)
        self.spawn(worker.serve)
        return worker

    def finish(self) -> None:
        """The actor came to its natural end.

        Its own end or error event has been kept until now. So whoever sees the end knows
        that the producer is done, and an actor that forwards a stream of another is never
        stopped between that stream's end event and its end.
        """
        event = self._closing_event
        if event is None:
            self._settle(ENDED)
        elif event.type == "end":
            self._settle(ended_by_event(event))
        else:
            self._settle(failed_by_event(self.request, event))

    def fail(self, exception: BaseException) -> None:
        """The actor raised: a failure of the stream, or of the clean-up after it."""
        self._settle(failed(self.request, exception))

    def fail_unsupported(self, error: StreamingNotSupportedError) -> None:
        """The actor gave nothing that could be streamed."""
        self._settle(unsupported(error))

    def _settle(self, outcome: Outcome) -> None:
        if self.over:
            self.cleanup_error = outcome.error and (outcome.error.__cause__ or outcome.error)
        elif current_effective_deadline() == -math.inf:
            self._end(router_closed(self.request.to))  # it was cancelled, and took it well
            self._settle(outcome)
        else:
            self._end(outcome)

    def leave(self) -> None:
        """The producer's task is over, its clean-up included."""
        self.live = False
        for worker in list(self._workers or ()):
            worker.stop()  # its source may be half-read, and in other hands
        self.terminate(router_closed(self.request.to))  # unless there is a reason already
        self._on_left(self)
        if self._left is not None:
            self._left.set()
        if not self.awaited:
            self.log_cleanup_error()

    def log_cleanup_error(self) -> None:
        """Log what the producer raised after the stream had ended, as nobody else tells of it."""
        if self.cleanup_error is not None:
            self._log(logging.ERROR, self.cleanup_error, "in its clean-up, after the end of")

    async def wait_left(self) -> None:
        """Wait until the producer's task is over."""
        while self.live:
            if self._left is None:
                self._left = Event()
            await self._left.wait()

    # The consumer's side

    async def take(self) -> Any:
        """Take the next item; wait while the buffer is empty. The slow path of the consumer.

        Cancelling it loses nothing.

        Returns:
            The item, or ``END`` where there are no more.

        Raises:
            StreamConsumedError: Another task is waiting for an item.
        """
        buffer = self.buffer
        while True:
            if buffer.paused:
                self._obey_signal()
            if buffer.take_turn_over:
                await buffer.rest()
            try:
                if buffer.items or buffer.ended or buffer.reserve:
                    return buffer.receive_nowait()
                await buffer.wait_readable()
            except (EndOfStream, ClosedResourceError):
                if not self._router_heeded:
                    await self._heed_the_routers_end()
                return END
            except BusyResourceError:
                raise StreamConsumedError(
                    "two tasks read the same stream at once; let one task read it, or call "
                    f"{self.opened_by} once for each"
                ) from None

    async def _heed_the_routers_end(self) -> None:
        """Let a cancellation go first, once: what ended the router may be around this, too."""
        self._router_heeded = True
        if self._outcome is not None and isinstance(self._outcome.error, RouterClosedError):
            await checkpoint_if_cancelled()

    def complete(self, event: AsyncStreamMessage[Any], number: int) -> AsyncStreamMessage[Any]:
        """Fill in what the actor left out of its own event.

        A correlation id in its first event becomes that of the stream. An event that came out
        of another stream becomes one of this stream.
        """
        own_id = own_id_of(event)
        first_of_its_own = number == 1 and event.identity is None
        self.identity = self.identity.after(
            own_id, event.correlation_id if first_of_its_own else ""
        )
        return complete(event, self.identity, number, own_id)

    def take_closing_event(self) -> AsyncStreamMessage[Any] | None:
        """Return the event that closes the stream, once. The consumer has seen an end."""
        outcome = self._conclude()
        number = self.buffer.delivered + 1
        if outcome is ENDED:
            self._outcome = CLOSED
            return end_event(self.identity, number)
        event, outcome.event = outcome.event, None
        return event and self.complete(event, number)

    def take_closing_error(self) -> ActorStreamError | None:
        """Return the error that ended the stream, once. The consumer has seen an end."""
        outcome = self._conclude()
        self._outcome = CLOSED
        return outcome.error

    def _conclude(self) -> Outcome:
        self._concluded = True
        if self._watchdog is not None:
            self._watchdog.detach()
        assert self._outcome is not None
        return self._outcome

    def close(self) -> None:
        """End the stream because its consumer wants no more of it."""
        self.terminate(CLOSED)
        self._conclude()
        self._outcome = CLOSED

    # From anywhere

    def terminate(self, outcome: Outcome) -> None:
        """End the stream from outside: the producer is cancelled, the consumer is woken.

        Does nothing if the consumer has seen an end already. An outcome that discards
        overrides one that is still waiting behind buffered items.
        """
        if self._watchdog is not None:  # an abort that came first may be on its way
            outcome = self._watchdog.find_abort() or outcome
        waiting = self._outcome
        if self._concluded or (waiting and (waiting.discards or not outcome.discards)):
            return
        if waiting is not None and waiting.event is not None and waiting.error is not None:
            self._log(logging.WARNING, waiting.error.__cause__, "unseen by the consumer of")
        self._end(outcome)
        if self.live:
            self.scope.cancel()

    def interrupt(self) -> None:
        """Heed an abort: let nothing more pass, and end the stream soon. Any thread."""
        self.buffer.pause()
        self._call_soon(self._obey_signal)

    def abandon(self) -> None:
        """Close the stream soon, for its iterator is gone. Any thread."""
        if self._concluded:
            return
        if self._watchdog is not None:
            self._watchdog.forget_signal()  # at once, for the event loop may be gone
        self._call_soon(self.close)

    def _obey_signal(self) -> None:
        assert self._watchdog is not None  # it is what calls interrupt()
        self.buffer.resume()
        self._watchdog.end_by_signal()

    def _end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        if self._total is not None:
            self._total.cancel()
        if self._watchdog is not None:
            self._watchdog.stop_timers()
        if outcome.discards:
            self.buffer.close()
        else:
            self.buffer.end()

    def _time_out(self) -> None:
        self.terminate(timed_out("total", self.options, self.request.to))

    def _log(self, level: int, exception: BaseException | None, when: str) -> None:
        logger.log(
            level, "%s failed %s its stream of %r", self.request.to, when, self.request.type,
            exc_info=exception,
        )  # fmt: skip


def running_channel() -> Channel | None:
    """Return the channel of the producer that this code runs for, while that runs."""
    channel = current_channel.get()
    return channel if channel is not None and channel.live else None
