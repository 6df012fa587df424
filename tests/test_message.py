"""Messages: requests, and stream events whose omitted fields are filled in on demand."""

import copy
import pickle
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import attrs
import pytest

from actorstream import (
    Actor,
    AsyncStreamMessage,
    Message,
    MessageRouter,
    StreamAsyncOptions,
    StreamError,
    address,
)
from tests.support import ActorOf, HelperActor, fail_after_one, serving


async def events_of(*items: Any) -> list[AsyncStreamMessage[Any]]:
    """Return the events that a consumer gets from an actor that yields ``items``."""

    async def make(_: object) -> AsyncIterator[Any]:
        for item in items:
            yield item

    async with serving(ActorOf(make)) as router:
        return [event async for event in router.stream_async("a", "go")]


def test_an_event_needs_only_its_type() -> None:
    event: AsyncStreamMessage[Any] = AsyncStreamMessage("end")
    assert (event.type, event.payload, event.error, event.sender) == ("end", None, None, None)
    assert event.correlation_id == ""


def test_an_event_may_be_made_by_keyword() -> None:
    assert AsyncStreamMessage(type="data", payload="token").payload == "token"


@pytest.mark.parametrize("type_", ["data", "end", "error"])
def test_an_event_has_one_of_three_types(type_: Any) -> None:
    assert AsyncStreamMessage(type_).type == type_


@pytest.mark.parametrize("type_", ["date", "", None, 1, "DATA"])
def test_another_type_is_a_value_error_that_lists_the_three(type_: Any) -> None:
    with pytest.raises(ValueError, match='"data", "end", "error"') as caught:
        AsyncStreamMessage(type_)
    assert repr(type_) in str(caught.value)


@pytest.mark.parametrize("payload", [None, 0, "", b"", False, [], ValueError("x")], ids=repr)
def test_any_object_is_a_payload(payload: object) -> None:
    assert AsyncStreamMessage("data", payload).payload is payload


def test_an_omitted_id_is_generated_once() -> None:
    event = AsyncStreamMessage("data", 1)
    assert event.id == event.id != ""


def test_omitted_ids_differ() -> None:
    assert AsyncStreamMessage("data", 1).id != AsyncStreamMessage("data", 1).id


def test_given_fields_are_kept() -> None:
    sender = address("a")
    event = AsyncStreamMessage(
        "error", None, error="oh", id="i", correlation_id="c", sender=sender, timestamp=1.5
    )
    assert (event.error, event.id, event.correlation_id) == ("oh", "i", "c")
    assert (event.sender, event.timestamp) == (sender, 1.5)


def test_a_timestamp_is_in_seconds_since_the_epoch() -> None:
    before = time.time()
    assert before <= AsyncStreamMessage("data", 1).timestamp <= time.time()


def test_a_timestamp_stays_as_it_is() -> None:
    event = AsyncStreamMessage("data", 1)
    assert event.timestamp == event.timestamp


def test_an_event_takes_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        AsyncStreamMessage("data", 1).other = 1  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_asking_for_another_attribute_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'AsyncStreamMessage' object has no attribute 'from'"):
        getattr(AsyncStreamMessage("data", 1), "from")


def test_its_repr_shows_every_field() -> None:
    shown = repr(AsyncStreamMessage("data", "token"))
    for field in attrs.fields(AsyncStreamMessage):
        assert f"{field.name}=" in shown


def test_events_are_equal_by_their_fields() -> None:
    one, other = (AsyncStreamMessage("data", 1, id="i", timestamp=1.0) for _ in range(2))
    assert one == other
    assert one != AsyncStreamMessage("data", 2, id="i", timestamp=1.0)


@pytest.mark.parametrize("clone", [copy.copy, lambda event: pickle.loads(pickle.dumps(event))])
def test_an_event_survives_copying_and_pickling(clone: Any) -> None:
    event = AsyncStreamMessage("data", {"a": 1}, sender=address("a"))
    assert clone(event) == event


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


CLONES = [copy.copy, copy.deepcopy, pickled]


@pytest.mark.parametrize("clone", CLONES)
async def test_a_clone_of_an_event_of_a_stream_is_equal(clone: Any) -> None:
    event, _ = await events_of(1)
    assert clone(event) == event


@pytest.mark.parametrize("clone", [lambda event: event, *CLONES])
async def test_a_clone_that_is_yielded_on_becomes_an_event_of_the_new_stream(clone: Any) -> None:
    first, _ = await events_of(1)
    again, _ = await events_of(clone(first))
    assert (again.payload, again.sender) == (1, first.sender)
    assert again.correlation_id != first.correlation_id
    assert again.id > first.id


@pytest.mark.parametrize("clone", CLONES)
@pytest.mark.parametrize("given", [{"id": "i"}, {}], ids=["given", "read"])
async def test_a_clone_of_a_hand_made_event_keeps_its_id(clone: Any, given: Any) -> None:
    made = AsyncStreamMessage("data", 1, **given)
    id = made.id
    event, _ = await events_of(clone(made))
    assert event.id == id == made.id


@pytest.mark.parametrize("clone", CLONES)
async def test_clones_of_one_event_without_an_id_get_ids_of_their_own(clone: Any) -> None:
    made = AsyncStreamMessage("data", 1)
    ids = [event.id for event in await events_of(0, *map(clone, [made] * 3), clone(clone(made)))]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("clone", CLONES)
def test_the_id_of_a_clone_is_that_of_the_event(clone: Any) -> None:
    made = AsyncStreamMessage("data", 1)
    assert clone(made).id == made.id == clone(made).id


async def test_a_replaced_payload_leaves_the_event_one_of_its_stream() -> None:
    first, _ = await events_of(1)
    again, _ = await events_of(first.__replace__(payload=2))  # copy.replace() of Python 3.13
    assert (again.payload, again.sender) == (2, first.sender)
    assert again.correlation_id != first.correlation_id


@pytest.mark.parametrize("clone", CLONES)
async def test_a_clone_of_an_error_event_knows_the_exception(
    router: MessageRouter, clone: Any
) -> None:
    async def fail(_: object) -> AsyncIterator[Any]:
        async for event in Actor().create_async_stream(map(int, ["x"])):
            yield clone(event)

    router.register_actor("a", ActorOf(fail))
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "go").collect()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_deep_copy_may_contain_itself() -> None:
    event: AsyncStreamMessage[Any] = AsyncStreamMessage("data", [])
    event.payload.append(event)
    again = copy.deepcopy(event)
    assert again.payload[0] is again


@pytest.mark.parametrize(
    "value",
    [Message(to=address("a"), type="t"), StreamAsyncOptions(), address("a")],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("clone", CLONES)
def test_a_value_survives_copying_and_pickling(value: object, clone: Any) -> None:
    assert clone(value) == value
    assert b"actorstream._" not in pickle.dumps(value)


async def test_a_bare_item_becomes_a_complete_data_event() -> None:
    event, _ = await events_of("token")
    assert (event.type, event.payload, event.error) == ("data", "token", None)
    assert event.sender == address("a")
    assert event.id
    assert event.correlation_id
    assert abs(event.timestamp - time.time()) < 60


async def test_the_events_of_a_stream_share_a_correlation_id() -> None:
    events = await events_of(1, AsyncStreamMessage("data", 2), 3)
    assert len({event.correlation_id for event in events}) == 1


async def test_ids_sort_in_the_order_of_the_events() -> None:
    ids = [event.id for event in await events_of(*range(300))]
    assert ids == sorted(set(ids))
    assert len(ids) == 301


async def test_ids_may_be_read_late_and_in_any_order() -> None:
    events = await events_of(*range(20))
    ids = {event.payload: event.id for event in reversed(events[:-1])}
    assert [ids[number] for number in range(20)] == sorted(ids.values())


async def test_fields_that_an_actor_omits_are_filled_in() -> None:
    event, _ = await events_of(AsyncStreamMessage("data", 1))
    assert event.sender == address("a")
    assert event.correlation_id


async def test_fields_that_an_actor_sets_are_kept() -> None:
    given = AsyncStreamMessage("data", 1, id="i", sender=address("b"), timestamp=1.5)
    event, _ = await events_of(given)
    assert (event.id, event.sender, event.timestamp) == ("i", address("b"), 1.5)


async def test_a_correlation_id_in_the_first_event_becomes_the_streams() -> None:
    events = await events_of(AsyncStreamMessage("data", 1, correlation_id="mine"), 2)
    assert {event.correlation_id for event in events} == {"mine"}


async def test_a_helpers_correlation_id_becomes_the_streams(router: MessageRouter) -> None:
    actor = HelperActor(lambda actor: actor.create_async_stream([1, 2], correlation_id="mine"))
    router.register_actor("a", actor)
    events = [event async for event in router.stream_async("a", "go")]
    assert [event.correlation_id for event in events] == ["mine"] * 3


async def test_ids_after_an_id_set_by_the_actor_sort_after_it() -> None:
    ids = [event.id for event in await events_of(AsyncStreamMessage("data", 1, id="z"), 2, 3)]
    assert ids[0] == "z"
    assert ids == sorted(set(ids))


async def test_an_event_that_is_yielded_twice_arrives_as_two() -> None:
    one = AsyncStreamMessage("data", 1)
    first, second, _ = await events_of(one, one)
    assert first is not second
    assert first.id < second.id


async def test_an_event_that_an_actor_yields_is_not_changed() -> None:
    own = AsyncStreamMessage("data", 1)
    await events_of(own)
    assert own.correlation_id == ""
    assert own.sender is None


async def test_an_actors_end_event_keeps_its_payload() -> None:
    *_, end = await events_of(1, AsyncStreamMessage("end", {"count": 1}))
    assert (end.type, end.payload) == ("end", {"count": 1})


def test_a_request_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Message(to=address("a"), type="go").type = "stop"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_a_request_needs_its_receiver_and_type() -> None:
    message = Message(to=address("a"), type="go")
    assert (message.payload, message.sender) == (None, None)
    assert abs(message.timestamp - time.time()) < 60


def test_each_request_has_its_own_ids() -> None:
    one, other = (Message(to=address("a"), type="go") for _ in range(2))
    assert len({one.id, other.id, one.correlation_id, other.correlation_id}) == 4


def test_a_request_is_made_by_name_only() -> None:
    with pytest.raises(TypeError):
        Message(address("a"), "go")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# Copies, on each path to the consumer


class PassesOn(Actor):
    """Passes on clones of events, in one of the ways that an actor can."""

    def __init__(self, way: str, make: Any, clone: Any) -> None:
        self.way = way
        self.make = make
        self.clone = clone

    async def items(self) -> AsyncIterator[Any]:
        async for item in self.make(self):
            yield self.clone(item)

    async def stream_async(self, payload: object) -> Any:
        if self.way == "returned":
            return self.create_async_stream(self.items())
        if self.way == "watched":
            return self.create_async_stream_with_backpressure(self.items())
        if self.way == "yielded":
            return self.items()
        if self.way == "by hand":
            return self.by_hand()
        items = [item async for item in self.items()]
        if self.way == "thread":
            return self.create_thread_stream(iter(items))
        return self.create_callback_stream(partial(self.push_all, items))

    async def by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream(self.items()):
            yield self.clone(event)

    def push_all(self, items: list[Any], push: Any) -> None:
        for item in items:
            push(item)


class PassesOnChunks(PassesOn):
    """Does so in the callback form."""

    stream_async = None  # type: ignore[assignment]

    async def stream(self, payload: object, on_chunk: Any) -> None:
        async for item in self.items():
            await on_chunk(item)


async def from_another_stream(actor: Actor) -> AsyncIterator[Any]:
    async for event in actor.router.stream_async("fails", "go"):
        yield event


async def from_a_helper(actor: Actor) -> AsyncIterator[Any]:
    async for event in actor.create_async_stream(fail_after_one()):
        yield event


async def made_by_hand(_: Actor) -> AsyncIterator[Any]:
    sender = address("someone")
    yield AsyncStreamMessage("data", 1, correlation_id="c", sender=sender, timestamp=5.0)
    yield AsyncStreamMessage("data", 2)
    yield AsyncStreamMessage("data", 3, id="i")
    yield AsyncStreamMessage("end", sender=sender)


async def outcome_of(router: MessageRouter, id: str) -> tuple[list[Any], Any]:
    """Return what the consumer of a stream gets, without what differs from stream to stream."""
    seen: list[Any] = []
    request = ""
    try:
        async for event in router.stream_async(id, "go"):
            request = request or event.id.rsplit("-", 1)[0]
            ids = (event.id.replace(request, ""), event.correlation_id in ("c", request))
            text = event.error and event.error.replace(id, "a")
            seen.append((event.type, event.payload, text, *ids))
            seen.append((event.sender == address(id) or event.sender, event.timestamp == 5.0))
    except StreamError as error:
        return seen, repr(error.__cause__).replace(id, "a")
    return seen, None


@pytest.mark.parametrize("way", ["yielded", "returned", "watched", "by hand", "push", "chunks"])
@pytest.mark.parametrize("make", [from_another_stream, from_a_helper, made_by_hand])
@pytest.mark.parametrize("clone", CLONES)
async def test_clones_reach_the_consumer_as_the_events_would(
    router: MessageRouter, way: str, make: Any, clone: Any
) -> None:
    kind = PassesOnChunks if way == "chunks" else PassesOn
    router.register_actor("fails", HelperActor(lambda a: a.create_async_stream(fail_after_one())))
    router.register_actor("events", kind(way, make, lambda event: event))
    router.register_actor("clones", kind(way, make, clone))
    assert await outcome_of(router, "clones") == await outcome_of(router, "events")


@pytest.mark.parametrize("clone", CLONES)
@pytest.mark.real_clock
async def test_clones_that_a_thread_makes_reach_the_consumer_as_the_events_would(
    router: MessageRouter, clone: Any
) -> None:
    router.register_actor("events", PassesOn("thread", made_by_hand, lambda event: event))
    router.register_actor("clones", PassesOn("thread", made_by_hand, clone))
    assert await outcome_of(router, "clones") == await outcome_of(router, "events")
