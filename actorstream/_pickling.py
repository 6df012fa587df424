"""Exceptions inside of other pickles: what cannot be loaded is left out, and does no harm."""

from __future__ import annotations

import pickle

from actorstream._kinds import is_a


def dump(exception: BaseException | None) -> bytes | None:
    """Pickle an exception on its own, or return ``None`` if that is impossible."""
    try:
        return None if exception is None else pickle.dumps(exception)
    except Exception:  # the exception's class may raise anything
        return None


def load(pickled: bytes | None) -> BaseException | None:
    """Return what ``dump()`` was given, or ``None`` if its class cannot make it again here."""
    try:
        exception = None if pickled is None else pickle.loads(pickled)
    except Exception:  # the class may be missing here, or raise anything
        return None
    return exception if is_a(exception, BaseException) else None
