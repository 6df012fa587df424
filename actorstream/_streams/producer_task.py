"""The task of one producer, for others to cancel it, wait for it, and get its clean-up error.

The task also owns what the actor opened and may leave behind: worker threads, and sources that
it did not read to the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from anyio import CancelScope, Event, get_cancelled_exc_class

from actorstream._context import current_channel
from actorstream._loop.failures import is_cancellation
from actorstream._loop.runtime import Runtime
from actorstream._message import Message
from actorstream._streams.half_read import HalfRead, Sources

logger = logging.getLogger("actorstream")


class ProducerTask:
    """The task that runs an actor's code for one stream.

    Attributes:
        live: Whether the task is running, clean-up included.
        scope: The cancel scope that it runs in.
    """

    __slots__ = (
        "_cleanup_error",
        "_ended",
        "_is_awaited",
        "_request",
        "_runtime",
        "_sources",
        "live",
        "scope",
    )

    def __init__(self, request: Message, runtime: Runtime) -> None:
        self.live: bool = True
        self.scope: CancelScope = CancelScope()
        self._request = request
        self._runtime = runtime
        self._is_awaited = False
        self._cleanup_error: BaseException | None = None
        self._ended: Event | None = None
        self._sources: Sources | None = None

    def cancel(self) -> None:
        """Cancel the task; does nothing once it has ended."""
        if self.live:
            self.scope.cancel()

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

    async def wait(self) -> None:
        """Wait until the task has ended."""
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
            try:
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
                exc_info=self._cleanup_error,
            )


def running_task() -> ProducerTask | None:
    """Return the task of the producer that runs this code, in its event loop."""
    channel = current_channel()
    task: ProducerTask | None = None if channel is None else channel.task
    return task if task is not None and task.runs_here else None
