"""Memory: the peak of one long stream, and the use of each of many open streams or idle actors.

Each measurement runs in its own process, so that nothing else disturbs it.
"""

import json
import subprocess
import sys
from pathlib import Path

from backends import Backend
from measure import Figures, Row, Samples, Section, Settings, spread

WORKER = Path(__file__).with_name("memory_worker.py")
PEAK_LABELS = {"events": "events", "payloads": "payloads()"}
OPEN_LABELS = {
    "open-hand-traced": "by hand: Python objects of each",
    "open-hand-resident": "by hand: resident memory of each",
    "open-traced": "streams: Python objects of each",
    "open-resident": "streams: resident memory of each",
}
IDLE_LABELS = {
    "idle-hand-traced": "by hand: Python objects of each",
    "idle-hand-resident": "by hand: resident memory of each",
    "idle-traced": "actors: Python objects of each",
    "idle-resident": "actors: resident memory of each",
}


def measured_bytes(backend: Backend, program: str, count: int) -> float:
    """Run one program of the worker in a new process and return its bytes."""
    command = [sys.executable, str(WORKER), backend.name, program, str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["bytes"])


def take_peaks(backend: Backend, settings: Settings, _: int) -> dict[str, list[float]]:
    """Measure the peaks of a short and of a long stream."""
    by_hand = measured_bytes(backend, "peak-hand", settings.peak_items[0])
    return {"peak.hand.small": [by_hand]} | {
        f"peak.{form}.{size}": [measured_bytes(backend, f"peak-{form}", count)]
        for form in PEAK_LABELS
        for size, count in zip(("small", "large"), settings.peak_items, strict=True)
    }


def derive_peaks(samples: Samples, settings: Settings) -> Figures:
    """Return the peaks, and what each further item adds to them."""
    figures = {key: spread(values, "bytes") for key, values in samples.items()}
    small_count, large_count = settings.peak_items
    for form in PEAK_LABELS:
        pairs = zip(samples[f"peak.{form}.small"], samples[f"peak.{form}.large"], strict=True)
        growth = [(large - small) / (large_count - small_count) for small, large in pairs]
        figures[f"peak.{form}.growth"] = spread(growth, "bytes/item")
    return figures


def peak_rows(settings: Settings) -> list[Row]:
    """Show the peaks of each length, and the growth."""
    small, large = settings.peak_items
    by_hand = f"by hand: memory stream, send/receive, {small:,} items"
    listed = [Row(by_hand, ("peak.hand.small",))]
    for form, label in PEAK_LABELS.items():
        listed.append(Row(f"{label}, {small:,} items", (f"peak.{form}.small",)))
        listed.append(Row(f"{label}, {large:,} items", (f"peak.{form}.large",)))
        listed.append(Row(f"{label}, growth per further item", (f"peak.{form}.growth",)))
    return listed


def take_open(backend: Backend, settings: Settings, _: int) -> dict[str, list[float]]:
    """Measure many open streams, and the same by hand."""
    return {name: [measured_bytes(backend, name, settings.open_streams)] for name in OPEN_LABELS}


def take_idle(backend: Backend, settings: Settings, _: int) -> dict[str, list[float]]:
    """Measure many idle actors, and the same by hand."""
    return {name: [measured_bytes(backend, name, settings.idle_actors)] for name in IDLE_LABELS}


def derive_each(samples: Samples, settings: Settings) -> Figures:
    """Return the bytes of each stream or actor."""
    return {key: spread(values, "bytes") for key, values in samples.items()}


def open_rows(settings: Settings) -> list[Row]:
    """Show the bytes of each stream."""
    return [Row(label, (name,)) for name, label in OPEN_LABELS.items()]


def idle_rows(settings: Settings) -> list[Row]:
    """Show the bytes of each actor."""
    return [Row(label, (name,)) for name, label in IDLE_LABELS.items()]


PEAK_SECTION = Section(
    name="peak",
    title="Peak memory of one stream",
    note=(
        "Peak traced memory (tracemalloc) while one stream is read to its end, in a process of "
        "its own, after a short stream that fills the caches."
    ),
    take=take_peaks,
    derive=derive_peaks,
    rows=peak_rows,
    warm_up=False,
    most_rounds=1,
)
OPEN_SECTION = Section(
    name="open",
    title="Memory of many open streams",
    note=(
        "Memory of each of 10,000 open streams (2,000 with --quick), in a process of its own: its "
        "task, its buffer, its iterator and the actor's generator. Each has delivered two items "
        "and waits for more. Python objects are counted by tracemalloc; resident memory is what "
        "the operating system reports, in another process without tracemalloc."
    ),
    take=take_open,
    derive=derive_each,
    rows=open_rows,
    warm_up=False,
    most_rounds=3,
)
IDLE_SECTION = Section(
    name="idle",
    title="Memory of many idle actors",
    note=(
        "Memory of each of 10,000 registered actors (2,000 with --quick), in a process of its "
        "own: its task, its mailbox, its address. Each has answered one message and waits for "
        "more. By hand: a task and a memory stream each. Counted as above."
    ),
    take=take_idle,
    derive=derive_each,
    rows=idle_rows,
    warm_up=False,
    most_rounds=3,
)
