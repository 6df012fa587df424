"""The measured actors and consumers, written as a user of the library would."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from floors import numbers

from actorstream import (
    Actor,
    AsyncStreamMessage,
    MessageRouter,
    Stream,
)


class GeneratorActor(Actor):
    """Yields bare numbers."""

    async def stream_async(self, payload: int) -> AsyncIterator[int]:
        """Yield the numbers below ``payload``; the loop is the one of ``floors.numbers``."""
        for number in range(payload):
            yield number


class HandmadeActor(Actor):
    """Yields hand-made events."""

    async def stream_async(self, payload: int) -> AsyncIterator[AsyncStreamMessage[int]]:
        """Yield one event for each number below ``payload``."""
        async for number in numbers(payload):
            yield AsyncStreamMessage(type="data", payload=number)


class RangeActor(Actor):
    """Streams a synchronous iterable that makes its items on demand."""

    def stream_async(self, payload: int) -> Any:
        """Return a stream of the numbers below ``payload``."""
        return self.create_async_stream(range(payload))


class ListActor(Actor):
    """Streams an existing list."""

    def __init__(self) -> None:
        self.lists: dict[int, list[int]] = {}

    def stream_async(self, payload: int) -> Any:
        """Return a stream of the list of the numbers below ``payload``."""
        if payload not in self.lists:
            self.lists[payload] = list(range(payload))
        return self.create_async_stream(self.lists[payload])


class ThreadActor(Actor):
    """Streams a blocking iterable, from a worker thread."""

    def stream_async(self, payload: int) -> Any:
        """Return a stream of the numbers below ``payload``, made in a thread."""
        return self.create_thread_stream(blocking_numbers(payload))


class CallbackActor(Actor):
    """Uses the callback form."""

    async def stream(self, payload: int, on_chunk: Callable[[int], Awaitable[None]]) -> None:
        """Hand over the numbers below ``payload``."""
        for number in range(payload):
            await on_chunk(number)


def blocking_numbers(count: int) -> Iterator[int]:
    """Yield the numbers below ``count``, as a database cursor would."""
    yield from range(count)


@asynccontextmanager
async def entered_router() -> AsyncIterator[MessageRouter]:
    """Enter a router with every actor registered, outside the timed code."""
    async with MessageRouter() as router:
        router.register_actor("generator", GeneratorActor())
        router.register_actor("handmade", HandmadeActor())
        router.register_actor("range", RangeActor())
        router.register_actor("list", ListActor())
        router.register_actor("thread", ThreadActor())
        router.register_actor("callback", CallbackActor())
        yield router


async def add_events(stream: Stream[int]) -> int:
    """Consume a stream event by event; return the sum of the payloads."""
    total = 0
    async for event in stream:
        if event.type == "data":
            total += event.payload
    return total


async def add_payloads(stream: Stream[int]) -> int:
    """Consume a stream payload by payload; return their sum."""
    total = 0
    async for number in stream.payloads():
        total += number
    return total


async def add_chunks(router: MessageRouter, actor: str, count: int) -> int:
    """Consume through the callback form; return the sum of the chunks."""
    total = 0

    async def on_chunk(number: int) -> None:
        nonlocal total
        total += number

    await router.stream_ask(actor, "numbers", count, on_chunk=on_chunk)
    return total
