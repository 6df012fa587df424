"""The clock of the event loop, also where no task runs.

AnyIO asks sniffio, if that is installed, which library runs, and on asyncio sniffio asks for the
current task. A callback of the event loop, such as one of ``call_later()`` or of a signal handler,
has none, so there ``anyio.current_time()`` raises an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
from anyio import get_cancelled_exc_class


def current_time() -> float:
    """Return the time of the event loop that runs in this thread.

    Raises:
        RuntimeError: None does.
    """
    try:
        return anyio.current_time()
    except RuntimeError:
        return asyncio.get_running_loop().time()


def current_clock() -> Callable[[], float]:
    """Return a function that returns the time of the event loop that runs now."""
    if get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.get_running_loop().time
    from trio import current_time as current_trio_time  # trio is optional

    return current_trio_time
