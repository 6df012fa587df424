"""The request, actor and stream that the running code works for."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from actorstream._message import Message

# One variable for all three: setting a variable is the dear part of a change of context.
_work: ContextVar[tuple[Message | None, Any, Any]] = ContextVar(
    "actorstream.work", default=(None, None, None)
)


def begin_work(request: Message | None, *, cell: object = None, channel: object = None) -> None:
    """Note what the code in this context works for from now on.

    Args:
        request: The request that it serves.
        cell: The cell of the actor whose task it is, if it is one.
        channel: The channel into which it puts items, if it is a stream's producer.
    """
    _work.set((request, cell, channel))


def current_request() -> Message | None:
    """Return the request that the running code serves."""
    return _work.get()[0]


def current_cell() -> Any:
    """Return the cell of the actor whose task runs this code; ``None`` in a producer."""
    return _work.get()[1]


def current_channel() -> Any:
    """Return the channel into which the running producer puts its items."""
    return _work.get()[2]


def current_message() -> Message:
    """Return the message that the running actor is handling.

    Works in the handler itself and in everything that it calls or starts.

    Raises:
        LookupError: No actor is handling a message here.
    """
    message = current_request()
    if message is None:
        raise LookupError(
            "there is no current message here; call current_message() inside an actor's "
            "handlers, stream_async() or stream()"
        )
    return message
