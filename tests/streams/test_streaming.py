"""Streaming as a whole, as a consumer and an actor see it."""

import gc
import logging
import math
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from actorstream import (
    Actor,
    ActorStoppedError,
    AsyncStreamMessage,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAbortedError,
    StreamConsumedError,
    StreamError,
    StreamOverflowError,
    StreamTimeoutError,
    address,
    generate_correlation_id,
    generate_message_id,
)
from actorstream.testing import settle
from tests.support import ActorOf, CallbackActorOf, CallbackCountTo, serve

END = object()


async def count(payload):
    """Yield the numbers below the payload."""
    for number in range(payload):
        yield number


class Tracked:
    """Counts up for ever; records how far it came and whether it was closed."""

    __name__ = "tracked"

    def __init__(self) -> None:
        self.produced = 0
        self.closed = 0

    async def __call__(self, payload):
        try:
            while True:
                self.produced += 1
                yield self.produced
        finally:
            self.closed += 1


async def read(payloads: AsyncIterator[Any], got: list[Any]) -> None:
    """Append each payload to a list, up to the end or an error."""
    async with aclosing(cast("Any", payloads)):
        while (payload := await anext(payloads, END)) is not END:
            got.append(payload)


async def refuse_to_run(payload):
    """Fail the test if it is called."""
    pytest.fail("the actor was called")
    yield


async def fail_after(payload):
    """Yield the numbers below the payload, then fail."""
    for number in range(payload):
        yield number
    raise ValueError("the disk is full")


# The two forms


async def test_bare_form(router):
    """The bare form gives the items as data events, in order, and then one end event."""
    serve(router, count)
    events = [event async for event in router.stream_async("count", "query", 3)]
    assert [(event.type, event.payload) for event in events] == [
        ("data", 0),
        ("data", 1),
        ("data", 2),
        ("end", None),
    ]


async def test_scoped_form(router):
    """The scoped form gives the same events."""
    serve(router, count)
    async with router.stream_async("count", "query", 2) as stream:
        assert [event.type async for event in stream] == ["data", "data", "end"]


async def test_empty_stream(router):
    """A stream without items is one end event."""
    serve(router, count)
    assert [e.type async for e in router.stream_async("count", "query", 0)] == ["end"]


async def test_lazy(router):
    """Nothing runs, and nothing is counted, before a stream is pulled or entered."""
    serve(router, refuse_to_run)
    stream = router.stream_async("refuse_to_run", "query")
    iterator = aiter(stream)
    await settle()
    assert router.statistics().opened_streams == 0
    del iterator


async def test_entering_starts_the_producer(router):
    """Entering a stream starts its producer before anything is read."""
    serve(router, count)
    async with router.stream_async("count", "query", 3) as stream:
        await settle()
        assert stream.statistics().buffered == 3


async def test_payloads(router):
    """`payloads()` gives the bare payloads."""
    serve(router, count)
    assert [n async for n in router.stream_async("count", "query", 3).payloads()] == [0, 1, 2]


async def test_payloads_in_the_scoped_form(router):
    """`payloads()` works in the scoped form, too."""
    serve(router, count)
    async with router.stream_async("count", "query", 2) as stream:
        assert [number async for number in stream.payloads()] == [0, 1]


async def test_payloads_raise(router):
    """`payloads()` raises where the event form would give the error event."""
    serve(router, fail_after)
    payloads = router.stream_async("fail_after", "query", 1).payloads()
    assert await anext(payloads) == 0
    with pytest.raises(StreamError, match="the disk is full"):
        await anext(payloads)


async def test_payloads_of_hand_made_messages(router):
    """`payloads()` takes the payload out of a message that the actor made itself."""

    async def hand_made(_):
        yield AsyncStreamMessage("data", "a")
        yield "b"
        yield AsyncStreamMessage("end")

    serve(router, hand_made)
    assert await router.stream_async("hand_made", "query").collect() == ["a", "b"]


async def test_collect(router):
    """`collect()` returns all payloads."""
    serve(router, count)
    assert await router.stream_async("count", "query", 1000).collect() == list(range(1000))


async def test_collect_raises(router):
    """`collect()` raises the actor's failure and leaves nothing running."""
    serve(router, fail_after)
    with pytest.raises(StreamError, match="the disk is full"):
        await router.stream_async("fail_after", "query", 5).collect()
    assert router.statistics().active_streams == 0


async def test_cancelled_collect(router, unit):
    """A cancelled `collect()` has closed the stream before it raises."""
    tracked = Tracked()

    async def slow(payload):
        async with aclosing(tracked(payload)) as numbers:
            async for number in numbers:
                await anyio.sleep(unit)
                yield number

    serve(router, slow)
    with anyio.move_on_after(2.5 * unit) as scope:
        await router.stream_async("slow", "query").collect()
    assert scope.cancelled_caught
    assert (tracked.closed, router.statistics().active_streams) == (1, 0)


# Closing and cancelling by hand


async def test_aclose_waits(router):
    """`aclose()` returns when the producer is gone, even if its clean-up waits."""
    steps = []

    async def tidy(_):
        try:
            while True:
                yield 1
        finally:
            with anyio.CancelScope(shield=True):
                await settle()
            steps.append("cleaned up")

    serve(router, tidy)
    stream = router.stream_async("tidy", "query")
    await anext(aiter(stream))
    await stream.aclose()
    assert steps == ["cleaned up"]
    assert router.statistics().active_streams == 0


async def test_aclose_twice(router):
    """`aclose()` may be called again, and by two tasks at once."""
    tracked = Tracked()
    serve(router, tracked)
    async with router.stream_async("tracked", "query") as stream:
        await settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.aclose)
            tasks.start_soon(stream.aclose)
        await stream.aclose()
        assert (tracked.closed, router.statistics().active_streams) == (1, 0)


async def test_aclose_before_the_start(router):
    """A stream closed before its start never calls the actor."""
    serve(router, refuse_to_run)
    stream = router.stream_async("refuse_to_run", "query")
    await stream.aclose()
    with pytest.raises(StreamConsumedError):
        aiter(stream)
    await settle()
    assert router.statistics().opened_streams == 0


async def test_iterator_after_aclose(router):
    """An iterator made before `aclose()` just ends, without the buffered items."""
    serve(router, count)
    stream = router.stream_async("count", "query", 10)
    iterator = aiter(stream)
    await anext(iterator)
    await stream.aclose()
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


async def test_unread_iterator_after_aclose(router):
    """An iterator that was never pulled ends after `aclose()`, too."""
    serve(router, refuse_to_run)
    stream = router.stream_async("refuse_to_run", "query")
    iterator = aiter(stream)
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


async def test_iterator_after_an_error_event_and_aclose(router):
    """If the error event was seen, `aclose()` makes the iterator end, not raise."""
    serve(router, fail_after)
    stream = router.stream_async("fail_after", "query", 0)
    iterator = aiter(stream)
    assert (await anext(iterator)).type == "error"
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


async def test_iterator_from_before_the_block(router):
    """An unread iterator may be made before `async with`, and is read inside of it."""
    tracked = Tracked()
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", 10)
    numbers = stream.payloads()
    async with stream:
        assert await anext(numbers) == 1
        with pytest.raises(StreamConsumedError):
            stream.payloads()
    assert tracked.closed == 1


async def test_new_iteration_after_aclose(router):
    """A new iteration of a closed stream raises `StreamConsumedError`."""
    serve(router, count)
    stream = router.stream_async("count", "query", 10)
    await stream.aclose()
    with pytest.raises(StreamConsumedError):
        stream.payloads()


async def test_aclose_wakes_the_reader(router):
    """A loop that waits for an item in another task ends when the stream is closed."""
    serve(router, sleep_forever)
    stream = router.stream_async("sleep_forever", "query")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.collect)
        await settle()
        assert stream.statistics().consumer_waiting
        await stream.aclose()


async def sleep_forever(_):
    """Yield nothing, and never end."""
    await anyio.sleep_forever()
    yield


async def test_aclose_in_the_body(router):
    """`aclose()` in the body of the loop ends the loop."""
    tracked = Tracked()
    seen = []
    serve(router, tracked)
    stream = router.stream_async("tracked", "query")
    async for event in stream:
        seen.append(event.payload)
        await stream.aclose()
    assert seen == [1]


async def test_aclose_is_shielded(router, unit):
    """A cancelled `aclose()` still waits for the producer's clean-up."""
    steps = []

    async def tidy(_):
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2 * unit)
            steps.append("cleaned up")

    serve(router, tidy)
    stream = router.stream_async("tidy", "query")
    await anext(aiter(stream))
    with anyio.move_on_after(unit):
        await stream.aclose()
    assert steps == ["cleaned up"]


async def test_cancel(router):
    """After `cancel(reason)` the next read raises at once, even if items are buffered."""
    tracked = Tracked()
    serve(router, tracked)
    async with router.stream_async("tracked", "query") as stream:
        iterator = aiter(stream)
        await anext(iterator)
        stream.cancel("enough")
        with pytest.raises(StreamAbortedError, match="cancelled: enough") as caught:
            await anext(iterator)
        assert caught.value.reason == "enough"
        assert stream.statistics().buffered == 0


async def test_end_after_cancel(router):
    """The abort is raised once; after that the iterator has ended."""
    serve(router, count)
    async with router.stream_async("count", "query", 5) as stream:
        iterator = aiter(stream)
        stream.cancel()
        with pytest.raises(StreamAbortedError):
            await anext(iterator)
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


async def test_first_cancel_wins(router):
    """The reason of the first `cancel()` counts."""
    serve(router, count)
    async with router.stream_async("count", "query", 5) as stream:
        stream.cancel("first")
        stream.cancel("second")
        with pytest.raises(StreamAbortedError, match="first"):
            await stream.collect()


async def test_cancel_before_the_start(router):
    """A stream cancelled before its start raises when read, and never calls the actor."""
    serve(router, refuse_to_run)
    stream = router.stream_async("refuse_to_run", "query")
    stream.cancel("too late")
    stream.cancel("later still")
    with pytest.raises(StreamAbortedError, match="too late"):
        await anext(aiter(stream))
    assert router.statistics().opened_streams == 0


async def test_cancel_after_the_end(router):
    """`cancel()` after the end does nothing."""
    serve(router, count)
    stream = router.stream_async("count", "query", 1)
    iterator = aiter(stream)
    assert [event.type async for event in iterator] == ["data", "end"]
    stream.cancel()
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


async def test_cancel_wakes_both_sides(router):
    """`cancel()` wakes a consumer that waits, and stops a producer that sleeps."""
    serve(router, sleep_forever)
    stream = router.stream_async("sleep_forever", "query")
    async with anyio.create_task_group() as tasks:

        async def read():
            with pytest.raises(StreamAbortedError):
                await stream.collect()

        tasks.start_soon(read)
        await settle()
        stream.cancel()
    assert router.statistics().active_streams == 0


async def test_cancel_wakes_a_blocked_producer(router):
    """`cancel()` stops a producer that waits for room."""
    tracked = Tracked()
    serve(router, tracked)
    async with router.stream_async("tracked", "query", buffer_size=1) as stream:
        await settle()
        assert stream.statistics().producer_waiting
        stream.cancel()
        await settle()
        assert (tracked.closed, router.statistics().active_streams) == (1, 0)


# Statistics


async def test_statistics_before_the_start(router):
    """A stream that has not started is empty and shows its buffer's size."""
    serve(router, count)
    statistics = router.stream_async("count", "query", buffer_size=7).statistics()
    assert (statistics.buffered, statistics.buffer_size, statistics.delivered) == (0, 7, 0)
    assert not statistics.producer_waiting
    assert not statistics.consumer_waiting


async def test_statistics_of_a_full_buffer(router):
    """Statistics show a full buffer and the producer that it blocks."""
    serve(router, count)
    async with router.stream_async("count", "query", 9, buffer_size=3) as stream:
        await settle()
        statistics = stream.statistics()
    assert (statistics.buffered, statistics.delivered, statistics.dropped) == (3, 0, 0)
    assert statistics.producer_waiting


async def test_statistics_of_a_waiting_consumer(router):
    """Statistics show a consumer that waits for an item."""
    serve(router, sleep_forever)
    async with (
        router.stream_async("sleep_forever", "query") as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(stream.collect)
        await settle()
        assert stream.statistics().consumer_waiting
        tasks.cancel_scope.cancel()


async def test_statistics_count_deliveries(router):
    """`delivered` counts the items the consumer has taken, not the end event."""
    serve(router, count)
    stream = router.stream_async("count", "query", 3)
    async for _ in stream:
        pass
    assert stream.statistics().delivered == 3


# Events


async def test_ids_sort_in_the_order_of_the_events(router):
    """Ids are unique and sort in the order of the events, the end event's last."""
    serve(router, count)
    ids = [event.id async for event in router.stream_async("count", "query", 300)]
    assert ids == sorted(set(ids))
    assert len(ids) == 301


async def test_ids_sort_when_the_actor_makes_some(router):
    """Ids sort in the order of the events even if the actor sets some of them."""

    async def mixed(_):
        yield AsyncStreamMessage("data", 1, id=generate_message_id())
        yield 2
        yield AsyncStreamMessage("data", 3, id=generate_message_id())

    serve(router, mixed)
    ids = [event.id async for event in router.stream_async("mixed", "query")]
    assert ids == sorted(set(ids))


async def test_streams_share_no_id(router):
    """Two streams share no event id."""
    serve(router, count)
    streams = [router.stream_async("count", "query", 3) for _ in range(2)]
    first, second = [{event.id async for event in stream} for stream in streams]
    assert first.isdisjoint(second)


async def test_correlation_id(router):
    """All events of a stream carry the correlation id of the stream object."""
    serve(router, fail_after)
    stream = router.stream_async("fail_after", "query", 2)
    expected = stream.correlation_id
    assert expected
    events = [event async for event in until_error(stream)]
    assert {event.correlation_id for event in events} == {expected}


async def until_error(stream: Stream[Any]) -> AsyncIterator[AsyncStreamMessage[Any]]:
    """Yield the events of a stream up to its error event, which must come."""
    async for event in stream:
        yield event
        if event.type == "error":
            return
    pytest.fail("there was no error event")


async def test_streams_share_no_correlation_id(router):
    """Two streams have different correlation ids."""
    serve(router, count)
    first = router.stream_async("count", "query")
    second = router.stream_async("count", "query")
    assert first.correlation_id != second.correlation_id


async def test_sender(router):
    """The sender of every event is the actor's address."""
    serve(router, count)
    events = [event async for event in router.stream_async("@(count)", "query", 1)]
    assert [event.sender for event in events] == [address("count")] * 2


async def test_timestamp(router):
    """Timestamps are seconds since the epoch and never decrease."""
    before = time.time()
    serve(router, count)
    stamps = [event.timestamp async for event in router.stream_async("count", "query", 3)]
    moments = [before, *stamps, time.time()]
    assert moments == sorted(moments)
    assert {type(stamp) for stamp in stamps} == {float}


@pytest.mark.parametrize(
    "item", [None, 0, "", b"", False, [], ValueError("an item"), ...], ids=repr
)
async def test_any_item_is_ordinary(router, item):
    """`None`, `0`, `""`, exceptions and the like are ordinary items in both actor forms."""

    async def give(_):
        yield item
        yield item

    serve(router, give)
    got = await router.stream_async("give", "query").collect()
    assert len(got) == 2
    assert all(one is item for one in got)


async def test_hand_made_message_is_filled_in(router):
    """The router fills in the fields that the actor leaves out of a message."""

    async def hand_made(_):
        yield AsyncStreamMessage(type="data", payload="token")

    serve(router, hand_made)
    stream = router.stream_async("hand_made", "query")
    event, end = [event async for event in stream]
    assert (event.payload, event.sender) == ("token", address("hand_made"))
    assert event.correlation_id == end.correlation_id == stream.correlation_id
    assert event.id < end.id


async def test_hand_made_message_keeps_what_it_has(router):
    """The fields that the actor sets in a message reach the consumer unchanged."""

    async def hand_made(_):
        yield AsyncStreamMessage(
            "data", 1, id="m-1", correlation_id="c-1", sender=address("other"), timestamp=1.5
        )

    serve(router, hand_made)
    event = await anext(aiter(router.stream_async("hand_made", "query")))
    assert (event.id, event.correlation_id, event.timestamp) == ("m-1", "c-1", 1.5)
    assert event.sender == address("other")


async def test_correlation_id_set_by_the_actor(router):
    """A correlation id that the actor sets applies to the rest of its stream."""
    own = generate_correlation_id()

    async def hand_made(_):
        yield AsyncStreamMessage("data", 1, correlation_id=own)
        yield 2

    serve(router, hand_made)
    stream = router.stream_async("hand_made", "query")
    assert {event.correlation_id async for event in stream} == {own}
    assert stream.correlation_id == own


async def test_one_correlation_id_for_a_stream(router):
    """All events share one correlation id, whatever the actor sets in later events."""

    async def hand_made(_):
        yield 1
        yield AsyncStreamMessage("data", 2, correlation_id="another")

    serve(router, hand_made)
    stream = router.stream_async("hand_made", "query")
    assert len({event.correlation_id async for event in stream}) == 1


async def test_one_message_yielded_twice(router):
    """An actor may yield one message object twice: each time it is a separate event."""

    async def repeat(_):
        message = AsyncStreamMessage("data", "again")
        yield message
        yield message

    serve(router, repeat)
    first, second, _ = [event async for event in router.stream_async("repeat", "query")]
    assert first.payload == second.payload == "again"
    assert first.id != second.id


async def test_own_end_event(router):
    """An actor's own end event is the only end event, and keeps its payload."""

    async def closing(_):
        yield 1
        yield AsyncStreamMessage("end", {"total": 1})

    serve(router, closing)
    events = [event async for event in router.stream_async("closing", "query")]
    assert [(event.type, event.payload) for event in events] == [("data", 1), ("end", {"total": 1})]


async def test_own_end_event_waits_for_the_producer(router):
    """An actor's own end event arrives after its generator has finished."""
    steps = []

    async def closing(_):
        yield AsyncStreamMessage("end")
        await settle()
        steps.append("finished")

    serve(router, closing)
    assert (await anext(aiter(router.stream_async("closing", "query")))).type == "end"
    assert steps == ["finished"]


async def test_own_error_event(router):
    """An actor's own error event arrives, and is raised if the consumer reads on."""

    async def closing(_):
        yield 1
        yield AsyncStreamMessage("error", error="no more ink")

    serve(router, closing)
    iterator = aiter(router.stream_async("closing", "query"))
    await anext(iterator)
    event = await anext(iterator)
    assert (event.type, event.error) == ("error", "no more ink")
    with pytest.raises(StreamError, match="no more ink"):
        await anext(iterator)


async def test_failure_after_an_end_event(router):
    """An actor that fails after its end event has failed: an error beats the end."""

    async def closing(_):
        yield AsyncStreamMessage("end")
        raise ValueError("late")

    serve(router, closing)
    events = [event async for event in until_error(router.stream_async("closing", "query"))]
    assert [(event.type, event.error) for event in events] == [("error", "late")]


async def test_ids_of_a_stream_with_losses(router):
    """Ids stay unique when an overflow policy drops items."""
    serve(router, count)
    options: Any = {"overflow": "drop_oldest", "buffer_size": 2}
    ids = [event.id async for event in router.stream_async("count", "q", 9, **options)]
    assert ids == sorted(set(ids))


# What an actor's stream_async may be


async def test_coroutine_function(router):
    """`stream_async` may be a coroutine function that returns an async iterable."""

    async def deferred(payload):
        await checkpoint()
        return count(payload)

    serve(router, deferred)
    assert await router.stream_async("deferred", "query", 3).collect() == [0, 1, 2]


async def test_plain_method(router):
    """`stream_async` may be a plain method that returns an async iterable."""

    def plain(payload):
        return count(payload)

    serve(router, plain)
    assert await router.stream_async("plain", "query", 3).collect() == [0, 1, 2]


class Pages:
    """An async iterable that is not a generator and cannot be closed."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


async def test_plain_iterator(router):
    """An async iterator without `aclose()` can be streamed."""
    serve(router, Pages)
    assert await router.stream_async("Pages", "query", 3).collect() == [2, 1, 0]


async def test_plain_iterator_left_early(router):
    """A stream over an iterator that cannot be closed may be left early."""
    serve(router, Pages)
    async for _ in router.stream_async("Pages", "query", 1000, buffer_size=1):
        break
    await settle()
    assert router.statistics().active_streams == 0


async def test_method_of_a_subclass(router):
    """`stream_async` is an ordinary method with access to its actor's state, address and router."""

    class Greeter(Actor):
        async def stream_async(self, payload):
            yield f"{payload} from {self.address.id} of {len(self.router.list_actors())}"

    router.register_actor("greeter", Greeter())
    assert await router.stream_async("greeter", "query", "hello").collect() == [
        "hello from greeter of 1"
    ]


async def test_callback_actor(router):
    """A callback actor streams each chunk as a data event, then an end event."""
    router.register_actor("old", CallbackCountTo())
    events = [event async for event in router.stream_async("old", "query", 2)]
    assert [(e.type, e.payload) for e in events] == [("data", 0), ("data", 1), ("end", None)]


async def test_generator_runs_on_after_its_end_event():
    """After its end event a generator runs to its natural end; it is not closed early."""
    closed_by = []

    async def inner():
        try:
            yield AsyncStreamMessage("end")
        except BaseException as exc:
            closed_by.append(exc)
            raise

    async def outer(_):
        async for event in inner():
            yield event

    async with MessageRouter() as router:
        serve(router, outer)
        assert await router.stream_async("outer", "query").collect() == []
    assert closed_by == []


# Flow


@pytest.mark.parametrize("buffer_size", [1, 2, 100])
async def test_producer_is_never_far_ahead(router, buffer_size):
    """Produced minus consumed never exceeds `buffer_size` plus one."""
    tracked = Tracked()
    ahead = []
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=buffer_size)
    async for number in stream.payloads():
        await settle()
        ahead.append(tracked.produced - number)
        if number == 5:
            break
    assert max(ahead) == buffer_size + 1


async def test_callback_is_never_far_ahead(router):
    """A callback actor is never more than `buffer_size` plus one ahead."""
    produced: list[None] = []

    async def call(on_chunk):
        while True:
            produced.append(None)
            await on_chunk(len(produced))

    router.register_actor("eager", CallbackActorOf(call))
    async for number in router.stream_async("eager", "query", buffer_size=3).payloads():
        await settle()
        assert len(produced) == number + 3 + 1
        if number == 5:
            break


async def test_polling_loses_nothing(router, unit):
    """A consumer that polls with a time limit gets every item, once."""

    async def slow(payload):
        for number in range(payload):
            await anyio.sleep(unit)
            yield number

    got: list[int] = []
    polls = 0
    serve(router, slow)
    iterator = router.stream_async("slow", "query", 5).payloads()
    while len(got) < 5:
        polls += 1
        with anyio.move_on_after(unit / 4):
            got.append(await anext(iterator))
    assert got == [0, 1, 2, 3, 4]
    assert polls > 5


async def test_slow_consumer_delays_no_other_stream(router):
    """While one stream of an actor stalls, another stream of the same actor goes on."""
    serve(router, count)
    async with router.stream_async("count", "query", 1000, buffer_size=1) as stalled:
        await settle()
        assert await router.stream_async("count", "query", 500).collect() == list(range(500))
        assert stalled.statistics().producer_waiting


class Turns:
    """Counts the turns that its task gets."""

    count = 0

    async def count_on(self) -> None:
        while True:
            await checkpoint()
            self.count += 1


async def test_eager_producer_lets_others_run(router):
    """A producer that never waits lets other tasks run, even with a buffer of 100,000 items."""
    turns = Turns()
    serve(router, count)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.count_on)
        async with router.stream_async("count", "query", 20_000, buffer_size=100_000) as stream:
            while stream.statistics().buffered < 20_000:
                await checkpoint()
        tasks.cancel_scope.cancel()
    assert turns.count >= 20


async def test_eager_consumer_lets_others_run(router):
    """A consumer of a full buffer lets other tasks run, although it never has to wait."""
    turns = Turns()
    serve(router, count)
    async with anyio.create_task_group() as tasks:
        async with router.stream_async("count", "query", 20_000, buffer_size=100_000) as stream:
            while stream.statistics().buffered < 20_000:
                await checkpoint()
            tasks.start_soon(turns.count_on)
            await stream.collect()
            assert turns.count >= 20
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest"])
async def test_endless_producer_can_be_cancelled(router, overflow):
    """An outer cancellation reaches a producer that never waits, under every policy."""
    tracked = Tracked()
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=100_000, overflow=overflow)
    with anyio.CancelScope() as scope:
        async with stream:
            await settle(2)
            scope.cancel()
            await checkpoint()
    assert (tracked.closed, router.statistics().active_streams) == (1, 0)
    assert tracked.produced < 100_000


async def test_eager_consumer_notices_a_cancellation(router):
    """A consumer of a full buffer notices an outer cancellation after about 1,000 items."""
    taken = 0
    serve(router, count)
    async with router.stream_async("count", "query", 20_000, buffer_size=100_000) as stream:
        while stream.statistics().buffered < 20_000:
            await checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            async for _ in stream:
                taken += 1
    assert taken <= 1000


# Overflow


async def test_overflow_wait(router):
    """With `overflow="wait"`, the default, even a tiny buffer loses nothing."""
    serve(router, count)
    stream = router.stream_async("count", "query", 50, buffer_size=1, overflow="wait")
    assert await stream.collect() == list(range(50))
    assert stream.statistics().dropped == 0


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [7, 8, 9]), ("drop_newest", [0, 1, 2])]
)
async def test_overflow_drop(router, overflow, kept):
    """`drop_oldest` keeps the newest items, `drop_newest` the oldest; both count the loss."""
    serve(router, count)
    stream = router.stream_async("count", "query", 10, buffer_size=3, overflow=overflow)
    async with stream:
        await settle()
        assert stream.statistics().dropped == 7
        assert [number async for number in stream.payloads()] == kept


async def test_overflow_fail(router):
    """`fail` stops the producer; the buffered items arrive before `StreamOverflowError`."""
    tracked = Tracked()
    got: list[int] = []
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=3, overflow="fail")
    async with stream:
        await settle()
        assert tracked.closed == 1
        with pytest.raises(StreamOverflowError, match=r"@\(tracked\).*3 items.*buffer_size"):
            await read(stream.payloads(), got)
    assert got == [1, 2, 3]


async def test_overflow_fail_with_room(router):
    """With `fail`, a stream that exactly fits its buffer ends normally."""
    serve(router, count)
    stream = router.stream_async("count", "query", 3, buffer_size=3, overflow="fail")
    assert await stream.collect() == [0, 1, 2]


# Time limits


async def tick(unit):
    """Yield a number after each unit of time."""
    number = 0
    while True:
        await anyio.sleep(unit)
        yield number
        number += 1


async def read_until_timeout(stream: Stream[Any], got: list[Any]) -> StreamTimeoutError:
    """Read payloads into a list; return the timeout error that ends the stream."""
    with pytest.raises(StreamTimeoutError) as caught:
        await read(stream.payloads(), got)
    return caught.value


async def test_total_timeout(router, unit, virtual_time):
    """`timeout` ends the stream although items keep coming, and stops the producer."""
    got: list[int] = []
    serve(router, tick)
    stream = router.stream_async("tick", "query", unit, timeout=3.5 * unit)
    error = await read_until_timeout(stream, got)
    await settle()
    assert router.statistics().active_streams == 0
    assert error.kind == "total"
    assert got == [0, 1, 2] if virtual_time else [0, 1, 2][: len(got)]


async def test_timeout_is_a_timeout_error(router):
    """A `StreamTimeoutError` is a `TimeoutError`, and says what to change."""
    serve(router, sleep_forever)
    with pytest.raises(TimeoutError, match=r"@\(sleep_forever\) timed out.* timeout=\.\.\."):
        await router.stream_async("sleep_forever", "query", timeout=0.01).collect()


async def test_default_timeout(router, virtual_time):
    """Without options the timeout is 60 seconds."""
    if not virtual_time:
        pytest.skip("takes a minute on a real clock")
    serve(router, sleep_forever)
    started = anyio.current_time()
    with pytest.raises(StreamTimeoutError, match="60 s"):
        await router.stream_async("sleep_forever", "query").collect()
    assert anyio.current_time() - started == pytest.approx(60)


@pytest.mark.parametrize("forever", [None, math.inf])
async def test_no_timeout(router, virtual_time, forever):
    """`None` and `inf` mean no limit."""
    if not virtual_time:
        pytest.skip("takes hours on a real clock")

    async def patient(_):
        await anyio.sleep(36_000)
        yield "at last"

    serve(router, patient)
    stream = router.stream_async(
        "patient", "q", timeout=forever, first_timeout=forever, idle_timeout=forever
    )
    assert await stream.collect() == ["at last"]


async def test_timeout_counts_from_the_start(router, unit):
    """The time before a stream is first pulled does not count."""
    serve(router, count)
    stream = router.stream_async("count", "query", 3, timeout=unit)
    await anyio.sleep(2 * unit)
    assert await stream.collect() == [0, 1, 2]


async def test_buffered_items_before_a_timeout(router, unit):
    """Items produced before a timeout are delivered before it."""

    async def burst(_):
        for number in range(5):
            yield number
        await anyio.sleep_forever()

    got: list[int] = []
    serve(router, burst)
    async with router.stream_async("burst", "query", timeout=unit) as stream:
        await anyio.sleep(3 * unit)
        error = await read_until_timeout(stream, got)
    assert (error.kind, got) == ("total", [0, 1, 2, 3, 4])


@pytest.mark.parametrize("option", ["timeout", "first_timeout"])
async def test_timeout_of_zero(router, option):
    """With a timeout of 0 the actor is never called."""
    zero: dict[str, Any] = {option: 0}
    serve(router, refuse_to_run)
    with pytest.raises(StreamTimeoutError, match="0 s"):
        await router.stream_async("refuse_to_run", "query", **zero).collect()
    assert router.statistics().opened_streams == 0


async def test_first_timeout(router, unit):
    """`first_timeout` ends a stream whose first item is late."""
    serve(router, tick)
    stream = router.stream_async("tick", "query", 5 * unit, first_timeout=unit)
    assert (await read_until_timeout(stream, [])).kind == "first"


async def test_first_timeout_is_disarmed(router, unit):
    """After the first item, `first_timeout` no longer applies."""

    async def pause(_):
        yield 1
        await anyio.sleep(3 * unit)
        yield 2

    serve(router, pause)
    assert await router.stream_async("pause", "query", first_timeout=unit).collect() == [1, 2]


async def test_first_timeout_ignores_a_late_consumer(router, unit):
    """`first_timeout` applies to the producer: a late consumer still gets its item."""
    serve(router, count)
    async with router.stream_async("count", "query", 2, first_timeout=unit) as stream:
        await anyio.sleep(3 * unit)
        assert await stream.collect() == [0, 1]


async def pause_after_three(unit):
    """Yield three numbers, one per unit of time, and then nothing."""
    for number in range(3):
        await anyio.sleep(unit)
        yield number
    await anyio.sleep_forever()


async def test_idle_timeout(router, unit):
    """`idle_timeout` restarts with each item, and ends a stream that falls silent."""
    got: list[int] = []
    serve(router, pause_after_three)
    stream = router.stream_async("pause_after_three", "q", unit, idle_timeout=2 * unit)
    started = anyio.current_time()
    error = await read_until_timeout(stream, got)
    assert (error.kind, got) == ("idle", [0, 1, 2])
    assert anyio.current_time() - started >= 4.9 * unit


async def test_idle_timeout_leaves_the_first_item_alone(router, unit):
    """`idle_timeout` applies between two items: the first may take longer."""
    serve(router, tick)
    stream = router.stream_async("tick", "query", 3 * unit, idle_timeout=unit)
    got: list[int] = []
    assert (await read_until_timeout(stream, got)).kind == "idle"
    assert got == [0]


async def test_slow_consumer_is_not_idle(router, unit):
    """Time for which the consumer blocks the producer does not count as idle."""
    got: list[int] = []
    serve(router, count)
    stream = router.stream_async("count", "q", 6, buffer_size=1, idle_timeout=unit)
    async for number in stream.payloads():
        await anyio.sleep(3 * unit)
        got.append(number)
    assert got == list(range(6))


async def test_stall_timeout(router, unit):
    """`stall_timeout` stops a producer whose consumer does not read."""
    tracked = Tracked()
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=2, stall_timeout=unit)
    async with stream:
        await anyio.sleep(3 * unit)
        assert (tracked.closed, router.statistics().active_streams) == (1, 0)


async def test_read_after_a_stall(router, unit):
    """The next read after a stall raises, and the buffered items are gone."""
    tracked = Tracked()
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=2, stall_timeout=unit)
    iterator = aiter(stream)
    assert (await anext(iterator)).payload == 1
    await anyio.sleep(3 * unit)
    with pytest.raises(StreamTimeoutError, match="stall_timeout") as caught:
        await anext(iterator)
    assert caught.value.kind == "stall"


async def test_slow_reads_are_not_a_stall(router, unit):
    """Each read restarts `stall_timeout`, however slow the consumer is overall."""
    got: list[int] = []
    serve(router, count)
    stream = router.stream_async("count", "q", 8, buffer_size=1, stall_timeout=4 * unit)
    async for number in stream.payloads():
        await anyio.sleep(unit)
        got.append(number)
    assert got == list(range(8))


async def test_slow_producer_is_not_a_stall(router, unit):
    """A producer that is not blocked never stalls."""
    serve(router, tick)
    async with router.stream_async("tick", "query", 3 * unit, stall_timeout=unit) as stream:
        payloads = stream.payloads()
        assert [await anext(payloads) for _ in range(2)] == [0, 1]


async def test_timeout_after_the_end(router, unit):
    """A time limit that passes after the end does nothing."""
    serve(router, count)
    async with router.stream_async("count", "query", 2, timeout=unit) as stream:
        iterator = aiter(stream)
        await anext(iterator)
        await anyio.sleep(2 * unit)
        assert [event.type async for event in iterator] == ["data", "end"]


async def test_timeout_error_of_the_actor(router):
    """A `TimeoutError` of the actor is the actor's error, not the stream's time limit."""

    async def impatient(_):
        raise TimeoutError("the database did not answer")
        yield

    serve(router, impatient)
    with pytest.raises(StreamError, match="the database did not answer") as caught:
        await router.stream_async("impatient", "query", timeout=10).collect()
    assert not isinstance(caught.value, StreamTimeoutError)
    assert type(caught.value.__cause__) is TimeoutError


async def test_timeout_leaves_the_consumers_code_alone(router, unit):
    """A timeout never interrupts the consumer's code: it is raised at the next read."""

    async def once(_):
        yield 1
        await anyio.sleep_forever()

    serve(router, once)
    iterator = aiter(router.stream_async("once", "query", timeout=unit))
    await anext(iterator)
    with anyio.CancelScope() as scope:
        await anyio.sleep(3 * unit)
    assert not scope.cancelled_caught
    with pytest.raises(StreamTimeoutError):
        await anext(iterator)


# Early termination


async def leave_by_break(stream: Stream[Any]) -> None:
    async for _ in stream:
        break


async def leave_by_return(stream: Stream[Any]) -> Any:
    async for event in stream:
        return event
    return None


async def fail_in_body(stream: Stream[Any], error: Exception) -> None:
    async for _ in stream:
        raise error


async def fail_in_scoped_body(stream: Stream[Any], error: Exception) -> None:
    async with stream:
        await fail_in_body(stream, error)


async def break_in_scoped_body(stream: Stream[Any]) -> None:
    async with stream:
        await leave_by_break(stream)


async def leave_by_exception(stream: Stream[Any]) -> None:
    with pytest.raises(KeyError):
        await fail_in_body(stream, KeyError())


async def leave_by_cancellation_in_the_body(stream: Stream[Any]) -> None:
    with anyio.CancelScope() as scope:
        async for _ in stream:
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught


async def leave_by_payloads(stream: Stream[Any]) -> None:
    async for _ in stream.payloads():
        break


WAYS_TO_LEAVE = [
    leave_by_break,
    leave_by_return,
    leave_by_exception,
    leave_by_cancellation_in_the_body,
    leave_by_payloads,
]


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
async def test_leaving_the_bare_form(router, leave):
    """However a bare loop is left, its producer is gone in a few turns; the stream may stay."""
    tracked = Tracked()
    serve(router, tracked)
    stream = router.stream_async("tracked", "query", buffer_size=5)
    await leave(stream)
    await settle()
    assert (tracked.closed, router.statistics().active_streams) == (1, 0)
    assert tracked.produced <= 1 + 5 + 1
    assert stream.statistics().buffered == 0


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
async def test_leaving_the_scoped_form(router, leave):
    """However a scoped loop is left, its producer is gone when the block ends."""
    tracked = Tracked()
    serve(router, tracked)
    async with router.stream_async("tracked", "query", buffer_size=5) as stream:
        await leave(stream)
    assert (tracked.closed, router.statistics().active_streams) == (1, 0)


@pytest.mark.parametrize("scoped", [False, True])
async def test_cancellation_of_a_waiting_read(router, unit, scoped):
    """An outer cancellation while a read waits stops the producer, too."""
    steps = []

    async def silent(_):
        try:
            await anyio.sleep_forever()
            yield
        finally:
            steps.append("cleaned up")

    serve(router, silent)
    stream = router.stream_async("silent", "query")
    with anyio.move_on_after(unit) as scope:
        if scoped:
            async with stream:
                await anext(aiter(stream))
        else:
            async for _ in stream:
                pass
    await settle(0 if scoped else 5)
    assert scope.cancelled_caught
    assert (steps, router.statistics().active_streams) == (["cleaned up"], 0)


async def test_break_leaks_no_cancellation(router, unit):
    """After a `break`, the consumer's next wait is not cancelled."""
    tracked = Tracked()
    serve(router, tracked)
    with anyio.CancelScope() as scope:
        async for _ in router.stream_async("tracked", "query"):
            break
        await anyio.sleep(unit)
    assert not scope.cancelled_caught


async def test_interleaved_streams(router):
    """Two streams read in turn by one task are independent, and may be closed in any order."""
    one, two = Tracked(), Tracked()
    router.register_actor("one", ActorOf(one))
    router.register_actor("two", ActorOf(two))
    first = aiter(router.stream_async("one", "query"))
    second = aiter(router.stream_async("two", "query"))
    assert [(await anext(it)).payload for it in (first, second, first)] == [1, 1, 2]
    del first
    await settle()
    assert (one.closed, two.closed) == (1, 0)
    assert (await anext(second)).payload == 2


async def test_clean_up_is_waited_for(router):
    """The scoped form waits for the producer's clean-up, even if that waits."""
    steps = []

    async def tidy(_):
        try:
            while True:
                yield 1
        finally:
            with anyio.CancelScope(shield=True):
                await settle(10)
            steps.append("cleaned up")

    serve(router, tidy)
    async with router.stream_async("tidy", "query") as stream:
        async for _ in stream:
            break
    assert steps == ["cleaned up"]


async def test_exception_of_the_block(router):
    """The block's exception leaves the scoped form as the same object, not in a group."""
    error = KeyError("mine")
    serve(router, Tracked())
    with pytest.raises(KeyError) as caught:
        await fail_in_scoped_body(router.stream_async("tracked", "query"), error)
    assert caught.value is error


async def test_exception_group_of_the_block(router):
    """An exception group that the block raises leaves it unchanged."""
    error = ExceptionGroup("mine", [KeyError()])
    serve(router, Tracked())
    with pytest.raises(ExceptionGroup) as caught:
        await fail_in_scoped_body(router.stream_async("tracked", "query"), error)
    assert caught.value is error


async def break_in_clean_up(_):
    """Count up for ever, and fail in the clean-up."""
    try:
        while True:
            yield 1
    finally:
        raise OSError("the log is gone")


async def test_failing_clean_up_in_the_scoped_form(router):
    """A failure of the clean-up is raised, unwrapped, where the block ends."""
    serve(router, break_in_clean_up)
    with pytest.raises(OSError, match="the log is gone"):
        await break_in_scoped_body(router.stream_async("break_in_clean_up", "query"))
    assert router.statistics().active_streams == 0


async def test_failing_clean_up_and_failing_block(caplog):
    """The block's own exception wins over one of the clean-up, which is logged."""
    async with MessageRouter() as router:
        serve(router, break_in_clean_up)
        stream = router.stream_async("break_in_clean_up", "query")
        with pytest.raises(KeyError):
            await fail_in_scoped_body(stream, KeyError())
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.ERROR)
    assert "the log is gone" in caplog.text


async def test_failing_clean_up_in_the_bare_form(caplog):
    """In the bare form a failure of the clean-up is logged; the router goes on."""
    async with MessageRouter() as router:
        serve(router, break_in_clean_up, count)
        async for _ in router.stream_async("break_in_clean_up", "query"):
            break
        await settle()
        assert await router.stream_async("count", "query", 2).collect() == [0, 1]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.ERROR)
    assert "@(break_in_clean_up)" in record.getMessage()
    assert "the log is gone" in caplog.text


async def test_failing_clean_up_and_aclose(router):
    """`aclose()` raises a failure of the clean-up, once."""
    serve(router, break_in_clean_up)
    stream = router.stream_async("break_in_clean_up", "query")
    await anext(aiter(stream))
    with pytest.raises(OSError, match="the log is gone"):
        await stream.aclose()
    await stream.aclose()


async def test_end_is_for_ever(router):
    """After its end, an iterator raises `StopAsyncIteration` at every read."""
    serve(router, count)
    iterator = aiter(router.stream_async("count", "query", 1))
    assert [event.type async for event in iterator] == ["data", "end"]
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)


async def test_break_at_the_end_event(router):
    """A loop may be left at the end event, as the specification's examples do."""
    types = []
    serve(router, count)
    async for event in router.stream_async("count", "query", 2):
        types.append(event.type)
        if event.type == "end":
            break
    assert router.statistics().active_streams == 0
    assert types == ["data", "data", "end"]


async def test_finished_stream_is_freed(router):
    """A stream without references is freed, however it ended."""
    serve(router, count)
    streams = [router.stream_async("count", "query", 9) for _ in range(2)]
    await streams[0].collect()
    await leave_by_break(streams[1])
    refs = [weakref.ref(stream) for stream in streams]
    del streams
    await settle()
    gc.collect()
    assert [ref() for ref in refs] == [None, None]


# Router exit, unregistering


async def test_router_exit():
    """A consumer outside the router gets the buffered items, then `RouterClosedError`."""
    tracked = Tracked()
    got: list[int] = []
    async with MessageRouter() as router:
        serve(router, tracked)
        payloads = router.stream_async("tracked", "query", buffer_size=2).payloads()
        got.append(await anext(payloads))
        await settle()
    assert tracked.closed == 1
    with pytest.raises(RouterClosedError, match=r"@\(tracked\)"):
        await read(payloads, got)
    assert got == [1, 2, 3]


async def test_router_exit_wakes_a_waiting_consumer():
    """A consumer that waits while the router closes is woken with `RouterClosedError`."""
    caught = []

    async def read(stream):
        with pytest.raises(RouterClosedError) as error:
            await stream.collect()
        caught.append(error)

    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        serve(router, sleep_forever)
        tasks.start_soon(read, router.stream_async("sleep_forever", "query"))
        await settle()
    assert len(caught) == 1


async def test_router_exit_by_exception():
    """An exception in the router's block ends the streams and leaves the block unwrapped."""
    tracked, error = Tracked(), KeyError("mine")

    async def fail_in_router() -> None:
        async with MessageRouter() as router:
            serve(router, tracked)
            async with router.stream_async("tracked", "query") as stream:
                iterators.append(aiter(stream))
                await anext(iterators[0])
                raise error

    iterators: list[Any] = []
    with pytest.raises(KeyError) as caught:
        await fail_in_router()
    assert caught.value is error
    assert tracked.closed == 1


async def test_router_exit_by_cancellation(unit):
    """A cancelled router has no producer left, and its consumers get an error."""
    tracked = Tracked()
    with anyio.move_on_after(unit):
        async with MessageRouter() as router:
            serve(router, tracked)
            payloads = router.stream_async("tracked", "query", buffer_size=1).payloads()
            await anext(payloads)
            await anyio.sleep_forever()
    assert tracked.closed == 1
    with pytest.raises(RouterClosedError):
        async for _ in payloads:
            pass


async def test_router_exit_after_the_end():
    """A stream whose producer had finished keeps its end, even if read after the router's exit."""
    async with MessageRouter() as router:
        serve(router, count)
        payloads = router.stream_async("count", "query", 3).payloads()
        assert await anext(payloads) == 0
        await settle()
    assert [number async for number in payloads] == [1, 2]


async def test_unregister_with_open_streams(router):
    """Unregistering ends an actor's streams: the buffered items, then `ActorStoppedError`."""
    tracked = Tracked()
    got: list[int] = []
    serve(router, tracked)
    async with router.stream_async("tracked", "query", buffer_size=3) as stream:
        await settle()
        await router.unregister_actor("tracked")
        assert (tracked.closed, router.statistics().active_streams) == (1, 0)
        with pytest.raises(ActorStoppedError, match=r"@\(tracked\)"):
            await read(stream.payloads(), got)
    assert got == [1, 2, 3]


async def test_unregister_leaves_the_others(router):
    """Unregistering one actor leaves the streams of other actors alone."""
    serve(router, count, sleep_forever)
    async with router.stream_async("count", "query", 5, buffer_size=1) as stream:
        await router.unregister_actor("sleep_forever")
        assert await stream.collect() == [0, 1, 2, 3, 4]


# Errors


async def test_items_before_an_error(router):
    """Items produced before an error arrive before the error."""
    serve(router, fail_after)
    async with router.stream_async("fail_after", "query", 3) as stream:
        await settle()
        events = [event async for event in until_error(stream)]
    assert [event.type for event in events] == ["data", "data", "data", "error"]
    assert events[-1].error == "the disk is full"


async def test_reading_on_after_an_error(router):
    """Reading on after the error event raises `StreamError`, caused by the actor's error."""
    serve(router, fail_after)
    iterator = aiter(router.stream_async("fail_after", "query", 0))
    await anext(iterator)
    with pytest.raises(StreamError, match=r"@\(fail_after\) failed.*the disk") as caught:
        await anext(iterator)
    assert type(caught.value.__cause__) is ValueError


async def test_error_is_raised_once(router):
    """After the error an iterator has ended."""
    serve(router, fail_after)
    iterator = aiter(router.stream_async("fail_after", "query", 0))
    await anext(iterator)
    with pytest.raises(StreamError):
        await anext(iterator)
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


async def test_life_after_an_error(router):
    """After an error the actor and the router keep serving."""
    calls: list[None] = []

    async def fail_first(_):
        calls.append(None)
        if len(calls) == 1:
            raise ValueError
        yield "well"

    serve(router, fail_first)
    with pytest.raises(StreamError):
        await router.stream_async("fail_first", "query").collect()
    assert await router.stream_async("fail_first", "query").collect() == ["well"]


async def test_error_without_text(router):
    """The error event of an exception without a text shows the exception's name."""

    async def wordless(_):
        raise ValueError
        yield

    serve(router, wordless)
    event = await anext(aiter(router.stream_async("wordless", "query")))
    assert event.error == "ValueError()"


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()])
async def test_no_exception_reads_as_an_end(router, error):
    """No exception of the actor reads as a clean end, not even `StopAsyncIteration`."""

    async def odd(_):
        yield 1
        raise error

    serve(router, odd)
    with pytest.raises(StreamError):
        await router.stream_async("odd", "query").collect()


async def test_unseen_error_is_logged(caplog):
    """An error that its consumer never saw is logged."""
    async with MessageRouter() as router:
        serve(router, fail_after)
        async for _ in router.stream_async("fail_after", "query", 3):
            await settle()
            break
        await settle()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.WARNING)
    assert "the disk is full" in caplog.text


async def test_seen_error_is_not_logged(caplog):
    """An error whose event the consumer has seen is not logged."""
    async with MessageRouter() as router:
        serve(router, fail_after)
        async for event in router.stream_async("fail_after", "query", 1):
            if event.type == "error":
                break
        await settle()
    assert not caplog.records


async def test_failure_before_the_first_item(router):
    """An exception raised when `stream_async` is called is the actor's failure, too."""

    def refuse(payload):
        raise PermissionError(payload)

    serve(router, refuse)
    with pytest.raises(StreamError, match="not yours") as caught:
        await router.stream_async("refuse", "query", "not yours").collect()
    assert type(caught.value.__cause__) is PermissionError


async def test_two_failures_at_once(router):
    """Two producers that fail in the same turn each fail for their own consumer."""
    serve(router, fail_after)
    streams = [router.stream_async("fail_after", "query", 0) for _ in range(2)]
    for stream in streams:
        await stream.__aenter__()
    await settle()
    for stream in streams:
        with pytest.raises(StreamError):
            await stream.collect()


# Scopes and task groups across a yield (guarantee 17)


async def test_scope_around_a_yield(router, unit):
    """A time limit that an actor holds across its `yield`s expires in its own code."""
    steps = []

    async def limited(_):
        with anyio.move_on_after(unit) as scope:
            yield "before"
            await anyio.sleep_forever()
        steps.append(scope.cancelled_caught)
        yield "after"

    serve(router, limited)
    assert await router.stream_async("limited", "query").collect() == ["before", "after"]
    assert steps == [True]


async def test_scope_that_expires_at_a_full_buffer(router, unit):
    """A scope that expires while its actor waits for room is left like any other.

    The item being handed over is not delivered; later items are.
    """
    expired = anyio.Event()

    async def limited(_):
        with anyio.move_on_after(unit):
            for number in range(100):
                yield number
        expired.set()
        yield "after"

    serve(router, limited)
    async with router.stream_async("limited", "query", buffer_size=3) as stream:
        await expired.wait()
        assert await stream.collect() == [0, 1, 2, "after"]


async def test_fail_after_at_a_full_buffer(router, unit):
    """A `fail_after` of the actor that expires at a full buffer is the actor's own error."""

    async def limited(_):
        with anyio.fail_after(unit):
            while True:
                yield 1

    serve(router, limited)
    async with router.stream_async("limited", "query", buffer_size=3) as stream:
        await until_producers_are_gone(router, unit)
        with pytest.raises(StreamError) as caught:
            await stream.collect()
    assert type(caught.value.__cause__) is TimeoutError
    assert not isinstance(caught.value, StreamTimeoutError)


async def until_producers_are_gone(router: MessageRouter, unit: float) -> None:
    while router.statistics().active_streams:
        await anyio.sleep(unit)


async def test_task_group_across_a_yield(router):
    """An actor may hold a task group open across its `yield`s."""

    async def gather(payload):
        send, receive = anyio.create_memory_object_stream[int]()
        async with send, receive, anyio.create_task_group() as tasks:
            for number in range(payload):
                tasks.start_soon(send.send, number)
            for _ in range(payload):
                yield await receive.receive()

    serve(router, gather)
    assert sorted(await router.stream_async("gather", "query", 5).collect()) == [0, 1, 2, 3, 4]


async def background_failure(unit):
    """Count up for ever in a task group of which another task fails."""

    async def fail():
        await anyio.sleep(unit)
        raise ValueError("the background task failed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail)
        while True:
            yield 1


async def test_child_fails_at_a_full_buffer(router, unit):
    """A child task that fails while its actor waits for room fails the stream with a group."""
    serve(router, background_failure)
    async with (
        router.stream_async("background_failure", "query", unit, buffer_size=3) as stream,
    ):
        await until_producers_are_gone(router, unit)
        with pytest.raises(StreamError) as caught:
            await stream.collect()
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(exc) for exc in cause.exceptions] == [ValueError]


async def test_child_fails_and_the_actor_handles_it(router, unit):
    """The actor may catch a child task's failure around its `yield`, and stream on."""
    handled = anyio.Event()

    async def fail():
        await anyio.sleep(unit)
        raise ValueError

    async def resilient(_):
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail)
                while True:
                    yield 1
        except* ValueError:
            handled.set()
        yield "after"

    serve(router, resilient)
    async with router.stream_async("resilient", "query", buffer_size=2) as stream:
        await handled.wait()
        assert await stream.collect() == [1, 1, "after"]


@pytest.mark.parametrize("leave", WAYS_TO_LEAVE)
async def test_leaving_a_stream_with_a_task_group(router, leave):
    """When a consumer leaves a stream whose actor holds a task group, the group's tasks end too."""
    steps = []

    async def background():
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("background is gone")

    async def busy(_):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(background)
            await checkpoint()
            while True:
                yield 1

    serve(router, busy)
    await leave(router.stream_async("busy", "query"))
    await settle(10)
    assert (steps, router.statistics().active_streams) == (["background is gone"], 0)


async def test_scope_around_callbacks(router, unit):
    """A callback actor's scope may expire while its callback waits for room."""
    expired = anyio.Event()

    async def call(on_chunk):
        with anyio.move_on_after(unit):
            while True:
                await on_chunk(1)
        expired.set()
        await on_chunk("after")

    router.register_actor("limited", CallbackActorOf(call))
    async with router.stream_async("limited", "query", buffer_size=2) as stream:
        await expired.wait()
        assert await stream.collect() == [1, 1, "after"]


async def test_one_task_drives_the_generator(router):
    """One task runs the generator from its first step to its clean-up."""
    tasks = []

    async def watch(_):
        try:
            while True:
                tasks.append(anyio.get_current_task())
                yield 1
        finally:
            tasks.append(anyio.get_current_task())

    serve(router, watch)
    async with router.stream_async("watch", "query") as stream:
        await anext(aiter(stream))
    assert len(tasks) > 2
    assert len(set(tasks)) == 1


async def test_swallowed_cancellation(router):
    """A generator that swallows its cancellation and yields on is still stopped."""
    swallowed: list[None] = []

    async def stubborn(_):
        for _ in range(3):
            try:
                while True:
                    yield 1
            except anyio.get_cancelled_exc_class():
                swallowed.append(None)

    serve(router, stubborn)
    async with router.stream_async("stubborn", "query") as stream:
        await anext(aiter(stream))
    assert router.statistics().active_streams == 0
    assert len(swallowed) == 3


# Context variables (guarantee 18)

request_id: ContextVar[str] = ContextVar("request_id", default="none")


async def test_context_of_the_consumer(router):
    """The actor sees its consumer's context variables as they were at the start."""

    async def tell(_):
        yield request_id.get()
        yield request_id.get()

    serve(router, tell)
    token = request_id.set("r-1")
    payloads = router.stream_async("tell", "query", buffer_size=1).payloads()
    first = await anext(payloads)
    request_id.set("r-2")
    assert [first, await anext(payloads)] == ["r-1", "r-1"]
    request_id.reset(token)


async def test_context_is_a_copy(router):
    """Context variables that the actor sets do not reach the consumer."""

    async def change(_):
        request_id.set("the actor's")
        yield request_id.get()

    serve(router, change)
    assert await router.stream_async("change", "query").collect() == ["the actor's"]
    assert request_id.get() == "none"


async def test_context_of_the_generator(router):
    """All steps of a generator share one context."""

    async def remember(_):
        request_id.set("kept")
        for _ in range(3):
            yield request_id.get()
            await checkpoint()

    serve(router, remember)
    assert await router.stream_async("remember", "query", buffer_size=1).collect() == ["kept"] * 3
