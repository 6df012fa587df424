"""Tells an actor's own failure from a cancellation or the end of the program."""

from __future__ import annotations

import asyncio
import sys
from math import inf

from anyio import current_effective_deadline, get_cancelled_exc_class

from actorstream._kinds import is_a


def split_failure(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return the failure, which stays with the actor, and the rest, which is raised again.

    The rest is a cancellation of this task, or the end of the program. A stray cancellation is a
    failure: if this task was not cancelled, the actor awaited something that was, or raised an
    old one. In the clean-up of a cancelled task, only the end of the program is no failure.
    """
    is_cancelled = is_task_cancelled()
    failure, rest = _split(exc, is_cancelled=is_cancelled)
    if rest is not None and _is_stray(rest, is_cancelled=is_cancelled):
        return exc, None
    return failure, rest


def is_task_cancelled() -> bool:
    """Return whether this task is cancelled: by a scope, or by asyncio's ``Task.cancel()``."""
    return is_scope_cancelled() or _is_cancelled_natively()


def is_scope_cancelled() -> bool:
    """Return whether this task is cancelled by a scope that it is in."""
    return current_effective_deadline() == -inf


def is_cancellation(exc: BaseException) -> bool:
    """Return whether an exception is a cancellation, or a group of nothing else."""
    if is_a(exc, BaseExceptionGroup):
        return all(map(is_cancellation, exc.exceptions))
    return is_a(exc, get_cancelled_exc_class())


def _is_cancelled_natively() -> bool:
    if get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _split(
    exc: BaseException, *, is_cancelled: bool
) -> tuple[BaseException | None, BaseException | None]:
    def is_failure(part: BaseException) -> bool:
        if is_a(part, Exception):
            return True
        ends_all = issubclass(type(part), (KeyboardInterrupt, SystemExit, *_cancellations()))
        return is_cancelled and not ends_all and not is_a(part, BaseExceptionGroup)

    if is_a(exc, BaseExceptionGroup):
        return exc.split(is_failure)
    return (exc, None) if is_failure(exc) else (None, exc)


def _is_stray(rest: BaseException, *, is_cancelled: bool) -> bool:
    if is_a(rest, BaseExceptionGroup):
        return all(_is_stray(part, is_cancelled=is_cancelled) for part in rest.exceptions)
    if is_a(rest, get_cancelled_exc_class()):
        return not is_cancelled
    return issubclass(type(rest), (GeneratorExit, *_cancellations()))


def _cancellations() -> tuple[type[BaseException], ...]:
    """Return the cancellations of both backends: an actor may raise one of another loop's."""
    trio = sys.modules.get("trio")  # trio is optional
    return (asyncio.CancelledError,) if trio is None else (asyncio.CancelledError, trio.Cancelled)
