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


class Place(Protocol):
    """Room for one waiting task, used again for each of its waits."""

    async def park(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        ...

    def unpark(self) -> None:
        """Let the task go on that waits here, if one does. It is not noted for the next."""
        ...


class Gate(Place, Protocol):
    """A place that tells at once when its task has been cancelled, before that task goes on."""

    @property
    def occupied(self) -> bool:
        """Whether a task waits here, and has neither been let go on nor cancelled."""
        ...


class AsyncioPlace:
    """A place on asyncio: one turn of the loop, and a future only if that was not enough.

    Two sides that let each other go on in every turn then need no future at all. And AnyIO
    can cancel a task that gave its turn away, but not one whose future is done already, as
    it always would be between two such sides.
    """

    __slots__ = ("_future", "_unparked")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._unparked = False

    async def park(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        self._unparked = False
        await _one_turn()
        if not self._unparked:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None

    def unpark(self) -> None:
        """Let the task go on that waits here, if one does."""
        self._unparked = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class AsyncioGate(AsyncioPlace):
    """A gate on asyncio: always a future, in which a cancellation shows at once."""

    __slots__ = ()

    @property
    def occupied(self) -> bool:
        """Whether a task waits here, and has neither been let go on nor cancelled."""
        return self._future is not None and not self._future.done()

    async def park(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None


@coroutine
def _one_turn() -> Generator[None]:
    yield


def make_place() -> Place:
    """Return a place in the event loop that is running now."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioPlace()
    return _find_trio_place()()


def make_gate() -> Gate:
    """Return a gate in the event loop that is running now."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return AsyncioGate()
    return _find_trio_place()()


@cache
def _find_trio_place() -> Callable[[], Gate]:
    from actorstream._loop.waiter_trio import TrioPlace  # trio is optional

    return TrioPlace
