"""Measure memory in a separate process; print one JSON object.

Run by ``memory.py``: ``memory_worker.py BACKEND PROGRAM COUNT``.
"""

import gc
import json
import resource
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

# As in run.py: make the modules next to this file importable under PYTHONSAFEPATH, too.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import anyio
from actors import add_events, add_payloads, entered_router
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from backends import BACKENDS
from floors import BUFFER_SIZE, plain_loop
from messages import Request, answer

from actorstream import Actor, MessageRouter, handles

WARM_UP = 50


class Feed:
    """Lets every producer advance by one item at a time, like live data."""

    def __init__(self) -> None:
        self.next_item = anyio.Event()

    async def items(self) -> AsyncIterator[int]:
        """Yield a number at once, and one more for each tick."""
        number = 0
        while True:
            yield number
            number += 1
            await self.next_item.wait()

    def tick(self) -> None:
        """Let every producer advance by one item."""
        self.next_item.set()
        self.next_item = anyio.Event()


class FeedActor(Actor):
    """Streams the feed."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    async def stream_async(self, payload: object) -> AsyncIterator[int]:
        """Yield what the feed yields, forever."""
        number = 0
        while True:
            yield number
            number += 1
            await self.feed.next_item.wait()


async def peak_of_events(count: int) -> dict[str, float]:
    """Return the peak of traced memory while a stream is read event by event."""
    async with entered_router() as router:
        return await peak(
            lambda n: add_events(router.stream_async("generator", "numbers", n)), count
        )


async def peak_of_payloads(count: int) -> dict[str, float]:
    """Return the peak of traced memory while a stream is read payload by payload."""
    async with entered_router() as router:
        return await peak(
            lambda n: add_payloads(router.stream_async("generator", "numbers", n)), count
        )


async def peak_by_hand(count: int) -> dict[str, float]:
    """Return the peak of traced memory of the plain loop."""
    return await peak(plain_loop, count)


async def peak(run: Callable[[int], Coroutine[Any, Any, int]], count: int) -> dict[str, float]:
    """Return the peak of traced memory of one run, after a short one that fills the caches."""
    await run(WARM_UP * BUFFER_SIZE)
    gc.collect()
    tracemalloc.start()
    await run(count)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"bytes": highest}


async def open_traced(count: int) -> dict[str, float]:
    """Return the traced memory of each open stream."""
    return await measure_open_streams(count, traced_bytes)


async def open_resident(count: int) -> dict[str, float]:
    """Return the resident memory of each open stream."""
    return await measure_open_streams(count, resident_bytes)


async def measure_open_streams(count: int, measured: Callable[[], int]) -> dict[str, float]:
    """Open ``count`` streams, let all of them advance, and return what each adds to memory."""
    feed = Feed()
    async with MessageRouter() as router:
        router.register_actor("feed", FeedActor(feed))
        warm = [await open_stream(router, 0) for _ in range(WARM_UP)]
        before = measured()
        iterators = [await open_stream(router, 0) for _ in range(count)]
        feed.tick()
        for iterator in iterators:
            check_item((await anext(iterator)).payload, 1)
        each = (measured() - before) / count
        feed.tick()
        for iterator in iterators:
            check_item((await anext(iterator)).payload, 2)
        iterators.clear()
        warm.clear()
    return {"bytes": each}


async def open_stream(router: MessageRouter, first: int) -> Any:
    """Open a stream, read its first item and return its iterator."""
    iterator = aiter(router.stream_async("feed", "numbers"))
    check_item((await anext(iterator)).payload, first)
    return iterator


async def hand_traced(count: int) -> dict[str, float]:
    """Return the traced memory of each task with a memory stream, made by hand."""
    return await measure_hand(count, traced_bytes)


async def hand_resident(count: int) -> dict[str, float]:
    """Return the resident memory of each task with a memory stream, made by hand."""
    return await measure_hand(count, resident_bytes)


async def measure_hand(count: int, measured: Callable[[], int]) -> dict[str, float]:
    """Do the same by hand: for each, a task, a memory stream and the same generator."""
    feed = Feed()

    async def send_items(send: MemoryObjectSendStream[int]) -> None:
        async with send:
            async for item in feed.items():
                await send.send(item)

    async def open_one() -> MemoryObjectReceiveStream[int]:
        send, receive = anyio.create_memory_object_stream[int](BUFFER_SIZE)
        group.start_soon(send_items, send)
        check_item(await receive.receive(), 0)
        return receive

    async with anyio.create_task_group() as group:
        warm = [await open_one() for _ in range(WARM_UP)]
        before = measured()
        receivers = [await open_one() for _ in range(count)]
        feed.tick()
        for receiver in receivers:
            check_item(await receiver.receive(), 1)
        each = (measured() - before) / count
        group.cancel_scope.cancel()
        for receiver in [*receivers, *warm]:
            receiver.close()
    return {"bytes": each}


class IdleActor(Actor):
    """Answers with its payload, and waits."""

    @handles("echo")
    async def echo(self, payload: int) -> int:
        """Answer with the payload."""
        return payload


async def idle_traced(count: int) -> dict[str, float]:
    """Return the traced memory of each idle actor."""
    return await measure_idle_actors(count, traced_bytes)


async def idle_resident(count: int) -> dict[str, float]:
    """Return the resident memory of each idle actor."""
    return await measure_idle_actors(count, resident_bytes)


async def measure_idle_actors(count: int, measured: Callable[[], int]) -> dict[str, float]:
    """Register ``count`` actors, let each answer once, and return what each adds to memory."""
    async with MessageRouter() as router:

        async def open_one(number: int) -> None:
            to = router.register_actor(f"idle/{number}", IdleActor())
            check_item(await router.ask(to, "echo", number), number)

        for number in range(WARM_UP):
            await open_one(number)
        before = measured()
        for number in range(WARM_UP, WARM_UP + count):
            await open_one(number)
        each = (measured() - before) / count
    return {"bytes": each}


async def idle_hand_traced(count: int) -> dict[str, float]:
    """Return the traced memory of each idle task with a memory stream, made by hand."""
    return await measure_idle_hand(count, traced_bytes)


async def idle_hand_resident(count: int) -> dict[str, float]:
    """Return the resident memory of each idle task with a memory stream, made by hand."""
    return await measure_idle_hand(count, resident_bytes)


async def measure_idle_hand(count: int, measured: Callable[[], int]) -> dict[str, float]:
    """Do the same by hand: for each, a task that answers what arrives on a memory stream."""
    senders: dict[str, MemoryObjectSendStream[Request]] = {}

    async def open_one(number: int) -> None:
        send, receive = anyio.create_memory_object_stream[Request](BUFFER_SIZE)
        senders[f"idle/{number}"] = send
        group.start_soon(answer, receive)
        request = Request(number)
        await send.send(request)
        await request.answered.wait()
        check_item(request.reply, number + 1)

    async with anyio.create_task_group() as group:
        for number in range(WARM_UP):
            await open_one(number)
        before = measured()
        for number in range(WARM_UP, WARM_UP + count):
            await open_one(number)
        each = (measured() - before) / count
        group.cancel_scope.cancel()
        for send in senders.values():
            send.close()
    return {"bytes": each}


def check_item(item: object, expected: int) -> None:
    """Check that the stream has advanced, or that the actor has answered."""
    if item != expected:
        raise AssertionError(f"got {item!r}, expected {expected}")


def traced_bytes() -> int:
    """Return the memory that Python objects hold; the first call starts the counting."""
    gc.collect()
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


def resident_bytes() -> int:
    """Return the resident memory of the process, or its peak where only that is available."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak_so_far = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_so_far if sys.platform == "darwin" else peak_so_far * 1024


PROGRAMS = {
    "peak-hand": peak_by_hand,
    "peak-events": peak_of_events,
    "peak-payloads": peak_of_payloads,
    "open-hand-traced": hand_traced,
    "open-hand-resident": hand_resident,
    "open-traced": open_traced,
    "open-resident": open_resident,
    "idle-hand-traced": idle_hand_traced,
    "idle-hand-resident": idle_hand_resident,
    "idle-traced": idle_traced,
    "idle-resident": idle_resident,
}


if __name__ == "__main__":
    backend_name, program_name, count_text = sys.argv[1:]
    print(json.dumps(BACKENDS[backend_name].run(PROGRAMS[program_name], int(count_text))))
