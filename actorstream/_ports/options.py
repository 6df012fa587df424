"""The options of a port and of a subscription."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from actorstream._abort import AbortSignal
from actorstream._checks import check_choice, check_count, check_signal, validate
from actorstream._options import StreamAsyncOptions

PortOverflow = Literal["wait", "drop_oldest", "drop_newest", "latest", "fail"]


@attrs.frozen(kw_only=True)
class PortOptions:
    """The defaults for a port's subscribers.

    Attributes:
        buffer_size: Most values published and not yet read, for each subscriber; at least 1.
        overflow: What a full buffer does: ``"wait"`` holds ``publish()`` up,
            ``"drop_oldest"`` and ``"drop_newest"`` lose values and count them, ``"latest"``
            keeps the newest value only, whatever the ``buffer_size``, and ``"fail"`` ends
            that one subscription with ``StreamOverflowError``.

    Raises:
        TypeError, ValueError: An option has the wrong type or an impossible value; the
            message names it.
    """

    buffer_size: int = attrs.field(default=100, validator=validate(check_count))
    overflow: PortOverflow = attrs.field(
        default="wait", validator=validate(check_choice, get_args(PortOverflow))
    )


@attrs.frozen(kw_only=True)
class SubscriptionOptions:
    """What one subscriber asks for; ``None`` means the port's option.

    Attributes:
        buffer_size: See ``PortOptions``.
        overflow: See ``PortOptions``.
        signal: Cancels the subscription when it is aborted.

    Raises:
        TypeError, ValueError: As for ``PortOptions``.
    """

    buffer_size: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(validate(check_count))
    )
    overflow: PortOverflow | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(validate(check_choice, get_args(PortOverflow))),
    )
    signal: AbortSignal | None = attrs.field(default=None, validator=validate(check_signal))

    def on_top_of(self, port: PortOptions) -> StreamAsyncOptions:
        """Return these options, with the port's in place of ``None``."""
        size = port.buffer_size if self.buffer_size is None else self.buffer_size
        overflow = self.overflow or port.overflow
        if overflow == "latest":  # "latest" is "drop_oldest" with one slot
            size, overflow = 1, "drop_oldest"
        return StreamAsyncOptions(
            buffer_size=size, overflow=overflow, signal=self.signal, timeout=None
        )
