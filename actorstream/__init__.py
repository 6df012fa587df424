"""Streaming between actors, on AnyIO: ``async for`` here, ``yield`` there.

See `MessageRouter`, `Actor` and `Stream` to begin with.
"""

from actorstream._abort import AbortController, AbortSignal
from actorstream._actor import Actor
from actorstream._address import Address, address
from actorstream._context import current_message
from actorstream._errors import (
    ActorError,
    ActorNotFoundError,
    ActorRestartedError,
    ActorStoppedError,
    ActorStreamError,
    AskCycleError,
    AskTimeoutError,
    MailboxFullError,
    PortClosedError,
    PortNotFoundError,
    RestartLimitError,
    RouterClosedError,
    StreamAbortedError,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
    UnhandledMessageError,
)
from actorstream._handlers import handles, streams
from actorstream._ids import generate_correlation_id, generate_message_id
from actorstream._message import AsyncStreamMessage, Message
from actorstream._options import StreamAsyncOptions
from actorstream._port import Port
from actorstream._router import MessageRouter
from actorstream._stream import Stream
from actorstream._subscription import Subscription
from actorstream._supervision import ChildSpec
from actorstream._supervisor import Supervisor
from actorstream._version import __version__

__all__ = [
    "AbortController",
    "AbortSignal",
    "Actor",
    "ActorError",
    "ActorNotFoundError",
    "ActorRestartedError",
    "ActorStoppedError",
    "ActorStreamError",
    "Address",
    "AskCycleError",
    "AskTimeoutError",
    "AsyncStreamMessage",
    "ChildSpec",
    "MailboxFullError",
    "Message",
    "MessageRouter",
    "Port",
    "PortClosedError",
    "PortNotFoundError",
    "RestartLimitError",
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
    "Supervisor",
    "UnhandledMessageError",
    "__version__",
    "address",
    "current_message",
    "generate_correlation_id",
    "generate_message_id",
    "handles",
    "streams",
]
