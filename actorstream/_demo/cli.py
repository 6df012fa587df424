"""The command line: it parses the arguments, runs the scenes, and prints the facts."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import count
from time import perf_counter

import anyio

from actorstream import __version__
from actorstream._demo.report import block, duration, plain
from actorstream._demo.scenes import SCENES
from actorstream._demo.text import Text, TextError, read_documentation, read_files

PROG = "python -m actorstream"
BACKENDS = ("asyncio", "trio")
NO_TRIO = "trio is not installed (pip install trio)"

OK, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 2, 130, 141

DESCRIPTION = """\
Show what actorstream does, on real text: a session filtered by a query, words
stopped by an abort, a fast producer held back by a slow consumer, stopping
after ten items, a timeout, and a supervised pool of workers that counts words
while one of them fails. Every number printed was measured in this run."""

EPILOG = f"""\
examples:
  {PROG}
  {PROG} --query generator --backend asyncio
  {PROG} notes.txt diary.txt --query holiday

exit status:
  {OK}    every scene ran, whether or not the query found anything
  {BAD_INPUT}    a wrong argument, a file that cannot be streamed, or no such backend
  {INTERRUPTED}  interrupted (Ctrl-C)
  {BROKEN_PIPE}  the reader of the output went away"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        The exit status, as the help text lists them.

    Raises:
        SystemExit: From the argument parser: after ``--help``, ``--version``, or a wrong argument.
    """
    _escape_unencodable()
    try:
        return _run(_parse(argv))
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BaseExceptionGroup as group:
        # trio may wrap a Ctrl-C in the exception group of a task group.
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return _fail("interrupted", INTERRUPTED)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    try:
        return _parser().parse_args(argv)
    finally:
        # The help text ends with SystemExit; notice here that its reader went away.
        print(end="", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a text file in UTF-8 (default: the documentation that CPython ships)",
    )
    parser.add_argument(
        "--query",
        metavar="TEXT",
        help="what the lines of the session must contain, in upper or lower case"
        " (default: the commonest long word of the text)",
    )
    parser.add_argument(
        "--backend",
        choices=(*BACKENDS, "both"),
        default="both",
        help="the event loop to run on (default: both, as far as they are installed)",
    )
    parser.add_argument("--version", action="version", version=f"actorstream {__version__}")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.backend == "trio" and not _is_installed("trio"):
        return _fail(NO_TRIO, BAD_INPUT)
    try:
        text = read_files(arguments.files) if arguments.files else read_documentation()
    except TextError as error:
        return _fail(str(error), BAD_INPUT)
    query = text.commonest_word() if arguments.query is None else arguments.query
    _show(text, query, BACKENDS if arguments.backend == "both" else (arguments.backend,))
    return OK


def _show(text: Text, query: str, backends: Sequence[str]) -> None:
    size = f"{len(text.lines):,} lines, {len(text.words):,} words"
    _print_block(f"actorstream {__version__}", {"text": plain(text.name), "size": size})
    for backend in backends:
        if _is_installed(backend):
            _show_backend(text, query, backend)
        else:
            _print_block(f"== {backend} == skipped: {NO_TRIO}", {})


def _show_backend(text: Text, query: str, backend: str) -> None:
    _print_block(f"== {backend} ==", {})
    started = perf_counter()
    numbers = count(1)
    for scene in SCENES:
        _print_block(scene.title, {})
        for part in scene.parts:
            facts = anyio.run(part.run, text, query, backend=backend)
            _print_block(f"{next(numbers)}. {part.title}", facts)
    elapsed = duration(perf_counter() - started)
    _print_block(f"{backend}: {len(SCENES)} scenes in {elapsed}", {})


def _print_block(title: str, facts: dict[str, str]) -> None:
    # Flush, to notice here that the reader went away, not at the interpreter's exit.
    print(block(title, facts, shutil.get_terminal_size().columns), flush=True)


def _is_installed(backend: str) -> bool:
    return backend == "asyncio" or find_spec(backend) is not None


def _fail(message: str, status: int) -> int:
    print(f"{PROG}: {message}", file=sys.stderr)
    return status


def _escape_unencodable() -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # A stand-in for stdout may not be a file.
        reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    # The interpreter's flush at exit would fail again on what is still buffered.
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
