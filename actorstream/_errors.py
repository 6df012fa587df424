"""Every error of the library, each saying whose doing it was.

``ActorStreamError`` is the base of them all. A second base makes each one fit where an
author already catches the built-in kind: a lookup that failed is a ``LookupError``.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from anyio import ClosedResourceError

from actorstream._address import Address
from actorstream._message import Message
from actorstream._pickling import portable

TimeoutKind = Literal["total", "first", "idle", "stall"]

_WAITED_FOR: dict[TimeoutKind, str] = {
    "total": "it did not end within",
    "first": "its first item did not come within",
    "idle": "the next item did not come within",
    "stall": "its consumer did not read within",
}


class ActorStreamError(Exception):
    """Base of every error that this library raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python leaves the cause out, which is where the actor's own exception is.
        how, args, *rest = cast("tuple[Any, ...]", super().__reduce__())
        state: dict[str, Any] = {} if not rest else rest[0]
        cause = portable(self.__cause__)
        return how, args, state if cause is None else {**state, "__cause__": cause}


class ActorNotFoundError(ActorStreamError, LookupError):
    """Nobody is registered under that address: the caller's mistake."""


class PortNotFoundError(ActorStreamError, LookupError):
    """The actor has no port of that name: the caller's mistake."""


class PortClosedError(ActorStreamError, ClosedResourceError):
    """The port has been closed: nothing can be published there, and nobody can subscribe."""


class StreamingNotSupportedError(ActorStreamError, TypeError):
    """The actor has no way to stream, or its ``stream_async`` gave nothing to iterate."""


class StreamConsumedError(ActorStreamError, RuntimeError):
    """A stream was used a second time, or by two tasks at once: the consumer's mistake."""


class RouterClosedError(ActorStreamError, RuntimeError):
    """The router is not running: not entered yet, or left already."""


class ActorStoppedError(ActorStreamError):
    """The actor stopped before it could answer, or while its stream was open."""


class ActorRestartedError(ActorStoppedError):
    """The actor was restarted by its supervisor meanwhile; asking again may well succeed."""


class ActorError(ActorStreamError):
    """The actor failed while it handled an ask. Its own exception is the ``__cause__``."""


class AskTimeoutError(ActorStreamError, TimeoutError):
    """No answer came in time; the handling has been cancelled."""


class AskCycleError(ActorStreamError, RuntimeError):
    """The answer would wait for the asker itself, directly or through others."""


class MailboxFullError(ActorStreamError):
    """There is no room in the actor's mailbox, and the sender cannot wait."""


class UnhandledMessageError(ActorStreamError, LookupError):
    """The actor has no handler for a message of that type.

    Attributes:
        message: The message.
    """

    def __init__(self, text: str, message: Message | None = None) -> None:
        super().__init__(text)
        self.message = message


def claim_unhandled(error: UnhandledMessageError, message: Message) -> bool:
    """Return whether an error is about this message, and not about one that was sent on from here.

    An error that an actor made itself is about the message that the actor handles.
    """
    if error.message is None:
        error.message = message
    return error.message is message


class RestartLimitError(ActorStreamError):
    """The children of a supervisor failed too often. The last failure is the ``__cause__``."""


class StreamError(ActorStreamError):
    """The actor failed while it streamed.

    The actor's own exception, where there is one, is the ``__cause__``.
    """


class StreamAbortedError(StreamError):
    """The stream was cancelled from outside: by its signal or by ``stream.cancel()``.

    Attributes:
        reason: The object given to ``abort()`` or ``cancel()``, unchanged.
    """

    def __init__(self, reason: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if isinstance(reason, BaseException):
            self.__cause__: BaseException | None = reason

    def __str__(self) -> str:
        return f"the stream was cancelled: {self.reason}"


class StreamTimeoutError(StreamError, TimeoutError):
    """One of the stream's four time limits passed.

    Attributes:
        kind: Which limit: ``"total"``, ``"first"``, ``"idle"`` or ``"stall"``.
        seconds: The limit, in seconds.
        address: The actor that was asked.
    """

    def __init__(self, kind: TimeoutKind, seconds: float, address: Address) -> None:
        super().__init__()
        self.args: tuple[Any, ...] = (
            kind,
            seconds,
            address,
        )  # an OSError would take them for its own
        self.kind: TimeoutKind = kind
        self.seconds = seconds
        self.address = address

    def __str__(self) -> str:
        option = "timeout" if self.kind == "total" else f"{self.kind}_timeout"
        return (
            f"the stream of {self.address} timed out: {_WAITED_FOR[self.kind]} "
            f"{self.seconds:g} s; allow more with {option}=..., or None for no limit"
        )


class StreamOverflowError(StreamError):
    """The buffer was full and ``overflow="fail"`` was asked for."""
