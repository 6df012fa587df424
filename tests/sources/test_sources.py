"""The helpers of an actor: streams of iterables, with an eye on backpressure, and in a thread."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from actorstream import Actor, AsyncStreamMessage, Stream, StreamError, address
from actorstream._streams.channel import running_channel
from actorstream.testing import settle
from tests.support import ActorOf, serving

HELPERS = ["create_async_stream", "create_async_stream_with_backpressure", "create_thread_stream"]


class Helped(Actor):
    """Streams what a function makes of the actor: the function calls a helper."""

    def __init__(self, make: Callable[["Helped"], Any]) -> None:
        self.make = make

    def stream_async(self, payload):
        return self.make(self)


async def collect(make: Callable[[Helped], Any]) -> list[Any]:
    async with serving(Helped(make)) as router:
        return await router.stream_async("a", "query").collect()


class Numbers:
    """A generator of numbers without an end, which notes how far it is and whether it is closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0

    def sync(self):
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.closed += 1

    async def not_sync(self):
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.closed += 1


def broken():
    """Give an item, and fail."""
    yield 1
    raise OSError("the file is gone")


async def broken_async():
    """Do the same asynchronously."""
    yield 1
    raise OSError("the file is gone")


async def letters():
    """Give two letters."""
    yield "a"
    yield "b"


# All helpers


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, 2], [1, 2]),
        ((), []),
        (range(3), [0, 1, 2]),
        ({"a": 1, "b": 2}, ["a", "b"]),
        ("xy", ["x", "y"]),
        ([None, 0, ""], [None, 0, ""]),
    ],
)
async def test_any_iterable(helper, items, expected):
    """Each helper streams any iterable."""
    assert await collect(lambda actor: getattr(actor, helper)(items)) == expected


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_events(router, helper):
    """Each helper gives data events and an end event, from the actor, of one conversation."""

    def make(actor):
        return getattr(actor, helper)(iter([1, 2]), correlation_id="c-1")

    router.register_actor("a", Helped(make))
    events = [event async for event in router.stream_async("a", "query")]
    assert [(event.type, event.payload) for event in events] == [
        ("data", 1),
        ("data", 2),
        ("end", None),
    ]
    assert {(event.sender, event.correlation_id) for event in events} == {(address("a"), "c-1")}


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_correlation_id_by_default(router, helper):
    """Without a correlation id the events carry that of their stream."""
    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)([1])))
    stream = router.stream_async("a", "query")
    expected = stream.correlation_id
    assert {event.correlation_id async for event in stream} == {expected}


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_error_of_the_source(router, helper):
    """An exception of the source becomes an error event, and the cause of `StreamError`."""
    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)(broken())))
    iterator = aiter(router.stream_async("a", "query"))
    events = [await anext(iterator), await anext(iterator)]
    with pytest.raises(StreamError, match="the file is gone") as caught:
        await anext(iterator)
    assert [(event.type, event.error) for event in events] == [
        ("data", None),
        ("error", "the file is gone"),
    ]
    assert type(caught.value.__cause__) is OSError


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_iterated_in_the_actor(helper):
    """An actor may iterate a helper and yield its events on."""

    async def forward(actor):
        async for event in getattr(actor, helper)([1, 2]):
            yield event

    assert await collect(forward) == [1, 2]


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize("buffer_size", [1, 7])
async def test_bound(router, helper, buffer_size):
    """The source is never further ahead than the buffer and the one item in hand."""
    numbers = Numbers()
    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)(numbers.sync())))
    async for number in router.stream_async("a", "q", buffer_size=buffer_size).payloads():
        while numbers.made < number + buffer_size + 1:
            await anyio.sleep(0)
        await settle()
        assert numbers.made == number + buffer_size + 1
        if number == 3:
            break


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_generator_is_closed(router, helper):
    """A generator whose stream is left early is closed when the stream's block ends."""
    numbers = Numbers()
    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)(numbers.sync())))
    async with router.stream_async("a", "query") as stream:
        async for _ in stream:
            break
    assert numbers.closed == 1


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_half_read_in_the_actor(helper):
    """A helper that its actor leaves half-read is closed with the actor's stream."""
    numbers = Numbers()

    async def some(actor):
        async for event in getattr(actor, helper)(numbers.sync()):
            yield event
            if event.payload == 2:
                break
        yield "done"

    assert await collect(some) == [1, 2, "done"]
    assert numbers.closed == 1


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_error_of_the_closing(router, helper):
    """An error of a half-read generator's clean-up is raised where the scoped block ends."""

    def untidy():
        try:
            while True:
                yield 1
        finally:
            raise OSError("cannot close")

    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)(untidy())))
    stream = router.stream_async("a", "query")
    with pytest.raises(OSError, match="cannot close"):
        await read_one(stream)


async def read_one(stream: Stream[Any]) -> None:
    async with stream:
        await anext(aiter(stream))


# create_async_stream


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_async_iterable(helper):
    """An async iterable is streamed, too."""
    assert await collect(lambda actor: getattr(actor, helper)(letters())) == ["a", "b"]


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_error_of_an_async_source(helper):
    """An exception of an async source becomes an error event."""
    with pytest.raises(StreamError, match="the file is gone") as caught:
        await collect(lambda actor: getattr(actor, helper)(broken_async()))
    assert type(caught.value.__cause__) is OSError


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_async_generator_is_closed(router, helper):
    """An async generator whose stream is left early is closed when the block ends."""
    numbers = Numbers()
    router.register_actor("a", Helped(lambda actor: getattr(actor, helper)(numbers.not_sync())))
    async with router.stream_async("a", "query") as stream:
        async for _ in stream:
            break
    assert numbers.closed == 1


@pytest.mark.parametrize("helper", HELPERS[:2])
@pytest.mark.parametrize("leave_at", [1, 2])
async def test_half_read_async_generator(helper, leave_at):
    """An actor that drops a helper of an async generator half-read causes no warning on trio."""
    numbers = Numbers()

    async def some(actor):
        async for event in getattr(actor, helper)(numbers.not_sync()):
            if event.payload == leave_at:
                break
        yield "done"

    assert await collect(some) == ["done"]
    assert numbers.closed == 1


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_stream_left_while_a_helper_is_forwarded(router, helper):
    """A consumer that leaves while an actor forwards a helper causes no warning on trio."""
    numbers = Numbers()

    async def forward(actor):
        async for event in getattr(actor, helper)(numbers.not_sync()):
            yield event

    router.register_actor("a", Helped(forward))
    async for _ in router.stream_async("a", "query"):
        break
    await settle(10)
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


@pytest.mark.parametrize("helper", HELPERS)
def test_never_read(helper):
    """A helper that nobody reads does nothing, and warns of nothing."""
    numbers = Numbers()
    getattr(Actor(), helper)(numbers.sync())
    assert (numbers.made, numbers.closed) == (0, 0)


async def test_one_list_of_what_is_half_read():
    """All sources that one producer reads are on one list, even if it was empty in between."""
    lists: list[Any] = []

    async def read_two(actor):
        for _ in range(2):
            async for event in actor.create_async_stream([1]):
                lists.append(running_channel().half_read)  # type: ignore[union-attr]
                yield event.payload

    await collect(read_two)
    assert len(lists) == 4
    assert all(each is lists[0] for each in lists)


async def test_half_read_outside_of_an_actor():
    """A helper read by hand, outside of any stream, may be dropped half-read, too."""
    numbers = Numbers()
    source = Actor().create_async_stream(numbers.sync())
    assert (await anext(source)).payload == 1
    del source


async def test_read_by_hand():
    """Read by hand, a helper gives its events, the end event once, and then ends for ever."""
    source = Actor().create_async_stream([1])
    events = [event async for event in source]
    assert [(event.type, event.payload, event.sender) for event in events] == [
        ("data", 1, None),
        ("end", None, None),
    ]
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_correlation_id_by_hand():
    """Read by hand, the events of one helper share a correlation id, and no other has it."""
    ids = [
        {event.correlation_id async for event in Actor().create_async_stream(items)}
        for items in ([1, 2], [1, 2], broken())
    ]
    assert [len(each) for each in ids] == [1, 1, 1]
    assert len(ids[0].union(*ids[1:])) == 3
    assert all(ids[0].union(*ids[1:]))


async def test_correlation_id_given_by_hand():
    """Read by hand, the events have the correlation id that was given."""
    source = Actor().create_async_stream([1, 2], "mine")
    assert {event.correlation_id async for event in source} == {"mine"}


async def test_correlation_id_of_a_helper_that_an_actor_reads_on(router):
    """What is begun by hand and read on in an actor has the correlation id of that stream."""
    source = Actor().create_async_stream([1, 2, 3])
    assert (await anext(source)).payload == 1
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    stream = router.stream_async("a", "query")
    expected = stream.correlation_id
    events = [event async for event in stream]
    assert [event.payload for event in events] == [2, 3, None]
    assert {event.correlation_id for event in events} == {expected}


async def test_closed_by_hand():
    """After `aclose()` a helper has ended, its generator is closed; closing again is harmless."""
    numbers = Numbers()
    source = Actor().create_async_stream(numbers.sync())
    await anext(source)
    await source.aclose()
    await source.aclose()
    assert numbers.closed == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_closing_what_cannot_be_closed():
    """A source without a `close()` is just left."""
    source = Actor().create_async_stream([1, 2])
    await anext(source)
    await source.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_messages_pass_as_they_are(router):
    """An item that is a message already is passed on, not wrapped."""
    message = AsyncStreamMessage("data", "made by hand", id="m-1")

    router.register_actor("a", Helped(lambda actor: actor.create_async_stream([message])))
    event = await anext(aiter(router.stream_async("a", "query")))
    assert (event.payload, event.id) == ("made by hand", "m-1")


async def test_events_of_another_helper():
    """Helpers nest: the events of one pass through another."""

    def nested(actor):
        return actor.create_async_stream(actor.create_async_stream([1, 2]))

    assert await collect(nested) == [1, 2]


async def test_wordless_error():
    """The error event of an exception without a text names the exception."""

    def wordless():
        raise KeyError
        yield

    event = await anext(Actor().create_async_stream(wordless()))
    assert event.error == "KeyError()"


async def test_scope_in_the_source(router, unit):
    """A scope that the source holds across its `yield` expires in the source, as ever."""

    expired = anyio.Event()

    async def limited():
        with anyio.move_on_after(unit):
            while True:
                yield "within"
        expired.set()
        yield "after"

    router.register_actor("a", Helped(lambda actor: actor.create_async_stream(limited())))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await expired.wait()
        assert await stream.collect() == ["within", "within", "after"]


async def test_scope_around_a_helper(router, unit):
    """A scope of the actor around a helper expires while the buffer is full, likewise."""

    expired = anyio.Event()

    async def limited(actor):
        with anyio.move_on_after(unit):
            async for event in actor.create_async_stream(range(100)):
                yield event
        expired.set()
        yield "after"

    router.register_actor("a", Helped(limited))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await expired.wait()
        assert await stream.collect() == [0, 1, "after"]


def test_repr_of_a_helper():
    """The `repr` of a helper shows what it reads."""
    assert repr(Actor().create_async_stream(letters())).startswith("<EventIterator of <async_gen")


# create_async_stream_with_backpressure


async def test_keeping_up():
    """A consumer that keeps up is never paused; it is looked at after every ten items."""
    told: list[bool] = []

    def make(actor):
        return actor.create_async_stream_with_backpressure(range(35), on_backpressure=told.append)

    assert await collect(make) == list(range(35))
    assert told == [False, False, False]


async def test_slow_consumer(router):
    """A consumer that holds the producer up is reported, after each `check_interval` items."""
    told: list[bool] = []

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            range(12), check_interval=4, on_backpressure=told.append
        )

    router.register_actor("a", Helped(make))
    async for _ in router.stream_async("a", "query", buffer_size=1):
        await settle()
    assert told == [True, True, True]


async def test_consumer_that_recovers(router):
    """What is reported is what happened since the last look: a pause ends."""
    told: list[bool] = []

    async def paced():
        for number in range(9):
            await settle()
            yield number

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            paced(), check_interval=3, on_backpressure=told.append
        )

    router.register_actor("a", Helped(make))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await settle(100)
        assert await stream.collect() == list(range(9))
    assert told == [True, False, False]


async def test_callback_is_awaited():
    """A coroutine function is awaited, and the producer waits for it."""
    steps: list[object] = []

    async def slow_down(is_paused):
        steps.append("told")
        await settle()
        steps.append("waited")

    def items():
        for number in range(4):
            steps.append(number)
            yield number

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            items(), check_interval=2, on_backpressure=slow_down
        )

    await collect(make)
    assert steps == [0, 1, "told", "waited", 2, 3, "told", "waited"]


async def test_callback_that_fails(router):
    """What the callback raises becomes an error event."""

    def fail(is_paused):
        raise ArithmeticError("cannot tell")

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            range(9), check_interval=3, on_backpressure=fail
        )

    router.register_actor("a", Helped(make))
    async with router.stream_async("a", "query") as stream:
        types: list[str] = []
        with pytest.raises(StreamError, match="cannot tell") as caught:
            await append_types(stream, types)
    assert types == ["data", "data", "data", "error"]
    assert type(caught.value.__cause__) is ArithmeticError


async def append_types(stream: Stream[Any], types: list[str]) -> None:
    iterator = aiter(stream)
    while True:
        types.append((await anext(iterator)).type)


async def test_without_callback():
    """Without a callback nobody is told, and the items are the same."""

    def make(actor):
        return actor.create_async_stream_with_backpressure(range(30), check_interval=1)

    assert await collect(make) == list(range(30))


async def test_callback_read_by_hand():
    """Read by hand, nothing holds it up."""
    told: list[bool] = []
    source = Actor().create_async_stream_with_backpressure(
        range(5), check_interval=2, on_backpressure=told.append
    )
    assert len([event async for event in source]) == 6
    assert told == [False, False]


# create_thread_stream


@pytest.mark.real_clock
async def test_thread_is_another():
    """The iterable is opened, iterated and closed in worker threads, never in the loop's."""
    threads: list[int] = []

    class Blocking:
        def __iter__(self):
            try:
                while True:
                    threads.append(threading.get_ident())
                    yield
            finally:
                threads.append(threading.get_ident())

    async with serving(Helped(lambda actor: actor.create_thread_stream(Blocking()))) as router:
        async for _ in router.stream_async("a", "query", buffer_size=1):
            break
    assert len(threads) >= 2
    assert threading.get_ident() not in threads


class Gate:
    """An iterable that blocks its thread before each item, until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.closed = threading.Event()

    def __iter__(self):
        try:
            yield "first"
            self.entered.set()
            assert self.let_go.wait(60)
            yield "second"
        finally:
            self.closed.set()

    async def wait_entered(self) -> None:
        while not self.entered.is_set():
            await anyio.sleep(0)


@pytest.mark.real_clock
async def test_loop_goes_on(router):
    """While the iterable blocks, the loop goes on; then its next item arrives."""
    gate = Gate()
    router.register_actor("a", Helped(lambda actor: actor.create_thread_stream(gate)))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == "first"
    await gate.wait_entered()
    await settle(20)
    gate.let_go.set()
    assert [payload async for payload in payloads] == ["second"]


@pytest.mark.real_clock
async def test_abort_during_a_blocking_fetch(router):
    """An abort reaches the consumer at once; the producer is gone when the fetch has returned."""
    gate = Gate()
    router.register_actor("a", Helped(lambda actor: actor.create_thread_stream(gate)))
    stream = router.stream_async("a", "query")
    payloads = stream.payloads()
    await anext(payloads)
    await gate.wait_entered()
    stream.cancel("enough")
    with pytest.raises(StreamError, match="enough"):
        await anext(payloads)
    assert router.statistics().active_streams == 1
    gate.let_go.set()
    await stream.aclose()
    assert gate.closed.is_set()
    assert router.statistics().active_streams == 0


@pytest.mark.real_clock
async def test_timeout_during_a_blocking_fetch(router):
    """A time limit reaches the consumer in the middle of a fetch, too."""
    gate = Gate()
    router.register_actor("a", Helped(lambda actor: actor.create_thread_stream(gate)))
    payloads = router.stream_async("a", "query", timeout=0.01).payloads()
    with pytest.raises(TimeoutError):
        await drain(payloads)
    assert not gate.closed.is_set()
    gate.let_go.set()


async def drain(payloads: AsyncIterator[Any]) -> None:
    async for _ in payloads:
        pass


@pytest.mark.real_clock
async def test_break_during_a_blocking_fetch(router):
    """A `break` does not wait for the fetch; the generator is closed when it has returned."""
    gate = Gate()
    router.register_actor("a", Helped(lambda actor: actor.create_thread_stream(gate)))
    async for _ in router.stream_async("a", "query"):
        await gate.wait_entered()
        break
    assert not gate.closed.is_set()
    gate.let_go.set()
    while router.statistics().active_streams:
        await anyio.sleep(0)
    assert gate.closed.is_set()


@pytest.mark.real_clock
async def test_iterable_that_cannot_be_opened():
    """An iterable that fails when it is opened, in the thread, is an error event."""

    class Closed:
        def __iter__(self):
            raise PermissionError("no access")

    with pytest.raises(StreamError, match="no access") as caught:
        await collect(lambda actor: actor.create_thread_stream(Closed()))
    assert type(caught.value.__cause__) is PermissionError


@pytest.mark.real_clock
async def test_unread_thread_stream():
    """A thread stream that is closed before its first item never opens its iterable."""
    gate = Gate()
    source = Actor().create_thread_stream(gate)
    await source.aclose()
    assert not gate.closed.is_set()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


class Rows(Actor):
    """Streams the rows of a database whose connection must stay in its thread."""

    def rows(self):
        connection = sqlite3.connect(":memory:")
        for number in range(20):
            yield connection.execute("select ?", (number,)).fetchone()[0]
        connection.close()

    def stream_async(self, payload) -> Any:
        return self.create_thread_stream(self.rows())


class RowsOneByOne(Rows):
    """The same, read in a generator of the actor."""

    async def stream_async(self, payload):
        async for event in self.create_thread_stream(self.rows()):
            yield event


@pytest.mark.real_clock
@pytest.mark.parametrize("actor", [Rows, RowsOneByOne])
async def test_a_source_stays_in_one_thread(router, actor):
    """However many streams run at once, each blocking source is read in a thread of its own."""
    results = []

    async def read(router):
        results.append(await router.stream_async("rows", "query").collect())

    router.register_actor("rows", actor())
    async with anyio.create_task_group() as tasks:
        for _ in range(50):  # more than AnyIO's threads
            tasks.start_soon(read, router)
    assert results == [list(range(20))] * 50


async def read_on(source):
    """Yield what comes from a source that somebody else has begun to read."""
    async for event in source:
        yield event


@pytest.mark.real_clock
async def test_thread_stream_begun_outside_of_a_producer(router):
    """A source first read by hand, then half-read in a producer, keeps no thread."""
    source = Actor().create_thread_stream(itertools.count())
    assert (await anext(source)).payload == 0
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        assert (await anext(stream.payloads())) == 1
    assert (await anext(source)).type == "data"


@pytest.mark.real_clock
async def test_thread_stream_that_goes_from_one_producer_to_another(router):
    """A source that a second producer reads on outlives the first, and keeps no thread."""
    source = Actor().create_thread_stream(itertools.count())
    await anext(source)
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    for _ in range(2):
        async with router.stream_async("a", "query", buffer_size=1) as stream:
            payloads = stream.payloads()
            first = await anext(payloads)
            assert await anext(payloads) == first + 1
    await source.aclose()


@pytest.mark.real_clock
async def test_closing_where_the_thread_has_gone(router):
    """A generator whose thread went with its producer is closed in another."""
    numbers = Numbers()
    source = Actor().create_thread_stream(numbers.sync())
    await anext(source)
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        await anext(stream.payloads())
    assert numbers.closed == 0
    await source.aclose()
    assert numbers.closed == 1


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancellation_by_asyncio_loses_no_fetched_item(router):
    """What asyncio's own cancellation keeps a reader from taking is for the next one."""

    async def stream_async():
        gate = Gate()
        source = Actor().create_thread_stream(gate)
        yield await anext(source)
        reading = asyncio.ensure_future(anext(source))
        await gate.wait_entered()
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        gate.let_go.set()
        yield await anext(source)

    router.register_actor("a", ActorOf(lambda _: stream_async()))
    payloads = await router.stream_async("a", "query").collect()
    assert payloads == ["first", "second"]


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_closing_after_a_cancellation_by_asyncio(router):
    """A source that is closed while a fetch is on its way is closed when that has returned."""
    gate = Gate()

    async def stream_async():
        source = Actor().create_thread_stream(gate)
        yield await anext(source)
        reading = asyncio.ensure_future(anext(source))
        await gate.wait_entered()
        reading.cancel()
        await asyncio.wait([reading])
        closing = asyncio.ensure_future(source.aclose())
        await settle()
        assert not gate.closed.is_set()
        gate.let_go.set()
        await closing

    router.register_actor("a", ActorOf(lambda _: stream_async()))
    await router.stream_async("a", "query").collect()
    assert gate.closed.is_set()


async def test_router_cancelled_before_the_thread_starts(caplog):
    """A producer that is cancelled before its thread starts has not failed."""

    async def stream_async():
        yield 0
        scope.cancel()
        async for event in Actor().create_thread_stream([1]):
            yield event

    with anyio.CancelScope() as scope:
        async with serving(ActorOf(lambda _: stream_async())) as router:
            await router.stream_async("a", "query").collect()
    assert not caplog.records


@pytest.mark.real_clock
async def test_cancelled_scope_around_a_thread_stream(router):
    """A scope of the actor's own that is cancelled is left before the next fetch."""
    numbers = Numbers()

    async def read_until_cancelled():
        with anyio.CancelScope() as scope:
            async for event in Actor().create_thread_stream(numbers.sync()):
                if event.payload == 2:
                    scope.cancel()
                yield event

    router.register_actor("a", ActorOf(lambda _: read_until_cancelled()))
    assert await router.stream_async("a", "query").collect() == [1, 2]
    assert (numbers.made, numbers.closed) == (2, 1)
