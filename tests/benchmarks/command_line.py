"""The command line of the benchmarks."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import chart
import endings
import memory
import messages
import options
import publishing
import restarts
import scale
import short_streams
import throughput
from backends import BACKENDS, Backend, installed_backends
from machine import describe_machine
from measure import FULL, QUICK, Figures, Section, Settings, measure_section
from report import Report, as_text, make_table, write_docs, write_json
from targets import Verdict, judge

SECTIONS = {
    section.name: section
    for section in (
        throughput.SECTION,
        short_streams.SECTION,
        endings.SECTION,
        memory.PEAK_SECTION,
        memory.OPEN_SECTION,
        options.SECTION,
        messages.SECTION,
        publishing.SECTION,
        restarts.SECTION,
        memory.IDLE_SECTION,
        scale.SECTION,
    )
}
ROOT = Path(__file__).resolve().parents[2]
JSON_FILE = Path(".benchmarks", "latest.json")
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return the exit status."""
    chosen = make_parser().parse_args(arguments)
    if chosen.docs_from:
        return write_documentation(chosen.docs_from)
    report, verdicts = measure(chosen)
    print(as_text(report))
    write_json(report, chosen.json)
    print(f"\nWritten to {chosen.json}.")
    if chosen.write_docs:
        write_documentation(chosen.json)
    return report_failures(verdicts, bool(chosen.only)) if chosen.check else 0


def make_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Measure actorstream against what one would write by hand.",
        epilog="A full run takes about ten minutes; --quick takes two, and is rougher.",
    )
    add = parser.add_argument
    add("--backend", action="append", choices=list(BACKENDS), help="may be given more than once")
    add("--only", action="append", choices=list(SECTIONS), help="may be given more than once")
    add("--quick", action="store_true", help="fewer rounds, smaller sizes: for trying")
    add("--rounds", type=at_least_one, help=f"rounds of each program (default {FULL.rounds})")
    add("--json", type=Path, default=JSON_FILE, help="where to write (default %(default)s)")
    add("--check", action="store_true", help="exit 1 when a figure falls short of its target")
    add("--write-docs", action="store_true", help="put tables and chart into docs/")
    add("--docs-from", type=Path, metavar="JSON", help="only write docs/, from an earlier run")
    return parser


def at_least_one(text: str) -> int:
    """Read a number of rounds."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def measure(chosen: argparse.Namespace) -> tuple[Report, list[Verdict]]:
    """Run the chosen sections on the chosen backends."""
    settings = choose_settings(chosen)
    backends = choose_backends(chosen.backend)
    sections = [SECTIONS[name] for name in chosen.only or SECTIONS]
    names = tuple(backend.name for backend in backends)
    figures: dict[str, Figures] = {name: {} for name in names}
    for section in sections:
        for name, derived in measure_section(section, backends, settings).items():
            figures[name] |= derived
    verdicts = judge(figures, names)
    report = make_report(sections, settings, names, figures, verdicts)
    return report, verdicts


def make_report(
    sections: Sequence[Section],
    settings: Settings,
    names: tuple[str, ...],
    figures: dict[str, Figures],
    verdicts: Sequence[Verdict],
) -> Report:
    """Gather tables, figures and verdicts; a section that was not measured has none."""
    tables = tuple(
        make_table(part.name, part.title, part.note, part.rows(settings), figures, names)
        for part in sections
    )
    judged = tuple(str(verdict) for verdict in verdicts if verdict.value is not None)
    return Report(describe_machine(), asdict(settings), names, figures, tables, judged)


def choose_settings(chosen: argparse.Namespace) -> Settings:
    """Return the sizes and rounds to measure."""
    settings = QUICK if chosen.quick else FULL
    return replace(settings, rounds=chosen.rounds) if chosen.rounds else settings


def choose_backends(names: Sequence[str] | None) -> list[Backend]:
    """Return the backends to measure; a name that is not installed ends the program."""
    if not names:
        return installed_backends()
    if missing := [name for name in names if not BACKENDS[name].installed]:
        raise SystemExit(f"not installed: {', '.join(missing)}; pip install {' '.join(missing)}")
    return [backend for backend in installed_backends() if backend.name in names]


def write_documentation(json_file: Path) -> int:
    """Put the tables and the chart of a run into the documentation."""
    data = json.loads(json_file.read_text(encoding="utf-8"))
    write_docs(data, PAGE)
    chart.write_chart(data, CHART)
    print(f"Written to docs/{PAGE.name} and docs/{CHART.name}.")
    return 0


def report_failures(verdicts: Sequence[Verdict], is_partial: bool) -> int:
    """Print each target that was missed; return 1 if there is one.

    In a full run, a target without a measurement counts as missed.
    """
    missing = [verdict for verdict in verdicts if verdict.value is None]
    failed = [verdict for verdict in verdicts if verdict.failed]
    missed = failed if is_partial else [*failed, *missing]
    print("\nCheck: " + (f"{len(missed)} below target" if missed else "every target is met"))
    for verdict in missed:
        print(f"  {verdict}")
    if is_partial and missing:
        print(f"  ({len(missing)} targets belong to sections that did not run)")
    return 1 if missed else 0
