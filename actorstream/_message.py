"""What travels: the request that opens a stream, and the events that come back."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Generic, Literal, TypeGuard, TypeVar, get_args

import attrs

from actorstream._address import Address
from actorstream._ids import generate_correlation_id, generate_message_id

T = TypeVar("T")

EventType = Literal["data", "end", "error"]
_EVENT_TYPES: tuple[str, ...] = get_args(EventType)


@attrs.frozen(kw_only=True)
class Message:
    """A request, as the actor sees it through ``current_message()``.

    Attributes:
        to: The actor that is asked.
        type: What is asked for, such as ``"query"``.
        payload: What the caller sent along.
        sender: The actor on whose behalf the call was made; ``None`` outside of actors.
        correlation_id: Links the request with every event of its stream.
        id: Unique across processes.
        timestamp: When it was made, in seconds since the epoch.
    """

    to: Address
    type: str
    payload: Any = None
    sender: Address | None = None
    correlation_id: str = attrs.field(factory=generate_correlation_id)
    id: str = attrs.field(factory=generate_message_id)
    timestamp: float = attrs.field(factory=time.time)


def is_event(item: object) -> TypeGuard[AsyncStreamMessage[Any]]:
    """Return whether an item is an event of the actor's own making."""
    return type(item) is AsyncStreamMessage


@attrs.define(init=False)
class AsyncStreamMessage(Generic[T]):
    """One event of a stream.

    An actor may yield these to be explicit; whatever it leaves out, the router fills in.
    Not meant to be subclassed.

    Attributes:
        id: Unique across processes; within one stream, ids sort in the order of the events.
        correlation_id: The same for all events of one stream.
        sender: The actor that streams.
        type: ``"data"``, ``"end"`` or ``"error"``.
        payload: The item, for ``"data"``.
        error: What went wrong, for ``"error"``.
        timestamp: When the event was made, in seconds since the epoch.
        exception: The exception behind an ``"error"``, where there is one; no part of the
            event's value.

    Raises:
        ValueError: ``type`` is none of the three.
    """

    id: str
    correlation_id: str
    sender: Address | None
    type: EventType
    payload: T | None
    error: str | None
    timestamp: float
    exception: BaseException | None = attrs.field(init=False, eq=False, repr=False)

    def __init__(
        self,
        type: EventType,
        payload: T | None = None,
        *,
        error: str | None = None,
        id: str | None = None,
        correlation_id: str = "",
        sender: Address | None = None,
        timestamp: float | None = None,
    ) -> None:
        if type not in _EVENT_TYPES:
            raise ValueError(f'type is one of "data", "end", "error", not {type!r}')
        self.type = type
        self.payload = payload
        self.error = error
        self.correlation_id = correlation_id
        self.sender = sender
        self.timestamp = time.time() if timestamp is None else timestamp
        self.exception = None
        if id is not None:
            self.id = id

    def __getattr__(self, name: str) -> Any:
        # Reached only for a slot that is still empty. An id is made when somebody asks for
        # it: most events are read once and never named.
        if name != "id":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.id = generate_message_id()
        return self.id

    def completed(self, id: str, correlation_id: str, sender: Address) -> AsyncStreamMessage[T]:
        """Return a copy in which nothing is left out. The actor may yield its own again."""
        with suppress(AttributeError):
            id = object.__getattribute__(self, "id")  # its own, without making one
        event = AsyncStreamMessage(
            self.type,
            self.payload,
            error=self.error,
            id=id,
            correlation_id=self.correlation_id or correlation_id,
            sender=self.sender or sender,
            timestamp=self.timestamp,
        )
        event.exception = self.exception
        return event
