"""What travels: the request that opens a stream, and the events that come back."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Literal, TypeGuard, TypeVar, cast, get_args

import attrs

from actorstream._address import Address
from actorstream._ids import generate_correlation_id, generate_message_id
from actorstream._pickling import portable

T = TypeVar("T")

EventType = Literal["data", "end", "error"]
_NO_PAYLOAD: Any = None
_MISSING: Any = object()
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


class StreamIdentity:
    """What the events of one stream share, so that it need not be stored with each.

    Attributes:
        id: The ids of the events begin with it, and so sort after it.
        correlation_id: That of the events.
        sender: The actor.
    """

    __slots__ = ("correlation_id", "id", "sender")

    def __init__(self, id: str, correlation_id: str, sender: Address) -> None:
        self.id: str = id
        self.correlation_id: str = correlation_id
        self.sender: Address = sender

    def after(self, own_id: str | None, correlation_id: str) -> StreamIdentity:
        """Return what the events share after one of the actor's own that brought these along.

        The ids that follow sort after an id of its own.
        """
        if not (own_id or correlation_id):
            return self
        return StreamIdentity(own_id or self.id, correlation_id or self.correlation_id, self.sender)

    def complete(
        self, event: AsyncStreamMessage[T], number: int
    ) -> tuple[AsyncStreamMessage[T], StreamIdentity]:
        """Fill in what an actor left out of its own event.

        A correlation id in the actor's first event becomes that of the stream. An event that
        came out of another stream becomes one of this stream.

        Returns:
            A copy of the event, since the actor may yield its own again; and what the events
            share from now on.
        """
        own_id = own_id_of(event)
        is_first = number == 1 and event.identity is None
        identity = self.after(own_id, event.correlation_id if is_first else "")
        return complete(event, identity, number, own_id), identity

    def renamed(self, correlation_id: str) -> StreamIdentity:
        """Return the same with another correlation id."""
        return StreamIdentity(self.id, correlation_id, self.sender)


class _LazyFields:
    """Room for what is no field of an event: what its fields are made of when asked for.

    Attributes:
        exception: The one behind an error.
        identity: What it shares with the other events of its stream.
        number: Its place among them.
    """

    __slots__ = ("exception", "identity", "number")
    exception: BaseException | None
    number: int
    identity: StreamIdentity | None


@attrs.define(init=False)
class AsyncStreamMessage(_LazyFields, Generic[T]):
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
        timestamp: When the event was made, in seconds since the epoch: by the actor if it
            made it, else where the consumer took it.

    Raises:
        ValueError: ``type`` is none of the three.
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
            raise ValueError(f'type is one of "data", "end", "error", not {type!r}')
        self.type = type
        self.payload = payload
        self.error = error
        self.correlation_id = correlation_id
        self.sender = sender
        self.exception: BaseException | None = None  # type: ignore[misc]
        self.identity: StreamIdentity | None = None  # type: ignore[misc]
        self.id = _MISSING if id is None else id
        self.timestamp = time.time() if timestamp is None else timestamp

    # A copy that an actor yields on behaves as this event would, so it takes along which stream
    # this one came from, and the exception behind an error.

    def __copy__(self) -> AsyncStreamMessage[T]:
        event = blank_event()
        event.__setstate__(self._state())
        return cast("AsyncStreamMessage[T]", event)

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncStreamMessage[T]:
        event = memo[id(self)] = copy.copy(self)
        event.payload = copy.deepcopy(self.payload, memo)
        return event

    def __getstate__(self) -> dict[str, Any]:
        state = self._state()
        state["exception"] = portable(state["exception"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        identity = state.get("identity")
        for name, value in state.items():
            setattr(self, name, value)
        self.identity = identity and StreamIdentity(*identity)  # type: ignore[misc]

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        state["exception"] = getattr(self, "exception", None)  # the router makes data without
        if self.identity is not None:
            state["identity"] = (
                self.identity.id,
                self.identity.correlation_id,
                self.identity.sender,
            )
            state["number"] = self.number
        return state


def _made_late(name: str, make: Callable[[Any], object], doc: str) -> Any:
    """Make a property over a field's slot: a value that is not there is made when asked for.

    Most events are read for their type and payload, so the router leaves the rest to whoever
    asks. ``__getattr__`` would do that, too, but slow every read of every field down.
    """
    slot: Any = vars(AsyncStreamMessage)[name]
    look, put = slot.__get__, slot.__set__

    def get(event: Any) -> object:
        try:
            value = look(event)
        except AttributeError:
            value = _MISSING
        if value is _MISSING:
            value = make(event)
            put(event, value)
        return value

    return property(get, put, slot.__delete__, doc)


blank_event: Callable[[], Any] = partial(object.__new__, AsyncStreamMessage)
"""Makes an event without running its constructor; whoever calls it fills it in."""


def _make_id(event: AsyncStreamMessage[Any]) -> str:
    if event.identity is None:
        return generate_message_id()
    return f"{event.identity.id}-{event.number:012x}"


def _find_correlation_id(event: AsyncStreamMessage[Any]) -> str:
    return "" if event.identity is None else event.identity.correlation_id


def _find_sender(event: AsyncStreamMessage[Any]) -> Address | None:
    return None if event.identity is None else event.identity.sender


def _nothing(_: AsyncStreamMessage[Any]) -> None:
    return None


_look_at_id: Callable[[AsyncStreamMessage[Any]], Any] = vars(AsyncStreamMessage)["id"].__get__

for _name, _make, _doc in (
    ("id", _make_id, "Unique across processes; sorts in the order of the events."),
    ("correlation_id", _find_correlation_id, "The same for all events of one stream."),
    ("sender", _find_sender, "The actor that streams."),
    ("error", _nothing, 'What went wrong, for ``"error"``.'),
):
    setattr(AsyncStreamMessage, _name, _made_late(_name, _make, _doc))


def end_event(identity: StreamIdentity, number: int) -> AsyncStreamMessage[Any]:
    """Make the end event of a stream whose actor made none."""
    event: Any = AsyncStreamMessage("end")
    event.identity = identity
    event.number = number
    del event.correlation_id, event.sender  # found in the identity
    return cast("AsyncStreamMessage[Any]", event)


def error_event(exception: BaseException, **fields: Any) -> AsyncStreamMessage[Any]:
    """Make an error event that knows the exception behind it."""
    event: Any = AsyncStreamMessage("error", error=str(exception) or repr(exception), **fields)
    event.exception = exception
    return cast("AsyncStreamMessage[Any]", event)


def is_event(item: object) -> TypeGuard[AsyncStreamMessage[Any]]:
    """Return whether an item is an event of the actor's own making."""
    return type(item) is AsyncStreamMessage


def own_id_of(event: AsyncStreamMessage[Any]) -> str | None:
    """Return the id that an actor gave to its event; one of another stream's has none."""
    if event.identity is not None:
        return None
    own_id = _look_at_id(event)
    return None if own_id is _MISSING else own_id


def complete(
    event: AsyncStreamMessage[T], identity: StreamIdentity, number: int, own_id: str | None
) -> AsyncStreamMessage[T]:
    """Return a copy in which nothing is left out; the actor may yield its own again."""
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
    return cast("AsyncStreamMessage[T]", copy)
