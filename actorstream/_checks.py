"""Checks of arguments that several modules share."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, overload

import attrs

from actorstream._abort import AbortController, AbortSignal
from actorstream._kinds import is_a
from actorstream._texts import repr_of


def validate(
    check: Callable[..., None], *args: Any
) -> Callable[[object, attrs.Attribute[Any], object], None]:
    """Make a validator for an attrs field that calls ``check(name, value, *args)``."""

    def validator(_: object, field: attrs.Attribute[Any], value: object) -> None:
        check(field.name, value, *args)

    return validator


def check_signal(name: str, value: object) -> None:
    """Raise ``TypeError`` unless a value is an ``AbortSignal`` or ``None``."""
    if isinstance(value, AbortController):
        raise TypeError(
            f"{name} takes a signal, not its controller; write {name}=controller.signal"
        )
    if value is not None and not isinstance(value, AbortSignal):
        raise TypeError(
            f"{name} is an AbortSignal or None, not {repr_of(value)}; "
            f"write {name}=AbortController().signal"
        )


def check_count(name: str, value: object) -> None:
    """Raise unless a value is a whole number of items, at least one."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number of items (an int), not {repr_of(value)}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {repr_of(value)}")


def check_name(name: str, value: object) -> None:
    """Raise unless a value is a name for a port."""
    if not isinstance(value, str):
        raise TypeError(f'{name} is a str such as "progress", not {repr_of(value)}')
    if not value.strip():
        raise ValueError(f'{name} is empty in {repr_of(value)}; write a name such as "progress"')


def check_seconds(name: str, value: object) -> None:
    """Raise unless a value is a time limit: seconds or ``None``."""
    if value is None:
        return
    if not is_number(value):
        raise TypeError(f"{name} is a number of seconds or None, not {repr_of(value)}")
    if not value >= 0:  # False for nan, too
        raise ValueError(f"{name} is 0 seconds or more, or None for no limit, not {repr_of(value)}")


@overload
def as_seconds(seconds: float) -> float: ...


@overload
def as_seconds(seconds: None) -> None: ...


def as_seconds(seconds: float | None) -> float | None:
    """Return a time limit as a clock can count it: an int beyond all floats is no limit."""
    is_beyond = isinstance(seconds, int) and seconds > sys.float_info.max
    return math.inf if is_beyond else seconds


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise unless a value is one of ``choices``."""
    wanted = f"{name} is one of {', '.join(choices)}, not {repr_of(value)}"
    if not isinstance(value, str):
        raise TypeError(wanted)
    if value not in choices:
        raise ValueError(wanted)


def check_iterable(items: object) -> None:
    """Raise ``TypeError`` unless ``items`` is an iterable."""
    if not is_a(items, Iterable):
        raise TypeError(
            f"{repr_of(items)} ({type(items).__name__}) cannot be streamed; "
            "pass an iterable or an async iterable, such as a list or a generator"
        )


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number; a ``bool`` is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)
