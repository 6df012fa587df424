"""How measured facts become text: numbers with their units, and aligned rows."""

import textwrap
from collections.abc import Mapping

_LABEL = 10
_LIMIT = 160
_WIDTHS = range(36, 89)

Facts = dict[str, str]
"""What a part measured: labels of at most nine characters, and their values."""


def plain(text: str) -> str:
    r"""Return a text from outside as one line, shortened, and harmless to a terminal.

    Example:
        `plain(" one\x1b[1m\n two ") == "one?[1m two"`
    """
    line = " ".join(text.split())
    if len(line) > _LIMIT:
        line = line[: _LIMIT - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in line)


def quoted(text: str) -> str:
    """Return a text from outside as `plain` does, in quotes."""
    return f'"{plain(text)}"'


def duration(seconds: float) -> str:
    """Return a time in milliseconds, or in seconds if it is one second or more."""
    if seconds >= 1:
        return f"{seconds:,.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def rate(count: int, unit: str, seconds: float) -> str:
    """Return how many per second; a time too short for the clock counts as a nanosecond."""
    return f"{count / max(seconds, 1e-9):,.0f} {unit}/s"


def block(title: str, facts: Mapping[str, str], columns: int) -> str:
    """Return a title with its facts below it, wrapped to the width of a terminal."""
    width = min(max(columns, _WIDTHS[0]), _WIDTHS[-1])
    rows = [_row(label, value, width) for label, value in facts.items()]
    return "\n".join([*textwrap.wrap(title, width), *rows, ""])


def _row(label: str, value: str, width: int) -> str:
    """Return a fact; each line of its value keeps its own indentation."""
    indent = " " * 3
    first, *others = value.splitlines() or [""]
    lines = [(indent + label.ljust(_LABEL), first), *((indent + " " * _LABEL, o) for o in others)]
    return "\n".join(
        textwrap.fill(line, width, initial_indent=head, subsequent_indent=indent + " " * _LABEL)
        for head, line in lines
    )
