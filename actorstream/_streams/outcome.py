"""How a stream ends. One outcome is decided per stream; the first one wins.

| outcome   | shown as an event | then raised           | what is still buffered |
|-----------|-------------------|-----------------------|------------------------|
| end       | ``end``           | -                     | delivered before it    |
| failure   | ``error``         | `StreamError`         | delivered before it    |
| timeout   | -                 | `StreamTimeoutError`  | delivered before it    |
| overflow  | -                 | `StreamOverflowError` | delivered before it    |
| stopped   | -                 | `ActorStoppedError`   | delivered before it    |
| restarted | -                 | `ActorRestartedError` | delivered before it    |
| router    | -                 | `RouterClosedError`   | delivered before it    |
| stall     | -                 | `StreamTimeoutError`  | discarded              |
| abort     | -                 | `StreamAbortedError`  | discarded              |
| closed    | -                 | -                     | discarded              |

An outcome that discards comes from a caller who wants nothing more, so it overrides one that
is still waiting behind buffered items.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs

from actorstream._address import Address
from actorstream._errors import (
    ActorRestartedError,
    ActorStoppedError,
    ActorStreamError,
    RouterClosedError,
    StreamAbortedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
    TimeoutKind,
)
from actorstream._message import AsyncStreamMessage, Message, error_event
from actorstream._options import StreamAsyncOptions
from actorstream._texts import describe, loggable

logger = logging.getLogger("actorstream")


@attrs.frozen(kw_only=True)
class Outcome:
    """What the consumer gets after the last item.

    Attributes:
        event: Shown first, to a consumer that iterates events.
        error: Raised next, once; without an error, the iteration stops.
        discards: Whether the items that are still buffered are thrown away.
    """

    event: AsyncStreamMessage[Any] | None = None
    error: ActorStreamError | None = None
    discards: bool = False

    def overrides(self, waiting: Outcome) -> bool:
        """Whether this outcome, from outside, replaces one that waits for the consumer."""
        return self.discards and not waiting.discards

    def log_unseen(self, request: Message) -> None:
        """Log a failure of the actor that is overridden before the consumer has seen it."""
        if self.event is not None and self.error is not None:
            logger.warning(
                "%s failed while it streamed %r, and the consumer never saw the error",
                request.to,
                request.type,
                exc_info=loggable(self.error.__cause__),
            )


CLOSED = Outcome(discards=True)
ENDED = Outcome()
"""The natural end; its event is made when the consumer reaches it."""


def done(request: Message, closing_event: AsyncStreamMessage[Any] | None) -> Outcome:
    """Return the outcome of an actor that finished, perhaps with a closing event of its own."""
    if closing_event is None:
        return ENDED
    if closing_event.type == "end":
        return Outcome(event=closing_event)
    return _failure(request, closing_event, closing_event.error, closing_event.exception)


def unsupported(error: StreamingNotSupportedError) -> Outcome:
    """Return the outcome of an actor in which the library found nothing to stream."""
    return Outcome(event=error_event(error), error=error)


def failed(request: Message, exception: BaseException) -> Outcome:
    """Return the outcome of an actor that raised an exception."""
    return _failure(request, error_event(exception), describe(exception), exception)


def _failure(
    request: Message, event: AsyncStreamMessage[Any], text: object, cause: BaseException | None
) -> Outcome:
    error = StreamError(f"{request.to} failed while it streamed {request.type!r}: {text}")
    error.__cause__ = cause
    return Outcome(event=event, error=error)


def aborted(reason: object) -> Outcome:
    """Return the outcome of a stream that was cancelled."""
    return Outcome(error=StreamAbortedError(reason), discards=True)


def timed_out(kind: TimeoutKind, options: StreamAsyncOptions, to: Address) -> Outcome:
    """Return the outcome of a time limit that passed."""
    option = "timeout" if kind == "total" else f"{kind}_timeout"
    error = StreamTimeoutError(kind, getattr(options, option), to)
    return Outcome(error=error, discards=kind == "stall")


def overflowed(request: Message, buffer_size: int) -> Outcome:
    """Return the outcome of a full buffer whose overflow policy is ``"fail"``."""
    return Outcome(
        error=StreamOverflowError(
            f"{request.to} produced {request.type!r} faster than it was read: more than "
            f'{buffer_size} items were waiting; raise buffer_size, or write overflow="wait"'
        )
    )


def actor_stopped(to: Address, failure: BaseException | None = None) -> Outcome:
    """Return the outcome of an actor that was stopped."""
    error = ActorStoppedError(f"{to} was stopped while it streamed")
    error.__cause__ = failure
    return Outcome(error=error)


def actor_restarted(to: Address, failure: BaseException | None) -> Outcome:
    """Return the outcome of an actor that was replaced by a fresh one."""
    error = ActorRestartedError(f"{to} was restarted while it streamed")
    error.__cause__ = failure
    return Outcome(error=error)


def router_closed(to: Address) -> Outcome:
    """Return the outcome of a router that was left or cancelled."""
    return Outcome(
        error=RouterClosedError(
            f"the router was closed while {to} streamed; "
            "read the stream inside `async with MessageRouter()`"
        )
    )
