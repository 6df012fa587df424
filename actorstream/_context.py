"""Which request an actor is serving right now."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from actorstream._message import Message

request_in_hand: ContextVar[Message | None] = ContextVar(
    "actorstream.request_in_hand", default=None
)

handling: ContextVar[Any] = ContextVar("actorstream.handling", default=None)
"""In which cell's task this code runs; in none, if it is a stream's producer."""

current_channel: ContextVar[Any] = ContextVar("actorstream.channel", default=None)
"""Where the running producer puts its items."""


def current_message() -> Message:
    """Return the request that the running handler of an actor serves.

    Works in the handler itself and in everything that it calls or starts.

    Raises:
        LookupError: No actor is handling anything here.
    """
    message = request_in_hand.get()
    if message is None:
        raise LookupError(
            "there is no current message here; call current_message() inside of an actor's "
            "handlers, stream_async() or stream()"
        )
    return message
