"""The request, actor and stream that the running code works for."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from actorstream._message import Message

current_request: ContextVar[Message | None] = ContextVar(
    "actorstream.current_request", default=None
)

current_cell: ContextVar[Any] = ContextVar("actorstream.current_cell", default=None)
"""The cell of the actor whose task runs this code; ``None`` in a stream's producer."""

current_channel: ContextVar[Any] = ContextVar("actorstream.current_channel", default=None)
"""The channel into which the running producer puts its items."""


def current_message() -> Message:
    """Return the message that the running actor is handling.

    Works in the handler itself and in everything that it calls or starts.

    Raises:
        LookupError: No actor is handling a message here.
    """
    message = current_request.get()
    if message is None:
        raise LookupError(
            "there is no current message here; call current_message() inside an actor's "
            "handlers, stream_async() or stream()"
        )
    return message
