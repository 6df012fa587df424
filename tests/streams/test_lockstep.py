"""A producer and a consumer that keep waking each other still notice a cancellation.

asyncio delivers a cancellation to a task that waits. Two tasks that keep waking each other may be
awake whenever it comes, and miss it for ever, unless something makes them check. Whether that
happens depends on the size of the buffer, on which side pauses when, and on the turn of the loop in
which the cancellation comes; so the tests try all combinations. They count items, not time.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from actorstream import Actor, MessageRouter
from actorstream.testing import settle

pytestmark = pytest.mark.slow

SIZES = [1, 2, 3, 99, 100, 101, 499, 500, 501, 1000, 100_000]
SOON = 2000  # items
FAR = 10 * SOON  # the end of a stream that should have been left long before

Pause = Callable[[int], Awaitable[object]]


async def never(_: int) -> None:
    """Never pause: each side runs until the buffer is full or empty."""


async def at_each_item(_: int) -> None:
    await checkpoint()


async def at_each_second_item(number: int) -> None:
    if number % 2:
        await checkpoint()


PAUSES: dict[str, tuple[Pause, Pause]] = {
    "both run": (never, never),
    "the producer pauses": (at_each_item, never),
    "the consumer pauses": (never, at_each_item),
    "both pause": (at_each_item, at_each_item),
    "out of step": (at_each_second_item, at_each_item),
}


class Endless(Actor):
    """Streams numbers in its own cancel scope, with the given pauses."""

    def __init__(self, pause: Pause) -> None:
        self.pause = pause
        self.scope = anyio.CancelScope()
        self.made = 0

    async def numbers(self) -> AsyncGenerator[int, None]:
        with self.scope:
            while self.made < FAR:
                self.made += 1
                await self.pause(self.made)
                yield self.made


class Generating(Endless):
    def stream_async(self, _: object) -> AsyncIterator[int]:
        return self.numbers()


class Helped(Endless):
    def stream_async(self, _: object) -> AsyncIterator[Any]:
        return self.create_async_stream(self.numbers())


class Calling(Endless):
    async def stream(self, _: object, on_chunk: Callable[[int], Awaitable[None]]) -> None:
        with self.scope:
            while self.made < FAR:
                self.made += 1
                await self.pause(self.made)
                await on_chunk(self.made)


class Forwarding(Endless):
    """Reads another actor's stream in its scope."""

    async def stream_async(self, _: object) -> AsyncIterator[int]:
        self.router.register_actor("source", source := Generating(self.pause))
        with self.scope:
            async with self.router.stream_async("source", "go", buffer_size=1) as stream:
                async for number in stream.payloads():
                    self.made = source.made
                    yield number


class Bench:
    """Runs a consumer of an endless actor until one of three scopes is cancelled."""

    def __init__(self, actor: Endless, pause: Pause, buffer_size: int) -> None:
        self.actor = actor
        self.pause = pause
        self.buffer_size = buffer_size
        self.taken = 0
        self.made_before = self.taken_before = 0
        self.scopes = {
            "consumer": anyio.CancelScope(),
            "actor": actor.scope,
            "router": anyio.CancelScope(),
        }

    async def run(self, where: str, turns: int) -> None:
        async with anyio.create_task_group() as tasks:
            with self.scopes["router"]:
                async with MessageRouter() as router:
                    router.register_actor("endless", self.actor)
                    tasks.start_soon(self.cancel_after, turns, self.scopes[where])
                    with self.scopes["consumer"]:
                        await self.consume(router)

    async def consume(self, router: MessageRouter) -> None:
        stream = router.stream_async("endless", "go", buffer_size=self.buffer_size)
        async with stream:
            async for _ in stream.payloads():
                self.taken += 1
                await self.pause(self.taken)

    async def cancel_after(self, turns: int, scope: anyio.CancelScope) -> None:
        await settle(turns)
        self.made_before, self.taken_before = self.actor.made, self.taken
        scope.cancel()

    def check(self, where: str) -> None:
        """Check that the scope was left because of its cancellation, and soon after it."""
        assert self.scopes[where].cancelled_caught
        assert self.actor.made - self.made_before <= SOON
        if where != "actor":  # from there on, the consumer still gets what is buffered
            assert self.taken - self.taken_before <= SOON


@pytest.mark.parametrize("turns", [2, 3, 9])
@pytest.mark.parametrize("pauses", PAUSES)
@pytest.mark.parametrize("where", ["consumer", "actor", "router"])
@pytest.mark.parametrize("buffer_size", SIZES)
async def test_a_cancellation_is_noticed_soon(
    buffer_size: int, where: str, pauses: str, turns: int
) -> None:
    """After any cancellation, at any time, each side handles at most about 2,000 more items."""
    of_producer, of_consumer = PAUSES[pauses]
    bench = Bench(Generating(of_producer), of_consumer, buffer_size)
    await bench.run(where, turns)
    bench.check(where)


@pytest.mark.parametrize("actor", [Helped, Calling, Forwarding])
@pytest.mark.parametrize("where", ["consumer", "actor", "router"])
@pytest.mark.parametrize("buffer_size", [1, 2, 100, 500, 100_000])
async def test_a_cancellation_is_noticed_soon_by_every_form_of_actor(
    buffer_size: int, where: str, actor: type[Endless]
) -> None:
    """A helper, the callback form and a forwarding actor notice a cancellation as soon."""
    bench = Bench(actor(never), never, buffer_size)
    await bench.run(where, 8)
    bench.check(where)
