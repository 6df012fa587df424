"""How soon a producer's ``finally`` runs after an abort, a timeout and a ``break``.

A counting task counts the turns of the loop. The benchmark reports the turns and the time from the
cause to the producer's ``finally``, while the other streams stay open. Each producer has yielded
one item and waits for something that never comes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from time import perf_counter, sleep
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from backends import Backend
from measure import Figures, Row, Samples, Section, Settings, spread

from actorstream import (
    AbortController,
    Actor,
    MessageRouter,
    StreamAbortedError,
    StreamTimeoutError,
)

#: Seconds and turns from a cause to the producer's ``finally``.
Result = tuple[float, int]

TIMEOUT = 0.05
#: The counting task makes each turn this long while it counts turns after a deadline: a stream's
#: deadline is known only to within the time it takes to open the stream (on uvloop, to the
#: millisecond), which is many ordinary turns but a small part of one of these.
LONG_TURN = 0.003
#: An ending that takes longer than this stops the benchmark with an error.
LIMIT = 20.0


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self.length = 0.0
        self.deadline = inf
        self.at_deadline = 0

    async def run(self) -> None:
        """Run one step per turn, for ever, and record the first turn after the deadline."""
        while True:
            self.count += 1
            if perf_counter() >= self.deadline:
                self.at_deadline, self.deadline = self.count, inf
            if self.length:
                sleep(self.length)
            await checkpoint()


class Probe:
    """Records when the cause of an ending comes and when the producers' ``finally`` have run."""

    def __init__(self, turns: Turns, producers: int = 1) -> None:
        self.turns = turns
        self.left = producers
        self.done = anyio.Event()
        self.start_time = self.end_time = 0.0
        self.start_turn = self.end_turn = 0

    def start(self) -> None:
        """Record that the cause comes now."""
        self.start_turn = self.turns.count
        self.start_time = perf_counter()

    def start_after(self, seconds: float) -> None:
        """Record that the cause comes later; the counting task records the turn."""
        self.start_time = self.turns.deadline = perf_counter() + seconds
        self.turns.at_deadline = 0

    def producer_ended(self) -> None:
        """Record that a ``finally`` runs now; the last one counts."""
        self.left -= 1
        if not self.left:
            self.end_time, self.end_turn = perf_counter(), self.turns.count
            self.done.set()

    @property
    def seconds(self) -> float:
        """Return the time from the cause to the last ``finally``."""
        return max(0.0, self.end_time - self.start_time)

    @property
    def turns_taken(self) -> int:
        """Return the turns from the cause to the last ``finally``."""
        return self.end_turn - (self.start_turn or self.turns.at_deadline or self.end_turn)


class WaitingActor(Actor):
    """Yields one item and waits for ever."""

    async def stream_async(self, payload: Probe | None) -> AsyncIterator[int]:
        """Notify the probe, if any, when the ``finally`` runs."""
        try:
            yield 0
            await anyio.sleep_forever()
        finally:
            if payload is not None:
                payload.producer_ended()


async def open_one(router: MessageRouter, probe: Probe | None, **options: Any) -> Any:
    """Open a stream, read its first item and return its iterator."""
    iterator = aiter(router.stream_async("waiting", "wait", probe, **options))
    await anext(iterator)
    return iterator


async def result_of(probe: Probe) -> Result:
    """Wait for the ``finally`` and return the seconds and the turns until then."""
    await probe.done.wait()
    return probe.seconds, probe.turns_taken


async def by_abort(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Abort one stream."""
    probe, controller = Probe(turns), AbortController()
    iterator = await open_one(router, probe, signal=controller.signal)
    probe.start()
    controller.abort("measured")
    result = await result_of(probe)
    with suppress(StreamAbortedError):
        await anext(iterator)
    return result


async def by_abort_of_all(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Open as many further streams and abort them by one signal; the last ``finally`` counts."""
    probe, controller = Probe(turns, streams), AbortController()
    iterators = [await open_one(router, probe, signal=controller.signal) for _ in range(streams)]
    probe.start()
    controller.abort("measured")
    result = await result_of(probe)
    for iterator in iterators:
        with suppress(StreamAbortedError):
            await anext(iterator)
    return result


async def by_timeout(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Let two streams run into their timeout: one for the time, one for the turns."""
    seconds, _ = await one_timeout(router, turns)
    turns.length = LONG_TURN
    _, taken = await one_timeout(router, turns)
    turns.length = 0.0
    return seconds, taken


async def one_timeout(router: MessageRouter, turns: Turns) -> Result:
    """Let a stream run into its timeout, which counts from its start."""
    probe = Probe(turns)
    probe.start_after(TIMEOUT)
    iterator = await open_one(router, probe, timeout=TIMEOUT)
    with suppress(StreamTimeoutError):
        await anext(iterator)
    return await result_of(probe)


async def by_break(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Break out of the bare form."""
    probe = Probe(turns)
    async for _ in router.stream_async("waiting", "wait", probe):
        probe.start()
        break
    return await result_of(probe)


async def by_break_kept(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Break out of the bare form while a variable still holds the stream."""
    probe = Probe(turns)
    stream = router.stream_async("waiting", "wait", probe)
    async for _ in stream:
        probe.start()
        break
    return await result_of(probe)


async def by_break_scoped(router: MessageRouter, turns: Turns, streams: int) -> Result:
    """Break out of the scoped form."""
    probe = Probe(turns)
    async with router.stream_async("waiting", "wait", probe) as stream:
        async for _ in stream:
            probe.start()
            break
    return await result_of(probe)


Ending = Callable[[MessageRouter, Turns, int], Awaitable[Result]]
ENDINGS: dict[str, tuple[str, Ending]] = {
    "abort": ("abort of one", by_abort),
    "abort-all": ("abort of all by one signal, to the last", by_abort_of_all),
    "timeout": ("timeout", by_timeout),
    "break": ("break", by_break),
    "break-kept": ("break, stream still referenced", by_break_kept),
    "break-scoped": ("break, scoped form", by_break_scoped),
}


@asynccontextmanager
async def open_streams(router: MessageRouter, count: int) -> AsyncIterator[None]:
    """Keep ``count`` streams open, each with its producer waiting."""
    iterators = [await open_one(router, None) for _ in range(count)]
    try:
        yield
    finally:
        iterators.clear()


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Measure every ending with every number of open streams, in one event loop."""
    return backend.run(take_round, settings)


async def take_round(settings: Settings) -> dict[str, list[float]]:
    """Open the other streams, then end streams several times in each way."""
    sample: dict[str, list[float]] = {}
    for count in settings.open_at_end:
        async with MessageRouter() as router, anyio.create_task_group() as group:
            router.register_actor("waiting", WaitingActor())
            turns = Turns()
            group.start_soon(turns.run)
            async with open_streams(router, count - 1):
                for name in ENDINGS:
                    results = await repeat(name, router, turns, count, settings.repeats_at_end)
                    sample[f"end.{name}@{count}.us"] = [seconds * 1e6 for seconds, _ in results]
                    sample[f"end.{name}@{count}.turns"] = [turn for _, turn in results]
            group.cancel_scope.cancel()
    return sample


async def repeat(
    name: str, router: MessageRouter, turns: Turns, count: int, times: int
) -> list[Result]:
    """End a stream several times in one way."""
    results = []
    for _ in range(times):
        with anyio.fail_after(LIMIT):
            results.append(await ENDINGS[name][1](router, turns, count))
    return results


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return the medians, and the most turns of all rounds as a separate figure."""
    figures: Figures = {}
    for key, values in samples.items():
        unit = "us" if key.endswith(".us") else "turns"
        figures[key] = spread(values, unit)
        if unit == "turns":
            figures[f"{key}.max"] = spread([max(values)], "turns at most")
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show time and turns in one cell."""
    keys = {
        (label, count): f"end.{name}@{count}"
        for name, (label, _) in ENDINGS.items()
        for count in settings.open_at_end
    }
    return [
        Row(f"{label}, {count:,} open", (f"{key}.us", f"{key}.turns", f"{key}.turns.max"))
        for (label, count), key in keys.items()
    ]


SECTION = Section(
    name="endings",
    title="Latency of abort, timeout and break",
    note=(
        "Time, event loop turns (median), and the most turns seen, from abort, from the deadline "
        "of a timeout and from break, until the producer's finally runs. A counting task keeps "
        "the loop turning meanwhile. The deadline counts from before the stream is opened."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
