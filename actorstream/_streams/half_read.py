"""What running code has opened and may leave behind: worker threads, and sources read in part.

An ``async for`` does not close what it iterates. So each source that an actor reads has an owner,
the stream or the actor that the code works for. A source is closed when its reader drops it, and
when its owner ends.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Literal, cast

from anyio import CancelScope, Event

from actorstream._context import current_cell, current_channel
from actorstream._kinds import is_a, is_awaitable
from actorstream._loop.failures import split_failure
from actorstream._loop.interrupts import interruptible
from actorstream._loop.runtime import Runtime, check_room
from actorstream._loop.worker import WorkerThread
from actorstream._texts import loggable, repr_of

logger = logging.getLogger("actorstream")

Way = Literal["at once", "in a task", "by its reader"]
"""How to close a source that is dropped.

``"by its reader"``: in the task that reads it, since an async generator may hold cancel scopes.
"""


class Droppable(ABC):
    """A source of the library's own, which knows how it can be closed."""

    @property
    @abstractmethod
    def way_to_close(self) -> Way:
        """How to close the source when it is dropped."""

    def close_at_once(self) -> None:  # noqa: B027 - only for a source with that way
        """Close the source without waiting, if that is its way."""


def way_to_close(source: object) -> Way:
    """Return how to close a source when it is dropped."""
    return source.way_to_close if is_a(source, Droppable) else "by its reader"


def closer_of(source: object) -> Callable[[], Any] | None:
    """Return the method that closes a source, if it has one; the result may be awaitable."""
    closer: Callable[[], Any] | None = getattr(source, "aclose", None)
    return getattr(source, "close", None) if closer is None else closer


@interruptible
async def close(source: object) -> None:
    """Close a source, if it can be closed."""
    closer = closer_of(source)
    if closer is not None:
        result = closer()
        if is_awaitable(result):
            await result


async def close_and_log(
    source: object, on_failure: Callable[[object, BaseException], object] | None = None
) -> None:
    """Close a source; log a failure, since its reader is gone or has failed."""
    try:
        await close(source)
    except BaseException as exc:  # noqa: ASYNC103 - logged, or raised again
        failure, rest = split_failure(exc)
        if failure is not None:
            (on_failure or log_failure)(source, failure)
        del failure  # break the cycle traceback -> frame -> error
        try:
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - the failure is logged
        finally:
            del rest


def log_failure(source: object, failure: BaseException) -> None:
    """Log that a source failed to close."""
    logger.error("%s, left half-read, failed to close", repr_of(source), exc_info=loggable(failure))


class HalfRead:
    """A source that is being read. Its reader may drop it at any item.

    Attributes:
        outlived: Whether the owner has ended, and so has closed the source.
        way: How to close the source when it is dropped.
    """

    __slots__ = ("_closed", "_context", "_failure", "_owner", "_source", "outlived", "way")

    def __init__(self, source: object, owner: Sources) -> None:
        self.way: Way = way_to_close(source)
        self.outlived: bool = False
        self._source = source
        self._owner = owner
        self._closed: Event | None = None  # set while a task closes the source
        self._failure: BaseException | None = None  # of that task, for the owner that waits for it
        self._context: Context | None = None if self.way == "at once" else copy_context()

    def release(self) -> None:
        """Forget the source: it has ended, or has been closed."""
        self._owner.release(self)

    def note_outlived(self) -> None:
        """Note that the owner has ended."""
        self.outlived = True

    def drop(self) -> None:
        """Close the source soon, since its reader is gone. Any thread may call this."""
        self._owner.runtime.run_in_loop(partial(self._owner.drop, self))

    async def aclose(self) -> None:
        """Close the source, or wait until the task that does so has ended."""
        if self._closed is None:
            await close(self._source)
            return
        with CancelScope(shield=True):
            await self._closed.wait()
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # break the cycle traceback -> frame -> error

    def close_now(self) -> None:
        """Close a source whose closing does not wait; log a failure."""
        try:
            if is_a(self._source, Droppable):
                self._source.close_at_once()
        except Exception as exc:
            log_failure(self._source, exc)

    def start_closing(self) -> None:
        """Start a task that closes the source."""
        if self._closed is None:
            assert self._context is not None
            self._closed = Event()
            start = self._owner.runtime.start_soon
            self._context.run(partial(start, self._close_in_task, undo=self._note_closed))

    async def _close_in_task(self) -> None:
        try:
            await close_and_log(self._source, self._keep_failure)
        finally:
            self._note_closed()

    def _note_closed(self) -> None:
        assert self._closed is not None
        self._closed.set()
        self.release()

    def _keep_failure(self, source: object, failure: BaseException) -> None:
        """Keep a failure for the owner if it has ended, and waits for this; else log it."""
        if self.outlived:
            self._failure = failure
        else:
            log_failure(source, failure)

    async def close_and_log(self) -> None:
        """Close the source; log a failure."""
        await close_and_log(self._source)

    async def wait_closed(self) -> None:
        """Wait for the task that closes the source, and log its failure."""
        if self._closed is not None:
            await self._closed.wait()
        if self._failure is not None:
            log_failure(self._source, self._failure)
            self._failure = None


class Sources:
    """The sources and worker threads of one owner.

    Args:
        runtime: Where their tasks run.
        call_reader: Makes the owner's task call ``close_dropped()`` soon. Without it, a task of its
            own closes each source that is dropped.
    """

    __slots__ = ("_call_reader", "_dropped", "_open", "_workers", "runtime")

    def __init__(self, runtime: Runtime, call_reader: Callable[[], object] | None = None) -> None:
        self.runtime: Runtime = runtime
        self._call_reader = call_reader
        self._open: dict[HalfRead, None] = {}
        self._dropped: list[HalfRead] = []
        self._workers: dict[WorkerThread, None] = {}

    def open_worker(self) -> WorkerThread:
        """Start a worker thread, which is stopped with its owner at the latest."""
        check_room()
        worker = WorkerThread(self._workers)
        self.runtime.start_soon(worker.serve, undo=worker.abandon)
        return worker

    def adopt(self, source: object) -> HalfRead:
        """Close a source when it is dropped, or with the owner, unless it is released before."""
        half_read = HalfRead(source, self)
        self._open[half_read] = None
        return half_read

    def release(self, half_read: HalfRead) -> None:
        """Forget a source that has ended or is closed already."""
        self._open.pop(half_read, None)

    def drop(self, half_read: HalfRead) -> None:
        """Close a source whose reader is gone, unless the owner has closed it."""
        if half_read not in self._open:
            return
        if half_read.way == "at once":
            self.release(half_read)
            half_read.close_now()
        elif half_read.way == "in a task" or self._call_reader is None:
            half_read.start_closing()
        else:
            self._dropped.append(half_read)
            self._call_reader()

    async def close_dropped(self) -> None:
        """Close the dropped sources that wait for their reader's task, which calls this."""
        while self._dropped:
            half_read = self._dropped.pop()
            self.release(half_read)
            await half_read.close_and_log()

    def take(self) -> tuple[HalfRead, ...]:
        """Return the sources to close with their owner, in the order of their opening."""
        half_read, self._open = tuple(self._open), {}
        self._dropped.clear()
        for source in half_read:
            source.note_outlived()
        return half_read

    async def close(self) -> None:
        """Close all sources with their owner. Failures are logged; a cancellation ends the wait."""
        try:
            half_read = self.take()
            for source in half_read:
                if source.way == "in a task":
                    source.start_closing()
            for source in reversed(half_read):
                if source.way != "in a task":
                    await source.close_and_log()
            for source in half_read:
                await source.wait_closed()
        finally:
            self.stop_workers()

    def stop_workers(self) -> None:
        """Stop the worker threads: another task may still hold their sources."""
        for worker in list(self._workers):
            worker.stop()


async def close_all(sources: Sequence[HalfRead]) -> None:
    """Close the sources that a stream left half-read: an ``async for`` does not close them.

    All are closed, the last one first. Then the first exception is raised, and others are logged.
    """
    # An AsyncExitStack sets `__context__`, which an exception of a frozen class refuses.
    error: BaseException | None = None
    for source in reversed(sources):
        try:
            await source.aclose()
        except BaseException as exc:  # noqa: ASYNC103 - raised below, or logged
            if error is None:
                error = exc
            elif is_a(exc, Exception):
                logger.exception(
                    "a source that was left half-read failed to close", exc_info=loggable(exc)
                )
    try:
        if error is not None:
            raise error
    finally:
        del error  # break the cycle traceback -> frame -> error


def current_sources() -> Sources | None:
    """Return what owns the sources that the running code reads, if anything does.

    Code that runs in another event loop than the actor, as in a thread of it, has no owner.
    """
    channel = current_channel()
    if channel is not None:
        task = channel.task
        made = None if task is None else task.open_sources(channel.buffer.divert)
        return cast("Sources | None", made)
    cell = current_cell()
    return None if cell is None else cast("Sources | None", cell.behavior.open_sources())
