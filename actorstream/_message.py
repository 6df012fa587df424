"""The messages that actors get, and the events that their streams yield."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Literal, Self, TypeGuard, TypeVar, cast, get_args

import attrs

from actorstream._address import Address
from actorstream._ids import generate_correlation_id, generate_message_id
from actorstream._lazy_fields import MISSING, LazyFields, StreamIdentity, given_id, make_lazy
from actorstream._texts import repr_of, text_of

T = TypeVar("T")

EventType = Literal["data", "end", "error"]
_NO_PAYLOAD: Any = None
_EVENT_TYPES: tuple[str, ...] = get_args(EventType)


@attrs.frozen(kw_only=True)
class Message:
    """A request, as the actor sees it through ``current_message()``.

    Attributes:
        to: The actor that gets the request.
        type: What is asked for, such as ``"query"``.
        payload: What the caller passed.
        sender: The actor on whose behalf the call was made; ``None`` outside of actors.
        correlation_id: Links the request with every event of its stream.
        id: Unique across processes.
        timestamp: When the request was made, in seconds since the epoch.
    """

    to: Address
    type: str
    payload: Any = None
    sender: Address | None = None
    correlation_id: str = attrs.field(factory=generate_correlation_id)
    id: str = attrs.field(factory=generate_message_id)
    timestamp: float = attrs.field(factory=time.time)


@attrs.define(init=False, getstate_setstate=False)
class AsyncStreamMessage(LazyFields, Generic[T]):
    """One event of a stream.

    An actor may yield events to be explicit; the router fills in what the actor leaves out.
    Not meant to be subclassed.

    Attributes:
        id: Unique across processes; within one stream, ids sort in the order of the events.
        correlation_id: The same for all events of one stream.
        sender: The actor that streams.
        type: ``"data"``, ``"end"`` or ``"error"``.
        payload: The item, for ``"data"``.
        error: What went wrong, for ``"error"``.
        timestamp: When the actor made the event, or else when the consumer took it, in
            seconds since the epoch.

    Raises:
        ValueError: ``type`` is not one of the three.
    """

    id: str
    correlation_id: str
    sender: Address | None
    type: EventType
    payload: T
    error: str | None
    timestamp: float

    def __init__(
        self,
        type: EventType,
        payload: T = _NO_PAYLOAD,
        *,
        error: str | None = None,
        id: str | None = None,
        correlation_id: str = "",
        sender: Address | None = None,
        timestamp: float | None = None,
    ) -> None:
        if type not in _EVENT_TYPES:
            raise ValueError(f'type is one of "data", "end", "error", not {repr_of(type)}')
        self.type = type
        self.payload = payload
        self.error = error
        self.correlation_id = correlation_id
        self.sender = sender
        self.exception: BaseException | None = None  # type: ignore[misc]
        self.identity: StreamIdentity | None = None  # type: ignore[misc]
        self.id = MISSING if id is None else id
        self.timestamp = time.time() if timestamp is None else timestamp

    def __replace__(self, /, **changes: Any) -> Self:
        return super().__replace__(**changes)  # that of attrs would lose what is lazy


blank_event: Callable[[], Any] = partial(object.__new__, AsyncStreamMessage)
"""Makes an event without running its constructor; the caller sets the fields."""


_read_id: Callable[[AsyncStreamMessage[Any]], Any] = vars(AsyncStreamMessage)["id"].__get__
make_lazy(AsyncStreamMessage)


def end_event(identity: StreamIdentity, number: int) -> AsyncStreamMessage[Any]:
    """Make the end event of a stream whose actor did not make one."""
    event: Any = AsyncStreamMessage("end")
    event.identity = identity
    event.number = number
    del event.correlation_id, event.sender  # read from the identity instead
    return cast("AsyncStreamMessage[Any]", event)


def error_event(exception: BaseException, **fields: Any) -> AsyncStreamMessage[Any]:
    """Make an error event that keeps the exception behind it."""
    event: Any = AsyncStreamMessage(
        "error", error=text_of(exception) or repr_of(exception), **fields
    )
    event.exception = exception
    return cast("AsyncStreamMessage[Any]", event)


def is_event(item: object) -> TypeGuard[AsyncStreamMessage[Any]]:
    """Return whether an item is an event that the actor made itself."""
    return type(item) is AsyncStreamMessage


def complete(
    event: AsyncStreamMessage[T], identity: StreamIdentity, number: int
) -> tuple[AsyncStreamMessage[T], StreamIdentity]:
    """Fill in what an actor left out of its own event.

    A correlation id in the actor's first event becomes that of the stream. An event that came from
    another stream becomes an event of this stream.

    Args:
        event: The actor's event.
        identity: What the events of the stream have shared so far.
        number: The place of the event among them.

    Returns:
        A copy, since the actor may yield its own event again; and what the events share from
        now on.
    """
    own_id = None if event.identity is not None else given_id(_read_id, event)
    is_first = number == 1 and event.identity is None
    identity = identity.after(own_id, event.correlation_id if is_first else "")
    copy = blank_event()
    copy.type = event.type
    copy.payload = event.payload
    copy.timestamp = event.timestamp
    if event.type != "data":
        copy.error = event.error
        copy.exception = event.exception
    copy.identity = identity
    copy.number = number
    if event.sender is not None:
        copy.sender = event.sender
    if own_id is not None:
        copy.id = own_id
    return cast("AsyncStreamMessage[T]", copy), identity
