"""One worker thread for all the calls of one source.

``anyio.to_thread`` may run each call in another thread, but some blocking objects, such as a
database connection, must stay in one thread. So a worker occupies one of AnyIO's threads for its
whole life, and takes calls from a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, NoReturn

from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    get_cancelled_exc_class,
    move_on_after,
    to_thread,
)
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._loop.wakeup import CallSoon, current_call_soon

Call = Callable[[], Any]

_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0)
"""Seconds between the attempts to cancel a call: a few, and then only the call's own end counts."""


class ThreadCall:
    """A call that is made in a thread, and whose result is taken in the event loop."""

    __slots__ = ("_answer", "_answered", "_call", "_claim")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._claim = Lock()  # taken once: the call is made, or given up
        self._answered = Event()
        self._answer: Call | None = None

    def make(self, call_soon: CallSoon) -> None:
        """Make the call, in the current thread, unless it has been given up."""
        if self._claim.acquire(blocking=False):
            self._answer = _make(self._call)
            call_soon(self._answered.set)

    def give_up(self, failure: Exception | None = None) -> bool:
        """Return whether the call is not made; then wake the task that waits for it.

        Args:
            failure: What ``result()`` raises, if anything is known.
        """
        if not self._claim.acquire(blocking=False):
            return False
        if failure is not None:
            self._answer = partial(_throw, failure)
        self._answered.set()
        return True

    @property
    def is_answered(self) -> bool:
        """Whether the call has been made, or given up."""
        return self._answered.is_set()

    async def wait(self) -> None:
        """Wait until the call has been made, or given up.

        A call goes on when the wait for it is cancelled; a later wait gets its answer.
        """
        await self._answered.wait()
        if self._answer is None:  # most likely the router was cancelled, and this task, too
            await checkpoint_if_cancelled()

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised; once."""
        answer, self._answer = self._answer, None
        if answer is None:
            raise RuntimeError("the router was cancelled before its worker thread could start")
        try:
            return answer()
        finally:
            del answer  # break the cycle traceback -> frame -> error

    def raise_failure(self) -> None:
        """Raise what the call raised, if that is not the cancellation of its thread."""
        if self._answer is not None:
            # AnyIO raises the second one on some versions of asyncio.
            with suppress(get_cancelled_exc_class(), CancelledError):
                self.result()


class WorkerThread:
    """Makes calls, one after the other, in one thread. Needs a task that runs ``serve()``.

    Args:
        peers: The workers that have not been stopped; this one is added.

    Attributes:
        gone: Whether the worker takes no more calls.
    """

    __slots__ = ("_call_soon", "_calls", "_peers", "_scope", "_shield", "gone")

    def __init__(self, peers: dict[WorkerThread, None]) -> None:
        self._calls: SimpleQueue[ThreadCall | None] = SimpleQueue()
        self._call_soon = current_call_soon()
        self._peers = peers
        self._scope = CancelScope()
        self._shield = CancelScope()
        self.gone: bool = False
        peers[self] = None

    async def serve(self) -> None:
        """Occupy a thread until ``stop()``, outside of the program's thread limit."""
        try:
            with self._scope, self._shield:
                await to_thread.run_sync(self._work, limiter=CapacityLimiter(1))
        except Exception as exc:  # the system has no thread: the call that wants one raises this
            self._give_up_queued(exc)
        except get_cancelled_exc_class():  # noqa: ASYNC103 - the task ends now
            return  # noqa: ASYNC104 - asyncio may have cancelled this task, and not the router
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Make no more calls: there is no thread, or not any more."""
        self._give_up_queued()
        self.stop()

    async def cancel(self, thread_call: ThreadCall) -> None:
        """Cancel a call that is being made, as far as its code asks AnyIO, and wait for it.

        ``from_thread.check_cancelled()`` raises there, and ``from_thread.run()`` is cancelled.
        """
        self._scope.cancel()
        for pause in _PAUSES:
            with move_on_after(pause):
                await thread_call.wait()
            if thread_call.is_answered:
                return
            # On asyncio, AnyIO cancels only what runs at that moment. A shield that is lifted makes
            # it look again, for a `from_thread.run()` that the thread has called since.
            self._shield.shield = True
            self._shield.shield = False
        await thread_call.wait()

    def shield(self) -> None:
        """Undo ``cancel()`` for the clean-up that follows, as far as AnyIO can."""
        self._shield.shield = True

    def submit(self, call: Call) -> ThreadCall:
        """Queue a call; the thread makes it after those before it."""
        thread_call = ThreadCall(call)
        if self.gone:
            thread_call.give_up()
        else:
            self._calls.put(thread_call)
        return thread_call

    async def call(self, call: Call) -> Any:
        """Make a call in the thread; return or raise what it does. See ``ThreadCall.wait()``."""
        thread_call = self.submit(call)
        await thread_call.wait()
        return thread_call.result()

    def stop(self) -> None:
        """End the thread once it has made the queued calls. May be called twice."""
        self.gone = True
        self._calls.put(None)
        self._peers.pop(self, None)

    def _give_up_queued(self, failure: Exception | None = None) -> None:
        with suppress(Empty):
            while True:
                thread_call = self._calls.get_nowait()
                if thread_call is not None:
                    thread_call.give_up(failure)

    def _work(self) -> None:
        while (thread_call := self._calls.get()) is not None:
            thread_call.make(self._call_soon)


def _make(call: Call) -> Call:
    """Make a call; return a function that returns its result or raises its exception."""
    try:
        result = call()
    except BaseException as exc:  # noqa: ASYNC103 - raised again in the event loop
        return partial(_throw, exc)  # noqa: ASYNC104
    return lambda: result


def _throw(exception: BaseException) -> NoReturn:
    try:
        raise exception
    finally:
        del exception  # break the cycle traceback -> frame -> error
