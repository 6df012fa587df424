"""Calls into a running event loop from another thread, a signal handler or a ``__del__``.

AnyIO has no such call that neither waits nor needs one of its own worker threads, so this module
uses the two backends directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from anyio import get_cancelled_exc_class

Callback = Callable[[], object]
CallSoon = Callable[[Callback], object]


def watch_loop() -> Callable[[], bool]:
    """Return a function that tells whether it is called in the loop that runs now."""
    find: Callable[[], object]
    if get_cancelled_exc_class() is asyncio.CancelledError:
        find = asyncio.get_running_loop
    else:
        from trio.lowlevel import current_trio_token as find  # trio is optional

    here = find()

    def in_loop() -> bool:
        try:
            return find() is here
        except RuntimeError:  # no loop is running in this thread
            return False

    return in_loop


def current_call_soon() -> CallSoon:
    """Return a function that runs a callback soon in the loop that runs now.

    The function may be called from any thread and at any point of a program. It never blocks,
    and does nothing once the loop is closed. The callback must not raise.
    """
    if get_cancelled_exc_class() is asyncio.CancelledError:
        call_soon: CallSoon = asyncio.get_running_loop().call_soon_threadsafe
    else:
        from trio.lowlevel import current_trio_token  # trio is optional

        call_soon = current_trio_token().run_sync_soon

    def call_soon_unless_closed(callback: Callback) -> None:
        try:
            call_soon(callback)
        except RuntimeError:  # the loop is closed; trio's RunFinishedError is one, too
            return

    return call_soon_unless_closed
