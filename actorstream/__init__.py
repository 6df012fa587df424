"""Streaming between actors, on AnyIO: ``async for`` here, ``yield`` there.

See `MessageRouter`, `Actor` and `Stream` to begin with.
"""

import typing as _typing

from actorstream._abort import AbortController, AbortSignal
from actorstream._actors.actor import Actor
from actorstream._actors.handlers import handles, streams
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
    StartTimeoutError,
    StreamAbortedError,
    StreamClosedError,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
    UnhandledMessageError,
)
from actorstream._ids import generate_correlation_id, generate_message_id
from actorstream._message import AsyncStreamMessage, Message
from actorstream._options import StreamAsyncOptions
from actorstream._ports.port import Port
from actorstream._ports.subscription import Subscription
from actorstream._router import MessageRouter
from actorstream._streams.stream import Stream
from actorstream._supervision.policy import ChildSpec
from actorstream._supervision.supervisor import Supervisor
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
    "StartTimeoutError",
    "Stream",
    "StreamAbortedError",
    "StreamAsyncOptions",
    "StreamClosedError",
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


def _present(public: _typing.Any) -> None:
    """Show a public class or function as this package's own.

    Tracebacks, pickles and the docs then name what users import, not the file it is in.
    The annotations of a class are resolved first: ``typing.get_type_hints()`` looks them up in
    the module that ``__module__`` names, where not every name in them is known.
    """
    if isinstance(public, type) and "__annotations__" in vars(public):
        hints = _typing.get_type_hints(public, include_extras=True)
        public.__annotations__ = {name: hints[name] for name in public.__annotations__}
    public.__module__ = __name__


for _name in __all__:
    if _name != "__version__":
        _present(globals()[_name])
