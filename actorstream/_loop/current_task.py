"""Which task runs, and whether it runs inside of a cancel scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from anyio import (
    CancelScope,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
)

from actorstream._loop.wakeup import watch_loop

_FAR = 3600.0


def find_current_task() -> Callable[[], object]:
    """Return a function that returns the current task of the loop that runs now.

    In another loop, such as one that a thread runs, and in no task, the function returns ``None``.
    """
    find: Callable[[], object]
    if get_cancelled_exc_class() is asyncio.CancelledError:
        find = asyncio.current_task
    else:
        from trio.lowlevel import current_task as find  # trio is optional

    in_loop = watch_loop()
    return lambda: find() if in_loop() else None


def is_inside(scope: CancelScope) -> bool:
    """Return whether the running code is inside of a scope; then the scope cannot be left yet.

    That includes the tasks of a task group that was opened inside of it, and what a thread calls
    for it. A shield in between hides the scope.

    AnyIO has no function for that. But a deadline of the scope is one of the code inside of it.
    """
    now, limit = current_time(), current_effective_deadline()
    if limit <= now:
        return False  # cancelled: this code does not wait any more
    mark = now + _FAR if limit == inf else now + (limit - now) / 2
    deadline = scope.deadline
    scope.deadline = mark
    try:
        return current_effective_deadline() == mark
    finally:
        scope.deadline = deadline
