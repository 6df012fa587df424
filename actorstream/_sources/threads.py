"""A blocking iterable as a source, fetched in one worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, Self, TypeVar, cast

from anyio import CancelScope, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._kinds import is_awaitable
from actorstream._loop.wakeup import current_call_soon
from actorstream._loop.worker import ThreadCall, WorkerThread
from actorstream._sources.iterables import NoStopIteration
from actorstream._streams.half_read import Droppable, Way, closer_of, current_sources
from actorstream._texts import repr_of

T = TypeVar("T")

_EXHAUSTED: Any = object()


class ThreadSource(Droppable, Generic[T]):
    """The items of a blocking iterable, all fetched in one worker thread and one context.

    One item is fetched at a time, and only when it is asked for, so the thread is never
    ahead of the stream's buffer. A fetch goes on when its reader is cancelled, and the next
    reader gets its item. The end of the source cancels it, as far as its code asks AnyIO for that.

    The thread belongs to the stream or the actor for which the source is read first, and stops
    with it. Where there is neither, each fetch runs in any free thread.
    """

    def __init__(self, iterable: Iterable[T]) -> None:
        self._iterable = iterable
        self._iterator: Iterator[T] | None = None
        self._is_over = False
        self._worker: WorkerThread | None = None
        self._fetch_left: ThreadCall | None = None  # its reader was cancelled
        self._context: Context | None = None  # of the fetches without a worker

    def __repr__(self) -> str:
        return f"<ThreadSource of {repr_of(self._iterable)}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._is_over:
            raise StopAsyncIteration
        with NoStopIteration():
            item = await self._next()
        if item is _EXHAUSTED:
            self._stop()
            raise StopAsyncIteration
        return cast("T", item)

    @property
    def way_to_close(self) -> Way:
        """In a task: its thread may be busy."""
        return "in a task"

    async def aclose(self) -> None:
        """Close the iterator and the iterable in their thread; shielded from cancellation.

        Raises:
            Exception: What the fetch raised that no task waits for any more.
        """
        if self._is_over:
            return
        try:
            with CancelScope(shield=True):
                try:
                    await self._end_fetch()
                finally:
                    await self._close_all()  # noqa: ASYNC102 - shielded above
        finally:
            self._stop()

    async def _next(self) -> object:
        await checkpoint_if_cancelled()
        fetch, self._fetch_left = self._fetch_left, None
        worker = self._find_worker()
        if fetch is None and worker is None:
            return await self._fetch_anywhere()
        if fetch is None:
            assert worker is not None
            fetch = worker.submit(self._fetch)
        try:
            await fetch.wait()
        except BaseException:
            self._fetch_left = fetch
            raise
        return fetch.result()

    def _find_worker(self) -> WorkerThread | None:
        if self._worker is None or self._worker.gone:
            sources = current_sources()
            self._worker = None if sources is None else sources.open_worker()
        return self._worker

    async def _fetch_anywhere(self) -> object:
        """Fetch in any free thread. A reader that asyncio itself cancels leaves the fetch."""
        fetch = ThreadCall(self._fetch)
        try:
            await to_thread.run_sync(self._run, partial(fetch.make, current_call_soon()))
        except BaseException:
            if not fetch.give_up():
                self._fetch_left = fetch
            raise
        return fetch.result()

    def _fetch(self) -> object:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        return next(self._iterator, _EXHAUSTED)

    async def _end_fetch(self) -> None:
        """Cancel a fetch that is left, wait for it, and raise its failure."""
        fetch, self._fetch_left = self._fetch_left, None
        if fetch is None:
            return
        if self._worker is None:
            await fetch.wait()
        else:
            await self._worker.cancel(fetch)
        fetch.raise_failure()

    async def _close_all(self) -> None:
        try:
            await self._close(self._iterator)
        finally:
            if self._iterable is not self._iterator:
                await self._close(self._iterable)  # noqa: ASYNC102 - the caller shields it

    async def _close(self, source: object) -> None:
        closer = closer_of(source)
        if closer is not None:
            result = await self._call(closer)
            if is_awaitable(result):
                await result

    async def _call(self, call: Callable[[], Any]) -> Any:
        if self._worker is None or self._worker.gone:
            return await to_thread.run_sync(self._run, call)
        self._worker.shield()
        return await self._worker.call(call)

    def _run(self, call: Callable[[], Any]) -> Any:
        """Make a call in a thread without a worker, in the context of the first one."""
        if self._context is None:
            self._context = copy_context()
        return self._context.run(call)

    def _stop(self) -> None:
        self._is_over = True
        self._fetch_left = self._context = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
