"""Nothing waits for the garbage collector: what has ended is freed at once, however it ended.

A reference cycle would keep an actor's locals, payloads and buffers alive until the collector's
next full run. Each test turns the collector off, lets something end, and then looks for what is
still alive.
"""

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from threading import Thread
from types import FrameType
from typing import Any
from weakref import ref

import anyio
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorStoppedError,
    MessageRouter,
    Stream,
    StreamAbortedError,
    StreamOverflowError,
    StreamTimeoutError,
)
from actorstream.testing import settle

from .support import Referable


class Keeper:
    """Knows which objects are alive, and what only the collector would free."""

    def __init__(self) -> None:
        self._refs: list[ref[Any]] = []

    def track(self, thing: Any) -> Any:
        self._refs.append(ref(thing))
        return thing

    def hold(self) -> Referable:
        """Return a new object; it stands for what the code that holds it has in memory."""
        held: Referable = self.track(Referable())
        return held

    async def check(self) -> None:
        """Check that something was held, and that all of it is gone."""
        await settle(30)
        assert self._refs, "nothing was held"
        alive = [found for found in (it() for it in self._refs) if found is not None]
        assert not alive, _explain(alive)
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [_name(thing) for thing in gc.garbage if _is_ours(thing)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        assert left == []


def _is_ours(thing: object) -> bool:
    if isinstance(thing, FrameType):
        return "/actorstream/" in thing.f_code.co_filename
    return type(thing).__module__.startswith("actorstream")


def _name(thing: object) -> str:
    return thing.f_code.co_qualname if isinstance(thing, FrameType) else type(thing).__name__


def _explain(alive: list[Any]) -> str:
    return f"{len(alive)} objects are alive"


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """Turn the collector off, and yield what checks that it is not needed."""
    gc.collect()
    gc.freeze()  # what earlier tests have left is not looked at
    gc.disable()
    yield Keeper()
    gc.enable()


# Streams


class Streams(Actor):
    """Streams without end, in each of the ways that there are."""

    def __init__(self, keeper: Keeper, unit: float) -> None:
        self.keeper = keeper
        self.unit = unit

    async def _numbers(self) -> AsyncGenerator[int]:
        held = self.keeper.hold()
        for number in range(10**9):
            yield number
            if number % 10 == 3:
                await anyio.sleep(3 * self.unit)
        del held

    def _plain_numbers(self) -> Iterator[int]:
        held = self.keeper.hold()
        yield from range(10**9)
        del held

    def stream_async(self, source: str) -> Any:
        return getattr(self, source)()

    def generator(self) -> AsyncIterator[int]:
        return self._numbers()

    async def coroutine(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        await anyio.lowlevel.checkpoint()
        del held
        return self._numbers()

    def iterable(self) -> Any:
        return self.create_async_stream(self._plain_numbers())

    def events(self) -> Any:
        return self.create_async_stream(self._numbers())

    def watched(self) -> Any:
        return self.create_async_stream_with_backpressure(
            self._plain_numbers(), check_interval=1, on_backpressure=lambda _: None
        )

    async def by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream(self._numbers()):
            yield event

    async def watched_by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream_with_backpressure(self._numbers()):
            yield event

    async def in_a_scope(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        with anyio.CancelScope():
            async with aclosing(self._numbers()) as numbers:
                async for number in numbers:
                    yield number
        del held

    async def forwarded(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        async for item in self.router.stream_async(self.address, "q", "generator").payloads():
            yield item
        del held

    async def forwarded_events(self) -> AsyncIterator[Any]:
        held = self.keeper.hold()
        async with self.router.stream_async(self.address, "q", "iterable") as stream:
            async for event in stream:
                yield event
        del held

    def pushed(self) -> Any:
        held = self.keeper.hold()

        def register(push: Any) -> Callable[[], object]:
            for number in range(200):
                push(number)
            return lambda: held

        return self.create_callback_stream(register)

    async def pushed_by_hand(self) -> AsyncIterator[Any]:
        async for event in self.pushed():
            yield event


class Chunks(Actor):
    """Streams without end in the callback form."""

    def __init__(self, keeper: Keeper, unit: float) -> None:
        self.keeper = keeper
        self.unit = unit

    async def stream(self, payload: object, on_chunk: Any) -> None:
        held = self.keeper.hold()
        for number in range(10**9):
            await on_chunk(number)
            if number % 10 == 3:
                await anyio.sleep(3 * self.unit)
        del held


SOURCES = [
    "coroutine",
    "iterable",
    "events",
    "watched",
    "by_hand",
    "watched_by_hand",
    "in_a_scope",
    "forwarded",
    "forwarded_events",
    "pushed",
    "pushed_by_hand",
]


class Opener:
    """Opens a stream of the actor `a`, as a test wants it."""

    def __init__(self, router: MessageRouter, source: str, unit: float) -> None:
        self.router = router
        self.source = source
        self.unit = unit

    def __call__(self, *, buffer_size: int = 2, **options: Any) -> Stream[Any]:
        return self.router.stream_async(
            "a", "q", self.source, buffer_size=buffer_size, timeout=None, **options
        )


async def left(open: Opener) -> None:
    async for _ in open():
        break


async def left_payloads(open: Opener) -> None:
    async for _ in open().payloads():
        break


async def left_by_an_error(open: Opener) -> None:
    with suppress(KeyError):
        async for _ in open():
            raise KeyError


async def block_left(open: Opener) -> None:
    async with open() as stream:
        async for _ in stream:
            break


async def block_left_unread(open: Opener) -> None:
    async with open():
        await settle()


async def block_left_by_an_error(open: Opener) -> None:
    with suppress(KeyError):
        async with open() as stream:
            async for _ in stream:
                raise KeyError


async def dropped_in_a_thread(open: Opener) -> None:
    iterators = [aiter(open())]
    await anext(iterators[0])
    thread = Thread(target=iterators.clear)
    thread.start()
    thread.join()


async def closed(open: Opener) -> None:
    stream = open()
    async for _ in stream:
        await stream.aclose()


async def cancelled(open: Opener) -> None:
    stream = open()
    with suppress(StreamAbortedError):
        async for _ in stream:
            stream.cancel()


async def cancelled_unread(open: Opener) -> None:
    stream = open()
    async for _ in stream:
        stream.cancel()
        break


async def aborted(open: Opener) -> None:
    controller = AbortController()
    with suppress(StreamAbortedError):
        async for _ in open(signal=controller.signal):
            controller.abort()


async def aborted_through_any(open: Opener) -> None:
    controller = AbortController()
    signal = AbortSignal.any([AbortController().signal, controller.signal])
    with suppress(StreamAbortedError):
        async for _ in open(signal=signal):
            controller.abort()


async def aborted_by_time(open: Opener) -> None:
    with suppress(StreamAbortedError):
        async for _ in open(signal=AbortSignal.timeout(open.unit)):
            await anyio.sleep(0.7 * open.unit)


async def timed_out(open: Opener) -> None:
    stream = open.router.stream_async("a", "q", open.source, timeout=open.unit, buffer_size=2)
    with suppress(StreamTimeoutError):
        async for _ in stream:
            await anyio.sleep(0.7 * open.unit)


async def idle(open: Opener) -> None:
    with suppress(StreamTimeoutError):
        async for _ in open(idle_timeout=open.unit):
            pass


async def stalled(open: Opener) -> None:
    with suppress(StreamTimeoutError):
        async for _ in open(stall_timeout=open.unit):
            await anyio.sleep(2 * open.unit)


async def overflowed(open: Opener) -> None:
    with suppress(StreamOverflowError):
        async for _ in open(overflow="fail"):
            await anyio.sleep(open.unit)


async def reader_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        async for _ in open():
            await anyio.sleep(0.7 * open.unit)


async def block_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        async with open() as stream:
            async for _ in stream:
                await anyio.sleep(0.7 * open.unit)


async def collecting_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        await open().collect()


async def actor_stopped(open: Opener) -> None:
    stream = open()
    with suppress(ActorStoppedError):
        async for _ in stream:
            if "a" in open.router.list_actors():
                await open.router.stop_actor("a")


ENDS = [
    left,
    left_payloads,
    left_by_an_error,
    block_left,
    block_left_unread,
    block_left_by_an_error,
    dropped_in_a_thread,
    closed,
    cancelled,
    cancelled_unread,
    aborted,
    aborted_through_any,
    aborted_by_time,
    timed_out,
    idle,
    stalled,
    overflowed,
    reader_cancelled,
    block_cancelled,
    collecting_cancelled,
    actor_stopped,
]

End = Callable[[Opener], Awaitable[None]]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("make", [Streams, Chunks])
async def test_a_stream_frees_all_at_once_however_it_ends(
    router: MessageRouter, keeper: Keeper, unit: float, make: Any, end: End
) -> None:
    router.register_actor("a", make(keeper, unit))
    await end(Opener(router, "generator", unit))
    await keeper.check()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("end", [left, cancelled, block_left])
async def test_each_kind_of_source_is_freed_at_once(
    router: MessageRouter, keeper: Keeper, unit: float, source: str, end: End
) -> None:
    router.register_actor("a", Streams(keeper, unit))
    await end(Opener(router, source, unit))
    await keeper.check()
