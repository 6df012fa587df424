"""Items as events: what each stream helper of an actor makes of items, and how it is closed."""

import gc
from contextlib import aclosing
from typing import Any
from weakref import ref

import anyio
import pytest

from actorstream import Actor, ActorError, AsyncStreamMessage, StreamError, address
from actorstream.testing import settle
from tests.support import (
    HELPERS,
    ActorOf,
    FrozenError,
    HelperActor,
    NumberSource,
    Referable,
    collect,
    fail_after_one,
    read_on,
)

# The events


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_events(router, helper):
    """Each helper gives data events and an end event, with the actor's sender and one id."""

    def make(actor):
        return getattr(actor, helper)(iter([1, 2]), correlation_id="c-1")

    router.register_actor("a", HelperActor(make))
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
    """Without a correlation id of their own, the events carry that of their stream."""
    router.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)([1])))
    stream = router.stream_async("a", "query")
    expected = stream.correlation_id
    assert {event.correlation_id async for event in stream} == {expected}


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_error_of_the_source(router, helper):
    """An exception in the source becomes an error event, and the cause of `StreamError`."""
    router.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)(fail_after_one())))
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


async def test_messages_pass_as_they_are(router):
    """An item that is already a message is passed on unwrapped."""
    message = AsyncStreamMessage("data", "made by hand", id="m-1")
    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream([message])))
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


def test_repr_of_a_helper():
    """The `repr` of a helper shows what it reads."""
    source = Actor().create_async_stream(NumberSource().give_async())
    assert repr(source).startswith("<EventIterator of <async_generator")


# Error events that the actor passes over


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize("where", ["handler", "stream"])
async def test_error_event_that_an_actor_passes_over(router, helper, where):
    """An actor that reads on after an error event gets `StreamError`, then the end."""

    class Reads(Actor):
        async def receive(self, message):
            source = getattr(self, helper)(fail_after_one())
            seen = [(await anext(source)).type for _ in range(2)]
            with pytest.raises(StreamError, match="failed: the file is gone; at the err") as caught:
                await anext(source)
            with pytest.raises(StopAsyncIteration):
                await anext(source)
            return seen, type(caught.value.__cause__)

        async def stream_async(self, payload):
            yield await self.receive(payload)

    router.register_actor("a", Reads())
    if where == "handler":
        answer = await router.ask("a", "read")
    else:
        [answer] = await router.stream_async("a", "read").collect()
    assert answer == (["data", "error"], OSError)


async def test_error_event_of_a_nested_helper_that_an_actor_passes_over(router):
    """It is told once, also through another helper."""

    class Reads(Actor):
        async def receive(self, message):
            inner = self.create_async_stream(fail_after_one())
            return [event.type async for event in self.create_async_stream(inner)]

    router.register_actor("a", Reads())
    with pytest.raises(ActorError, match="the file is gone") as caught:
        await router.ask("a", "read")
    assert type(caught.value.__cause__) is StreamError


async def test_own_error_event_that_an_actor_passes_over(router):
    """An error event among the items ends them, too; the items are closed."""
    numbers = NumberSource()

    def items():
        yield AsyncStreamMessage("error", error="no more paper")
        yield from numbers.give()

    class Reads(Actor):
        async def receive(self, message):
            return [event.type async for event in self.create_async_stream(items())]

    router.register_actor("a", Reads())
    with pytest.raises(ActorError, match="no more paper"):
        await router.ask("a", "read")
    assert numbers.made == 0


@pytest.mark.parametrize("form", ["stream_async", "stream"])
async def test_error_event_that_an_actor_yields_on(router, form):
    """An error event that reaches the actor's own reader is not passed over."""

    class Forwards(Actor):
        if form == "stream":

            async def stream(self, payload, on_chunk):
                async for event in self.create_async_stream(fail_after_one()):
                    await on_chunk(event)
        else:

            async def stream_async(self, payload):
                async for event in self.create_async_stream(fail_after_one()):
                    yield event

    router.register_actor("a", Forwards())
    with pytest.raises(StreamError, match="the file is gone") as caught:
        await router.stream_async("a", "read").collect()
    assert type(caught.value.__cause__) is OSError


async def test_error_event_that_is_read_outside_of_an_actor():
    """Outside of an actor, the error event is the last one, as a test of an actor expects."""
    source = Actor().create_async_stream(fail_after_one())
    assert [event.type async for event in source] == ["data", "error"]


# Half-read


@pytest.mark.real_clock
@pytest.mark.parametrize("helper", HELPERS)
async def test_half_read_in_the_actor(helper):
    """A helper that its actor leaves half-read is closed with the actor's stream."""
    numbers = NumberSource()

    async def some(actor):
        async for event in getattr(actor, helper)(numbers.give()):
            yield event
            if event.payload == 2:
                break
        yield "done"

    assert await collect(some) == [1, 2, "done"]
    assert numbers.closed == 1


@pytest.mark.parametrize("helper", HELPERS[:2])
@pytest.mark.parametrize("leave_at", [1, 2])
async def test_half_read_async_generator(helper, leave_at):
    """An actor that drops a helper of an async generator half-read causes no warning on trio."""
    numbers = NumberSource()

    async def some(actor):
        async for event in getattr(actor, helper)(numbers.give_async()):
            if event.payload == leave_at:
                break
        yield "done"

    assert await collect(some) == ["done"]
    assert numbers.closed == 1


async def fail_to_close(error):
    """Yield an item; raise an exception when closed."""
    try:
        yield 1
    finally:
        raise error


@pytest.mark.parametrize("read", ["collect", "scoped"])
async def test_frozen_exception_of_a_half_read_source(router, read):
    """An exception of a frozen class that a half-read source raises when closed stays itself."""

    async def leave(actor):
        sources = [actor.create_async_stream(fail_to_close(FrozenError())) for _ in range(2)]
        for source in sources:
            await anext(source)
        yield "done"
        if read == "scoped":
            await anyio.sleep_forever()

    router.register_actor("a", HelperActor(leave))
    if read == "collect":
        with pytest.raises(StreamError) as caught:
            await router.stream_async("a", "query").collect()
        assert type(caught.value.__cause__) is FrozenError
        return
    with pytest.raises(FrozenError):
        async with router.stream_async("a", "query") as stream:
            await anext(stream.payloads())


async def test_each_half_read_source_is_closed(router, caplog):
    """One that fails to close keeps no other open; the failures after the first are logged."""
    numbers = NumberSource()

    async def leave(actor):
        items = [fail_to_close(OSError(1)), numbers.give_async(), fail_to_close(OSError(2))]
        sources = [actor.create_async_stream(each) for each in items]
        for source in sources:
            await anext(source)
        yield "done"

    router.register_actor("a", HelperActor(leave))
    with pytest.raises(StreamError, match="OSError: 2"):
        await router.stream_async("a", "query").collect()
    assert numbers.closed == 1
    [record] = caplog.records
    assert record.exc_info[1].args == (1,)


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_stream_left_while_a_helper_is_forwarded(router, helper):
    """A consumer that leaves while an actor forwards a helper causes no warning on trio."""
    numbers = NumberSource()

    async def forward(actor):
        async for event in getattr(actor, helper)(numbers.give_async()):
            yield event

    router.register_actor("a", HelperActor(forward))
    async for _ in router.stream_async("a", "query"):
        break
    await settle(10)
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


def first_by_break(source):
    """Leave a source by `break`."""

    async def read():
        async for _ in source:
            break

    return read()


async def first_by_del(source):
    """Leave a source by dropping it."""
    await anext(source)
    del source


class LeavesMany(Actor):
    """Reads the first item of many sources, and notes how many stay open."""

    def __init__(self, make, leave, count) -> None:
        self.make = make
        self.leave = leave
        self.count = count

    async def leave_one(self):
        await self.leave(self.make(self))
        return "left"

    async def receive(self, message):
        for _ in range(5):
            await self.leave_one()
        await wait_until(lambda: self.count() == 0)
        return "left"

    async def stream_async(self, payload):
        for _ in range(5):
            yield await self.leave_one()
        if payload == "wait":
            await wait_until(lambda: self.count() == 0)
        yield "last"
        await anyio.sleep_forever()


async def wait_until(is_so):
    for _ in range(1000):
        if is_so():
            return
        await anyio.sleep(0.001)
    raise AssertionError("it never was so")


@pytest.mark.real_clock
@pytest.mark.parametrize("where", ["handler", "stream"])
@pytest.mark.parametrize("leave", [first_by_break, first_by_del])
@pytest.mark.parametrize("helper", [*HELPERS, "create_callback_stream", "nested"])
async def test_source_is_closed_when_it_is_left(router, helper, leave, where):
    """A source goes at once, however long the handler or the stream lasts that has left it."""
    numbers, hooked = NumberSource(), []

    def register(push):
        push(1)
        hooked.append(push)
        return hooked.pop

    def make(actor):
        if helper == "create_callback_stream":
            return actor.create_callback_stream(register)
        if helper == "nested":
            return actor.create_async_stream(actor.create_thread_stream(numbers.give()))
        return getattr(actor, helper)(numbers.give())

    actor = LeavesMany(make, leave, lambda: numbers.made - numbers.closed + len(hooked))
    router.register_actor("a", actor)
    if where == "handler":
        assert await router.ask("a", "read") == "left"
        return
    async with router.stream_async("a", "read", "wait") as stream:
        payloads = stream.payloads()
        assert [await anext(payloads) for _ in range(6)] == ["left"] * 5 + ["last"]


@pytest.mark.parametrize("leave", [first_by_break, first_by_del])
@pytest.mark.parametrize("where", ["handler", "stream", "callback form"])
@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_async_generator_is_closed_when_it_is_left(router, helper, leave, where, caplog):
    """In a stream it is closed at the next item, and by the task that has read it."""
    numbers = NumberSource()

    async def items():
        with anyio.CancelScope():
            inner: Any = numbers.give_async()
            async with aclosing(inner):
                async for number in inner:
                    yield number

    class Callback(LeavesMany):
        stream_async: Any = None

        async def stream(self, payload, on_chunk):
            for _ in range(5):
                await on_chunk(await self.leave_one())
            await on_chunk("last")
            await anyio.sleep_forever()

    def make(actor):
        return getattr(actor, helper)(numbers.give_async() if where == "handler" else items())

    kind = Callback if where == "callback form" else LeavesMany
    router.register_actor("a", kind(make, leave, lambda: numbers.made - numbers.closed))
    if where == "handler":
        assert await router.ask("a", "read") == "left"
    else:
        async with router.stream_async("a", "read") as stream:
            payloads = stream.payloads()
            assert [await anext(payloads) for _ in range(6)] == ["left"] * 5 + ["last"]
            assert numbers.closed == 5
    assert not caplog.records


async def test_failure_of_a_source_that_is_left(router, caplog):
    """It is logged: the actor has gone on."""

    def items():
        try:
            yield 1
        finally:
            raise OSError("no such file")

    async def leave(actor):
        for kind in (items, lambda: fail_to_close(OSError("no such line"))):
            async for event in actor.create_async_stream(kind()):
                yield event.payload
                break
        yield "done"

    assert await collect(leave) == [1, 1, "done"]
    assert ["left half-read, failed to close" in record.getMessage() for record in caplog.records]
    assert [str(record.exc_info[1]) for record in caplog.records] == [
        "no such file",
        "no such line",
    ]


class Response:
    """An async iterable with a close of its own, which its iterator does not call."""

    def __init__(self, name):
        self.closed = 0
        setattr(self, name, self.count)

    async def __aiter__(self):
        for number in range(9):
            yield number

    async def count(self):
        self.closed += 1


class PlainResponse(Response):
    """The same without `await`."""

    __aiter__: Any = None

    def __iter__(self):
        return iter(range(9))


@pytest.mark.parametrize("name", ["close", "aclose"])
@pytest.mark.parametrize("kind", [Response, PlainResponse])
@pytest.mark.parametrize("where", ["returned", "iterated", "handler", "by hand"])
@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_source_with_its_own_close(router, helper, where, kind, name):
    """It is closed, once, when it is left early."""
    response = kind(name)

    class Streams(Actor):
        async def receive(self, message):
            async for _ in getattr(self, helper)(response):
                return

        def stream_async(self, payload):
            source = getattr(self, helper)(response)
            return source if where == "returned" else read_on(source)

    router.register_actor("a", Streams())
    if where == "handler":
        await router.ask("a", "read")
        await settle(10)
    elif where == "by hand":
        source = getattr(Actor(), helper)(response)
        await anext(source)
        await source.aclose()
    else:
        async with router.stream_async("a", "read", buffer_size=1) as stream:
            await anext(stream.payloads())
    assert response.closed == 1


@pytest.mark.parametrize("where", ["returned", "iterated"])
async def test_source_with_its_own_close_that_is_read_to_its_end(router, where):
    """It is not closed: it has ended."""
    response = Response("aclose")

    def make(actor):
        source = actor.create_async_stream(response)
        return source if where == "returned" else read_on(source)

    assert await collect(make) == list(range(9))
    assert not response.closed


@pytest.mark.parametrize("helper", HELPERS)
def test_never_read(helper):
    """A helper that is never read does nothing and causes no warning."""
    numbers = NumberSource()
    getattr(Actor(), helper)(numbers.give())
    assert (numbers.made, numbers.closed) == (0, 0)


async def test_half_read_outside_of_an_actor():
    """A helper read by hand, outside any stream, may be dropped half-read."""
    numbers = NumberSource()
    source = Actor().create_async_stream(numbers.give())
    assert (await anext(source)).payload == 1
    del source


# Read by hand


async def test_read_by_hand():
    """Read by hand, a helper gives its events, one end event, and then stays at its end."""
    source = Actor().create_async_stream([1])
    events = [event async for event in source]
    assert [(event.type, event.payload, event.sender) for event in events] == [
        ("data", 1, None),
        ("end", None, None),
    ]
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_correlation_id_by_hand():
    """Read by hand, the events of one helper share a correlation id that no other has."""
    ids = [
        {event.correlation_id async for event in Actor().create_async_stream(items)}
        for items in ([1, 2], [1, 2], fail_after_one())
    ]
    assert [len(each) for each in ids] == [1, 1, 1]
    assert len(ids[0].union(*ids[1:])) == 3
    assert all(ids[0].union(*ids[1:]))


async def test_correlation_id_given_by_hand():
    """Read by hand, the events have the correlation id that was given."""
    source = Actor().create_async_stream([1, 2], "mine")
    assert {event.correlation_id async for event in source} == {"mine"}


async def test_correlation_id_of_a_helper_that_an_actor_reads_on(router):
    """A helper begun by hand and continued in an actor has that stream's correlation id."""
    source = Actor().create_async_stream([1, 2, 3])
    assert (await anext(source)).payload == 1
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    stream = router.stream_async("a", "query")
    expected = stream.correlation_id
    events = [event async for event in stream]
    assert [event.payload for event in events] == [2, 3, None]
    assert {event.correlation_id for event in events} == {expected}


async def test_closed_by_hand():
    """`aclose()` ends a helper and closes its generator; closing again is harmless."""
    numbers = NumberSource()
    source = Actor().create_async_stream(numbers.give())
    await anext(source)
    await source.aclose()
    await source.aclose()
    assert numbers.closed == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_closing_a_helper_whose_source_has_no_close():
    """A helper over a source without `close()` can be closed."""
    source = Actor().create_async_stream([1, 2])
    await anext(source)
    await source.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_a_source_that_is_kept_does_not_keep_its_request(router):
    """An actor may keep a helper that it has read; the payload of that stream goes."""

    class Keeps(Actor):
        async def stream_async(self, payload):
            self.source = self.create_async_stream([1])
            async for event in self.source:
                yield event.payload

    router.register_actor("a", Keeps())
    payload = Referable()
    gone = ref(payload)
    await router.stream_async("a", "query", payload).collect()
    del payload
    await settle()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_helpers_nested_beyond_the_recursion_limit(router, helper, is_read):
    """They fail their own stream, and nothing else."""

    def nest(actor):
        source: Any = [1]
        for _ in range(2000):
            source = getattr(actor, helper)(source)
        return source

    async def read(_):
        async for event in nest(actor):
            yield event

    actor = HelperActor(nest)
    router.register_actor("nested", actor)
    router.register_actor("reader", ActorOf(read))
    with pytest.raises(StreamError, match="recursion"):
        await router.stream_async("reader" if is_read else "nested", "query").collect()
