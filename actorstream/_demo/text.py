"""The real text: from files, or from the documentation that CPython ships.

Reading blocks, so all of it happens here, before any event loop runs.
"""

import platform
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs

_LONG_WORD = re.compile(r"[^\W\d_]{5,}")


class TextError(Exception):
    """No text to stream; the message is one line for the user."""


@attrs.frozen
class Text:
    """A text, ready to be streamed.

    Attributes:
        name: A name of the text, for a heading.
        lines: Its lines, without blank ones.
        words: Its words, as separated by white space; at least one.
    """

    name: str
    lines: tuple[str, ...]
    words: tuple[str, ...]

    def commonest_word(self) -> str:
        """Return the most common word of five letters or more; if there is none, the first word."""
        text = "\n".join(self.lines).casefold()
        counts = Counter(_LONG_WORD.findall(text))
        return next((word for word, _ in counts.most_common(1)), self.words[0])


def read_documentation() -> Text:
    """Read the language reference that CPython carries for its ``help()``.

    Raises:
        TextError: This Python does not include it.
    """
    try:
        # Half a megabyte, useless if files are given, and missing from some distributions.
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TextError("this Python ships no documentation: name a text file") from error
    name = f"the documentation of Python {platform.python_version()}"
    return _text(name, "\n".join(topics.values()))


def read_files(paths: Sequence[str]) -> Text:
    """Read text files as one text.

    Bytes that are not UTF-8 become replacement characters, so a stray byte is harmless.

    Args:
        paths: At least one file.

    Raises:
        TextError: A file is missing, unreadable, a directory, binary, or without a word.
    """
    contents = [_read_file(path) for path in paths]
    return _text(", ".join(Path(path).name for path in paths), "\n".join(contents))


def _read_file(path: str) -> str:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise TextError(f"cannot read {path!r}: {error.strerror}") from error
    if b"\0" in raw:
        raise TextError(f"{path!r} is not a text file: it contains a NUL byte")
    content = raw.decode("utf-8-sig", errors="replace")
    if not content.strip():
        raise TextError(f"{path!r} is empty: nothing to stream")
    return content


def _text(name: str, content: str) -> Text:
    lines = tuple(line for line in content.splitlines() if line.strip())
    return Text(name, lines, tuple(content.split()))
