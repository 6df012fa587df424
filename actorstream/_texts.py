"""Parts of messages: texts of objects whose ``__str__`` or ``__repr__`` may fail, similar ids."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from heapq import nsmallest
from itertools import islice
from traceback import TracebackException


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


def one_line(text: str) -> str:
    """Return a text for logs and messages: as it is, or quoted if it has line breaks or the like.

    So an id that comes from outside cannot forge a line of a log.
    """
    return text if text.isprintable() else repr(text)


def describe(exception: BaseException) -> str:
    """Return the class and the text of an exception."""
    return f"{type(exception).__name__}: {text_of(exception)}"


def loggable(exception: BaseException | None) -> BaseException | None:
    """Return an exception for ``exc_info``, or one that describes it if it cannot be shown.

    ``logging`` would print the failure of its formatter in place of the message.
    """
    if exception is None:
        return None
    try:
        TracebackException.from_exception(exception, lookup_lines=False)
    except Exception:  # user code: `traceback` asks for the truth value and the class
        return RuntimeError(describe(exception)).with_traceback(exception.__traceback__)
    return exception


def find_similar(id: str, known: Iterable[str]) -> list[str]:
    """Return at most five ids that may have been meant.

    It compares short ids only, and not many: there may be thousands of actors, and a caller
    that expects the id to be unknown.
    """
    if len(id) > 40:
        return []
    letters = set(id)
    near = (other for other in known if abs(len(other) - len(id)) <= 3)
    likely = nsmallest(50, islice(near, 1000), key=lambda other: len(letters ^ set(other)))
    return get_close_matches(id, likely, n=5)
