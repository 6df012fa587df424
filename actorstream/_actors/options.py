"""The options of an actor, checked before it is registered."""

from __future__ import annotations

import math

import attrs

from actorstream._checks import as_seconds, check_count, check_seconds, validate


def as_limit(seconds: float | None) -> float | None:
    """Return a time limit, or ``None`` for one that no clock can reach."""
    return None if as_seconds(seconds) == math.inf else seconds


@attrs.frozen(kw_only=True)
class ActorOptions:
    """The limits of an actor. Times are in seconds; ``None`` means no limit.

    Attributes:
        mailbox_size: Maximum number of waiting messages; at least 1.
        start_timeout: For ``on_start()``.
        stop_timeout: For the clean-up of the streams, and then for ``on_stop()``.
    """

    mailbox_size: int = attrs.field(validator=validate(check_count))
    start_timeout: float | None = attrs.field(converter=as_limit, validator=validate(check_seconds))
    stop_timeout: float | None = attrs.field(converter=as_limit, validator=validate(check_seconds))
