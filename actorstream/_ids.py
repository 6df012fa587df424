"""Ids that are unique across processes and forks, sort in order, and cost nanoseconds.

An id is a random prefix of the process and a counter. ``itertools.count`` hands out each
number once even when threads race. A forked child draws a new prefix, since it continues with its
parent's numbers.
"""

from __future__ import annotations

import os
import secrets
from itertools import count

_next_number = count(1).__next__
_prefix = ""


def _draw_prefix() -> None:
    global _prefix
    _prefix = secrets.token_hex(8)


_draw_prefix()
if hasattr(os, "register_at_fork"):  # pragma: no branch - there is no fork on Windows
    os.register_at_fork(after_in_child=_draw_prefix)


def generate_message_id() -> str:
    """Make an id for a message: unique across processes; later ids sort after earlier ones."""
    return f"msg-{_prefix}-{_next_number():012x}"


def generate_correlation_id() -> str:
    """Make an id that links the messages of one conversation."""
    return f"corr-{_prefix}-{_next_number():012x}"
