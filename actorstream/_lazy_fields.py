"""Fields of an event that are made when they are first read.

Most events are read for their type and payload alone, so the router leaves out the fields that can
be made later from what a stream's events share. ``__getattr__`` could make them, too, but would
slow down the reads of every field; a property over a field's slot slows down that field only.
"""

# A class cannot have a public property that its users do not see.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import attrs

from actorstream._address import Address
from actorstream._ids import generate_message_id
from actorstream._pickling import dump, load

MISSING: Any = object()
"""Marks a field that was left out; reading the field makes its value."""


class OmittedId:
    """In place of an id that was left out, but is the same in the event and its copies.

    The event is still one without an id until the id is read: a stream gives it another one.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: str = text


class StreamIdentity:
    """What the events of one stream share.

    Attributes:
        id: The ids of the events begin with it, and so sort after it.
        correlation_id: Links the events with the request.
        sender: The actor that streams.
    """

    __slots__ = ("correlation_id", "id", "sender")

    def __init__(self, id: str, correlation_id: str, sender: Address) -> None:
        self.id: str = id
        self.correlation_id: str = correlation_id
        self.sender: Address = sender

    def after(self, own_id: str | None, correlation_id: str) -> StreamIdentity:
        """Return what the events share after one that the actor made with these ids.

        Later ids sort after the actor's own id.
        """
        if not (own_id or correlation_id):
            return self
        return StreamIdentity(own_id or self.id, correlation_id or self.correlation_id, self.sender)


class LazyFields:
    """What the fields of an event are made from; the base of ``AsyncStreamMessage``.

    An actor may yield a copy of an event, which must behave like the event itself. So copies and
    pickles keep all of this.

    Attributes:
        exception: The exception behind an error event.
        identity: What the event shares with the others of its stream, if it came from a stream.
        number: Its place among them.
    """

    __slots__ = ("exception", "identity", "number")
    id: Any
    exception: BaseException | None
    identity: StreamIdentity | None
    number: int
    _given_id: str | None

    def __copy__(self) -> Self:
        event = object.__new__(type(self))
        event._restore(self._state())
        return event

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        event: Any = copy.copy(self)
        memo[id(self)] = event  # the payload may contain the event
        event.payload = copy.deepcopy(event.payload, memo)
        return event  # type: ignore[no-any-return]

    def __replace__(self, /, **changes: Any) -> Self:
        event = copy.copy(self)
        for name, value in changes.items():
            setattr(event, name, value)
        return event

    def __getstate__(self) -> dict[str, Any]:
        state = self._state()
        state["exception"] = dump(state["exception"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore({**state, "exception": load(state["exception"])})

    def _restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            if name != "omits_id":
                setattr(self, name, value)
        if state.get("omits_id"):
            self.id = OmittedId(state["id"])
        shared = state.get("identity")
        self.identity = None if shared is None else StreamIdentity(*shared)

    def _state(self) -> dict[str, Any]:
        kind: Any = type(self)
        omits_id = self.identity is None and self._given_id is None
        state = {field.name: getattr(self, field.name) for field in attrs.fields(kind)}
        state["exception"] = getattr(self, "exception", None)  # data events of the router have none
        shared = self.identity
        if omits_id:
            self.id = OmittedId(state["id"])  # as before it was read here
            state["omits_id"] = True
        if shared is not None:
            state["identity"] = (shared.id, shared.correlation_id, shared.sender)
            state["number"] = self.number
        return state


def make_lazy(event_class: type[LazyFields]) -> None:
    """Put properties over the slots of the fields that may be left out."""
    read_id = vars(event_class)["id"].__get__
    event_class._given_id = property(partial(given_id, read_id))  # type: ignore[assignment]
    for name, make, doc in (
        ("id", _make_id, "Unique across processes; sorts in the order of the events."),
        ("correlation_id", _find_correlation_id, "The same for all events of one stream."),
        ("sender", _find_sender, "The actor that streams."),
        ("error", _make_none, 'What went wrong, for ``"error"``.'),
    ):
        setattr(event_class, name, _lazy_property(vars(event_class)[name], make, doc))


def _lazy_property(slot: Any, make: Callable[[Any], object], doc: str) -> property:
    read, write = slot.__get__, slot.__set__

    def get(event: Any) -> object:
        try:
            value = read(event)
        except AttributeError:
            value = MISSING
        if value is MISSING:
            value = make(event)
            write(event, value)
        elif type(value) is OmittedId:
            value = value.text
            write(event, value)
        return value

    return property(get, write, slot.__delete__, doc)


def given_id(read: Callable[[Any], Any], event: Any) -> str | None:
    """Return the id of an event, unless it was left out; ``read`` reads the slot of the id."""
    found: Any = read(event)
    return None if found is MISSING or type(found) is OmittedId else found


def _make_id(event: LazyFields) -> str:
    if event.identity is None:
        return generate_message_id()
    return f"{event.identity.id}-{event.number:012x}"


def _find_correlation_id(event: LazyFields) -> str:
    return "" if event.identity is None else event.identity.correlation_id


def _find_sender(event: LazyFields) -> Address | None:
    return None if event.identity is None else event.identity.sender


def _make_none(_: LazyFields) -> None:
    return None
