"""One thread for all the calls of one source.

``anyio.to_thread`` may run each call in another thread, and much that blocks must stay in the
thread where it began: a database connection, say. So a worker occupies one of AnyIO's threads
for as long as it lives, and takes calls from a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn

from anyio import CancelScope, CapacityLimiter, Event, to_thread

from actorstream._wakeup import current_call_soon

Call = Callable[[], Any]


class Worker:
    """Makes calls, one after the other, in one thread. Needs a task that runs ``serve()``."""

    __slots__ = ("_answer", "_answered", "_call_soon", "_calls", "_serving")

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._call_soon = current_call_soon()
        self._answered = Event()
        self._serving = True
        self._answer: Call | None = None

    async def serve(self) -> None:
        """Occupy a thread until ``stop()``, one that no limit of the program's counts."""
        try:
            await to_thread.run_sync(self._work, limiter=CapacityLimiter(1))
        finally:
            self._serving = False
            self._answered.set()

    async def call(self, call: Call) -> Any:
        """Make a call in the thread; raise what it raises.

        A call cannot be interrupted: a cancellation takes effect when it has returned.
        """
        self._answered = Event()
        self._answer = None
        if self._serving:
            self._calls.put(call)
            with CancelScope(shield=True):
                await self._answered.wait()
        answer, self._answer = self._answer, None
        if answer is None:
            raise RuntimeError("the router was cancelled before its worker thread could start")
        return answer()

    def stop(self) -> None:
        """Let the thread go."""
        self._calls.put(None)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            self._answer = _make(call)
            self._call_soon(self._answered.set)


def _make(call: Call) -> Call:
    """Make a call, and return what gives its result or raises its exception."""
    try:
        result = call()
    except BaseException as exc:  # noqa: ASYNC103 - raised again where the call came from
        return partial(_throw, exc)  # noqa: ASYNC104
    return lambda: result


def _throw(exception: BaseException) -> NoReturn:
    raise exception
