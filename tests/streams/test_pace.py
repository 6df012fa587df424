"""The producer's turns: short for slow items, so that a waiting consumer gets them soon."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint

from actorstream import Actor
from actorstream._ports import port
from actorstream._streams import pace
from actorstream.testing import settle

SLOW = 0.01  # seconds for each item


class Clock:
    """The clock that turns are measured with, and that code advances which computes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def compute(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "monotonic", clock)
    monkeypatch.setattr(port, "monotonic", clock)
    return clock


class Model(Actor):
    """Computes its items, and never awaits: the first ones quickly, the others slowly."""

    def __init__(self, clock: Clock, quick: int = 0) -> None:
        self.clock = clock
        self.quick = quick
        self.made = 0

    def compute(self) -> int:
        self.made += 1
        self.clock.compute(0 if self.made <= self.quick else SLOW)
        return self.made

    def compute_for(self, _: int) -> int:
        return self.compute()

    def numbers(self) -> Iterator[int]:
        for _ in range(5000):
            yield self.compute()

    async def generator(self) -> AsyncIterator[int]:
        for _ in range(5000):
            yield self.compute()

    async def by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream(self.numbers()):
            yield event

    def stream_async(self, source: str) -> Any:
        if source == "helper":
            return self.create_async_stream(self.numbers())
        if source == "mapped":
            return self.create_async_stream(map(self.compute_for, range(5000)))
        if source == "watched":
            return self.create_async_stream_with_backpressure(self.numbers())
        return self.by_hand() if source == "by hand" else self.generator()


class Chunks(Model):
    """Does the same in the callback form."""

    stream_async = None  # type: ignore[assignment]

    async def stream(self, payload: object, on_chunk: Any) -> None:
        for _ in range(5000):
            await on_chunk(self.compute())


@pytest.mark.parametrize("buffer_size", [9, 100, 10_000])
@pytest.mark.parametrize(
    "source", ["generator", "helper", "mapped", "watched", "by hand", "chunks"]
)
async def test_a_waiting_reader_gets_an_item_after_at_most_8_further_ones(
    router, clock, source, buffer_size
):
    """So it is for each item that the reader waits for."""
    model = Chunks(clock) if source == "chunks" else Model(clock)
    router.register_actor("model", model)
    async with router.stream_async("model", "q", source, buffer_size=buffer_size) as stream:
        async for number in stream.payloads():
            assert model.made <= number + 8
            if number == 100:
                break


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("buffer_size", [1, 20])
async def test_so_it_is_if_items_are_dropped(router, clock, overflow, buffer_size):
    model = Model(clock)
    router.register_actor("model", model)
    stream = router.stream_async("model", "q", overflow=overflow, buffer_size=buffer_size)
    last = 0
    async with stream:
        async for _ in stream.payloads():
            assert model.made <= last + 8 + buffer_size
            last = model.made
            if last > 100:
                break


async def test_a_producer_that_becomes_slow(router, clock):
    """Once a turn has been slow, the turns are short."""
    model = Model(clock, quick=1000)
    router.register_actor("model", model)
    async with router.stream_async("model", "q") as stream:
        async for number in stream.payloads():
            if number > 1100:
                assert model.made <= number + 8
            if number == 1200:
                break


async def test_a_reader_that_awaits_something_else_gets_its_turn(router, clock):
    """The producer rests after 8 slow items, whatever its reader waits for."""
    model = Model(clock)
    router.register_actor("model", model)
    async with router.stream_async("model", "q", buffer_size=10_000) as stream:
        async for _ in stream.payloads():
            before = model.made
            await checkpoint()
            await checkpoint()
            assert model.made <= before + 24
            if before > 500:
                break


async def test_a_quick_producer_rests_no_more_often_than_before(router, clock):
    """While its items are quick, it rests after 500 of them."""
    model = Model(clock, quick=10_000)
    router.register_actor("model", model)
    turns: list[int] = []

    async def count_turns() -> None:
        while model.made < 5000:
            turns.append(model.made)
            await checkpoint()

    stream = router.stream_async("model", "q", buffer_size=10_000)
    async with create_task_group() as tasks, stream:
        payloads = stream.payloads()
        assert await anext(payloads) == 1
        tasks.start_soon(count_turns)
        await settle(100)
    assert len(set(turns)) <= 12


async def test_a_waiting_subscriber_gets_a_value_after_at_most_8_further_ones(router, clock):
    """The same holds for an actor that publishes without waiting."""
    model = Model(clock)
    router.register_actor("model", model)
    numbers = model.create_port("numbers", buffer_size=10_000)

    async def publish() -> None:
        for number in model.numbers():
            await numbers.publish(number)

    async with create_task_group() as tasks, numbers.subscribe() as values:
        tasks.start_soon(publish)
        async for number in values:
            assert model.made <= number + 9
            if number == 100:
                break
        tasks.cancel_scope.cancel()
