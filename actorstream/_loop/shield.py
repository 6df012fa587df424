"""A wait that nothing cuts short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import CancelScope, get_cancelled_exc_class


async def finish(wait: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Await ``wait()`` to its end; return the last cancellation by asyncio meanwhile, if any.

    A shield holds off AnyIO's cancellations, but not those of asyncio itself: after one of them,
    ``wait()`` is called again.
    """
    cancelled: BaseException | None = None
    with CancelScope(shield=True):
        while True:
            try:
                await wait()
                break
            except get_cancelled_exc_class() as exc:  # noqa: ASYNC103 - returned
                cancelled = exc
    try:
        return cancelled  # noqa: ASYNC104 - the caller raises it, or ends its task
    finally:
        del cancelled  # break the cycle traceback -> frame -> error
