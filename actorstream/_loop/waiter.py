"""One task waits here until another task of the same event loop wakes it.

``anyio.Event`` would do, at twice the cost: a new event for each wait, and three layers of
calls to wait on it. A producer and a consumer that take turns wait all the time, so this module,
like ``wakeup.py``, uses the primitives of each backend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import cache
from types import coroutine
from typing import Protocol

from anyio import get_cancelled_exc_class


class Waiter(Protocol):
    """A slot for one waiting task, reused for each wait."""

    async def wait(self) -> None:
        """Wait until ``wake()`` is called. Safe to cancel."""
        ...

    def wake(self) -> None:
        """Wake the waiting task, if there is one. A later wait is not affected."""
        ...


class StrictWaiter(Waiter, Protocol):
    """A waiter that shows at once that its task was cancelled, before that task runs again."""

    @property
    def waiting(self) -> bool:
        """Whether a task waits here that has been neither woken nor cancelled."""
        ...


class AsyncioWaiter:
    """A waiter on asyncio: one turn of the loop, and a future only if that was not enough.

    Two sides that wake each other in every turn then need no future at all. And AnyIO can
    cancel a task that yielded its turn, but not one whose future is already done, as it
    would always be between two such sides.
    """

    __slots__ = ("_future", "_woken")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    async def wait(self) -> None:
        """Wait until ``wake()`` is called. Safe to cancel."""
        self._woken = False
        await _yield_turn()
        if not self._woken:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None

    def wake(self) -> None:
        """Wake the waiting task, if there is one."""
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class AsyncioStrictWaiter(AsyncioWaiter):
    """A waiter on asyncio that always uses a future: it shows a cancellation at once."""

    __slots__ = ()

    @property
    def waiting(self) -> bool:
        """Whether a task waits here that has been neither woken nor cancelled."""
        return self._future is not None and not self._future.done()

    async def wait(self) -> None:
        """Wait until ``wake()`` is called. Safe to cancel."""
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None


@coroutine
def _yield_turn() -> Generator[None]:
    yield


def make_waiter() -> Waiter:
    """Return a waiter for the running event loop."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioWaiter()
    return _find_trio_waiter()()


def make_strict_waiter() -> StrictWaiter:
    """Return a waiter for the running event loop."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioStrictWaiter()
    return _find_trio_waiter()()


@cache
def _find_trio_waiter() -> Callable[[], StrictWaiter]:
    from actorstream._loop.waiter_trio import TrioWaiter  # trio is optional

    return TrioWaiter
