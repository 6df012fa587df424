"""What all parts of one router share: its state, event loop, timers and tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Any, Literal, NoReturn

from anyio import (
    CancelScope,
    Event,
    TaskInfo,
    create_task_group,
    get_cancelled_exc_class,
    get_current_task,
)
from anyio.abc import TaskGroup

from actorstream._errors import RouterClosedError
from actorstream._kinds import is_a
from actorstream._loop.current_task import find_current_task
from actorstream._loop.failures import is_cancellation, is_scope_cancelled
from actorstream._loop.interrupts import protect_from_interrupts
from actorstream._loop.scopes import LeftOpenError, find_errors, is_asyncio
from actorstream._loop.timers import Timers
from actorstream._loop.wakeup import (
    Callback,
    CallSoon,
    context_for_callbacks,
    current_call_soon,
    watch_loop,
)

_START_DEPTH = 40
"""More calls than AnyIO and a backend make, one in the other, to start a task."""

RuntimeState = Literal["not entered", "open", "closing", "closed"]


class Runtime:
    """The event loop side of a router, opened once in the loop where the router is used.

    Attributes:
        state: ``"closing"`` while the actors end, ``"closed"`` when all of them are gone.
        timers: Runs callbacks at points in time.
        current_task: Returns the current task of the event loop.
        in_loop: Tells whether it is called in the router's event loop.
    """

    def __init__(self) -> None:
        self.state: RuntimeState = "not entered"
        self.timers: Timers  # this and the fields below belong to an event loop: set by open()
        self.current_task: Callable[[], object]
        self._tasks: TaskGroup
        self._closed: Event
        self._runs_on_asyncio: bool
        self._owner: TaskInfo
        self._context: Context
        self._call_soon: CallSoon
        self.in_loop: Callable[[], bool]

    # Opening and closing

    async def open(self) -> None:
        """Enter the task group, in the running event loop and task."""
        self._runs_on_asyncio = is_asyncio()
        if not self._runs_on_asyncio:
            protect_from_interrupts()
        self._closed = Event()
        self._owner = get_current_task()
        self._tasks = create_task_group()
        await self._tasks.__aenter__()
        self._context = context_for_callbacks()
        self.in_loop = watch_loop()
        self.current_task = find_current_task()
        self._call_soon = current_call_soon()
        self.timers = Timers()
        self._tasks.start_soon(self.timers.run)
        self.state = "open"

    def start_closing(self) -> None:
        """The router is being left: actors end, and nothing new starts."""
        self.state = "closing"

    def close(self) -> None:
        """All actors are gone."""
        self.timers.stop()
        self.state = "closed"
        self._closed.set()
        del self._owner  # which keeps its coroutine

    async def wait_tasks(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave the task group: wait for all tasks.

        A task group would wrap the exception of the router's block in any case. This method
        does so only if a task failed as well.
        """
        own = [] if exc is None or _is_cancellation(exc) else [exc]
        try:
            if not own:
                return await self._tasks.__aexit__(exc_type, exc, traceback)
            with suppress(get_cancelled_exc_class()):  # the block's exception comes instead
                await self._tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            errors = find_errors(group)
            if not errors or all(map(is_cancellation, errors)):
                return False
            raise group.derive([*own, *errors]) from None
        finally:
            del own  # break the cycle traceback -> frame -> error
        return False

    # Checks

    def check_owner(self) -> None:
        """Raise ``RouterClosedError`` unless the router runs, and this task has entered it."""
        self.check_open()
        task = get_current_task()
        if task.coro is not self._owner.coro:  # another task may have the same id later
            raise RouterClosedError(
                f"the router was entered in the task {self._owner.name!r} and is left in the task "
                f"{task.name!r}; enter and leave it in one task: start one that runs `async with "
                "router: await stopped.wait()`, and set that event at the end"
            )

    def check_open(self, *, or_closing: bool = False) -> None:
        """Raise ``RouterClosedError`` unless the router runs, and in this event loop.

        Args:
            or_closing: Whether a router that is being left is accepted, too.
        """
        if self.state != "open" and not (or_closing and self.state == "closing"):
            raise RouterClosedError(
                f"the router is {self.state}; use it inside `async with MessageRouter() as router:`"
            )
        if not self.in_loop():
            raise _other_loop_error()

    def check_loop(self) -> None:
        """Raise ``RouterClosedError`` if the router runs, but in another event loop."""
        if self.state in ("open", "closing") and not self.in_loop():
            raise _other_loop_error()

    # Tasks and callbacks

    def start_soon(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *args: Any,
        name: str | None = None,
        undo: Callable[..., object] | None = None,
    ) -> None:
        """Start a task, in a copy of the caller's context.

        Args:
            function: What the task runs.
            *args: The arguments of ``function``, and of ``undo``.
            name: The name of the task.
            undo: Called if the task does not run: it could not be started, or asyncio cancelled
                it before its first step. May also be called if the task has ended.
        """
        work = function(*args)
        try:
            self._tasks.start_soon(lambda: work, name=name or function.__qualname__)
            if undo is not None and self._runs_on_asyncio:
                # The loop makes this call right after the first step of the task.
                asyncio.get_running_loop().call_soon(_undo_unless_running, work, undo, args)
        except BaseException:
            work.close()
            if undo is not None:
                undo(*args)
            raise

    def start_soon_apart(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *args: Any,
        name: str,
        undo: Callable[..., object],
    ) -> None:
        """Start a task, in a copy of the context in which the router was entered.

        For actors: one may be registered, or restarted, by code that serves another request.
        """
        start = partial(self.start_soon, function, *args, name=name, undo=undo)
        self._context.copy().run(start)

    async def end_task(self, error: BaseException | None) -> NoReturn:
        """End a task that has left a scope open, with what it raises, if anything.

        Its end would end the router, so without an error the task stays until the router closes.
        """
        if error is None:
            with CancelScope(shield=True):
                await self._closed.wait()
        raise LeftOpenError(error)

    async def is_cancelled(self) -> bool:
        """Return whether the router is cancelled, which a cancelled task cannot see itself."""
        answers: list[bool] = []
        answered = Event()

        async def look() -> None:  # noqa: ASYNC124 - runs where all tasks run
            answers.append(is_scope_cancelled())
            answered.set()

        with CancelScope(shield=True):
            self.start_soon(look, undo=answered.set)
            await answered.wait()
        return not answers or answers[0]

    def call_soon(self, callback: Callback) -> None:
        """Run a callback soon in the event loop. Any thread may call this."""
        self._call_soon(callback)

    def run_in_loop(self, callback: Callback) -> None:
        """Run a callback: at once if this is the event loop's thread, else soon."""
        if self.in_loop():
            callback()
        else:
            self._call_soon(callback)


def _other_loop_error() -> RouterClosedError:
    return RouterClosedError(
        "the router runs in another event loop; use it in the thread and loop where it was "
        "entered, or through anyio.from_thread.run()"
    )


def check_room() -> None:
    """Raise ``RecursionError`` if there is no room on the stack to start a task.

    Neither AnyIO nor trio can be interrupted there: a task would be left that never runs.
    """
    try:
        sys._getframe(sys.getrecursionlimit() - 4 * _START_DEPTH)  # pyright: ignore[reportPrivateUsage]
    except ValueError:  # there are not as many frames: the usual case, which this finds quickly
        return
    _call_deeply(_START_DEPTH)


def _call_deeply(calls: int) -> None:
    if calls:
        _call_deeply(calls - 1)


def _undo_unless_running(
    work: Coroutine[Any, Any, Any], undo: Callable[..., object], args: tuple[Any, ...]
) -> None:
    state = getcoroutinestate(work)
    if state in (CORO_CREATED, CORO_CLOSED):
        work.close()
        undo(*args)


def _is_cancellation(exc: BaseException) -> bool:
    if is_a(exc, BaseExceptionGroup):
        return exc.subgroup(get_cancelled_exc_class()) is not None
    return is_a(exc, get_cancelled_exc_class())
