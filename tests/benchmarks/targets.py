"""The performance targets of the library, and the check that it reaches them.

Some targets are strict minimums. The check lets the others be missed by a tenth, since a shared
machine is never quiet. All are checked on asyncio and on trio; uvloop is only reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from measure import Figures

CHECKED_BACKENDS = ("asyncio", "trio")
#: The share of a target that the check requires where the target is not strict.
TENTHS = 0.9


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for one figure: at least ``bound``, or at most where ``at_most`` is true."""

    key: str
    label: str
    bound: float
    unit: str
    at_most: bool = False
    share: float = TENTHS
    backends: tuple[str, ...] = CHECKED_BACKENDS

    @property
    def limit(self) -> float:
        """Return the value beyond which the check fails."""
        return self.bound / self.share if self.at_most else self.bound * self.share

    def is_met(self, value: float) -> bool:
        """Whether the figure passes the check."""
        return value <= self.limit if self.at_most else value >= self.limit

    def is_reached(self, value: float) -> bool:
        """Whether the figure reaches the target itself."""
        return value <= self.bound if self.at_most else value >= self.bound


def at_least(key: str, label: str, bound: float, share: float = TENTHS) -> Target:
    """Require a ratio of at least ``bound``."""
    return Target(key, label, bound, "x", share=share)


def at_most(key: str, label: str, bound: float, unit: str, share: float = TENTHS) -> Target:
    """Require a cost of at most ``bound``."""
    return Target(key, label, bound, unit, at_most=True, share=share)


MINIMUMS = (
    at_least("events@100000.x_plain", "events over the plain loop (minimum)", 5, share=1.0),
    at_least("payloads@100000.x_plain", "payloads() over the plain loop (minimum)", 5, share=1.0),
    at_most("payloads@100000.over_bare", "payloads() over bare (minimum)", 1.0, "us", share=1.0),
    # A hundredth of the cost of keeping a reference to each item.
    at_most("peak.events.growth", "peak memory, events", 0.08, "bytes/item", share=1.0),
    at_most("peak.payloads.growth", "peak memory, payloads()", 0.08, "bytes/item", share=1.0),
)
THROUGHPUT = (
    at_least("events@100000.x_plain", "events over the plain loop", 9),
    at_least("payloads@100000.x_plain", "payloads() over the plain loop", 12),
    at_most("payloads@100000.over_bare", "payloads() over the bare loop", 0.5, "us"),
    Target(
        "payloads@100000.x_queue", "payloads() over asyncio.Queue", 1, "x", backends=("asyncio",)
    ),
    at_least("events-list@100000.x_plain", "events of a list over the plain loop", 12),
    at_least("events-range@100000.x_plain", "events of a range over the plain loop", 12),
    at_least("payloads-list@100000.x_plain", "payloads() of a list over the plain loop", 16),
    at_least("payloads-range@100000.x_plain", "payloads() of a range over the plain loop", 16),
)
STREAMS = (
    at_most("short.events.x_hand", "a short stream over the same by hand", 1.5, "x"),
    at_most("open-traced", "memory of each open stream", 8_000, "bytes"),
)
ENDINGS = tuple(
    at_most(f"end.{name}@{count}.turns.max", f"{name} to finally, {count:,} open", 5, "turns")
    for name in ("abort", "abort-all", "timeout", "break", "break-kept", "break-scoped")
    for count in (1, 1_000)
)
MESSAGES = (
    at_least("message.ask.x_hand", "asks over the same by hand (minimum)", 0.5, share=1.0),
    at_least("message.tell.x_hand", "tells over the same by hand (minimum)", 0.5, share=1.0),
)
# A value is handed to all subscribers in one turn, however many there are.
SCALE = (
    *(
        at_most(f"scale.{name}.growth", f"{name}, each of 20,000 over each of 2,000", 2, "x")
        for name in ("streams", "actors", "asks", "given-up", "subscribers", "restart")
    ),
    *(
        at_most(f"scale.{name}@20000.turn", f"{name}, 20,000, longest turn", 50_000, "us")
        for name in ("streams", "actors", "asks", "given-up", "restart")
    ),
)
TARGETS = (*MINIMUMS, *THROUGHPUT, *STREAMS, *ENDINGS, *MESSAGES, *SCALE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target on one backend, and what was measured; ``None`` if nothing was."""

    target: Target
    backend: str
    value: float | None

    @property
    def failed(self) -> bool:
        """Whether the check fails; a target that was not measured does not fail."""
        return self.value is not None and not self.target.is_met(self.value)

    def __str__(self) -> str:
        """Say what was measured, what was required, and whether that is enough."""
        target = self.target
        wanted = f"{'at most' if target.at_most else 'at least'} {target.bound:g} {target.unit}"
        if self.value is None:
            return f"not measured  {self.backend:8} {target.label}: {wanted}"
        reached = "reached" if target.is_reached(self.value) else "within a tenth"
        word = "FAILED" if self.failed else reached
        return f"{word:13} {self.backend:8} {target.label}: {self.value:.4g}, wanted {wanted}"


def judge(figures: Mapping[str, Figures], backends: Sequence[str]) -> list[Verdict]:
    """Compare every target with the figures of each backend that it applies to."""
    return [
        Verdict(target, name, figure.value if figure else None)
        for target in TARGETS
        for name in backends
        if name in target.backends
        for figure in [figures.get(name, {}).get(target.key)]
    ]
