"""Calls into a running event loop from another thread, a signal handler or a ``__del__``.

AnyIO has no such call that neither waits nor needs one of its own worker threads, so this module
uses the two backends directly.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from threading import get_ident

from anyio import get_cancelled_exc_class

Callback = Callable[[], object]
CallSoon = Callable[[Callback], object]


def watch_loop() -> Callable[[], bool]:
    """Return a function that tells whether it is called in the loop that runs now.

    trio may be the guest of asyncio: then both run in one thread, by turns.
    """
    return _watch_asyncio() if _is_asyncio() else _watch_trio()


def _watch_asyncio() -> Callable[[], bool]:
    thread, is_running, modules = get_ident(), asyncio.get_running_loop().is_running, sys.modules

    def in_loop() -> bool:
        # asyncio runs one loop a thread. get_running_loop() is slower on Python 3.11, as it asks
        # for the id of the process.
        if get_ident() != thread or not is_running():
            return False
        return "trio.lowlevel" not in modules or not _in_trio_task()

    return in_loop


def _watch_trio() -> Callable[[], bool]:
    from trio import Cancelled
    from trio.lowlevel import current_trio_token

    here = current_trio_token()

    def in_loop() -> bool:
        try:
            if current_trio_token() is not here:
                return False
            # Between two tasks, a signal handler runs in trio's loop, but the host's code does not.
            return _in_trio_task() or get_cancelled_exc_class() is Cancelled
        except RuntimeError:  # no loop is running in this thread, or no task of the host
            return False

    return in_loop


def _in_trio_task() -> bool:
    """Return whether a task of trio runs this code. trio has been imported, or is just now."""
    lowlevel = sys.modules["trio.lowlevel"]
    ask: Callable[[], bool] | None = getattr(lowlevel, "in_trio_task", None)
    if ask is not None:
        return ask()
    find: Callable[[], object] | None = getattr(lowlevel, "current_task", None)
    try:  # an older trio
        return find is not None and find() is not None
    except RuntimeError:
        return False


def _is_asyncio() -> bool:
    return get_cancelled_exc_class() is asyncio.CancelledError


def context_for_callbacks() -> Context:
    """Return a copy of the context in which AnyIO also works in the callbacks of the loop.

    AnyIO asks sniffio, if that is installed, which library runs, and on asyncio sniffio finds none
    where no task runs, unless the context says so.
    """
    context = copy_context()
    if _is_asyncio():
        with suppress(ImportError):
            from sniffio import current_async_library_cvar  # sniffio is optional

            context.run(current_async_library_cvar.set, "asyncio")
    return context


def current_call_soon() -> CallSoon:
    """Return a function that runs a callback soon in the loop that runs now.

    The function may be called from any thread and at any point of a program. It never blocks,
    and does nothing once the loop is closed. The callback must not raise.
    """
    if _is_asyncio():
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
