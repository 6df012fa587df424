"""What an object is, asked so that code of the object's class cannot make the answer fail.

``isinstance()`` reads ``__class__``, which may be a property that raises.
"""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from types import CoroutineType
from typing import Any, TypeGuard, TypeVar

T = TypeVar("T")


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """Return ``isinstance(value, kind)``; if that fails, judge by the type alone."""
    try:
        return isinstance(value, kind)
    except Exception:  # user code
        return issubclass(type(value), kind)


def is_coroutine(value: object) -> TypeGuard[CoroutineType[Any, Any, Any]]:
    """Return whether an object is a coroutine."""
    return type(value) is CoroutineType


def has_method(value: object, name: str) -> bool:
    """Return whether the class of an object has a special method."""
    return hasattr(type(value), name)


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Return ``isawaitable(value)``; if that fails, judge by the type alone."""
    if type(value) is CoroutineType:  # as nearly always
        return True
    try:
        return isawaitable(value)
    except Exception:  # user code
        return issubclass(type(value), Awaitable)


def is_inspectable(value: object) -> bool:
    """Return whether other libraries can ask for the class and the ``repr()`` of an object."""
    try:
        return bool((value.__class__, repr(value)))
    except Exception:  # user code
        return False
