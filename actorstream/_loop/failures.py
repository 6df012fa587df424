"""Tells an actor's own failure from a cancellation or the end of the program."""

from __future__ import annotations

import asyncio
from math import inf
from typing import cast

from anyio import current_effective_deadline


def split_failure(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Return the failure, which stays with the actor, and the rest, which is raised again.

    The rest is a cancellation of this task, or the end of the program. A stray cancellation is a
    failure: if this task was not cancelled, the actor awaited something that was.
    """
    failure, rest = _split(exc)
    if rest is not None and _is_stray(rest):
        return exc, None
    return failure, rest


def _split(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc).split(Exception)
    return (exc, None) if isinstance(exc, Exception) else (None, exc)


def _is_stray(rest: BaseException) -> bool:
    if isinstance(rest, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", rest)
        return all(map(_is_stray, group.exceptions))
    if isinstance(rest, asyncio.CancelledError):
        return current_effective_deadline() != -inf
    return isinstance(rest, GeneratorExit)
