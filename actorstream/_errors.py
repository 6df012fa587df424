"""Every error of the library, and whose mistake it is.

``ActorStreamError`` is the base of all. A second base lets code that already catches the built-in
kind catch the error, too: a failed lookup is a ``LookupError``.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, Self

from anyio import ClosedResourceError

from actorstream._address import Address
from actorstream._kinds import is_a
from actorstream._message import Message
from actorstream._pickling import dump, load
from actorstream._texts import repr_of, text_of

TimeoutKind = Literal["total", "first", "idle", "stall"]

_WAITED_FOR: dict[TimeoutKind, str] = {
    "total": "it did not end within",
    "first": "its first item did not come within",
    "idle": "the next item did not come within",
    "stall": "its consumer did not read within",
}


class ActorStreamError(Exception):
    """Base of every error that this library raises on purpose."""

    # Python leaves the cause out of copies and pickles, and the cause is the actor's own exception.

    def __copy__(self) -> Self:
        return self._make_again(self.args, vars(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._make_again(copy.deepcopy(self.args, memo), copy.deepcopy(vars(self), memo))

    def _make_again(self, args: tuple[Any, ...], attributes: dict[str, Any]) -> Self:
        error = type(self)(*args)
        vars(error).update(attributes)
        if self.__cause__ is not None:
            error.__cause__ = self.__cause__
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, {**vars(self), "__cause__": dump(self.__cause__)}

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        attributes = dict(state or {})
        cause = load(attributes.pop("__cause__", None))
        vars(self).update(attributes)
        if cause is not None:
            self.__cause__: BaseException | None = cause


class ActorNotFoundError(ActorStreamError, LookupError):
    """No actor is registered under that address: the caller's mistake."""


class PortNotFoundError(ActorStreamError, LookupError):
    """The actor has no port of that name: the caller's mistake."""


class PortClosedError(ActorStreamError, ClosedResourceError):
    """The port has been closed: it accepts neither values nor subscribers."""


class StreamingNotSupportedError(ActorStreamError, TypeError):
    """The actor cannot stream, or its ``stream_async`` returned nothing to iterate over."""


class StreamConsumedError(ActorStreamError, RuntimeError):
    """A stream was used a second time, or by two tasks at once: the consumer's mistake."""


class StreamClosedError(ActorStreamError, ClosedResourceError):
    """The stream is over, and takes no more items: what produces them can stop.

    ``on_chunk()`` raises it in a thread or task that the stream's end does not cancel.
    """


class RouterClosedError(ActorStreamError, RuntimeError):
    """The router is not running: not entered yet, or already left."""


class ActorStoppedError(ActorStreamError):
    """The actor stopped before it could answer, or while its stream was open."""


class StartTimeoutError(ActorStreamError, TimeoutError):
    """The actor's ``on_start()`` took longer than its ``start_timeout``, which is its failure."""


class ActorRestartedError(ActorStoppedError):
    """The actor's supervisor restarted it meanwhile; another try may well succeed."""


class ActorError(ActorStreamError):
    """The actor failed while it handled an ask. Its own exception is the ``__cause__``."""


class AskTimeoutError(ActorStreamError, TimeoutError):
    """No answer came in time; the handler has been cancelled."""


class AskCycleError(ActorStreamError, RuntimeError):
    """The wait would deadlock: it would wait for the caller itself, directly or through others."""


class MailboxFullError(ActorStreamError):
    """The actor's mailbox is full, and the sender cannot wait."""


class UnhandledMessageError(ActorStreamError, LookupError):
    """The actor has no handler for a message of that type.

    Attributes:
        message: The message.
    """

    def __init__(self, text: str, message: Message | None = None) -> None:
        super().__init__(text)
        self.message = message


def claim_unhandled(error: UnhandledMessageError, message: Message) -> bool:
    """Return whether an error is about this message, and not about one that the handler sent on.

    An error that the actor itself raised is about the message that it handles.
    """
    if error.message is None:
        error.message = message
    return error.message is message


def raise_if(error: BaseException | None) -> None:
    """Raise an error, if there is one.

    Call it with an expression, not a variable: a frame that an error's traceback refers to must
    not refer to the error, or only the garbage collector frees both, with all that the frames hold.
    """
    try:
        if error is not None:
            raise error
    finally:
        del error


class RestartLimitError(ActorStreamError):
    """The children of a supervisor failed too often. The last failure is the ``__cause__``."""


class StreamError(ActorStreamError):
    """The actor failed while it streamed, or one of the stream's limits ended it.

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
        if is_a(reason, BaseException):
            self.__cause__: BaseException | None = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}({repr_of(self.reason)})"

    def __str__(self) -> str:
        return f"the stream was cancelled: {text_of(self.reason)}"


class StreamTimeoutError(StreamError, TimeoutError):
    """One of the stream's four time limits expired.

    Attributes:
        kind: Which limit: ``"total"``, ``"first"``, ``"idle"`` or ``"stall"``.
        seconds: The limit, in seconds.
        address: The actor that was asked.
    """

    def __init__(self, kind: TimeoutKind, seconds: float, address: Address) -> None:
        super().__init__()
        # Not through __init__: an OSError would take them for an errno and its text.
        self.args: tuple[Any, ...] = (kind, seconds, address)
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
    """The buffer was full, and the stream has ``overflow="fail"``."""
