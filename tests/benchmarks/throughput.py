"""Items per second, for streams of three lengths, against the floors and the limits."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors import add_chunks, add_events, add_payloads, entered_router
from backends import Backend
from floors import bare_events, bare_loop, plain_loop, queue_loop
from measure import (
    Figures,
    Row,
    Samples,
    Section,
    Settings,
    cost_over,
    rate,
    ratio,
    rotated,
    timed,
)

from actorstream import MessageRouter

#: A timed sample handles at least this many items, in as many streams as needed.
ITEMS_PER_SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class Program:
    """One way to bring ``count`` numbers from a producer to a consumer."""

    name: str
    label: str
    run: Callable[[MessageRouter, int], Awaitable[int]]
    is_stream: bool = True
    asyncio_only: bool = False
    in_thread: bool = False

    def sizes(self, settings: Settings) -> tuple[int, ...]:
        """Return the lengths to measure."""
        return (settings.thread_items,) if self.in_thread else settings.sizes


def by_hand(
    name: str, label: str, run: Callable[[int], Awaitable[int]], asyncio_only: bool = False
) -> Program:
    """Make a program that needs no router."""
    return Program(name, label, lambda _, count: run(count), False, asyncio_only)


def events(name: str, label: str, actor: str) -> Program:
    """Make a program that reads an actor's events."""
    return Program(name, label, lambda r, n: add_events(r.stream_async(actor, "numbers", n)))


def payloads(name: str, label: str, actor: str, in_thread: bool = False) -> Program:
    """Make a program that reads an actor's bare payloads."""
    return Program(
        name,
        label,
        lambda r, n: add_payloads(r.stream_async(actor, "numbers", n)),
        in_thread=in_thread,
    )


def callback(name: str, label: str, actor: str) -> Program:
    """Make a program that reads through ``stream_ask``."""
    return Program(name, label, lambda r, n: add_chunks(r, actor, n))


PROGRAMS = (
    by_hand("plain", "by hand: memory stream, send/receive", plain_loop),
    by_hand("queue", "by hand: asyncio.Queue(100), put/get", queue_loop, asyncio_only=True),
    by_hand("bare", "limit: bare async for, raw items", bare_loop),
    by_hand("bare-events", "limit: bare async for, light events", bare_events),
    events("events", "events, async generator", "generator"),
    payloads("payloads", "payloads(), async generator", "generator"),
    events("events-range", "events, create_async_stream(range)", "range"),
    payloads("payloads-range", "payloads(), create_async_stream(range)", "range"),
    events("events-list", "events, create_async_stream(list)", "list"),
    payloads("payloads-list", "payloads(), create_async_stream(list)", "list"),
    events("events-handmade", "events made by the actor", "handmade"),
    events("events-callback", "events, actor with on_chunk", "callback"),
    callback("ask", "stream_ask, async generator", "generator"),
    callback("ask-callback", "stream_ask, actor with on_chunk", "callback"),
    payloads("payloads-thread", "payloads(), create_thread_stream", "thread", in_thread=True),
)


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Run every program at every size once, in one event loop."""
    return backend.run(take_round, backend, settings, round_number)


async def take_round(
    backend: Backend, settings: Settings, round_number: int
) -> dict[str, list[float]]:
    """Time every program inside an entered router; the warm-up round uses the smallest size."""
    sample: dict[str, list[float]] = {}
    async with entered_router() as router:
        for program in rotated(PROGRAMS, round_number):
            if program.asyncio_only and not backend.is_asyncio:
                continue
            sizes = program.sizes(settings)
            for size in sizes if round_number >= 0 else sizes[:1]:
                sample[f"{program.name}@{size}"] = [await time_program(program, router, size)]
    return sample


async def time_program(program: Program, router: MessageRouter, size: int) -> float:
    """Return the seconds that one stream of ``size`` items takes."""
    expected = size * (size - 1) // 2
    repeats = 1 if program.in_thread else max(1, ITEMS_PER_SAMPLE // size)
    return await timed(lambda: program.run(router, size), expected, repeats)


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return the rate of each program, and its ratios within the same rounds."""
    figures: Figures = {}
    for program in PROGRAMS:
        for size in program.sizes(settings):
            if f"{program.name}@{size}" in samples:
                figures |= derive_program(program, size, samples)
    return figures


def derive_program(program: Program, size: int, samples: Samples) -> Figures:
    """Return the rate of one program at one size, against the floors and the bare loop."""
    key = f"{program.name}@{size}"
    seconds = samples[key]
    figures = {f"{key}.rate": rate(seconds, size)}
    if f"plain@{size}" in samples:
        figures[f"{key}.x_plain"] = ratio(samples[f"plain@{size}"], seconds)
    if program.is_stream and f"bare@{size}" in samples:
        figures[f"{key}.over_bare"] = cost_over(seconds, samples[f"bare@{size}"], size)
    if program.is_stream and f"queue@{size}" in samples:
        figures[f"{key}.x_queue"] = ratio(samples[f"queue@{size}"], seconds)
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show rate and ratio in one cell, and the costs at the greatest length below."""
    listed = [
        Row(f"{program.label}, {size:,} items", (f"{key}.rate", f"{key}.x_plain"))
        for program in PROGRAMS
        for size in program.sizes(settings)
        for key in [f"{program.name}@{size}"]
    ]
    return listed + cost_rows(settings.sizes[-1])


def cost_rows(size: int) -> list[Row]:
    """Show the cost over the bare loop, and the ratio to the queue."""
    compared = [program for program in PROGRAMS if program.name in ("events", "payloads")]
    return [
        *(Row(f"cost over bare: {p.label}", (f"{p.name}@{size}.over_bare",)) for p in compared),
        *(Row(f"against the queue: {p.label}", (f"{p.name}@{size}.x_queue",)) for p in compared),
    ]


SECTION = Section(
    name="throughput",
    title="Items per second",
    note=(
        "Items per second, and the ratio to the plain send/receive loop of the same round and "
        "length. The timed region includes opening a stream, consuming it to its end and "
        "finishing it; the router is entered before that."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
