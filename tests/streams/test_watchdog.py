"""The four time limits and the abort signal of a stream, and when each of them ends it."""

import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    MessageRouter,
    Stream,
    StreamAbortedError,
    StreamAsyncOptions,
    StreamTimeoutError,
    address,
)
from actorstream._sources.callbacks import Push
from actorstream._streams.watchdog import find_early_outcome
from actorstream.testing import settle

Pause = float  # in units; a script consists of pauses and of items, which are strings


class Scripted(Actor):
    """Streams the strings of its script, and sleeps for each number."""

    def __init__(self, unit: float, script: tuple[str | Pause, ...]) -> None:
        self.unit = unit
        self.script = script
        self.calls = 0
        self.ended_by: BaseException | None = None

    async def stream_async(self, _: object) -> AsyncIterator[str]:
        self.calls += 1
        try:
            for step in self.script:
                if isinstance(step, str):
                    yield step
                else:
                    await anyio.sleep(step * self.unit)
        except BaseException as error:
            self.ended_by = error
            raise


class Bench:
    """Opens a stream of a script, with limits in the test's units of time."""

    def __init__(self, router: MessageRouter, unit: float) -> None:
        self.router = router
        self.unit = unit
        self.actor: Scripted

    def open(self, *script: str | Pause, **options: Any) -> Stream[str]:
        self.actor = Scripted(self.unit, script)
        self.router.register_actor("slow", self.actor)
        for name in options.keys() & {"first_timeout", "idle_timeout", "stall_timeout", "timeout"}:
            options[name] = options[name] and options[name] * self.unit
        return self.router.stream_async("slow", "go", **{"timeout": None, **options})

    async def wait(self, units: float) -> None:
        await anyio.sleep(units * self.unit)


@pytest.fixture
def bench(router: MessageRouter, unit: float) -> Bench:
    return Bench(router, unit)


async def read(stream: Stream[str] | AsyncIterator[str]) -> tuple[list[str], str]:
    """Return the items, then the kind of the timeout that followed, or ``"end"``."""
    items: list[str] = []
    try:
        async for item in stream.payloads() if isinstance(stream, Stream) else stream:
            items.append(item)  # noqa: PERF401 - what came before an error counts
    except StreamTimeoutError as error:
        return items, error.kind
    return items, "end"


# timeout


async def test_the_timeout_ends_a_stream_that_is_too_long(bench: Bench) -> None:
    script: list[str | Pause] = ["a", 1.0]
    stream = bench.open(*script * 50, timeout=4.5)
    items, ended = await read(stream)
    assert ended == "total"
    assert 2 <= len(items) <= 5


async def test_a_stream_that_is_in_time_meets_no_timeout(bench: Bench) -> None:
    assert await read(bench.open("a", 1.0, "b", timeout=20)) == (["a", "b"], "end")


async def test_the_timeout_counts_from_the_start_of_the_stream(bench: Bench) -> None:
    stream = bench.open("a", 1.0, "b", timeout=10)
    await bench.wait(15)
    assert await read(stream) == (["a", "b"], "end")


async def test_items_made_in_time_arrive_before_the_timeout(bench: Bench) -> None:
    async with bench.open("a", "b", 50.0, timeout=2) as stream:
        await bench.wait(4)
        assert await read(stream) == (["a", "b"], "total")


async def test_the_timeout_cancels_the_producer(bench: Bench) -> None:
    await read(bench.open(50.0, timeout=1))
    await settle()
    assert isinstance(bench.actor.ended_by, anyio.get_cancelled_exc_class())
    assert bench.router.statistics().active_streams == 0


async def test_the_timeout_counts_while_the_consumer_is_slow(bench: Bench) -> None:
    async with bench.open("a", "b", "c", timeout=2, buffer_size=1) as stream:
        await bench.wait(4)
        assert await read(stream) == (["a"], "total")


async def test_a_timeout_after_the_end_does_nothing(bench: Bench) -> None:
    async with bench.open("a", "b", timeout=2) as stream:
        await bench.wait(4)
        assert await read(stream) == (["a", "b"], "end")


async def test_a_timeout_knows_its_limit_and_the_actor(bench: Bench) -> None:
    with pytest.raises(StreamTimeoutError) as caught:
        await bench.open(50.0, timeout=1).collect()
    assert caught.value.seconds == bench.unit
    assert caught.value.address == address("slow")


@pytest.mark.parametrize("name", ["timeout", "first_timeout"])
async def test_at_a_timeout_of_0_the_actor_is_never_called(bench: Bench, name: str) -> None:
    stream = bench.open("a", **{name: 0})
    with pytest.raises(StreamTimeoutError):
        await stream.collect()
    await settle()
    assert bench.actor.calls == 0


@pytest.mark.parametrize("limit", [None, math.inf])
@pytest.mark.parametrize("name", ["timeout", "first_timeout", "idle_timeout", "stall_timeout"])
async def test_without_a_limit_a_stream_may_take_any_time(
    bench: Bench, name: str, limit: float | None
) -> None:
    stream = bench.open(3.0, "a", 3.0, "b", "c", **{name: limit}, buffer_size=1)
    reader = stream.payloads()
    assert await anext(reader) == "a"
    await bench.wait(5)
    assert [item async for item in reader] == ["b", "c"]


async def test_the_default_timeout_is_a_minute(router: MessageRouter, virtual_time: bool) -> None:
    if not virtual_time:
        pytest.skip("takes a minute")
    router.register_actor("slow", Scripted(1, ("a", 100.0)))
    before = anyio.current_time()
    with pytest.raises(StreamTimeoutError):
        await router.stream_async("slow", "go").collect()
    assert anyio.current_time() - before == pytest.approx(60)


# first_timeout


async def test_the_first_item_is_late(bench: Bench) -> None:
    assert await read(bench.open(50.0, "a", first_timeout=1)) == ([], "first")


async def test_after_the_first_item_there_is_no_first_timeout(bench: Bench) -> None:
    assert await read(bench.open("a", 5.0, "b", first_timeout=2)) == (["a", "b"], "end")


async def test_a_consumer_that_comes_late_does_not_make_the_first_item_late(bench: Bench) -> None:
    async with bench.open("a", first_timeout=1) as stream:
        await bench.wait(3)
        assert await read(stream) == (["a"], "end")


async def test_an_empty_stream_is_in_time_for_its_first_item(bench: Bench) -> None:
    assert await read(bench.open(first_timeout=5)) == ([], "end")


# idle_timeout


async def test_the_next_item_is_late(bench: Bench) -> None:
    assert await read(bench.open("a", "b", 50.0, "c", idle_timeout=2)) == (["a", "b"], "idle")


async def test_each_item_restarts_the_idle_timeout(bench: Bench) -> None:
    stream = bench.open("a", 2.0, "b", 2.0, "c", 2.0, "d", idle_timeout=6)
    assert await read(stream) == (["a", "b", "c", "d"], "end")


async def test_idle_time_does_not_count_before_the_first_item(bench: Bench) -> None:
    assert await read(bench.open(5.0, "a", idle_timeout=2)) == (["a"], "end")


async def test_idle_time_stands_still_while_the_producer_is_blocked(bench: Bench) -> None:
    async with bench.open("a", "b", "c", idle_timeout=2, buffer_size=1) as stream:
        reader = stream.payloads()
        for expected in ("a", "b", "c"):
            await bench.wait(4)
            assert await anext(reader) == expected


async def test_the_idle_timeout_restarts_after_the_producer_was_blocked(bench: Bench) -> None:
    async with bench.open("a", "b", 50.0, "c", idle_timeout=2, buffer_size=1) as stream:
        await bench.wait(5)
        assert await read(stream) == (["a", "b"], "idle")


async def test_a_slow_producer_is_idle_even_if_the_buffer_is_not_empty(bench: Bench) -> None:
    async with bench.open("a", 50.0, "b", idle_timeout=2) as stream:
        await bench.wait(5)
        assert await read(stream) == (["a"], "idle")


# A blocked event loop


class Background(Actor):
    """Streams what a thread makes, while the event loop may be blocked."""

    def stream_async(self, how: str) -> object:
        if how == "a thread source":
            return self.create_thread_stream(range(3))

        def push_all(push: Push[int]) -> None:
            for number in range(3):
                push(number)
            push.end()

        def register(push: Push[int]) -> None:
            threading.Thread(target=push_all, args=(push,)).start()

        return self.create_callback_stream(register)


@pytest.mark.real_clock
@pytest.mark.parametrize("how", ["a thread source", "a callback source"])
@pytest.mark.parametrize("name", ["first_timeout", "idle_timeout"])
async def test_a_consumer_that_blocks_the_loop_causes_no_timeout(
    router: MessageRouter, how: str, name: str
) -> None:
    router.register_actor("background", Background())
    items: list[int] = []
    limit: Any = {name: 0.2}
    async with router.stream_async("background", "q", how, **limit) as stream:
        if name == "first_timeout":
            await settle()
            block_the_loop()
        async for item in stream.payloads():
            items.append(item)
            if item == 0 and name == "idle_timeout":
                block_the_loop()
    assert items == [0, 1, 2]


@pytest.mark.real_clock
async def test_a_producer_that_stays_silent_meets_the_timeout_after_a_block(bench: Bench) -> None:
    stream = bench.open("a", 50.0, idle_timeout=1).payloads()
    await anext(stream)
    block_the_loop()
    with pytest.raises(StreamTimeoutError):
        await anext(stream)


def block_the_loop() -> None:
    time.sleep(0.4)


# stall_timeout


async def test_a_consumer_that_does_not_read_gets_an_error_at_its_next_read(bench: Bench) -> None:
    async with bench.open("a", "b", "c", stall_timeout=2, buffer_size=1) as stream:
        await bench.wait(5)
        assert await read(stream) == ([], "stall")


async def test_a_stall_stops_the_producer(bench: Bench) -> None:
    async with bench.open("a", "b", "c", stall_timeout=2, buffer_size=1):
        await bench.wait(5)
        assert bench.actor.ended_by is not None
        assert bench.router.statistics().active_streams == 0


async def test_each_read_restarts_the_stall_timeout(bench: Bench) -> None:
    async with bench.open(*"abcdef", stall_timeout=6, buffer_size=1) as stream:
        reader = stream.payloads()
        for expected in "abcdef":
            await bench.wait(2)
            assert await anext(reader) == expected


async def test_a_slow_producer_is_not_a_stall(bench: Bench) -> None:
    stream = bench.open("a", 4.0, "b", stall_timeout=2, buffer_size=1)
    assert await read(stream) == (["a", "b"], "end")


async def test_an_unread_buffer_is_not_a_stall_while_there_is_room(bench: Bench) -> None:
    async with bench.open("a", 1.0, stall_timeout=2, buffer_size=2) as stream:
        await bench.wait(5)
        assert await read(stream) == (["a"], "end")


async def test_of_two_blocked_producers_the_one_that_keeps_waiting_stalls(
    router: MessageRouter, unit: float
) -> None:
    class Twins(Actor):
        async def stream(self, _: object, on_chunk: Callable[[str], Awaitable[None]]) -> None:
            async with anyio.create_task_group() as tasks:
                for item in "abc":
                    tasks.start_soon(self.put, on_chunk, item)

        async def put(self, on_chunk: Callable[[str], Awaitable[None]], item: str) -> None:
            with anyio.move_on_after(unit if item == "b" else math.inf):
                await on_chunk(item)

    router.register_actor("twins", Twins())
    options: dict[str, Any] = {"stall_timeout": 3 * unit, "buffer_size": 1}
    async with router.stream_async("twins", "go", **options) as stream:
        await anyio.sleep(6 * unit)
        assert await read(stream) == ([], "stall")


@pytest.mark.parametrize(("reads_on_after", "told"), [(2, "end"), (4, "stall")])
async def test_a_read_restarts_the_stall_timeout_of_every_blocked_producer(
    router: MessageRouter, unit: float, reads_on_after: float, told: str
) -> None:
    class Triplets(Actor):
        async def stream(self, _: object, on_chunk: Callable[[str], Awaitable[None]]) -> None:
            async with anyio.create_task_group() as tasks:
                for item in "abc":
                    tasks.start_soon(on_chunk, item)  # type: ignore[arg-type]

    router.register_actor("triplets", Triplets())
    options: dict[str, Any] = {"stall_timeout": 3 * unit, "buffer_size": 1}
    async with router.stream_async("triplets", "go", **options) as stream:
        reader = stream.payloads()
        await anyio.sleep(2 * unit)
        first = await anext(reader)
        await anyio.sleep(reads_on_after * unit)
        others, ended = await read(reader)
    assert ended == told
    assert {first, *others} == (set("abc") if told == "end" else {first})


async def test_a_stream_that_drops_items_never_stalls(bench: Bench) -> None:
    stream = bench.open(*"abc", stall_timeout=1, buffer_size=1, overflow="drop_oldest")
    async with stream:
        await bench.wait(4)
        assert await read(stream) == (["c"], "end")


# Together


@pytest.mark.parametrize(
    ("script", "limits", "ended"),
    [
        ((50.0, "a"), {"first_timeout": 2, "idle_timeout": 1, "timeout": 9}, "first"),
        (("a", 50.0), {"first_timeout": 1, "idle_timeout": 2, "timeout": 9}, "idle"),
        (("a", 50.0), {"first_timeout": 1, "idle_timeout": 9, "timeout": 3}, "total"),
        ((50.0, "a"), {"first_timeout": 9, "idle_timeout": 1, "timeout": 2}, "total"),
    ],
)
async def test_the_limit_that_passes_first_is_reported(
    bench: Bench, script: tuple[str | Pause, ...], limits: dict[str, float], ended: str
) -> None:
    assert (await read(bench.open(*script, **limits)))[1] == ended


async def test_a_blocked_producer_stalls_and_is_not_idle(bench: Bench) -> None:
    async with bench.open(*"abc", idle_timeout=1, stall_timeout=3, buffer_size=1) as stream:
        await bench.wait(6)
        assert await read(stream) == ([], "stall")


# The signal


async def test_a_signal_ends_a_stream_and_discards_its_buffer(bench: Bench) -> None:
    controller = AbortController()
    async with bench.open("a", "b", "c", 50.0, signal=controller.signal) as stream:
        reader = stream.payloads()
        assert await anext(reader) == "a"
        controller.abort("enough")
        with pytest.raises(StreamAbortedError, match="enough"):
            await anext(reader)


async def test_a_signal_discards_the_unread_items_of_a_finished_producer(bench: Bench) -> None:
    controller = AbortController()
    async with bench.open("a", "b", "c", signal=controller.signal) as stream:
        reader = stream.payloads()
        assert await anext(reader) == "a"
        await settle()
        controller.abort("enough")
        with pytest.raises(StreamAbortedError, match="enough"):
            await anext(reader)


async def test_a_timed_signal_ends_a_stream_in_time(bench: Bench) -> None:
    stream = bench.open("a", 50.0, signal=AbortSignal.timeout(2 * bench.unit))
    with pytest.raises(StreamAbortedError, match="timed out after"):
        await stream.collect()


async def test_a_timed_signal_that_is_late_does_nothing(bench: Bench) -> None:
    stream = bench.open("a", signal=AbortSignal.timeout(5 * bench.unit))
    assert await stream.collect() == ["a"]
    await bench.wait(10)
    assert stream.statistics().delivered == 1


async def test_the_timeout_of_any_counts(bench: Bench) -> None:
    signal = AbortSignal.any([AbortController().signal, AbortSignal.timeout(bench.unit)])
    with pytest.raises(StreamAbortedError):
        await bench.open(50.0, signal=signal).collect()


async def test_an_aborted_signal_keeps_the_actor_from_being_called(
    bench: Bench,
) -> None:
    controller = AbortController()
    controller.abort("before")
    with pytest.raises(StreamAbortedError, match="before"):
        await bench.open("a", signal=controller.signal).collect()
    await settle()
    assert bench.actor.calls == 0


async def test_an_abort_after_the_end_does_nothing(bench: Bench) -> None:
    controller = AbortController()
    reader = bench.open("a", signal=controller.signal).payloads()
    assert [item async for item in reader] == ["a"]
    controller.abort()
    await settle()
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


# Before the start


def options(**values: Any) -> StreamAsyncOptions:
    return StreamAsyncOptions(**values)


def test_a_stream_starts_if_nothing_forbids_it() -> None:
    assert find_early_outcome(options(), address("a")) is None
    assert find_early_outcome(options(signal=AbortController().signal), address("a")) is None


@pytest.mark.parametrize(
    ("values", "kind"), [({"timeout": 0}, "total"), ({"first_timeout": 0}, "first")]
)
def test_with_a_timeout_of_zero_a_stream_ends_before_it_starts(
    values: dict[str, Any], kind: str
) -> None:
    outcome = find_early_outcome(options(**values), address("a"))
    assert outcome is not None
    assert isinstance(outcome.error, StreamTimeoutError)
    assert outcome.error.kind == kind


@pytest.mark.parametrize("name", ["idle_timeout", "stall_timeout"])
def test_limits_between_items_never_prevent_the_start(name: str) -> None:
    assert find_early_outcome(options(**{name: 0}), address("a")) is None


def test_an_abort_takes_precedence_over_a_timeout_of_zero() -> None:
    controller = AbortController()
    controller.abort()
    outcome = find_early_outcome(options(signal=controller.signal, timeout=0), address("a"))
    assert outcome is not None
    assert isinstance(outcome.error, StreamAbortedError)
