"""Where one task waits until another task of the same event loop lets it go on.

``anyio.Event`` would do, at twice the price: a new event for each wait, and three layers of
calls to wait on it. Two sides that take turns wait all the time, so this module, like
``_loop/wakeup.py``, speaks to the two backends, each in its own primitive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import cache
from types import coroutine
from typing import Protocol

from anyio import get_cancelled_exc_class


class Waiter(Protocol):
    """Room for one waiting task, used again for each of its waits."""

    async def wait(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        ...

    def wake(self) -> None:
        """Let the task go on that waits here, if one does. It is not noted for the next."""
        ...


class StrictWaiter(Waiter, Protocol):
    """A waiter that tells at once when its task has been cancelled, before that task goes on."""

    @property
    def waiting(self) -> bool:
        """Whether a task waits here, and has neither been let go on nor cancelled."""
        ...


class AsyncioWaiter:
    """A waiter on asyncio: one turn of the loop, and a future only if that was not enough.

    Two sides that let each other go on in every turn then need no future at all. And AnyIO
    can cancel a task that gave its turn away, but not one whose future is done already, as
    it always would be between two such sides.
    """

    __slots__ = ("_future", "_woken")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    async def wait(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        self._woken = False
        await _one_turn()
        if not self._woken:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None

    def wake(self) -> None:
        """Let the task go on that waits here, if one does."""
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class AsyncioStrictWaiter(AsyncioWaiter):
    """A waiter on asyncio: always a future, in which a cancellation shows at once."""

    __slots__ = ()

    @property
    def waiting(self) -> bool:
        """Whether a task waits here, and has neither been let go on nor cancelled."""
        return self._future is not None and not self._future.done()

    async def wait(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None


@coroutine
def _one_turn() -> Generator[None]:
    yield


def make_waiter() -> Waiter:
    """Return a waiter in the event loop that is running now."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioWaiter()
    return _find_trio_waiter()()


def make_strict_waiter() -> StrictWaiter:
    """Return a waiter in the event loop that is running now."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioStrictWaiter()
    return _find_trio_waiter()()


@cache
def _find_trio_waiter() -> Callable[[], StrictWaiter]:
    from actorstream._loop.waiter_trio import TrioWaiter  # trio is optional

    return TrioWaiter
