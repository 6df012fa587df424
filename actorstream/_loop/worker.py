"""One worker thread for all the calls of one source.

``anyio.to_thread`` may run each call in another thread, but some blocking objects, such as a
database connection, must stay in one thread. So a worker occupies one of AnyIO's threads for its
whole life, and takes calls from a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from anyio import CancelScope, CapacityLimiter, Event, to_thread
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._loop.wakeup import CallSoon, current_call_soon

Call = Callable[[], Any]


class ThreadCall:
    """A call that is made in the thread, and whose result is taken in the event loop."""

    __slots__ = ("_answer", "_answered", "_call")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._answered = Event()
        self._answer: Call | None = None

    def make(self, call_soon: CallSoon) -> None:
        """Make the call, in the current thread."""
        self._answer = _make(self._call)
        call_soon(self._answered.set)

    def give_up(self, failure: Exception | None = None) -> None:
        """Wake the waiting task: the call will never be made. It raises ``failure``, if any."""
        if failure is not None:
            self._answer = partial(_throw, failure)
        self._answered.set()

    async def wait(self) -> None:
        """Wait until the call has been made, or given up.

        A call cannot be interrupted: a cancellation takes effect when it has returned. Only a
        cancellation by asyncio itself takes effect at once; a later wait may then get the answer.
        """
        with CancelScope(shield=True):
            await self._answered.wait()
        if self._answer is None:  # most likely the router was cancelled, and this task, too
            await checkpoint_if_cancelled()

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self._answer is None:
            raise RuntimeError("the router was cancelled before its worker thread could start")
        answer, self._answer = self._answer, None
        try:
            return answer()
        finally:
            del answer  # break the cycle traceback -> frame -> error


class WorkerThread:
    """Makes calls, one after the other, in one thread. Needs a task that runs ``serve()``.

    Args:
        peers: The workers that have not been stopped; this one is added.

    Attributes:
        gone: Whether the worker takes no more calls.
    """

    __slots__ = ("_call_soon", "_calls", "_peers", "gone")

    def __init__(self, peers: dict[WorkerThread, None]) -> None:
        self._calls: SimpleQueue[ThreadCall | None] = SimpleQueue()
        self._call_soon = current_call_soon()
        self._peers = peers
        self.gone: bool = False
        peers[self] = None

    async def serve(self) -> None:
        """Occupy a thread until ``stop()``, outside of the program's thread limit."""
        try:
            await to_thread.run_sync(self._work, limiter=CapacityLimiter(1))
        except Exception as exc:  # the system has no thread: the call that wants one raises this
            self._give_up_queued(exc)
        finally:
            self._give_up_queued()
            self.stop()

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
