"""Streaming between actors, on AnyIO: ``async for`` here, ``yield`` there.

See `MessageRouter`, `Actor` and `Stream` to begin with.
"""

from actorstream._abort import AbortController, AbortSignal
from actorstream._actor import Actor
from actorstream._address import Address, address
from actorstream._context import current_message
from actorstream._errors import (
    ActorNotFoundError,
    ActorStoppedError,
    ActorStreamError,
    PortClosedError,
    PortNotFoundError,
    RouterClosedError,
    StreamAbortedError,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
)
from actorstream._ids import generate_correlation_id, generate_message_id
from actorstream._message import AsyncStreamMessage, Message
from actorstream._options import StreamAsyncOptions
from actorstream._port import Port
from actorstream._router import MessageRouter
from actorstream._stream import Stream
from actorstream._subscription import Subscription
from actorstream._version import __version__

__all__ = [
    "AbortController",
    "AbortSignal",
    "Actor",
    "ActorNotFoundError",
    "ActorStoppedError",
    "ActorStreamError",
    "Address",
    "AsyncStreamMessage",
    "Message",
    "MessageRouter",
    "Port",
    "PortClosedError",
    "PortNotFoundError",
    "RouterClosedError",
    "Stream",
    "StreamAbortedError",
    "StreamAsyncOptions",
    "StreamConsumedError",
    "StreamError",
    "StreamOverflowError",
    "StreamTimeoutError",
    "StreamingNotSupportedError",
    "Subscription",
    "__version__",
    "address",
    "current_message",
    "generate_correlation_id",
    "generate_message_id",
]
