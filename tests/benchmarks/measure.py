"""Rounds, medians and ratios.

In each round every program of a section runs once, one after the other in one event loop. A ratio
compares two programs *of the same round*, so that other load on the machine affects both. The
median of the rounds is reported. The order of the programs rotates by one each round, so that no
program always runs after the same neighbour.
"""

import gc
import statistics
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from backends import Backend

#: A round's result: a name, and what was measured under it (seconds, turns, bytes).
Sample = Mapping[str, Sequence[float]]
#: All rounds of one backend, in order.
Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much to measure."""

    rounds: int = 7
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000)
    option_items: int = 100_000
    thread_items: int = 2_000
    short_streams: int = 500
    open_at_end: tuple[int, ...] = (1, 1_000)
    repeats_at_end: int = 5
    peak_items: tuple[int, int] = (10_000, 1_000_000)
    open_streams: int = 10_000
    messages: int = 10_000
    subscribers: tuple[int, ...] = (1, 10, 100)
    deliveries: int = 50_000
    supervised: tuple[int, ...] = (1, 1_000)
    repeats_of_restart: int = 20
    idle_actors: int = 10_000
    scale: tuple[int, ...] = (1, 100, 2_000, 20_000)


FULL = Settings()
QUICK = Settings(
    rounds=3,
    sizes=(1_000, 100_000),
    option_items=20_000,
    short_streams=200,
    repeats_at_end=2,
    peak_items=(10_000, 200_000),
    open_streams=2_000,
    messages=5_000,
    deliveries=20_000,
    repeats_of_restart=10,
    idle_actors=2_000,
    scale=(1, 100, 2_000),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One reported number: the median of its rounds, the lowest and the highest."""

    value: float
    low: float
    high: float
    unit: str

    def as_json(self) -> dict[str, Any]:
        """Return the figure as plain values."""
        return asdict(self)


Figures = dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a label, and the figures that share its cell."""

    label: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table: how to take one round of it, how to derive its figures, how to show them."""

    name: str
    title: str
    note: str
    take: Callable[[Backend, Settings, int], Sample]
    derive: Callable[[Samples, Settings], Figures]
    rows: Callable[[Settings], list[Row]]
    warm_up: bool = True
    most_rounds: int | None = None

    def rounds(self, settings: Settings) -> int:
        """Return how many rounds to take."""
        return min(settings.rounds, self.most_rounds or settings.rounds)


def measure_section(
    section: Section, backends: Sequence[Backend], settings: Settings
) -> dict[str, Figures]:
    """Take all rounds of a section, the backends in turn within each; return their figures."""
    samples: dict[str, Samples] = {backend.name: {} for backend in backends}
    first = -1 if section.warm_up else 0
    for round_number in range(first, section.rounds(settings)):
        for backend in backends:
            show_progress(section, backend, round_number, settings)
            sample = section.take(backend, settings, round_number)
            if round_number >= 0:
                add_sample(samples[backend.name], sample)
    return {name: section.derive(taken, settings) for name, taken in samples.items()}


def add_sample(samples: Samples, sample: Sample) -> None:
    """Append one round to the earlier ones."""
    for key, values in sample.items():
        samples.setdefault(key, []).extend(values)


def show_progress(section: Section, backend: Backend, number: int, settings: Settings) -> None:
    """Print to standard error what runs now."""
    which = f"round {number + 1} of {section.rounds(settings)}" if number >= 0 else "warm-up"
    print(f"{section.name}: {backend.name}, {which}", file=sys.stderr, flush=True)


async def timed(run: Callable[[], Awaitable[int]], expected: int, repeats: int) -> float:
    """Return the seconds that one ``await run()`` takes, after a garbage collection.

    The result of each run must equal ``expected``: a program that loses items is wrong, not fast.
    """
    gc.collect()
    start = perf_counter()
    for _ in range(repeats):
        result = await run()
        if result != expected:
            raise AssertionError(f"the program returned {result}, expected {expected}")
    return (perf_counter() - start) / repeats


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """Return the items rotated left by ``by``."""
    cut = by % len(items) if items else 0
    return [*items[cut:], *items[:cut]]


def spread(values: Iterable[float], unit: str) -> Figure:
    """Return the median of the values, with the lowest and the highest."""
    listed = list(values)
    return Figure(statistics.median(listed), min(listed), max(listed), unit)


def rate(seconds: Sequence[float], items: int) -> Figure:
    """Return items per second."""
    return spread((items / value for value in seconds), "/s")


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Figure:
    """Return ``numerator / denominator``, round by round."""
    return spread((a / b for a, b in zip(numerator, denominator, strict=True)), "x")


def cost_over(seconds: Sequence[float], base: Sequence[float], items: int) -> Figure:
    """Return the microseconds per item that a program takes beyond the base, round by round."""
    pairs = zip(seconds, base, strict=True)
    return spread(((a - b) / items * 1e6 for a, b in pairs), "us")
