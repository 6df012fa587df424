"""The options of a stream, checked before anything runs."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import attrs

from actorstream._abort import AbortSignal
from actorstream._checks import (
    as_seconds,
    check_choice,
    check_count,
    check_seconds,
    check_signal,
    validate,
)
from actorstream._texts import repr_of

Overflow = Literal["wait", "drop_oldest", "drop_newest", "fail"]
NO_LIMIT = (None, math.inf)
"""The values of a time limit that mean no limit."""


@attrs.frozen(kw_only=True)
class StreamAsyncOptions:
    """The options of one stream. Times are in seconds; ``None`` and ``inf`` mean no limit.

    Attributes:
        signal: Cancels the stream when it is aborted.
        buffer_size: How many items may be produced and not yet consumed; at least 1.
        timeout: For the whole stream, from its start. At 0 the actor is never called.
        first_timeout: Until the first item.
        idle_timeout: Between two items of the producer. Time that the producer spends
            blocked by a slow consumer does not count.
        stall_timeout: How long the producer may stay blocked by a consumer that does not
            read. Then the producer is cancelled, and the consumer's next read reports it.
        overflow: What a full buffer does: ``"wait"`` blocks the producer,
            ``"drop_oldest"`` and ``"drop_newest"`` drop items and count them, ``"fail"``
            ends the stream with ``StreamOverflowError``.

    Raises:
        TypeError, ValueError: An option has the wrong type or an impossible value; the
            message names the option.
    """

    signal: AbortSignal | None = attrs.field(default=None, validator=validate(check_signal))
    buffer_size: int = attrs.field(default=100, validator=validate(check_count))
    timeout: float | None = attrs.field(
        default=60.0, converter=as_seconds, validator=validate(check_seconds)
    )
    first_timeout: float | None = attrs.field(
        default=None, converter=as_seconds, validator=validate(check_seconds)
    )
    idle_timeout: float | None = attrs.field(
        default=None, converter=as_seconds, validator=validate(check_seconds)
    )
    stall_timeout: float | None = attrs.field(
        default=None, converter=as_seconds, validator=validate(check_seconds)
    )
    overflow: Overflow = attrs.field(
        default="wait", validator=validate(check_choice, get_args(Overflow))
    )


def needs_watch(options: StreamAsyncOptions) -> bool:
    """Return whether a stream has a signal, or a time limit besides ``timeout``."""
    return (
        options.signal is not None
        or options.first_timeout not in NO_LIMIT
        or options.idle_timeout not in NO_LIMIT
        or options.stall_timeout not in NO_LIMIT
    )


DEFAULTS = StreamAsyncOptions()
_NAMES = frozenset(field.name for field in attrs.fields(StreamAsyncOptions))


def merge_options(
    options: StreamAsyncOptions | None, overrides: dict[str, Any]
) -> StreamAsyncOptions:
    """Return ``options`` with ``overrides`` on top, validated."""
    if options is None:
        options = DEFAULTS
    elif not isinstance(options, StreamAsyncOptions):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"options is a StreamAsyncOptions, not {repr_of(options)}; "
            "write options=StreamAsyncOptions(buffer_size=...)"
        )
    if not overrides:
        return options
    if unknown := overrides.keys() - _NAMES:
        raise TypeError(
            f"{', '.join(sorted(unknown))} is not an option of a stream; "
            f"the options are {', '.join(sorted(_NAMES))}"
        )
    return attrs.evolve(options, **overrides)
