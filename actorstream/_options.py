"""What a caller may ask of a stream, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import attrs

from actorstream._abort import AbortController, AbortSignal

Overflow = Literal["wait", "drop_oldest", "drop_newest", "fail"]
PortOverflow = Literal["wait", "drop_oldest", "drop_newest", "latest", "fail"]
NO_LIMIT = (None, math.inf)
"""The values of a time limit that is none."""


def check_signal(value: object) -> None:
    """Raise for what is no signal."""
    if isinstance(value, AbortController):
        raise TypeError("signal takes the controller's signal; write signal=controller.signal")
    if value is not None and not isinstance(value, AbortSignal):
        raise TypeError(
            f"signal is an AbortSignal or None, not {value!r}; "
            "write signal=AbortController().signal"
        )


def check_count(name: str, value: object) -> None:
    """Raise for what is no whole number of items, at least one."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number of items (an int), not {value!r}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value!r}")


def check_name(name: str, value: object) -> None:
    """Raise for what is no name of a port."""
    if not isinstance(value, str):
        raise TypeError(f'{name} is a str such as "progress", not {value!r}')
    if not value.strip():
        raise ValueError(f'{name} is empty in {value!r}; write a name such as "progress"')


def _check_buffer_size(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_count(field.name, value)


def check_seconds(name: str, value: object) -> None:
    """Raise for what is no time limit."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
    if not value >= 0:  # nan is not, either
        raise ValueError(f"{name} is 0 seconds or more, or None for no limit, not {value!r}")


def _check_signal(_: object, __: attrs.Attribute[Any], value: object) -> None:
    check_signal(value)


def _check_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_seconds(field.name, value)


def _check_choice(choices: Any) -> Callable[[object, attrs.Attribute[Any], object], None]:
    names: tuple[str, ...] = get_args(choices)

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        error = None if value in names else ValueError if isinstance(value, str) else TypeError
        if error is not None:
            raise error(f"{field.name} is one of {', '.join(names)}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class StreamAsyncOptions:
    """The options of one stream. Times are in seconds; ``None`` and ``inf`` mean no limit.

    Attributes:
        signal: Cancels the stream when it is aborted.
        buffer_size: Most items produced and not yet consumed; at least 1.
        timeout: For the whole stream, from its start. At 0 the actor is never called.
        first_timeout: Until the first item.
        idle_timeout: Between two items of the producer. The time that it spends blocked by
            a slow consumer does not count.
        stall_timeout: How long the producer may stay blocked by a consumer that does not
            read. Then the producer is cancelled, and the consumer's next read says so.
        overflow: What a full buffer does: ``"wait"`` holds the producer up,
            ``"drop_oldest"`` and ``"drop_newest"`` lose items and count them, ``"fail"``
            ends the stream with ``StreamOverflowError``.

    Raises:
        TypeError, ValueError: An option has the wrong kind or an impossible value; the
            message names it.
    """

    signal: AbortSignal | None = attrs.field(default=None, validator=_check_signal)
    buffer_size: int = attrs.field(default=100, validator=_check_buffer_size)
    timeout: float | None = attrs.field(default=60.0, validator=_check_seconds)
    first_timeout: float | None = attrs.field(default=None, validator=_check_seconds)
    idle_timeout: float | None = attrs.field(default=None, validator=_check_seconds)
    stall_timeout: float | None = attrs.field(default=None, validator=_check_seconds)
    overflow: Overflow = attrs.field(default="wait", validator=_check_choice(Overflow))


def needs_watch(options: StreamAsyncOptions) -> bool:
    """Return whether something besides ``timeout`` may end the stream from outside."""
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
            f"options is a StreamAsyncOptions, not {options!r}; "
            "write options=StreamAsyncOptions(buffer_size=...)"
        )
    if not overrides:
        return options
    if unknown := overrides.keys() - _NAMES:
        raise TypeError(
            f"{', '.join(sorted(unknown))} is no option of a stream; "
            f"there are {', '.join(sorted(_NAMES))}"
        )
    return attrs.evolve(options, **overrides)


@attrs.frozen(kw_only=True)
class PortOptions:
    """What a port gives to a subscriber that asks for nothing else.

    Attributes:
        buffer_size: Most values published and not yet read, for each subscriber; at least 1.
        overflow: What a full buffer does: ``"wait"`` holds ``publish()`` up,
            ``"drop_oldest"`` and ``"drop_newest"`` lose values and count them, ``"latest"``
            keeps the newest value only, whatever the ``buffer_size``, and ``"fail"`` ends
            that one subscription with ``StreamOverflowError``.

    Raises:
        TypeError, ValueError: An option has the wrong kind or an impossible value; the
            message names it.
    """

    buffer_size: int = attrs.field(default=100, validator=_check_buffer_size)
    overflow: PortOverflow = attrs.field(default="wait", validator=_check_choice(PortOverflow))


@attrs.frozen(kw_only=True)
class SubscriptionOptions:
    """What one subscriber asks for; ``None`` leaves it to the port.

    Attributes:
        buffer_size: See ``PortOptions``.
        overflow: See ``PortOptions``.
        signal: Cancels the subscription when it is aborted.

    Raises:
        TypeError, ValueError: As for ``PortOptions``.
    """

    buffer_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_buffer_size)
    )
    overflow: PortOverflow | None = attrs.field(
        default=None, validator=attrs.validators.optional(_check_choice(PortOverflow))
    )
    signal: AbortSignal | None = attrs.field(default=None, validator=_check_signal)

    def on_top_of(self, port: PortOptions) -> StreamAsyncOptions:
        """Return what a subscriber gets that asks for this at a port with those options."""
        size = port.buffer_size if self.buffer_size is None else self.buffer_size
        overflow = self.overflow or port.overflow
        if overflow == "latest":  # which is to drop the oldest of one
            size, overflow = 1, "drop_oldest"
        return StreamAsyncOptions(
            buffer_size=size, overflow=overflow, signal=self.signal, timeout=None
        )
