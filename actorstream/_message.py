"""What travels: the request that opens a stream, and the events that come back."""

from __future__ import annotations

import time
from typing import Any, Generic, Literal, TypeVar, get_args

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


class _Failure:
    """Room for the exception behind an error event, which is no part of the event's value."""

    __slots__ = ("exception",)
    exception: BaseException | None


@attrs.define(init=False)
class AsyncStreamMessage(_Failure, Generic[T]):
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

    def __init__(
        self,
        type: EventType,  # noqa: A002 - the field's name in the protocol
        payload: T | None = None,
        *,
        error: str | None = None,
        id: str | None = None,  # noqa: A002
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

    def completed(
        self, id: str, correlation_id: str, sender: Address  # noqa: A002
    ) -> AsyncStreamMessage[T]:
        """Return a copy in which nothing is left out. The actor may yield its own again."""
        try:
            id = object.__getattribute__(self, "id")  # noqa: A001 - without making one
        except AttributeError:
            pass
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
