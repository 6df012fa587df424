"""Exceptions that can be pickled."""

from __future__ import annotations

import pickle


def portable(exception: BaseException | None) -> BaseException | None:
    """Return an exception if it can be pickled and unpickled, else ``None``."""
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:  # the exception's class may raise anything
        return None
    return exception
