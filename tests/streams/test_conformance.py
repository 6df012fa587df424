"""The stream rules A to G, taken from the test suites of other streaming libraries.

Each test is named after its rule, R01 to R61, and its docstring is the claim that it proves. The
table at the end lists the rules that do not apply, with the reasons. Every stream runs on the
``router`` fixture, which checks after each test that no producer is left.
"""

import gc
import math
import re
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import attrs
import pytest
from anyio import (
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    WouldBlock,
    create_task_group,
    current_time,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    sleep_forever,
)
from anyio.lowlevel import checkpoint

from actorstream import (
    AbortController,
    Actor,
    ActorNotFoundError,
    ActorStoppedError,
    ActorStreamError,
    AsyncStreamMessage,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAbortedError,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
)
from actorstream.testing import settle
from tests.support import ActorOf, CallbackActorOf, HelperActor, Referable

SIZES = [1, 2, 100]


class Numbers(Actor):
    """Streams 0, 1, 2 and so on; records what it produced and that it was closed."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.calls = self.produced = self.closed = 0

    def count_up(self) -> Iterator[int]:
        self.calls += 1
        try:
            for number in count() if self.stop is None else range(self.stop):
                self.produced += 1
                yield number
        finally:
            self.closed += 1

    async def count_up_async(self) -> AsyncIterator[int]:
        self.calls += 1
        try:
            for number in count() if self.stop is None else range(self.stop):
                self.produced += 1
                yield number
        finally:
            self.closed += 1

    def stream_async(self, payload: object) -> Any:
        return self.count_up_async()


class HelperNumbers(Numbers):
    def stream_async(self, payload: object) -> Any:
        return self.create_async_stream(self.count_up_async())


class PlainHelperNumbers(Numbers):
    def stream_async(self, payload: object) -> Any:
        return self.create_async_stream(self.count_up())


class WatchedNumbers(Numbers):
    def stream_async(self, payload: object) -> Any:
        return self.create_async_stream_with_backpressure(
            self.count_up_async(), check_interval=1, on_backpressure=lambda paused: None
        )


class ThreadNumbers(Numbers):
    def stream_async(self, payload: object) -> Any:
        return self.create_thread_stream(self.count_up())


class CallbackNumbers(Numbers):
    stream_async = None  # type: ignore[assignment]

    async def stream(self, payload: object, on_chunk: Callable[[Any], Awaitable[None]]) -> None:
        for number in self.count_up():
            await on_chunk(number)


def calling(function: Callable[[], Any]) -> Actor:
    """Make an actor that streams what a function without arguments returns."""
    return ActorOf(lambda _: function())


def ask(router: MessageRouter, actor: Actor | Callable[[], Any], **options: Any) -> Stream[Any]:
    """Register an actor, or a function that makes a stream, and open its stream."""
    if not isinstance(actor, Actor):
        actor = calling(actor)
    to = router.register_actor(f"actor-{len(router.list_actors())}", actor)
    return router.stream_async(to, "query", **options)


async def read(source: Any) -> list[Any]:
    """Read to the end: return the items, then the error, if there is one."""
    got: list[Any] = []
    try:
        async for item in source:
            got.append(item)
            assert len(got) < 2000
    except ActorStreamError as error:
        got.append(error)
    return got


async def read_again(iterator: Any) -> None:
    """Check three times that an iterator is at its end, without a wait."""
    for _ in range(3):
        with CancelScope() as scope:
            scope.cancel()  # so that any wait raises here
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)
        assert not scope.cancelled_caught


# A. Demand


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "kind", [Numbers, HelperNumbers, PlainHelperNumbers, WatchedNumbers, CallbackNumbers]
)
async def test_r01_stalled_consumer_bounds_the_producer(router, kind, size) -> None:
    """While its consumer stalls, a producer makes at most buffer_size items and one more."""
    numbers = kind()
    async with ask(router, numbers, buffer_size=size) as stream:
        for _ in range(3):
            await settle(10)
            assert numbers.produced == size + 1
            assert stream.statistics().buffered == size
            assert stream.statistics().producer_waiting


@pytest.mark.real_clock
@pytest.mark.parametrize("size", SIZES)
async def test_r01_stalled_consumer_bounds_a_thread(router, size) -> None:
    """While its consumer stalls, a blocking iterable is asked for at most one extra item."""
    numbers = ThreadNumbers()
    with fail_after(60):
        async with ask(router, numbers, buffer_size=size) as stream:
            while not stream.statistics().producer_waiting:
                await checkpoint()
            await settle(20)
            assert numbers.produced == size + 1
    assert numbers.closed == 1


@pytest.mark.parametrize("size", SIZES)
async def test_r02_one_item_taken_admits_one_more(router, unit, size) -> None:
    """Each item consumed lets the producer make one more, all through the stream."""
    numbers = Numbers()
    with fail_after(100 * unit):
        async with ask(router, numbers, buffer_size=size) as stream:
            iterator = stream.payloads()
            for taken in range(1, 2 * size + 3):
                assert await anext(iterator) == taken - 1
                await settle(10)
                assert numbers.produced == taken + size + 1


@pytest.mark.parametrize("size", [-1, 0, 0.5, 1.0, math.nan, math.inf, "1", None, True])
async def test_r04_a_bad_buffer_size_raises_at_the_call(router, size) -> None:
    """A buffer_size other than an int of at least 1 raises at the call; no actor is called."""
    numbers = Numbers()
    with pytest.raises((TypeError, ValueError), match="buffer_size"):
        ask(router, numbers, buffer_size=size)
    await settle()
    assert numbers.calls == router.statistics().opened_streams == 0


async def test_r05_nothing_runs_before_the_first_pull(router) -> None:
    """Neither making a stream nor making its iterator calls the actor; the first pull does."""
    numbers = Numbers()
    iterator = aiter(ask(router, numbers))
    await settle()
    assert numbers.calls == 0
    assert (await anext(iterator)).payload == 0
    assert numbers.calls == 1


async def test_r05_entering_starts_the_producer(router) -> None:
    """Entering a stream calls the actor, before anything is pulled."""
    numbers = Numbers()
    async with ask(router, numbers):
        await settle()
        assert numbers.calls == 1


async def test_r05_a_stream_closed_before_it_starts_never_runs(router) -> None:
    """A stream closed before its start never calls the actor, even if it is pulled later."""
    numbers = Numbers()
    stream = ask(router, numbers)
    iterator = aiter(stream)
    await stream.aclose()
    await read_again(iterator)
    await settle()
    assert numbers.calls == router.statistics().opened_streams == 0


async def test_r06_a_slow_consumer_is_not_an_error(router, unit) -> None:
    """With the default options, a consumer may be slow."""
    stream = ask(router, Numbers(6), buffer_size=1)
    got = []
    async for number in stream.payloads():
        await sleep(3 * unit)
        got.append(number)
    assert got == [0, 1, 2, 3, 4, 5]


async def test_r07_a_stalled_stream_delays_no_other(router, unit) -> None:
    """While one stream stalls, its actor and its router serve the others completely."""
    numbers = Numbers(200)
    chunks: list[int] = []
    async with ask(router, numbers, buffer_size=1) as stalled:
        await settle()
        with fail_after(100 * unit):
            assert await router.stream_async(numbers.address, "q").collect() == list(range(200))
            await router.stream_ask(numbers.address, "q", on_chunk=chunks.append)
            assert await ask(router, Numbers(200)).collect() == chunks
        assert stalled.statistics().producer_waiting


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_oldest", [7, 8, 9]), ("drop_newest", [0, 1, 2])]
)
async def test_r09_a_drop_policy_keeps_what_it_names_and_counts(router, policy, kept) -> None:
    """The policies keep the newest or the oldest items and count all others as dropped."""
    async with ask(router, Numbers(10), buffer_size=3, overflow=policy) as stream:
        await settle(10)
        assert stream.statistics().dropped == 7
        assert await read(stream.payloads()) == kept
        assert stream.statistics().dropped == 7


async def test_r10_statistics_are_exact(router) -> None:
    """The numbers of buffered, delivered and waiting are right at each point of a stream."""
    gate = Event()

    async def four() -> AsyncIterator[int]:
        for number in range(4):
            yield number
        await gate.wait()

    def look(stream: Stream[Any]) -> tuple[Any, ...]:
        return attrs.astuple(stream.statistics())

    stream = ask(router, four, buffer_size=2)
    iterator = stream.payloads()
    assert look(stream) == (0, 2, 0, 0, False, False)
    await anext(iterator)
    await settle()
    assert look(stream) == (2, 2, 1, 0, True, False)
    for _ in range(3):
        await anext(iterator)
    async with create_task_group() as tasks:
        tasks.start_soon(read, iterator)
        await settle()
        assert look(stream) == (0, 2, 4, 0, False, True)
        gate.set()
    assert look(stream) == (0, 2, 4, 0, False, False)


# B. Delivery


@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize("number", [0, 1, 3, 1000])
async def test_r11_items_arrive_once_in_order_then_the_end(router, number, scoped) -> None:
    """All items arrive once each, in order, then exactly one end event."""
    stream = ask(router, Numbers(number), buffer_size=7)
    if scoped:
        async with stream:
            events = await read(stream)
    else:
        events = await read(stream)
    assert [event.type for event in events] == ["data"] * number + ["end"]
    assert [event.payload for event in events[:-1]] == list(range(number))


async def test_r12_none_and_the_like_are_ordinary_items(router) -> None:
    """Falsy objects and exceptions arrive as payloads, unchanged."""
    items = [None, 0, "", b"", False, (), ValueError("x"), StopAsyncIteration(), EndOfStream()]

    async def odd() -> AsyncIterator[Any]:
        for item in items:
            yield item

    got = await ask(router, odd).collect()
    events = await read(router.stream_async("actor-0", "query"))
    assert list(map(id, got)) == list(map(id, items))
    assert [id(event.payload) for event in events[:-1]] == list(map(id, items))


async def test_r13_items_buffered_at_the_end_are_delivered(router) -> None:
    """Items still buffered when the producer is done arrive before the end."""
    async with ask(router, Numbers(5)) as stream:
        await settle()
        assert router.statistics().active_streams == 0
        assert [event.payload for event in await read(stream)] == [0, 1, 2, 3, 4, None]


async def test_r14_a_timed_out_pull_loses_no_item(router, unit) -> None:
    """A consumer that polls with a time limit gets every item."""

    async def slow() -> AsyncIterator[int]:
        for number in range(5):
            await sleep(unit)
            yield number

    iterator, polls = ask(router, slow).payloads(), 0
    got: list[int] = []
    while len(got) < 5:
        polls += 1
        with move_on_after(unit / 4):
            got.append(await anext(iterator))
    assert got == [0, 1, 2, 3, 4]
    assert polls > 5


@pytest.mark.parametrize("before", [True, False])
async def test_r14_a_pull_cancelled_as_its_item_comes_loses_nothing(router, before) -> None:
    """An item that comes in the same turn as a pull's cancellation is not lost."""
    scope, got = CancelScope(), []

    async def two() -> AsyncIterator[int]:
        await settle()
        if before:
            scope.cancel()
        yield 0
        scope.cancel()
        yield 1

    iterator = ask(router, two).payloads()
    with scope:
        got.append(await anext(iterator))
        await checkpoint()
    assert scope.cancelled_caught
    assert got + await read(iterator) == [0, 1]


async def test_r15_two_tasks_on_one_stream_are_refused(router, unit) -> None:
    """A second task that pulls gets an error; the first one loses no item."""
    gate, got = Event(), []

    async def gated() -> AsyncIterator[int]:
        await gate.wait()
        yield 0
        yield 1

    async with ask(router, gated) as stream, create_task_group() as tasks:
        iterator = stream.payloads()

        async def pull_all() -> None:
            got.extend(await read(iterator))

        tasks.start_soon(pull_all)
        await settle()
        with pytest.raises(StreamConsumedError, match="two tasks"), fail_after(100 * unit):
            await anext(iterator)
        gate.set()
    assert got == [0, 1]


@pytest.mark.parametrize("kind", [Numbers, CallbackNumbers])
async def test_r16_on_chunk_is_serial_and_slows_the_actor(router, kind) -> None:
    """Calls of on_chunk never overlap, and the actor waits for each of them."""
    numbers = kind(20)
    running, chunks, ahead = 0, [], []

    async def on_chunk(chunk: int) -> None:
        nonlocal running
        running += 1
        await settle(5)
        chunks.append(chunk)
        ahead.append(numbers.produced - len(chunks))
        assert running == 1
        running -= 1

    to = router.register_actor("numbers", numbers)
    await router.stream_ask(to, "query", on_chunk=on_chunk, buffer_size=2)
    assert chunks == list(range(20))
    assert max(ahead) == 3


# C. End-state machine


@pytest.mark.parametrize("form", ["events", "payloads"])
async def test_r17_after_the_end_every_pull_ends_at_once(router, form) -> None:
    """Once a stream has ended, each further pull ends at once."""
    stream = ask(router, Numbers(2))
    iterator = aiter(stream) if form == "events" else stream.payloads()
    assert len(await read(iterator)) == (3 if form == "events" else 2)
    await read_again(iterator)


async def test_r18_an_empty_stream_ends_without_demand(router) -> None:
    """A producer without items finishes before the first pull, which then gets the end."""
    async with ask(router, Numbers(0)) as stream:
        await settle()
        assert router.statistics().active_streams == 0
        assert [event.type for event in await read(stream)] == ["end"]


class Endings:
    """A live stream whose producer has made one item and waits, and ways to end it."""

    def __init__(self, router: MessageRouter, **options: Any) -> None:
        self.router, self.gate, self.controller = router, Event(), AbortController()
        self.failure: Exception | None = None
        self.stream = ask(router, self.produce, signal=self.controller.signal, **options)

    async def produce(self) -> AsyncIterator[int]:
        yield 0
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure

    async def end(self) -> None:
        self.gate.set()

    async def fail(self) -> None:
        self.failure = ValueError("failed")
        self.gate.set()

    async def abort(self) -> None:
        self.controller.abort("enough")

    async def cancel(self) -> None:
        self.stream.cancel("enough")

    async def close(self) -> None:
        await self.stream.aclose()

    async def unregister(self) -> None:
        if self.router.list_actors():
            await self.router.unregister_actor("actor-0")


ENDINGS = {
    "end": None,
    "fail": StreamError,
    "abort": StreamAbortedError,
    "cancel": StreamAbortedError,
    "close": None,
    "unregister": ActorStoppedError,
}


@pytest.mark.parametrize("second", ENDINGS)
@pytest.mark.parametrize("first", ENDINGS)
async def test_r19_there_is_exactly_one_outcome(router, first, second) -> None:
    """After the consumer has seen one outcome, it never sees another."""
    live = Endings(router)
    iterator = live.stream.payloads()
    assert await anext(iterator) == 0
    await getattr(live, first)()
    outcome = await read(iterator)
    assert [type(error) for error in outcome] == ([ENDINGS[first]] if ENDINGS[first] else [])
    await getattr(live, second)()
    await settle()
    await read_again(iterator)


@pytest.mark.parametrize("kind", ["timeout", "overflow"])
async def test_r19_limits_are_outcomes_like_others(router, unit, kind) -> None:
    """A time limit that passes is the one outcome; a later abort changes nothing."""
    controller = AbortController()
    limits: dict[str, Any] = {"timeout": {"timeout": unit}, "overflow": {"overflow": "fail"}}[kind]
    async with ask(router, Numbers(), buffer_size=2, signal=controller.signal, **limits) as stream:
        await sleep(2 * unit)
        iterator = stream.payloads()
        expected = {"timeout": StreamTimeoutError, "overflow": StreamOverflowError}[kind]
        assert [type(item) for item in await read(iterator)] == [int, int, expected]
        controller.abort()
        await settle()
        await read_again(iterator)


async def test_r20_closing_is_idempotent_and_concurrent(router) -> None:
    """Many tasks may close a live stream, at once and again; its producer closes once."""
    numbers = Numbers()
    stream = ask(router, numbers)
    await anext(aiter_kept := stream.payloads())
    async with create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(stream.aclose)
    await stream.aclose()
    assert numbers.closed == 1
    await read_again(aiter_kept)


async def test_r20_closing_releases_a_waiting_consumer(router) -> None:
    """Closing the stream ends the loop of a consumer that waits for an item."""
    got: list[Any] = ["never returned"]
    live = Endings(router)
    async with create_task_group() as tasks:

        async def consume() -> None:
            got[:] = await read(live.stream.payloads())

        tasks.start_soon(consume)
        await settle(10)
        await live.stream.aclose()
    assert got == [0]


async def test_r21_after_closing_an_iterator_ends_and_a_new_one_raises(router) -> None:
    """After aclose(), an existing iterator is at its end, and a new one is refused."""
    stream = ask(router, Numbers())
    iterator = aiter(stream)
    await anext(iterator)
    await stream.aclose()
    await read_again(iterator)
    with pytest.raises(StreamConsumedError):
        aiter(stream)
    with pytest.raises(StreamConsumedError):
        stream.payloads()


async def test_r22_closing_waits_for_the_clean_up(router, unit) -> None:
    """aclose() returns after the producer's finally has run, however long it waits."""
    steps = []

    async def careful() -> AsyncIterator[int]:
        try:
            yield 0
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await sleep(unit)
            steps.append("cleaned")

    stream = ask(router, careful)
    iterator = stream.payloads()
    await anext(iterator)
    await stream.aclose()
    steps.append("closed")
    assert steps == ["cleaned", "closed"]


@pytest.mark.parametrize("helper", [False, True])
@pytest.mark.parametrize("waits", [False, True])
async def test_r22_closing_raises_an_error_of_the_clean_up(router, helper, waits) -> None:
    """aclose() and the end of the block raise an error of the producer's clean-up."""
    error = ValueError("in the clean-up")

    async def careless() -> AsyncIterator[int]:
        try:
            yield 0
            if waits:
                await sleep_forever()
            yield 1
            yield 2
        finally:
            raise error

    def make(actor: Actor) -> Any:
        return actor.create_async_stream(careless()) if helper else careless()

    stream = ask(router, HelperActor(make), buffer_size=1)
    iterator = stream.payloads()
    await anext(iterator)
    await settle()
    with pytest.raises(ValueError, match="in the clean-up") as closing:
        await stream.aclose()
    with pytest.raises(ValueError, match="in the clean-up") as leaving:
        async with router.stream_async("actor-0", "query", buffer_size=1) as stream:
            await settle()
    assert closing.value is leaving.value is error


@pytest.mark.parametrize("scoped", [False, True])
async def test_r23_closing_inside_the_loop_ends_the_loop(router, scoped) -> None:
    """A body that closes its own stream gets no further item, and the loop ends."""
    numbers, got = Numbers(), []
    stream = ask(router, numbers)
    if scoped:
        await stream.__aenter__()
    async for event in stream:
        got.append(event.payload)
        await stream.aclose()
    assert got == [0]
    assert numbers.closed == 1


async def test_r24_a_stream_is_iterated_once(router) -> None:
    """Of ten tasks that open one stream, one succeeds; later entering or iterating is refused."""
    stream = ask(router, Numbers(3))
    results: list[Any] = []

    async def consume() -> None:
        try:
            results.append([event.payload async for event in stream])
        except StreamConsumedError:
            results.append(None)

    async with create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(consume)
    assert sorted(results, key=bool) == [None] * 9 + [[0, 1, 2, None]]
    for attempt in (stream.collect, stream.__aenter__):
        with pytest.raises(StreamConsumedError):
            await attempt()


async def test_r24_a_stream_left_by_a_break_is_consumed(router) -> None:
    """After a break, a second loop is refused; it neither resumes nor restarts the stream."""
    numbers = Numbers()
    stream = ask(router, numbers)
    async for _ in stream:
        break
    with pytest.raises(StreamConsumedError, match="only once"):
        await leave_early(stream, "break")
    assert numbers.calls == 1


@pytest.mark.parametrize("ending", ["abort", "cancel", "close"])
async def test_r25_no_item_comes_after_the_outcome(router, ending) -> None:
    """Items still buffered when a stream is given up are never delivered."""
    controller = AbortController()
    async with ask(router, Numbers(), signal=controller.signal) as stream:
        iterator = stream.payloads()
        await anext(iterator)
        await settle()
        assert stream.statistics().buffered == 100
        if ending == "close":
            await stream.aclose()
        else:
            (controller.abort if ending == "abort" else stream.cancel)()
            with pytest.raises(StreamAbortedError):
                await anext(iterator)
        await read_again(iterator)
        assert stream.statistics().buffered == 0


# D. Early termination


async def leave_early(source: Any, how: str) -> None:
    async for _ in source:
        if how == "break":
            break
        if how == "return":
            return
        raise LookupError("from the body")


@pytest.mark.parametrize("form", ["events", "payloads"])
@pytest.mark.parametrize("how", ["break", "return", "raise"])
async def test_r26_leaving_a_bare_loop_cleans_up(router, how, form) -> None:
    """Leaving a bare loop early ends its producer within a few turns, without aclose()."""
    numbers = Numbers()
    stream = ask(router, numbers)
    try:
        await leave_early(stream if form == "events" else stream.payloads(), how)
    except LookupError:
        assert how == "raise"
    await settle(10)
    assert numbers.closed == 1
    assert router.statistics().active_streams == 0
    assert "ended" in repr(stream)  # keeps the stream referenced until here


@pytest.mark.parametrize("how", ["break", "return", "raise"])
async def test_r26_leaving_a_scoped_loop_cleans_up(router, how) -> None:
    """When the block of a scoped stream has ended, its producer is gone."""
    numbers = Numbers()
    try:
        async with ask(router, numbers) as stream:
            await leave_early(stream, how)
    except LookupError:
        assert how == "raise"
    assert numbers.closed == 1
    assert router.statistics().active_streams == 0


@pytest.mark.parametrize("size", SIZES)
async def test_r27_a_break_stops_the_production(router, size) -> None:
    """After a break, the items produced never exceed consumed + buffer_size + 1."""
    numbers = Numbers()
    async for event in ask(router, numbers, buffer_size=size):
        if event.payload == 4:
            break
    await settle(20)
    assert 5 <= numbers.produced <= 5 + size + 1
    assert numbers.closed == 1


@pytest.mark.parametrize("scoped", [False, True])
async def test_r28_the_bodys_exception_leaves_as_itself(router, scoped) -> None:
    """The body's exception leaves as the same object, not in a group."""
    error = LookupError("from the body")
    with pytest.raises(LookupError) as raised:  # noqa: PT012 - two forms of one loop
        if scoped:
            async with ask(router, Numbers()) as stream:
                async for _ in stream:
                    raise error
        async for _ in ask(router, Numbers()):
            raise error
    assert raised.value is error


@pytest.mark.parametrize("scoped", [False, True])
async def test_r28_the_bodys_error_does_not_hide_a_clean_up_error(router, caplog, scoped) -> None:
    """If body and clean-up both fail, the body's error is raised and the clean-up's logged."""

    async def careless() -> AsyncIterator[int]:
        try:
            yield 0
            await sleep_forever()
        finally:
            raise ValueError("in the clean-up")

    error = LookupError("from the body")
    with pytest.raises(LookupError) as raised:  # noqa: PT012 - two forms of one loop
        if scoped:
            async with ask(router, careless):
                await settle()
                raise error
        async for _ in ask(router, careless):
            raise error
    await settle(10)
    assert raised.value is error
    assert [record.name for record in caplog.records] == ["actorstream"]
    assert str(caplog.records[0].exc_info[1]) == "in the clean-up"


@pytest.mark.parametrize("scoped", [False, True])
async def test_r29_a_break_leaks_no_cancellation(router, unit, scoped) -> None:
    """After leaving a loop early, the same task can wait and stream as before."""
    with CancelScope() as scope:
        if scoped:
            async with ask(router, Numbers()) as stream:
                await leave_early(stream, "break")
        else:
            await leave_early(ask(router, Numbers()), "break")
        await settle(20)
        await sleep(unit)
        assert await ask(router, Numbers(3)).collect() == [0, 1, 2]
    assert not scope.cancelled_caught


@pytest.mark.parametrize("where", ["in the pull", "in the body"])
@pytest.mark.parametrize("scoped", [False, True])
async def test_r30_an_outer_timeout_ends_the_loop(router, unit, scoped, where) -> None:
    """A time limit around a loop ends it like any other code, and its producer too."""
    live = Endings(router)

    async def consume(source: Any) -> None:
        async for _ in source:
            if where == "in the body":
                await sleep_forever()

    with move_on_after(unit) as scope:
        if scoped:
            async with live.stream:
                await consume(live.stream)
        else:
            await consume(live.stream)
    assert scope.cancelled_caught
    await settle(0 if scoped else 10)
    assert router.statistics().active_streams == 0


async def test_r31_nested_streams_close_independently(router) -> None:
    """A break out of an inner loop leaves the outer stream alone."""
    outer, inner, got = Numbers(3), Numbers(), []
    to = router.register_actor("inner", inner)
    async for number in ask(router, outer, buffer_size=1).payloads():
        async for other in router.stream_async(to, "query").payloads():
            if other == number:
                break
        got.append((number, other))
    await settle(10)
    assert got == [(0, 0), (1, 1), (2, 2)]
    assert (inner.calls, inner.closed, outer.closed) == (3, 3, 1)


async def test_r31_interleaved_streams_close_independently(router) -> None:
    """Two scoped streams read in turn may be closed in either order."""
    one, two = Numbers(), Numbers()
    first, second = ask(router, one), ask(router, two)
    async with first, second:
        pairs = first.payloads(), second.payloads()
        assert [await anext(pairs[turn % 2]) for turn in range(6)] == [0, 0, 1, 1, 2, 2]
        await first.aclose()  # entered first, closed first
        assert (one.closed, two.closed) == (1, 0)
        assert await anext(pairs[1]) == 3


@pytest.mark.parametrize("ending", ["break", "abort", "raise", "timeout"])
async def test_r32_ending_a_stream_never_stops_the_actor(router, unit, ending) -> None:
    """However a stream ends, its actor can stream again, in either form."""
    to = router.register_actor("numbers", Numbers(5))
    chunks: list[int] = []
    stream = router.stream_async(to, "query", buffer_size=1, timeout=unit)
    if ending == "abort":
        stream.cancel()
    elif ending != "timeout":
        with pytest.raises(LookupError):
            await leave_early(stream, "raise")
    else:
        async with stream:
            await sleep(2 * unit)
    assert await router.stream_async(to, "query").collect() == [0, 1, 2, 3, 4]
    await router.stream_ask(to, "query", on_chunk=chunks.append)
    assert chunks == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ending", ["end", "break", "close", "abort"])
async def test_r33_nothing_keeps_a_finished_stream(router, ending) -> None:
    """After the end, neither router nor signal keeps the stream, its iterator or its payload."""
    to = router.register_actor("n", Numbers(300))
    controller, payload = AbortController(), Referable()
    stream = router.stream_async(to, "query", payload, signal=controller.signal)
    iterator = aiter(stream)
    await anext(iterator)
    if ending == "end":
        await read(iterator)
    elif ending == "close":
        await stream.aclose()
    elif ending == "abort":
        stream.cancel()
        await read(iterator)
    kept = [weakref.ref(thing) for thing in (stream, iterator, payload)]
    del stream, iterator, payload
    await settle(10)
    gc.collect()
    assert [ref() for ref in kept] == [None, None, None]


async def test_r33_a_signal_keeps_no_request_to_an_unknown_actor(router) -> None:
    """A long-lived signal does not keep a request that failed at its first pull."""
    controller, payload = AbortController(), Referable()
    with pytest.raises(ActorNotFoundError):
        await router.stream_async("nobody", "q", payload, signal=controller.signal).collect()
    kept = weakref.ref(payload)
    del payload
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("ending", ["break", "unread", *ENDINGS])
async def test_r34_no_case_leaves_a_task_or_a_warning(router, ending) -> None:
    """However a stream ends, no producer is left, and collecting it causes no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        live = Endings(router)
        if ending == "unread":
            live.stream.cancel()
        elif ending == "break":
            await leave_early(live.stream, "break")
        else:
            iterator = live.stream.payloads()
            await anext(iterator)
            await getattr(live, ending)()
            await read(iterator)
            del iterator
        await settle(10)
        assert router.statistics().active_streams == 0
        del live
        gc.collect()  # pytest fails this test if a __del__ raises


async def test_r35_a_cancelled_consumer_cleans_up_and_stays_cancelled(router) -> None:
    """A task cancelled in its pull sees the cancellation, and its producer is gone."""
    numbers, seen = Numbers(1), []

    async def wait_for_more() -> AsyncIterator[int]:
        async for number in numbers.stream_async(None):
            yield number
        try:
            await sleep_forever()
        finally:
            seen.append("producer")

    async def consume() -> None:
        try:
            async for _ in ask(router, wait_for_more):
                pass
        except get_cancelled_exc_class():
            seen.append("consumer")
            raise

    async with create_task_group() as tasks:
        tasks.start_soon(consume)
        await settle(10)
        tasks.cancel_scope.cancel()
    await settle(10)
    assert sorted(seen) == ["consumer", "producer"]
    assert router.statistics().active_streams == 0


# E. Abort signal


@pytest.mark.parametrize("options", [{}, {"timeout": 0}, {"first_timeout": 0}])
async def test_r36_an_aborted_signal_keeps_the_actor_from_being_called(router, options) -> None:
    """If the signal is already aborted, the first pull raises and the actor is never called."""
    numbers, controller = Numbers(), AbortController()
    controller.abort("too late")
    iterator = ask(router, numbers, signal=controller.signal, **options).payloads()
    with pytest.raises(StreamAbortedError, match=r"cancelled.*too late"):
        await anext(iterator)
    await read_again(iterator)
    await settle()
    assert numbers.calls == 0


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("by", ["signal", "cancel"])
async def test_r37_the_reason_reaches_the_consumer_unchanged(router, by, started) -> None:
    """The consumer gets the same object that was given as the reason."""
    reason, controller = object(), AbortController()
    stream = ask(router, Numbers(), signal=controller.signal)
    iterator = aiter(stream)
    if started:
        await anext(iterator)
    (controller.abort if by == "signal" else stream.cancel)(reason)
    controller.abort("a second reason")
    with pytest.raises(StreamAbortedError) as raised:
        await anext(iterator)
    assert raised.value.reason is reason


async def test_r38_an_abort_wakes_a_consumer_of_an_empty_stream(router, unit) -> None:
    """An abort wakes a consumer that waits for an item that never comes."""
    live, got = Endings(router), []

    async def consume() -> None:
        got.extend(await read(live.stream.payloads()))

    with fail_after(100 * unit):
        async with create_task_group() as tasks:
            tasks.start_soon(consume)
            await settle(10)
            live.controller.abort("enough")
    assert [type(item) for item in got] == [int, StreamAbortedError]


@pytest.mark.parametrize("kind", [Numbers, HelperNumbers, CallbackNumbers])
async def test_r38_an_abort_wakes_a_producer_at_a_full_buffer(router, kind) -> None:
    """An abort wakes a producer that waits for room, even without a reader."""
    numbers, controller = kind(), AbortController()
    async with ask(router, numbers, buffer_size=1, signal=controller.signal) as stream:
        await settle()
        assert stream.statistics().producer_waiting
        controller.abort()
        await settle(10)
        assert numbers.closed == 1
        assert router.statistics().active_streams == 0


@pytest.mark.parametrize("ending", ["end", "fail"])
async def test_r39_an_abort_after_the_end_does_nothing(router, ending) -> None:
    """After the consumer has seen the closing event, an abort changes nothing for it."""
    live = Endings(router)
    iterator = aiter(live.stream)
    await getattr(live, ending)()
    assert [(await anext(iterator)).type for _ in range(2)] == [
        "data",
        {"end": "end", "fail": "error"}[ending],
    ]
    live.controller.abort()
    live.stream.cancel()
    await settle()
    assert [type(item) for item in await read(iterator)] == [StreamError] * (ending == "fail")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("by", ["signal", "cancel"])
async def test_r40_an_abort_discards_what_is_buffered(router, by, finished) -> None:
    """After an abort no item is made or delivered, even if the producer had finished."""
    numbers, controller = Numbers(10 if finished else None), AbortController()
    async with ask(router, numbers, buffer_size=10, signal=controller.signal) as stream:
        iterator = stream.payloads()
        assert await anext(iterator) == 0
        await settle()
        assert router.statistics().active_streams == (not finished)
        before = numbers.produced
        (controller.abort if by == "signal" else stream.cancel)()
        with pytest.raises(StreamAbortedError):
            await anext(iterator)
        await settle()
        assert numbers.produced == before


@pytest.mark.parametrize(
    "signal",
    [AbortController(), Event, "abort", 1, object()],
    ids=["controller", "class", "str", "int", "object"],
)
async def test_r41_a_wrong_signal_raises_at_the_call(router, signal) -> None:
    """A signal that is not an AbortSignal raises at the call; no actor is called."""
    numbers = Numbers()
    with pytest.raises(TypeError, match="signal"):
        ask(router, numbers, signal=signal)
    await settle()
    assert numbers.calls == router.statistics().opened_streams == 0


class Patient:
    """A hand-written async iterator: gives 0, then waits for ever."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.asked = False

    def __aiter__(self) -> "Patient":
        return self

    async def __anext__(self) -> int:
        if not self.asked:
            self.asked = True
            return 0
        try:
            await sleep_forever()
        finally:
            self.log.append("stopped")
        raise StopAsyncIteration


@pytest.mark.parametrize("kind", ["pre-built", "coroutine", "helper", "delegated", "forwarded"])
async def test_r42_an_abort_reaches_every_kind_of_producer(router, kind) -> None:
    """An abort also stops a producer that the actor returned or delegated to."""
    log: list[str] = []
    inner = router.register_actor("inner", calling(lambda: Patient(log)))

    class Various(Actor):
        def stream_async(self, payload: object) -> Any:
            return {
                "pre-built": lambda: Patient(log),
                "coroutine": self.prepare,
                "helper": lambda: self.create_async_stream(Patient(log)),
                "delegated": lambda: self.router.stream_async(inner, "query"),
                "forwarded": self.forward,
            }[kind]()

        async def prepare(self) -> Patient:
            await checkpoint()
            return Patient(log)

        async def forward(self) -> AsyncIterator[Any]:
            async for event in self.router.stream_async(inner, "query"):
                yield event

    controller = AbortController()
    iterator = ask(router, Various(), signal=controller.signal).payloads()
    assert await anext(iterator) == 0
    await settle()
    controller.abort()
    with pytest.raises(StreamAbortedError):
        await anext(iterator)
    await settle(20)
    assert log == ["stopped"]
    assert router.statistics().active_streams == 0


@pytest.mark.parametrize("turns", range(6))
async def test_r43_an_abort_racing_with_the_end_has_one_outcome(router, turns) -> None:
    """An abort near the end gives either all items and the end, or the abort, never a mix."""
    controller, cleaned, got = AbortController(), [], []

    async def two() -> AsyncIterator[int]:
        try:
            yield 0
            await settle(2)
            yield 1
        finally:
            cleaned.append(True)

    iterator = aiter(ask(router, two, signal=controller.signal))

    async def consume() -> None:
        got.extend(await read(iterator))

    async with create_task_group() as tasks:
        tasks.start_soon(consume)
        await settle(turns)
        controller.abort()
    kinds = [getattr(item, "type", "aborted") for item in got]
    assert kinds in (["data", "data", "end"], ["data"] * kinds.count("data") + ["aborted"])
    await read_again(iterator)
    await settle(10)
    assert len(cleaned) <= 1
    assert router.statistics().active_streams == 0


# F. Timeouts


async def ticking(unit: float, *pauses: float) -> AsyncIterator[int]:
    """Give 0, 1, 2... after pauses in units of time, then nothing for a long time."""
    for number, pause in enumerate((*pauses, 100)):
        await sleep(pause * unit)
        if number < len(pauses):
            yield number


async def test_r44_the_total_timeout_fires_though_items_flow(router, unit, virtual_time) -> None:
    """The timeout ends even an active stream; the items made until then arrive."""
    started = current_time()
    got = await read(ask(router, lambda: ticking(unit, *[1] * 100), timeout=4.5 * unit).payloads())
    assert isinstance(got[-1], StreamTimeoutError)
    assert isinstance(got[-1], TimeoutError)
    assert got[-1].kind == "total"
    assert current_time() - started >= 4.5 * unit * 0.99
    assert got[:-1] == list(range(len(got) - 1))
    assert not virtual_time or len(got) == 5


async def test_r45_each_item_restarts_the_idle_timeout(router, unit) -> None:
    """The idle timeout measures the pause between two items, not the whole stream."""
    stream = ask(router, lambda: ticking(unit, *[1] * 8, 50), idle_timeout=5 * unit)
    got = await read(stream.payloads())
    assert got[:-1] == list(range(8))
    assert got[-1].kind == "idle"


async def test_r46_the_first_timeout_is_not_the_idle_timeout(router, unit) -> None:
    """Before the first item, the first timeout applies and the idle timeout does not."""
    limits = {"first_timeout": 10 * unit, "idle_timeout": unit}
    assert (await anext(ask(router, lambda: ticking(unit, 4), **limits).payloads())) == 0
    got = await read(ask(router, lambda: ticking(unit, 50), **limits).payloads())
    assert [error.kind for error in got] == ["first"]


async def test_r47_the_consumers_own_time_counts_for_no_timeout(router, unit) -> None:
    """A consumer that spends more than both timeouts on each item still gets them all."""
    limits = {"first_timeout": 2 * unit, "idle_timeout": 2 * unit}
    async with ask(router, Numbers(4), buffer_size=1, **limits) as stream:
        got = []
        await sleep(4 * unit)
        async for number in stream.payloads():
            await sleep(4 * unit)
            got.append(number)
    assert got == [0, 1, 2, 3]


async def test_r48_a_stalled_consumer_releases_the_producer(router, unit) -> None:
    """A consumer that stops reading for too long loses its stream; its next pull raises."""
    numbers = Numbers()
    async with ask(router, numbers, buffer_size=1, stall_timeout=5 * unit) as stream:
        iterator = stream.payloads()
        assert await anext(iterator) == 0
        await sleep(unit)
        assert numbers.closed == 0
        await sleep(9 * unit)
        assert numbers.closed == 1
        with pytest.raises(StreamTimeoutError) as raised:
            await anext(iterator)
        assert raised.value.kind == "stall"
        await read_again(iterator)


async def test_r48_a_consumer_that_reads_now_and_then_does_not_stall(router, unit) -> None:
    """Each item taken restarts the stall timeout."""
    stream = ask(router, Numbers(6), buffer_size=1, stall_timeout=5 * unit)
    got = []
    async for number in stream.payloads():
        await sleep(2 * unit)
        got.append(number)
    assert got == [0, 1, 2, 3, 4, 5]


async def test_r49_the_first_timeout_is_over_once_items_flow(router, unit) -> None:
    """After the first item, a stream may pause for longer than its first timeout."""
    iterator = ask(router, lambda: ticking(unit, 0, 6, 6), first_timeout=2 * unit).payloads()
    assert [await anext(iterator) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("own", [True, False])
async def test_r50_a_timeout_error_of_the_actor_is_its_own(router, unit, own) -> None:
    """A TimeoutError that the actor raises is its failure, not the stream's time limit."""

    async def impatient() -> AsyncIterator[int]:
        yield 0
        if own:
            raise TimeoutError("of the database")
        with fail_after(unit):
            await sleep_forever()

    got = await read(ask(router, impatient, timeout=40 * unit).payloads())
    assert got[0] == 0
    assert type(got[1]) is StreamError
    assert type(got[1].__cause__) is TimeoutError


@pytest.mark.parametrize("option", ["timeout", "first_timeout"])
async def test_r51_a_timeout_of_zero_never_calls_the_actor(router, option) -> None:
    """With a timeout of 0, the first pull raises and the actor is never called."""
    numbers = Numbers()
    got = await read(ask(router, numbers, **{option: 0}).payloads())
    await settle()
    assert [type(error) for error in got] == [StreamTimeoutError]
    assert got[0].kind == option.removesuffix("_timeout").replace("timeout", "total")
    assert numbers.calls == 0


@pytest.mark.parametrize("limit", [None, math.inf])
async def test_r51_none_and_inf_mean_no_limit(router, unit, virtual_time, limit) -> None:
    """Without a limit, a stream outlives the default timeout."""
    names = "timeout", "first_timeout", "idle_timeout", "stall_timeout"
    pause = 1000 if virtual_time else 2
    stream = ask(router, lambda: ticking(unit, pause, pause), **dict.fromkeys(names, limit))
    iterator = stream.payloads()
    assert [await anext(iterator) for _ in range(2)] == [0, 1]


# G. Errors


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("stalled", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
async def test_r52_an_error_comes_after_the_items_before_it(router, number, stalled, waits) -> None:
    """Exactly the items produced before an error arrive before it."""

    async def failing() -> AsyncIterator[int]:
        for item in range(number):
            yield item
        if waits:
            await settle()
        raise ValueError("failed")

    async with ask(router, failing, buffer_size=3) as stream:
        if stalled:
            await settle(20)
        got = await read(stream)
    assert [getattr(item, "type", type(item)) for item in got] == [
        *["data"] * number,
        "error",
        StreamError,
    ]


async def test_r53_type_arguments_and_cause_survive(router) -> None:
    """The error's cause is the actor's own exception object, with its arguments and cause."""

    class QuotaError(Exception):
        pass

    origin, error = KeyError("limit"), QuotaError("over", 7)

    async def failing() -> AsyncIterator[int]:
        yield 0
        raise error from origin

    event, raised = (await read(ask(router, failing)))[1:]
    assert event.type == "error"
    assert "over" in event.error
    assert raised.__cause__ is error
    assert raised.__cause__.args == ("over", 7)
    assert raised.__cause__.__cause__ is origin


@pytest.mark.parametrize("form", ["events", "payloads"])
async def test_r54_an_error_is_raised_once(router, form) -> None:
    """After its error is raised, a stream is at its end."""
    live = Endings(router)
    await live.fail()
    iterator = aiter(live.stream) if form == "events" else live.stream.payloads()
    got = await read(iterator)
    assert [type(item) for item in got].count(StreamError) == 1
    await read_again(iterator)


LOOK_ALIKES = [StopIteration, StopAsyncIteration, EndOfStream, ClosedResourceError, WouldBlock]


@pytest.mark.parametrize("form", ["generator", "helper", "plain helper", "callback", "method"])
@pytest.mark.parametrize("error", LOOK_ALIKES)
async def test_r55_no_exception_reads_as_a_clean_end(router, error, form) -> None:
    """An exception that elsewhere means an end is an ordinary error if an actor raises it."""

    async def generate() -> AsyncIterator[int]:
        yield 0
        raise error

    async def call(on_chunk: Any) -> None:
        await on_chunk(0)
        raise error

    def refuse() -> Any:
        raise error

    def generate_plainly() -> Iterator[int]:
        yield 0
        raise error

    actors: dict[str, Any] = {
        "generator": calling(generate),
        "helper": HelperActor(lambda actor: actor.create_async_stream(generate())),
        "plain helper": HelperActor(lambda actor: actor.create_async_stream(generate_plainly())),
        "callback": CallbackActorOf(call),
        "method": calling(refuse),
    }
    got = await read(ask(router, actors[form]))
    assert [getattr(item, "type", type(item)) for item in got] == [
        *["data"] * (form != "method"),
        "error",
        StreamError,
    ]


@pytest.mark.real_clock
@pytest.mark.parametrize("error", LOOK_ALIKES)
async def test_r55_no_exception_in_a_thread_reads_as_a_clean_end(router, error) -> None:
    """A blocking iterable that raises an exception that elsewhere means an end has failed."""

    def generate() -> Iterator[int]:
        yield 0
        raise error

    actor = HelperActor(lambda actor: actor.create_thread_stream(generate()))
    got = await read(ask(router, actor).payloads())
    assert [type(item) for item in got] == [int, StreamError]


async def test_r55_a_callbacks_stop_async_iteration_is_not_a_clean_end(router) -> None:
    """Any exception from on_backpressure is an error of the stream."""

    async def nothing() -> AsyncIterator[int]:
        for item in list[int]():
            yield item

    def make(actor: Actor) -> Any:
        return actor.create_async_stream_with_backpressure(
            range(20), check_interval=5, on_backpressure=lambda _: anext(nothing())
        )

    got = await read(ask(router, HelperActor(make)).payloads())
    assert got[:-1] == [0, 1, 2, 3, 4]
    assert isinstance(got[-1], StreamError)


async def test_r56_an_error_waits_for_the_next_pull(router) -> None:
    """A failure is kept for the next pull, and harms neither the router nor other streams."""
    live = Endings(router)
    async with ask(router, Numbers(3)) as sibling, live.stream as stream:
        await live.fail()
        await settle(10)
        assert router.statistics().active_streams == 0
        assert await read(sibling.payloads()) == [0, 1, 2]
        got = await read(stream.payloads())
    assert got[0] == 0
    assert got[1].__cause__ is live.failure


@pytest.mark.parametrize("kind", [Numbers, CallbackNumbers])
@pytest.mark.parametrize("waits", [False, True])
async def test_r57_a_failing_on_chunk_stops_the_actor(router, kind, waits) -> None:
    """stream_ask raises on_chunk's exception itself, and the producer is gone."""
    numbers, error = kind(), LookupError("from on_chunk")

    def on_chunk(chunk: int) -> Awaitable[None] | None:
        if chunk < 2:
            return None
        if waits:
            return refuse()
        raise error

    async def refuse() -> None:
        await checkpoint()
        raise error

    to = router.register_actor("numbers", numbers)
    with pytest.raises(LookupError) as raised:
        await router.stream_ask(to, "query", on_chunk=on_chunk)
    assert raised.value is error
    assert numbers.closed == 1
    assert router.statistics().active_streams == 0


@pytest.mark.parametrize("stalled", [False, True])
async def test_r58_an_error_beats_an_end(router, stalled) -> None:
    """An actor that fails after its end event has failed."""

    async def torn() -> AsyncIterator[Any]:
        yield 0
        yield AsyncStreamMessage(type="end")
        await checkpoint()
        raise ValueError("after the end")

    async with ask(router, torn) as stream:
        await settle(10 * stalled)
        got = await read(stream)
    assert [getattr(item, "type", type(item)) for item in got] == ["data", "error", StreamError]


async def test_r59_a_stopped_actor_interrupts_its_streams(router, unit) -> None:
    """Unregistering an actor wakes its consumers with an error; its name can be used again."""
    live, got = Endings(router), []

    async def consume() -> None:
        got.extend(await read(live.stream))

    with fail_after(100 * unit):
        async with create_task_group() as tasks:
            tasks.start_soon(consume)
            await settle(10)
            await router.unregister_actor("actor-0")
            assert router.statistics().active_streams == 0
    assert [type(item) for item in got] == [AsyncStreamMessage, ActorStoppedError]
    router.register_actor("actor-0", Numbers(2))
    assert await router.stream_async("actor-0", "query").collect() == [0, 1]


@pytest.mark.parametrize("ends_by", ["leaving", "cancellation"])
@pytest.mark.parametrize("polite", [False, True])
async def test_r59_a_closed_router_interrupts_its_streams(unit, ends_by, polite) -> None:
    """A consumer outside the router gets RouterClosedError, even if the actor ends cleanly."""
    got, opened = [], Event()

    async def wait() -> AsyncIterator[int]:
        yield 0
        try:
            await sleep_forever()
        except get_cancelled_exc_class():
            if not polite:
                raise

    async def consume(stream: Stream[Any]) -> None:
        got.extend(await read(stream))

    with fail_after(100 * unit):
        async with create_task_group() as elsewhere:
            with CancelScope() as scope:
                async with MessageRouter() as router:
                    elsewhere.start_soon(consume, ask(router, wait))
                    await settle(10)
                    if ends_by == "cancellation":
                        scope.cancel()
                        await opened.wait()
    assert [type(item) for item in got] == [AsyncStreamMessage, RouterClosedError]


@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize(
    ("to", "error"), [("nobody", ActorNotFoundError), ("mute", StreamingNotSupportedError)]
)
async def test_r60_an_unknown_actor_or_method_fails_at_the_first_pull(
    router, to, error, scoped
) -> None:
    """A request that no actor can serve raises at its first pull, not at the call."""
    router.register_actor("mute", Actor())
    stream = router.stream_async(to, "query")
    with pytest.raises(error, match=to):
        await (stream.__aenter__() if scoped else anext(aiter(stream)))
    with pytest.raises(StreamConsumedError):
        await stream.collect()


async def test_r61_two_failures_in_one_turn_are_both_raised(router) -> None:
    """Two producers that fail at the same moment each fail for their own consumer."""
    gate, got = Event(), {}

    def failing(error: Exception) -> Callable[[], AsyncIterator[int]]:
        async def wait_and_fail() -> AsyncIterator[int]:
            await gate.wait()
            raise error
            yield

        return wait_and_fail

    async def consume(error: Exception) -> None:
        got[error] = (await read(ask(router, failing(error)).payloads()))[0].__cause__

    errors = [ValueError("one"), LookupError("two")]
    async with create_task_group() as tasks:
        for error in errors:
            tasks.start_soon(consume, error)
        await settle(10)
        gate.set()
    assert [got[error] for error in errors] == errors


# Rules that do not apply, in whole or in part

NOT_APPLICABLE = {
    "R03": "there is no buffer of 0: buffer_size is an int >= 1 (R04 proves that 0 is refused)",
    "R08": "there is no unbounded buffer: buffer_size is an int >= 1 (R04: inf is refused)",
    "R10, peak": "the design names the fields of statistics(); a peak is not one of them",
    "R15, FIFO": "of the two results that the rule allows, the design chose the error",
    "R28, grouped": "the body's exception leaves as itself; the clean-up's is logged instead",
    "R37, producer": "a producer is cancelled, and a cancellation carries no reason on asyncio",
    "R43, sides": "after its last yield a producer cannot see an outcome any more",
}


def test_every_rule_is_tested_or_listed() -> None:
    """Each rule of A to G has a test here, or a reason why it does not apply."""
    tested = {f"R{found[1]}" for name in globals() if (found := re.match(r"test_r(\d\d)_", name))}
    listed = {key for key in NOT_APPLICABLE if re.fullmatch(r"R\d\d", key)}
    assert tested | listed == {f"R{number:02}" for number in range(1, 62)}
    assert not tested & listed
    assert {key[:3] for key in NOT_APPLICABLE} - listed <= tested
    assert all(NOT_APPLICABLE.values())


def test_every_test_says_what_it_proves() -> None:
    """Each test has a one-sentence docstring: its claim."""
    tests = [thing for name, thing in globals().items() if name.startswith("test_")]
    assert [test.__name__ for test in tests if not re.search(r"\.$", test.__doc__ or "")] == []
