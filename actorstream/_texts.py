"""Texts of objects of the user's classes, whose ``__str__`` and ``__repr__`` may fail."""

from __future__ import annotations


def text_of(value: object) -> str:
    """Return ``str(value)``, or a placeholder if that fails."""
    try:
        return str(value)
    except Exception:  # user code
        return f"<{type(value).__name__} whose str() fails>"


def repr_of(value: object) -> str:
    """Return ``repr(value)``, or a placeholder if that fails."""
    try:
        return repr(value)
    except Exception:  # user code
        return f"<{type(value).__name__} whose repr() fails>"


def describe(exception: BaseException) -> str:
    """Return the class and the text of an exception."""
    return f"{type(exception).__name__}: {text_of(exception)}"
