"""A blocking iterable as a source, fetched in one worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar, cast

from anyio import CancelScope, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._loop.worker import ThreadCall, WorkerThread
from actorstream._sources.iterables import NoStopIteration
from actorstream._streams.producer_task import running_task

T = TypeVar("T")

_EXHAUSTED: Any = object()


class ThreadSource(Generic[T]):
    """The items of a blocking iterable, all fetched in one worker thread.

    One item is fetched at a time, and only when it is asked for, so the thread is never
    ahead of the stream's buffer. A fetch cannot be interrupted: a cancellation takes effect
    when it returns. The thread belongs to the producer that reads first, and stops with it.
    Outside of a producer, no task can keep a thread, and each fetch runs in any free one.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[T] | None = None
        self._worker: WorkerThread | None = None
        self._thread_call: ThreadCall | None = None  # a fetch whose reader was cancelled by asyncio

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            with NoStopIteration():
                item = await self._next()
        except Exception:
            self._stop()
            raise
        if item is _EXHAUSTED:
            self._stop()
            raise StopAsyncIteration
        return cast("T", item)

    async def aclose(self) -> None:
        """Close the iterator in its thread, if it is a generator; shielded from cancellation."""
        try:
            with CancelScope(shield=True):
                if self._thread_call is not None:
                    await self._thread_call.wait()
                close: Callable[[], object] | None = getattr(self._iterator, "close", None)
                if close is not None:
                    await self._close(close)
        finally:
            self._stop()

    async def _close(self, close: Callable[[], object]) -> None:
        if self._worker is None or self._worker.gone:
            await to_thread.run_sync(close)
        else:
            await self._worker.call(close)

    async def _next(self) -> object:
        await checkpoint_if_cancelled()  # the wait for the thread is shielded
        thread_call, self._thread_call = self._thread_call, None
        if thread_call is None:
            worker = self._find_worker()
            if worker is None:
                return await to_thread.run_sync(self._fetch)
            thread_call = worker.submit(self._fetch)
        try:
            await thread_call.wait()
        except BaseException:
            self._thread_call = thread_call  # keep its item for the next reader
            raise
        return thread_call.result()

    def _find_worker(self) -> WorkerThread | None:
        if self._worker is None or self._worker.gone:
            task = running_task()
            self._worker = None if task is None else task.open_worker()
        return self._worker

    def _fetch(self) -> object:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, _EXHAUSTED)

    def _stop(self) -> None:
        self._iterator = None  # it has ended, and need not be closed again
        self._thread_call = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
