"""Draw the chart of the documentation: a plain SVG, from the JSON of a run.

``python tests/benchmarks/chart.py RESULTS.json CHART.svg``
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

ITEMS = 100_000
#: Figure, label, and the kind that determines the colour.
BARS = (
    ("plain", "memory stream, send/receive", "hand"),
    ("queue", "asyncio.Queue, put/get", "hand"),
    ("events", "actorstream: events", "stream"),
    ("payloads", "actorstream: payloads()", "stream"),
    ("payloads-list", "actorstream: payloads() of a list", "stream"),
    ("bare-events", "bare loop over events (limit)", "limit"),
    ("bare", "bare loop over items (limit)", "limit"),
)
COLOURS = {"hand": "#94a3b8", "stream": "#0f766e", "limit": "#d6c6a5"}
INK, MUTED, GRID, PAPER = "#1f2933", "#5f6b7a", "#e4e7eb", "#fdfdfb"
FONT = "font-family='Helvetica, Arial, DejaVu Sans, sans-serif'"

WIDTH = 860
LEFT, RIGHT = 284, 90
TOP, BAR, GAP = 74, 20, 7
HEAD, FOOT = 40, 58
LOWEST, HIGHEST = 5e4, 2e7
TICKS = ((1e5, "100 k"), (1e6, "1 M"), (1e7, "10 M"))


def write_chart(data: Mapping[str, Any], path: Path) -> None:
    """Write the chart of a run's JSON."""
    path.write_text(draw(data), encoding="utf-8")


def draw(data: Mapping[str, Any]) -> str:
    """Return the SVG: one panel for each backend, one below the other."""
    parts: list[str] = []
    top = float(TOP)
    for name in data["backends"]:
        bars = measured_bars(data["figures"][name])
        if bars:
            parts += draw_panel(name, bars, top)
            top += panel_height(bars)
    height = top + FOOT
    return "\n".join([*frame(height), *parts, *draw_foot(data, height), "</svg>", ""])


def measured_bars(figures: Mapping[str, Any]) -> list[tuple[str, str, float, float | None]]:
    """Return label, kind, rate and ratio of each bar that was measured."""
    bars = []
    for name, label, kind in BARS:
        if found := figures.get(f"{name}@{ITEMS}.rate"):
            times = figures.get(f"{name}@{ITEMS}.x_plain")
            bars.append((label, kind, found["value"], times["value"] if times else None))
    return bars


def panel_height(bars: Sequence[object]) -> float:
    """Return the height of a panel with its head."""
    return HEAD + len(bars) * (BAR + GAP) + 14


def frame(height: float) -> list[str]:
    """Open the SVG: paper, title and subtitle."""
    return [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:g}' "
        f"width='{WIDTH}' height='{height:g}' role='img' {FONT}>",
        "<title>Items per second through one stream</title>",
        f"<rect width='{WIDTH}' height='{height:g}' fill='{PAPER}'/>",
        text(24, 34, "Items per second through one stream", 20, INK, weight=700),
        text(
            24,
            56,
            f"{ITEMS:,} items, buffer of 100, medians; logarithmic scale, longer is faster; "
            "in brackets: times the send/receive loop",
            12.5,
            MUTED,
        ),
    ]


def draw_panel(
    name: str, bars: Sequence[tuple[str, str, float, float | None]], top: float
) -> list[str]:
    """Draw one backend: its name, the grid, the bars."""
    first = top + HEAD
    bottom = first + len(bars) * (BAR + GAP)
    parts = [text(24, top + 24, name, 15, INK, weight=700)]
    for value, label in TICKS:
        parts.append(
            f"<line x1='{place(value):.1f}' x2='{place(value):.1f}' y1='{first - 6:g}' "
            f"y2='{bottom:g}' stroke='{GRID}'/>"
        )
        parts.append(text(place(value), first - 12, label, 11, MUTED, anchor="middle"))
    for number, bar in enumerate(bars):
        parts += draw_bar(bar, first + number * (BAR + GAP))
    return parts


def draw_bar(bar: tuple[str, str, float, float | None], top: float) -> list[str]:
    """Draw one bar with its label and its value."""
    label, kind, rate, times = bar
    end, middle = place(rate), top + BAR * 0.72
    value = format_rate(rate) + (f"  ({times:.1f}x)" if times and kind != "limit" else "")
    weight = 700 if kind == "stream" else 400
    return [
        text(LEFT - 10, middle, label, 12.5, INK, anchor="end", weight=weight),
        f"<rect x='{LEFT}' y='{top:g}' width='{end - LEFT:.1f}' height='{BAR}' rx='2' "
        f"fill='{COLOURS[kind]}'/>",
        text(end + 7, middle, value, 12, INK, weight=weight),
    ]


def draw_foot(data: Mapping[str, Any], height: float) -> list[str]:
    """Name the machine that was measured."""
    machine = data["machine"]
    first = f"{machine['CPU']}, {machine['Cores']} cores, {machine['OS']}, {machine['Python']}"
    packages = ", ".join(f"{name} {machine[name]}" for name in ("AnyIO", "trio", "uvloop"))
    return [
        text(24, height - 32, first, 11, MUTED),
        text(24, height - 15, f"{packages}; measured {machine['Date']}", 11, MUTED),
    ]


def place(value: float) -> float:
    """Return where a rate lies on the logarithmic scale."""
    share = math.log(max(value, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def format_rate(value: float) -> str:
    """Return a rate in thousands or millions."""
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"


def text(
    x: float,
    y: float,
    content: str,
    size: float,
    colour: str,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    """Return one line of text."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size:g}' fill='{colour}' "
        f"text-anchor='{anchor}' font-weight='{weight}'>{escape(content)}</text>"
    )


if __name__ == "__main__":
    source, target = sys.argv[1:]
    write_chart(json.loads(Path(source).read_text(encoding="utf-8")), Path(target))
