"""The task of one producer, for others to cancel it, wait for it, and get its clean-up error.

The task also owns what the actor opened and may leave behind: worker threads, and sources that
it did not read to the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from anyio import CancelScope, Event, get_cancelled_exc_class

from actorstream._context import current_channel
from actorstream._errors import AskCycleError
from actorstream._loop.current_task import is_inside
from actorstream._loop.failures import is_cancellation
from actorstream._loop.runtime import Runtime
from actorstream._message import Message
from actorstream._streams.buffer import Buffer
from actorstream._streams.half_read import HalfRead, Sources
from actorstream._texts import loggable, one_line
from actorstream._wait_graph import Node, Wait, Waiter, find_cycle, refuse_waits, running_node

logger = logging.getLogger("actorstream")


class Reading(Wait):
    """The wait of an actor or a producer for the items of a stream, from time to time."""

    __slots__ = ("_buffer",)

    def __init__(self, reader: Waiter, task: ProducerTask, buffer: Buffer[Any]) -> None:
        super().__init__(reader, task, for_end=True)
        self._buffer = buffer

    @property
    def is_active(self) -> bool:
        """Whether the reader waits for an item."""
        return self._buffer.consumer_waiting

    @property
    def is_behind(self) -> bool:
        """Whether the producer waits for the reader."""
        return self._buffer.producer_waiting

    def refuse(self, path: list[str]) -> bool:
        """Let the reader check again whether its wait can end."""
        self._buffer.wake_consumer()
        return True


class Opening(Wait):
    """The wait of a stream for its actor, which has not started yet."""

    __slots__ = ("_reading",)

    def __init__(self, task: ProducerTask, actor: Node, reading: Reading | None) -> None:
        super().__init__(task, actor)
        self._reading = reading

    def refuse(self, path: list[str]) -> bool:
        """Refuse the wait of the reader."""
        return self._reading is not None and self._reading.refuse(path)


class ProducerTask:
    """The task that runs an actor's code for one stream. A node of the wait-for graph.

    Attributes:
        live: Whether the task is running, clean-up included.
        reading: The wait of its reader, if that is an actor or a producer.
        scope: The cancel scope that it runs in.
    """

    __slots__ = (
        "_cleanup_error",
        "_ended",
        "_is_awaited",
        "_opening",
        "_request",
        "_runtime",
        "_sources",
        "_task_id",
        "_waits",
        "live",
        "reading",
        "scope",
    )

    def __init__(self, request: Message, runtime: Runtime) -> None:
        self.live: bool = True
        self.scope: CancelScope = CancelScope()
        self._request = request
        self.reading: Reading | None = None
        self._opening: Node | None = None
        self._waits: dict[Wait, None] | None = None
        self._task_id = 0
        self._runtime = runtime
        self._is_awaited = False
        self._cleanup_error: BaseException | None = None
        self._ended: Event | None = None
        self._sources: Sources | None = None

    def cancel(self) -> None:
        """Cancel the task; does nothing once it has ended."""
        if self.live:
            self.scope.cancel()

    # As a node of the wait-for graph

    def begin(self) -> None:
        """Note that this task runs now."""
        self._task_id = id(self._runtime.current_task())

    @property
    def label(self) -> str:
        """What an error message about a cycle calls the stream."""
        return f"a stream of {self._request.to.id}"

    @property
    def contains_caller(self) -> bool:
        """Whether the running code is the producer's: in its task, or in a group opened there."""
        if not self.runs_here:
            return False
        return id(self._runtime.current_task()) == self._task_id or is_inside(self.scope)

    def waits(self, *, for_end: bool) -> Iterable[Wait]:
        """Return what must come before the next item, or before the end."""
        waits = list(self._waits or ())
        if self._opening is not None:
            waits.append(Opening(self, self._opening, self.reading))
        if self.reading is not None and self.reading.is_behind and self.reading.waiter is not None:
            waits.append(Wait(self, self.reading.waiter, for_end=True))
        return waits

    def note_waits(self) -> dict[Wait, None]:
        """Return where to note what the running code waits for."""
        if self._waits is None:
            self._waits = {}
        return self._waits

    def note_opening(self, actor: Node | None) -> None:
        """Note the actor that must start first; ``None`` once it has."""
        self._opening = actor

    def note_reader(self, buffer: Buffer[Any]) -> None:
        """Note the actor or producer whose code runs now, if there is one: it reads the stream."""
        reader = running_node()
        if reader is not None:
            self.reading = Reading(reader, self, buffer)
            self.reading.__enter__()

    def forget_reader(self) -> None:
        """Note that the stream is over, and its reader waits no more."""
        reading, self.reading = self.reading, None
        if reading is not None:
            reading.__exit__()

    def check_reader(self, reading: Reading) -> None:
        """Check that a read can end.

        Raises:
            AskCycleError: It would wait for its own reader.
        """
        if reading.waiter is None or not (self._waits or self._opening):
            return
        path = find_cycle(reading.waiter, self, for_end=True)
        if path:
            raise AskCycleError(
                f"this read would deadlock: {' -> '.join(map(one_line, path))}; let a task outside "
                "of the actor read, or use tell() in the stream"
            )

    # What the actor has opened

    @property
    def runs_here(self) -> bool:
        """Whether the task is running, and in the event loop of the code that asks."""
        return self.live and self._runtime.in_loop()

    def open_sources(self, call_reader: Callable[[], object]) -> Sources | None:
        """Return where the actor's worker threads and half-read sources are kept.

        Args:
            call_reader: Makes the task call ``close_dropped()`` soon.
        """
        if not self.runs_here:
            return None
        if self._sources is None:
            self._sources = Sources(self._runtime, call_reader)
        return self._sources

    async def close_dropped(self) -> None:
        """Close the sources that the actor has dropped half-read. For the task itself."""
        if self._sources is not None:
            await self._sources.close_dropped()

    def take_half_read(self) -> tuple[HalfRead, ...]:
        """Return the sources to close, in the order of their opening."""
        return () if self._sources is None else self._sources.take()

    # Ending

    def finish(self) -> None:
        """The task has ended: stop its worker threads, and wake the tasks that wait for it."""
        self.live = False
        if self._sources is not None:
            self._sources.stop_workers()
        if self._ended is not None:
            self._ended.set()

    async def end_left_open(self, error: BaseException | None) -> None:
        """End the task of an actor that has left a scope open in it.

        Args:
            error: What the task raises, unless it is a cancellation.
        """
        is_fatal = error is not None and not is_cancellation(error)
        await self._runtime.end_task(error if is_fatal else None)

    def report(self) -> None:
        """Log a clean-up error, unless ``join()`` returns it."""
        if not self._is_awaited:
            self._log_cleanup_error()

    def fail_cleanup(self, error: BaseException | None) -> None:
        """Keep what the task raised after its stream had ended."""
        self._cleanup_error = error

    def will_be_awaited(self) -> None:
        """``join()`` will be called and return a clean-up error, so do not log it."""
        self._is_awaited = True

    async def wait(self, waiter: Waiter | None = None) -> None:
        """Wait until the task has ended.

        Args:
            waiter: The actor or the producer whose code waits, unless it has noted that already.
        """
        with Wait(waiter, self, for_end=True):
            while self.live:
                if self._ended is None:
                    self._ended = Event()
                await self._ended.wait()

    async def join(self) -> BaseException | None:
        """Wait until the task has ended, shielded, as a task group waits for its tasks.

        The task itself does not wait: an actor may close the stream that it produces.

        Returns:
            What the task raised in its clean-up; only one call gets it.
        """
        self._is_awaited = True
        if self.live and running_task() is not self:
            reader = running_node()
            if reader is not None:
                refuse_waits(self, reader)  # of the clean-up, which may be shielded
            try:
                with Wait(reader, self, for_end=True):
                    await self._wait_shielded()
            except BaseException:
                self._log_cleanup_error()  # the cancellation is raised instead
                self._cleanup_error = None
                raise
        error, self._cleanup_error = self._cleanup_error, None
        return error

    async def _wait_shielded(self) -> None:
        """Wait, then let a cancellation through.

        A shield holds off AnyIO's cancellations, but not those of asyncio itself.
        """
        cancelled: BaseException | None = None
        with CancelScope(shield=True):
            while self.live:
                try:
                    await self.wait()
                except get_cancelled_exc_class() as exc:  # noqa: ASYNC103 - raised below
                    cancelled = exc
        try:
            if cancelled is not None:
                raise cancelled
        finally:
            del cancelled  # break the cycle traceback -> frame -> error

    def _log_cleanup_error(self) -> None:
        if self._cleanup_error is not None:
            logger.error(
                "%s failed during its clean-up, after the end of its stream of %r",
                self._request.to,
                self._request.type,
                exc_info=loggable(self._cleanup_error),
            )


def running_task() -> ProducerTask | None:
    """Return the task of the producer that runs this code, in its event loop."""
    channel = current_channel()
    task: ProducerTask | None = None if channel is None else channel.task
    return task if task is not None and task.runs_here else None
