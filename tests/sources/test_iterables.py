"""Streams of iterables, and a helper that reports how its consumer keeps up."""

from typing import Any

import anyio
import pytest

from actorstream import Actor, Stream, StreamAbortedError, StreamError
from actorstream.testing import settle
from tests.support import HELPERS, FrozenError, HelperActor, NumberSource, collect

# Any iterable


async def broken_async():
    """Yield an item, then fail, asynchronously."""
    yield 1
    raise OSError("the file is gone")


async def letters():
    """Yield two letters."""
    yield "a"
    yield "b"


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
@pytest.mark.parametrize("buffer_size", [1, 7])
async def test_bound(router, helper, buffer_size):
    """The source is never further ahead than the buffer and one item."""
    numbers = NumberSource()
    router.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)(numbers.give())))
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
    numbers = NumberSource()
    router.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)(numbers.give())))
    async with router.stream_async("a", "query") as stream:
        async for _ in stream:
            break
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

    router.register_actor("a", HelperActor(lambda actor: getattr(actor, helper)(untidy())))
    stream = router.stream_async("a", "query")
    with pytest.raises(OSError, match="cannot close"):
        await read_one(stream)


async def read_one(stream: Stream[Any]) -> None:
    async with stream:
        await anext(aiter(stream))


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_async_iterable(helper):
    """An async iterable is streamed, too."""
    assert await collect(lambda actor: getattr(actor, helper)(letters())) == ["a", "b"]


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_error_of_an_async_source(helper):
    """An exception in an async source becomes an error event."""
    with pytest.raises(StreamError, match="the file is gone") as caught:
        await collect(lambda actor: getattr(actor, helper)(broken_async()))
    assert type(caught.value.__cause__) is OSError


@pytest.mark.parametrize("helper", HELPERS[:2])
async def test_async_generator_is_closed(router, helper):
    """An async generator whose stream is left early is closed when the block ends."""
    numbers = NumberSource()
    router.register_actor(
        "a", HelperActor(lambda actor: getattr(actor, helper)(numbers.give_async()))
    )
    async with router.stream_async("a", "query") as stream:
        async for _ in stream:
            break
    assert numbers.closed == 1


async def test_scope_in_the_source(router, unit):
    """A scope that the source holds across its `yield` expires in the source."""

    expired = anyio.Event()

    async def limited():
        with anyio.move_on_after(unit):
            while True:
                yield "within"
        expired.set()
        yield "after"

    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream(limited())))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await expired.wait()
        assert await stream.collect() == ["within", "within", "after"]


async def test_scope_around_a_helper(router, unit):
    """An actor's scope around a helper may expire while the buffer is full."""

    expired = anyio.Event()

    async def limited(actor):
        with anyio.move_on_after(unit):
            async for event in actor.create_async_stream(range(100)):
                yield event
        expired.set()
        yield "after"

    router.register_actor("a", HelperActor(limited))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await expired.wait()
        assert await stream.collect() == [0, 1, "after"]


# create_async_stream_with_backpressure


async def test_keeping_up():
    """A consumer that keeps up is never reported as paused; the check runs every ten items."""
    told: list[bool] = []

    def make(actor):
        return actor.create_async_stream_with_backpressure(range(35), on_backpressure=told.append)

    assert await collect(make) == list(range(35))
    assert told == [False, False, False]


async def test_slow_consumer(router):
    """A consumer that blocks the producer is reported after each `check_interval` items."""
    told: list[bool] = []

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            range(12), check_interval=4, on_backpressure=told.append
        )

    router.register_actor("a", HelperActor(make))
    async for _ in router.stream_async("a", "query", buffer_size=1):
        await settle()
    assert told == [True, True, True]


async def test_consumer_that_recovers(router):
    """Each report covers the time since the last check: a consumer that recovers is not paused."""
    told: list[bool] = []

    async def paced():
        for number in range(9):
            await settle()
            yield number

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            paced(), check_interval=3, on_backpressure=told.append
        )

    router.register_actor("a", HelperActor(make))
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        await settle(100)
        assert await stream.collect() == list(range(9))
    assert told == [True, False, False]


async def test_callback_is_awaited():
    """A callback that is a coroutine function is awaited, and the producer waits for it."""
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
    """An exception in the callback becomes an error event."""

    def fail(is_paused):
        raise ArithmeticError("cannot tell")

    def make(actor):
        return actor.create_async_stream_with_backpressure(
            range(9), check_interval=3, on_backpressure=fail
        )

    router.register_actor("a", HelperActor(make))
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
    """The callback is optional; the items are the same without it."""

    def make(actor):
        return actor.create_async_stream_with_backpressure(range(30), check_interval=1)

    assert await collect(make) == list(range(30))


async def test_callback_read_by_hand():
    """Read by hand, a helper is never blocked, and the callback hears of no pause."""
    told: list[bool] = []
    source = Actor().create_async_stream_with_backpressure(
        range(5), check_interval=2, on_backpressure=told.append
    )
    assert len([event async for event in source]) == 6
    assert told == [False, False]


@pytest.mark.parametrize(
    ("read_for", "make_for", "expected"),
    [(2, 0, True), (2, 1, True), (1, 2, False), (0, 2, False), (0, 0, False)],
)
@pytest.mark.parametrize("where", ["outside", "handler"])
async def test_slow_reader_outside_of_a_stream(router, unit, read_for, make_for, expected, where):
    """Without a buffer, the slower of reader and source decides."""
    told: list[bool] = []

    async def items():
        for number in range(7):
            await anyio.sleep(make_for * unit / 5)
            yield number

    class Reads(Actor):
        async def receive(self, message: Any) -> None:
            source = self.create_async_stream_with_backpressure(
                items(), check_interval=3, on_backpressure=told.append
            )
            async for _ in source:
                await anyio.sleep(read_for * unit / 5)

    if where == "handler":
        router.register_actor("a", Reads())
        await router.ask("a", "read")
    else:
        await Reads().receive(None)
    assert told == [expected, expected]


# Iterables of the user's classes


class StartsAnew:
    """Its own iterator, which begins anew in `__iter__`, as the Python tutorial has it."""

    def __iter__(self):
        self.number = 0
        return self

    def __next__(self):
        if self.number == 5:
            raise StopIteration
        self.number += 1
        return self.number


class OnlyNext:
    """Makes an iterator that has no `__iter__`."""

    def __iter__(self):
        iterator = StartsAnew()
        iterator.__iter__()
        return BareIterator(iterator)


class BareIterator:
    def __init__(self, iterator):
        self.iterator = iterator

    def __next__(self):
        return next(self.iterator)


@pytest.mark.parametrize("iterable", [StartsAnew(), OnlyNext()], ids=lambda it: type(it).__name__)
async def test_an_iterator_is_asked_for_once(router, iterable):
    """What a `for` loop reads, a stream reads, however many batches it takes."""
    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream(iterable)))
    stream = router.stream_async("a", "query", buffer_size=2)
    assert await stream.collect() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("to_read", [2, 5])
async def test_an_iterator_is_closed_only_if_it_is_left_early(router, to_read):
    """An iterator that came to its natural end is left as it is, as a `for` loop leaves it."""
    closed = []

    class Closable(StartsAnew):
        def close(self):
            closed.append(self)

    items = Closable()
    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream(items)))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        payloads = stream.payloads()
        for _ in range(to_read):
            await anext(payloads)
        if to_read == 5:
            assert [payload async for payload in payloads] == []
    assert closed == ([items] if to_read == 2 else [])


async def test_an_iterable_that_cancels_its_own_stream_delivers_no_more(router):
    """What is read in one batch with the cancellation is not delivered after it."""

    def items():
        for number in range(10):
            if number == 3:
                stream.cancel("enough")
            yield number

    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream(items())))
    stream = router.stream_async("a", "query", buffer_size=50)
    with pytest.raises(StreamAbortedError, match="enough"):
        await stream.collect()
    assert stream.statistics().buffered == stream.statistics().delivered == 0


def fail(*args):
    """Raise an exception of a frozen class."""
    raise FrozenError


def fail_on_leaving(push):
    """End a callback stream whose callbacks cannot be unregistered."""
    push.end()
    return fail


@pytest.mark.real_clock
@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda actor, helper=helper: getattr(actor, helper)(iter(fail, None))
            for helper in HELPERS
        ),
        lambda actor: actor.create_async_stream_with_backpressure(range(99), on_backpressure=fail),
        lambda actor: actor.create_callback_stream(fail),
        lambda actor: actor.create_callback_stream(fail_on_leaving),
    ],
    ids=[*HELPERS, "on_backpressure", "register", "unregister"],
)
async def test_an_exception_of_a_frozen_class_is_the_cause(router, make):
    """No source replaces the user's exception, even if nobody may set its `__traceback__`."""

    async def read_by_hand(actor):
        async for event in make(actor):
            yield event

    router.register_actor("a", HelperActor(read_by_hand))
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    assert type(caught.value.__cause__) is FrozenError


async def test_items_of_an_unhashable_class(router):
    """Any object is an item, even if its class cannot be hashed."""

    class Meta(type):
        __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

        def __eq__(cls, other):
            raise AssertionError("a class was compared")

    items = [Meta("Item", (), {})() for _ in range(3)]
    router.register_actor("a", HelperActor(lambda actor: actor.create_async_stream(items)))
    assert len(await router.stream_async("a", "query").collect()) == 3
