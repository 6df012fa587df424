"""Streams of one item: the cost of opening and finishing a stream."""

from collections.abc import Awaitable, Callable

import anyio
from actors import entered_router
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream
from backends import Backend
from floors import BUFFER_SIZE
from measure import Figures, Row, Samples, Section, Settings, rate, ratio, rotated, timed

from actorstream import MessageRouter, Stream

LABELS = {
    "hand": "by hand: one task, memory stream, one receive",
    "hand-end": "by hand: the same, read to its end",
    "events": "events",
    "payloads": "payloads()",
    "scoped": "events, scoped form",
    "collect": "await collect()",
}


async def send_one(send: MemoryObjectSendStream[int]) -> None:
    """Produce one item by hand."""
    async with send:
        await send.send(1)


async def by_hand(group: TaskGroup) -> int:
    """Start a task in an open group; make a memory stream, write, read and close it."""
    send, receive = anyio.create_memory_object_stream[int](BUFFER_SIZE)
    group.start_soon(send_one, send)
    async with receive:
        return await receive.receive()


async def by_hand_to_the_end(group: TaskGroup) -> int:
    """Do the same, but read until the producer has closed its side, as a stream does."""
    send, receive = anyio.create_memory_object_stream[int](BUFFER_SIZE)
    group.start_soon(send_one, send)
    total = 0
    async with receive:
        async for number in receive:
            total += number
    return total


async def read_events(stream: Stream[int]) -> int:
    """Count the data events of a stream."""
    count = 0
    async for event in stream:
        if event.type == "data":
            count += 1
    return count


async def read_payloads(stream: Stream[int]) -> int:
    """Count the payloads of a stream."""
    count = 0
    async for _ in stream.payloads():
        count += 1
    return count


async def read_scoped(stream: Stream[int]) -> int:
    """Count the data events of a stream, in the scoped form."""
    async with stream:
        return await read_events(stream)


async def read_collected(stream: Stream[int]) -> int:
    """Count what ``collect()`` returns."""
    return len(await stream.collect())


def programs(router: MessageRouter, group: TaskGroup) -> dict[str, Callable[[], Awaitable[int]]]:
    """Return every program, by name; each handles one stream of one item."""

    def stream() -> Stream[int]:
        return router.stream_async("generator", "numbers", 1)

    return {
        "hand": lambda: by_hand(group),
        "hand-end": lambda: by_hand_to_the_end(group),
        "events": lambda: read_events(stream()),
        "payloads": lambda: read_payloads(stream()),
        "scoped": lambda: read_scoped(stream()),
        "collect": lambda: read_collected(stream()),
    }


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Run every program once, in one event loop."""
    return backend.run(take_round, settings, round_number)


async def take_round(settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Time each program, one stream at a time, in an open group and an entered router."""
    sample: dict[str, list[float]] = {}
    async with entered_router() as router, anyio.create_task_group() as group:
        for name, run in rotated(list(programs(router, group).items()), round_number):
            sample[f"short.{name}"] = [await timed(run, 1, settings.short_streams)]
    return sample


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return streams per second, and the time of each over the hand-written one's."""
    figures: Figures = {}
    for name in LABELS:
        seconds = samples[f"short.{name}"]
        figures[f"short.{name}.rate"] = rate(seconds, 1)
        figures[f"short.{name}.x_hand"] = ratio(seconds, samples["short.hand"])
        figures[f"short.{name}.x_hand_end"] = ratio(seconds, samples["short.hand-end"])
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show streams per second and the ratio to the hand-written programs."""
    return [
        Row(label, (f"short.{name}.rate", f"short.{name}.x_hand")) for name, label in LABELS.items()
    ] + [Row("events, over by hand read to its end", ("short.events.x_hand_end",))]


SECTION = Section(
    name="short",
    title="Short streams",
    note=(
        "Streams opened, read (one item) and finished per second, one after another, and the "
        "ratio of the time of each to the time by hand in the same round: less is better."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
