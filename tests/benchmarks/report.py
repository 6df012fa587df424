"""The table on the terminal, the JSON file, and the table in the documentation."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import Figure, Figures, Row

BEGIN = "<!-- benchmarks: begin (written by tests/benchmarks/run.py --write-docs) -->"
END = "<!-- benchmarks: end -->"


@dataclass(frozen=True, slots=True)
class Table:
    """A section's rows, already formatted: one cell for each backend."""

    name: str
    title: str
    note: str
    lines: tuple[tuple[str, ...], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        lines = [list(line) for line in self.lines]
        return {"name": self.name, "title": self.title, "note": self.note, "lines": lines}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run measured."""

    machine: Mapping[str, str]
    settings: Mapping[str, Any]
    backends: tuple[str, ...]
    figures: Mapping[str, Figures]
    tables: tuple[Table, ...]
    verdicts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "machine": dict(self.machine),
            "settings": dict(self.settings),
            "backends": list(self.backends),
            "figures": {
                name: {key: figure.as_json() for key, figure in figures.items()}
                for name, figures in self.figures.items()
            },
            "tables": [table.as_json() for table in self.tables],
            "targets": list(self.verdicts),
        }


def make_table(
    name: str,
    title: str,
    note: str,
    rows: Sequence[Row],
    figures: Mapping[str, Figures],
    backends: Sequence[str],
) -> Table:
    """Format the rows for which some backend has figures."""
    lines = [
        (row.label, *(format_cell(row, figures[backend]) for backend in backends))
        for row in rows
        if any(key in figures[backend] for key in row.keys for backend in backends)
    ]
    return Table(name, title, note, tuple(lines))


def format_cell(row: Row, figures: Figures) -> str:
    """Return the figures of one cell, the first one outside the brackets."""
    shown = [format_figure(figures[key]) for key in row.keys if key in figures]
    if not shown:
        return "-"
    first, *others = shown
    return f"{first} ({', '.join(others)})" if others else first


def format_figure(figure: Figure) -> str:
    """Return the value with about three digits and its unit."""
    return FORMATS.get(figure.unit, format_plain)(figure.value, figure.unit)


def format_rate(value: float, unit: str) -> str:
    """Return a rate, in thousands or millions if it is large."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M/s"
    if value < 1e3:
        return f"{value:.0f} /s"
    return f"{value / 1e3:.1f} k/s" if value < 1e5 else f"{value / 1e3:.0f} k/s"


def format_ratio(value: float, unit: str) -> str:
    """Return a ratio, with more digits near one."""
    return f"{value:.1f}x" if value >= 3 else f"{value:.2f}x"


def format_microseconds(value: float, unit: str) -> str:
    """Return microseconds, or milliseconds if there are many."""
    return f"{value / 1e3:.1f} ms" if value >= 1e3 else f"{value:.3g} us"


def format_bytes(value: float, unit: str) -> str:
    """Return kilobytes (1,000 bytes)."""
    return f"{value / 1e3:,.2f} KB"


def format_turns(value: float, unit: str) -> str:
    """Return a number of turns."""
    return f"{value:g} turn" if value == 1 else f"{value:g} {unit}"


def format_plain(value: float, unit: str) -> str:
    """Return a number and its unit."""
    return f"{value:.3f} {unit}"


FORMATS: dict[str, Callable[[float, str], str]] = {
    "/s": format_rate,
    "x": format_ratio,
    "us": format_microseconds,
    "bytes": format_bytes,
    "turns": format_turns,
    "turns at most": lambda value, unit: f"at most {value:g}",
}


def as_text(report: Report) -> str:
    """Return the whole report for the terminal."""
    parts = [f"{key}: {value}" for key, value in report.machine.items()]
    blocks = ["\n".join(parts)]
    blocks += [table_as_text(table, report.backends) for table in report.tables]
    blocks.append("\n".join(["Targets", *report.verdicts]))
    return "\n\n".join(blocks)


def table_as_text(table: Table, backends: Sequence[str]) -> str:
    """Return one table in columns."""
    lines = [(table.title, *backends), *table.lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["  ".join(pad(line, widths)).rstrip() for line in lines]
    return "\n".join([rows[0], "-" * (sum(widths) + 2 * len(widths) - 2), *rows[1:]])


def pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Align the label on the left, the figures on the right."""
    label, *cells = line
    aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    return [label.ljust(widths[0]), *aligned]


def as_markdown(data: Mapping[str, Any]) -> str:
    """Return the report's JSON as Markdown, to go between the markers of the documentation."""
    machine = "; ".join(f"{key} {value}" for key, value in data["machine"].items())
    rounds = data["settings"]["rounds"]
    blocks = [f"Measured on: {machine}. Medians of {rounds} rounds."]
    for table in data["tables"]:
        blocks += [f"### {table['title']}", table["note"], table_as_markdown(table, data)]
    return "\n\n".join(blocks)


def table_as_markdown(table: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return one table in Markdown."""
    head = ["", *data["backends"]]
    rule = ["---", *("---:" for _ in data["backends"])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *table["lines"]])


def write_json(report: Report, path: Path) -> None:
    """Write the report, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")


def write_docs(data: Mapping[str, Any], page: Path) -> None:
    """Put the tables between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise SystemExit(f"{page.name} has no markers; put these lines into it:\n{BEGIN}\n{END}")
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(data)}\n\n{END}{after}", encoding="utf-8")
