"""Helpers shared by several test modules: actors, sources, routers, expected failures."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import anyio
import pytest

from actorstream import Actor, MessageRouter
from actorstream.testing import assert_nothing_left

HELPERS = ["create_async_stream", "create_async_stream_with_backpressure", "create_thread_stream"]


# Actors made of a function


class ActorOf(Actor):
    """An actor whose ``stream_async`` is a given function."""

    def __init__(self, stream_async: Callable[[Any], Any]) -> None:
        self.stream_async = stream_async


class CallbackActorOf(Actor):
    """A callback actor, which calls a function with ``on_chunk``."""

    def __init__(self, function: Callable[[Any], Awaitable[None]]) -> None:
        self.function = function

    async def stream(self, payload: object, on_chunk: Any) -> None:
        await self.function(on_chunk)


class HelperActor(Actor):
    """Streams what a function returns; the function calls a helper of the actor."""

    def __init__(self, make: Callable[["HelperActor"], Any]) -> None:
        self.make = make

    def stream_async(self, payload: object) -> Any:
        return self.make(self)


# Actors that stream


class _Counting(Actor):
    def __init__(self) -> None:
        self.made = 0
        self.closed = 0

    async def numbers(self, stop: int | None) -> AsyncGenerator[int, None]:
        try:
            for number in count() if stop is None else range(stop):
                self.made += 1
                yield number
        finally:
            self.closed += 1


class CountTo(_Counting):
    """Counts to its payload, or for ever; records what it made and how often it was closed."""

    def stream_async(self, payload: int | None) -> AsyncIterator[int]:
        return self.numbers(payload)


class CallbackCountTo(_Counting):
    """Does the same in the callback form."""

    async def stream(self, payload: int | None, on_chunk: Callable[[int], Awaitable[None]]) -> None:
        async with aclosing(self.numbers(payload)) as numbers:
            async for number in numbers:
                await on_chunk(number)


class HelperCountTo(_Counting):
    """Does the same through a helper."""

    def stream_async(self, payload: int | None) -> AsyncIterator[Any]:
        return self.create_async_stream(self.numbers(payload))


class NeverYields(Actor):
    """Streams nothing and never ends; counts how often it was stopped."""

    def __init__(self) -> None:
        self.stopped = 0

    async def stream_async(self, payload: object) -> AsyncIterator[Any]:
        try:
            await anyio.sleep_forever()
            yield
        finally:
            self.stopped += 1


class YieldsOnceAndCleansUp(Actor):
    """Streams 1 and waits; when it is stopped, it runs a shielded clean-up."""

    def __init__(self, clean_up: Callable[[], Awaitable[object]]) -> None:
        self.clean_up = clean_up

    async def stream_async(self, payload: object) -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await self.clean_up()


# Actors that receive messages


class FailsToStop(Actor):
    """Raises an error in ``on_stop()``."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def on_stop(self, reason: str | BaseException) -> None:
        raise self.error


class Registers(Actor):
    """Registers another actor when it receives a message."""

    def __init__(self, name: str, other: Actor) -> None:
        self.name = name
        self.other = other

    async def receive(self, message: object) -> None:
        self.router.register_actor(self.name, self.other)


# Sources


class NumberSource:
    """Endless numbers from 1; records what it made and how often it was closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0

    def give(self) -> Iterator[int]:
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.closed += 1

    async def give_async(self) -> AsyncIterator[int]:
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.closed += 1


def fail_after_one() -> Iterator[int]:
    """Yield an item, then fail."""
    yield 1
    raise OSError("the file is gone")


async def read_on(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the rest of a source that was partly read elsewhere."""
    async for event in source:
        yield event


# Values


class Referable:
    """An object that can be weakly referenced."""


@dataclass(frozen=True)
class FrozenError(ValueError):
    """An exception that refuses every assignment to an attribute of its own."""


class QuitProgram(BaseException):
    """Stands for `KeyboardInterrupt`, which asyncio treats specially."""


# Routers


def serve(router: MessageRouter, *functions: Callable[[Any], Any]) -> None:
    """Register each function as an actor of the same name."""
    for function in functions:
        router.register_actor(function.__name__, ActorOf(function))


@asynccontextmanager
async def serving(actor: Actor) -> AsyncIterator[MessageRouter]:
    """Open a router with one actor, `a`, for a test that goes on after the router's exit."""
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        yield router
    assert_nothing_left(router)


async def collect(make: Callable[[HelperActor], Any]) -> list[Any]:
    """Return the payloads of the stream that a function makes from an actor."""
    async with serving(HelperActor(make)) as router:
        return await router.stream_async("a", "query").collect()


@contextmanager
def failures() -> Iterator[list[BaseException]]:
    """Expect an exception group to leave the block, and yield a list of its exceptions."""
    found: list[BaseException] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        yield found
    found += caught.value.exceptions
