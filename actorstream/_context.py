"""Which request an actor is serving right now."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from actorstream._message import Message

current_request: ContextVar[Message | None] = ContextVar(
    "actorstream.current_request", default=None
)

current_cell: ContextVar[Any] = ContextVar("actorstream.current_cell", default=None)
"""In which cell's task this code runs; in none, if it is a stream's producer."""

current_channel: ContextVar[Any] = ContextVar("actorstream.channel", default=None)
"""Where the running producer puts its items."""


def current_message() -> Message:
    """Return the request that the running handler of an actor serves.

    Works in the handler itself and in everything that it calls or starts.

    Raises:
        LookupError: No actor is handling anything here.
    """
    message = current_request.get()
    if message is None:
        raise LookupError(
            "there is no current message here; call current_message() inside an actor's "
            "handlers, stream_async() or stream()"
        )
    return message
