"""What of an exception can be pickled."""

from __future__ import annotations

import pickle


def portable(exception: BaseException | None) -> BaseException | None:
    """Return an exception if it can be pickled and unpickled, else ``None``."""
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:  # whatever its class does
        return None
    return exception
