"""``python -m actorstream``: what it shows, what it accepts, and how it ends."""

import importlib
import io
import logging
import os
import re
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import attrs
import pytest

import actorstream
from actorstream import Actor, handles
from actorstream._demo import cli, counting, report, streaming
from actorstream._demo.report import Facts
from actorstream._demo.scenes import Part, Scene
from actorstream._demo.text import Text, TextError, read_documentation, read_files

pytestmark = pytest.mark.slow

POEM = "The quick brown fox\n\njumps over the lazy dog\nand the quick cat\n"
TITLES = [
    "1. A session, filtered by a query",
    "2. Words one by one, stopped by an abort",
    "3. A fast producer, a slow consumer",
    "4. Stopping after ten items, with break",
    "5. A timeout",
    "6. A supervised pool of workers that counts words",
]


@attrs.frozen
class Run:
    """A finished run of the command line."""

    status: int
    out: str
    err: str

    def fact(self, label: str, scene: int) -> str:
        """Return one fact of a scene, with its wrapped lines joined."""
        block = self.out.split(TITLES[scene - 1])[1].split("\n\n")[0]
        found = re.search(rf"^   {label} +(.*(?:\n {{13}}.*)*)", block, re.MULTILINE)
        assert found, f"no {label!r} in:\n{block}"
        return " ".join(found[1].split())

    def number(self, label: str, scene: int) -> int:
        """Return the number that a fact begins with."""
        return int(self.fact(label, scene).split()[0].replace(",", ""))


RunMain = Callable[..., Run]


def captured(status: int, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a run with its printed output."""
    output = capsys.readouterr()
    return Run(status, output.out, output.err)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> RunMain:
    """Run the command line in this process."""

    def run_main(*argv: str) -> Run:
        status = cli.main(argv)
        return captured(status, capsys)

    return run_main


@pytest.fixture
def poem(tmp_path: Path) -> str:
    """The path of a short text file."""
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The finished run of all scenes on a short text file, on each backend in turn."""
    path = tmp_path_factory.mktemp("shown") / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    with redirect_stdout(io.StringIO()) as out:
        status = cli.main([str(path), "--query", "THE", "--backend", request.param])
    return Run(status, out.getvalue(), "")


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    return str(request.param)


@pytest.fixture
def no_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the scenes, for tests of what surrounds them."""
    monkeypatch.setattr(cli, "SCENES", ())


ENDLESS = """
import signal, sys
from actorstream._demo import cli, streaming

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have had it ignored
streaming.Lead.count_consumed = lambda self: print("reading", flush=True)  # and never enough
sys.exit(cli.main(sys.argv[1:]))
"""


@contextmanager
def python(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python as a process of its own, with warnings as errors and pipes."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=Path(actorstream.__file__).parents[1],
        env={**os.environ, "PYTHONUTF8": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


# What it shows


def test_default_run(run: RunMain) -> None:
    """Without arguments it shows both scenes on each backend, with CPython's documentation."""
    result = run()
    assert result.status == 0
    assert "the documentation of Python" in result.out
    assert [result.out.count(title) for title in TITLES] == [2] * 6
    assert result.out.count("First scene: ") == result.out.count("Second scene: ") == 2
    assert result.out.count("2 scenes in") == 2
    assert result.err == ""


def test_session(shown: Run) -> None:
    """A session answers with the lines that contain the query, whatever their case."""
    assert shown.fact("query", 1) == '"THE"'
    assert shown.fact("found", 1) == "3 of 3 lines"
    assert shown.fact("first", 1) == '"The quick brown fox"'


def test_abort(shown: Run) -> None:
    """An abort ends the words at once, shows its reason, and runs the actor's `finally`."""
    assert shown.fact("words", 2).startswith('"The quick brown fox jumps over the lazy dog and the')
    assert shown.number("received", 2) == 12
    assert 12 <= shown.number("produced", 2) <= 12 + 101
    assert shown.fact("reason", 2) == "the reader has seen enough"
    assert "nan" not in shown.fact("time", 2)


def test_slow_consumer(shown: Run) -> None:
    """A fast producer is ahead by at most the buffer and one item."""
    assert "at most 11 (" in shown.fact("ahead", 3)
    assert 1 <= shown.number("ahead", 3) <= 11
    assert shown.number("producer", 3) <= shown.number("consumer", 3) + 11


def test_ten_items(shown: Run) -> None:
    """After a break the actor's `finally` has run, and the router counts no stream."""
    assert shown.number("received", 4) == 10
    assert 10 <= shown.number("produced", 4) <= 10 + 101
    assert re.match(r"ran [\d.]+ m?s after the break", shown.fact("finally", 4))
    assert shown.number("left", 4) == 0


def test_timeout(shown: Run) -> None:
    """A stream that takes too long ends with a timeout error, after the items before it."""
    assert shown.fact("outcome", 5).startswith("StreamTimeoutError, kind 'total', after ")
    assert shown.number("received", 5) >= 1


def test_words_counted(shown: Run) -> None:
    """The pool's counts equal those of `collections.Counter`."""
    assert shown.fact("counted", 6) == "13 words, 11 different ones"
    assert shown.fact("commonest", 6) == '"quick" 2 times, "the" 2 times, "The" 1 times'
    assert shown.fact("check", 6) == "equal to collections.Counter over the same 13 words"


def test_worker_restarted(shown: Run) -> None:
    """One worker fails and is restarted once; the log of it is shown."""
    assert shown.number("restarts", 6) == 1
    assert re.fullmatch(
        r"@\(pool/[abcd]\) failed, and will be restarted; BrokenDownError\('out of order'\)",
        shown.fact("failure", 6),
    )


def test_progress(shown: Run) -> None:
    """The port reports each piece that was counted, up to the last."""
    assert shown.fact("progress", 6) == "13 reports, the last one: 13 of 13 pieces"


def test_tree(shown: Run) -> None:
    """The tree shows the router at work: the pool, the restarted worker, the open port."""
    tree = shown.fact("tree", 6)
    assert 1 <= int(re.findall(r"^when (\d+) pieces had been counted: ", tree)[0]) <= 13
    assert "pool (Supervisor): running" in tree
    assert len(re.findall(r"pool/[abcd] \(Worker\): running", tree)) == 4
    assert tree.count(", 1 restart") == 1
    assert "port 'progress': 1 subscriber," in tree


def test_tree_keeps_its_shape(shown: Run) -> None:
    """Each actor has its own line in the tree, indented below its supervisor."""
    assert re.search(r"^ {13}pool \(S.*\n {15}pool/a \(W.*\n {15}pool/b", shown.out, re.MULTILINE)


class ForgetfulWorker(counting.Worker):
    """Counts nothing."""

    @handles("count")
    async def count(self, payload: Sequence[str]) -> Counter[str]:
        return Counter()


def test_miscounting_worker(
    run: RunMain, poem: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that differs from `collections.Counter` fails the demonstration."""
    monkeypatch.setattr(counting, "Worker", ForgetfulWorker)
    with pytest.raises(RuntimeError, match="lost or invented words"):
        run(poem, "--backend", backend)


def test_one_word(run: RunMain, tmp_path: Path, backend: str) -> None:
    """A text of one word is enough for a worker to fail and to be restarted."""
    path = tmp_path / "one.txt"
    path.write_text("one")
    result = run(str(path), "--backend", backend)
    assert result.number("restarts", 6) == 1
    assert result.fact("progress", 6) == "1 reports, the last one: 1 of 1 pieces"
    assert result.err == ""


def test_log_is_captured_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """The log is captured line by line, and goes its usual way afterwards."""
    logger = logging.getLogger("actorstream")
    with counting.kept_log() as lines:
        logger.warning("of %s", "old")
    logger.warning("as before")
    assert lines == ["of old"]
    assert caplog.messages == ["as before"]


class FailingActor(Actor):
    """Fails instead of streaming."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    async def stream_async(self, payload: object) -> AsyncIterator[str]:
        yield self.lines[0]
        raise ValueError("the session is lost")


def test_failing_actor(
    run: RunMain, poem: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error event fails the demonstration, which says why."""
    monkeypatch.setattr(streaming, "SessionActor", FailingActor)
    with pytest.raises(RuntimeError, match="the session is lost"):
        run(poem, "--backend", backend)


def test_streams_that_end_early(
    run: RunMain, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that ends before its abort or its timeout is reported as such."""
    monkeypatch.setattr(streaming, "cycle", iter)
    path = tmp_path / "short.txt"
    path.write_text("one two")
    result = run(str(path), "--backend", backend)
    assert result.number("received", 2) == result.number("produced", 2) == 2
    assert result.fact("reason", 2) == "none: the stream was read to its end"
    assert result.fact("outcome", 5).startswith("none: the stream was read to its end, after ")


# What it accepts


def test_long_search(run: RunMain, tmp_path: Path) -> None:
    """A search of thousands of lines without a match finds nothing, and does not fail."""
    path = tmp_path / "long.txt"
    path.write_text("nothing here\n" * 2500)
    result = run(str(path), "--query", "needle", "--backend", "asyncio")
    assert (result.status, result.fact("found", 1)) == (0, "0 of 2,500 lines")
    assert "first" not in result.out.split(TITLES[1])[0]


@pytest.mark.usefixtures("no_scenes")
def test_several_files(run: RunMain, poem: str, tmp_path: Path) -> None:
    """Several files are streamed as one text."""
    other = tmp_path / "other.txt"
    other.write_text("one more line")
    result = run(poem, str(other))
    assert "poem.txt, other.txt" in result.out
    assert "4 lines, 16 words" in result.out


def test_default_query(poem: str) -> None:
    """Without a query, the most frequent long word of the text is searched for."""
    assert read_files([poem]).commonest_word() == "quick"


def test_default_query_of_short_words() -> None:
    """A text without long words is searched for its first word."""
    assert Text("digits", ("1 2",), ("1", "2")).commonest_word() == "1"


def test_foreign_bytes(tmp_path: Path) -> None:
    """A byte order mark is dropped, and bytes that are not UTF-8 are replaced."""
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9\r\nbar")
    assert read_files([str(path)]).lines == ("caf\ufffd", "bar")


def bad_file(kind: str, folder: Path) -> Path:
    """Make a file that cannot be streamed."""
    path = folder / "bad\nfile.txt"
    contents = {"binary": b"ELF\0\1", "empty": b"", "blank": b" \n\t\n"}
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing", "No such file"),
        ("directory", "cannot read"),
        ("binary", "NUL byte"),
        ("empty", "is empty"),
        ("blank", "is empty"),
    ],
)
def test_bad_file(run: RunMain, poem: str, tmp_path: Path, kind: str, complaint: str) -> None:
    """A file that cannot be streamed is named in one line on stderr, and the exit status is 2."""
    result = run(poem, str(bad_file(kind, tmp_path)))
    assert (result.status, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert "file.txt" in result.err
    assert complaint in result.err


def test_unreadable_file(run: RunMain, poem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission to read it is named in one line, and the exit status is 2."""

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    result = run(poem)
    assert result.status == 2
    assert re.fullmatch(r".*cannot read '.*poem.txt': Permission denied\n", result.err)


def test_python_without_documentation(run: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CPython's documentation, one line asks for a file; the exit status is 2."""
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    result = run()
    assert result.status == 2
    assert re.fullmatch(r".*name a text file\n", result.err)


def test_documentation_is_plain_text() -> None:
    """The documentation that CPython ships has thousands of lines to stream."""
    assert len(read_documentation().lines) > 1000


def test_error_is_one_for_the_user(tmp_path: Path) -> None:
    """A problem with a file is a `TextError` that keeps its cause."""
    with pytest.raises(TextError) as caught:
        read_files([str(tmp_path / "missing.txt")])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


# Backends


@pytest.mark.usefixtures("no_scenes")
def test_both_without_trio(run: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trio, one line says so, and asyncio runs."""
    monkeypatch.setitem(sys.modules, "trio", None)
    result = run()
    assert result.status == 0
    assert "asyncio: 0 scenes in" in result.out
    assert "== trio == skipped: trio is not installed (pip install trio)\n" in result.out


def test_trio_without_trio(run: RunMain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for trio where it is not installed prints one line on stderr, exit status 2."""
    monkeypatch.setitem(sys.modules, "trio", None)
    result = run("--backend", "trio")
    assert (result.status, result.out) == (2, "")
    assert re.fullmatch(r".*trio is not installed.*\n", result.err)


@pytest.mark.usefixtures("no_scenes")
def test_one_backend(run: RunMain) -> None:
    """If a backend is named, only that one runs."""
    assert "trio" not in run("--backend", "asyncio").out


# The command line itself


def leave(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line that the argument parser ends."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert isinstance(caught.value.code, int)
    return captured(caught.value.code, capsys)


@pytest.mark.parametrize(
    "part",
    ["FILE", "--query", "--backend", "--version", "default: both", "examples:", "exit status:"],
)
def test_help(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help text lists the options, their defaults, examples, and the exit status."""
    result = leave(["--help"], capsys)
    assert result.status == 0
    assert part in result.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version of the library."""
    result = leave(["--version"], capsys)
    assert result == Run(0, f"actorstream {actorstream.__version__}\n", "")


def test_unknown_backend(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown backend is refused with exit status 2 and a list of the known ones."""
    result = leave(["--backend", "twisted"], capsys)
    assert result.status == 2
    assert all(name in result.err for name in ("twisted", "asyncio", "trio", "both"))


def test_module_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m actorstream` is `main()` with the arguments of the process."""
    monkeypatch.setattr(sys, "argv", ["actorstream", "--version"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("actorstream", run_name="__main__")
    assert capsys.readouterr().out.startswith("actorstream ")


def test_import_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Importing the module of the demonstration runs nothing."""
    importlib.import_module("actorstream.__main__")
    assert capsys.readouterr().out == ""


# Output


def test_narrow_terminal(run: RunMain, poem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is wider than a narrow terminal, and every fact is still there."""
    monkeypatch.setenv("COLUMNS", "40")
    result = run(poem, "--backend", "asyncio")
    assert max(map(len, result.out.splitlines())) <= 40
    assert result.number("left", 4) == 0


def test_hostile_text() -> None:
    """Control characters never reach the terminal, and long text is cut."""
    assert report.quoted(" one\x1b[1m\n two ") == '"one?[1m two"'
    assert report.plain("x" * 1000) == "x" * 157 + "..."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000125, "0.0125 ms"), (0.002, "2 ms"), (0.9999, "1000 ms"), (61.25, "61.25 s")],
)
def test_duration(seconds: float, text: str) -> None:
    """Durations are shown in milliseconds, and from one second on in seconds."""
    assert report.duration(seconds) == text


def test_rate_of_no_time() -> None:
    """A duration of zero does not divide by zero."""
    assert report.rate(1, "items", 0.0) == "1,000,000,000 items/s"


@pytest.mark.usefixtures("no_scenes")
def test_output_to_a_stream(tmp_path: Path, poem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any text stream may replace stdout."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli.main([poem]) == 0


@pytest.mark.usefixtures("no_scenes")
def test_reader_gone(poem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reader of the output goes away, the run ends quietly with exit status 141."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main([poem]) == 141


def interrupting(error: BaseException) -> tuple[Scene, ...]:
    """Make scenes whose only part raises an error."""

    async def interrupted(text: Text, query: str) -> Facts:
        raise error

    return (Scene("Interrupted", (Part("At once", interrupted),)),)


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), BaseExceptionGroup("in a task group", [KeyboardInterrupt()])],
    ids=["bare", "group"],
)
def test_interrupt(
    run: RunMain, poem: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Ctrl-C ends the run with one line and exit status 130, bare or inside a group."""
    monkeypatch.setattr(cli, "SCENES", interrupting(error))
    result = run(poem)
    assert result.status == 130
    assert result.err == "python -m actorstream: interrupted\n"


def test_other_groups_are_not_hidden(
    run: RunMain, poem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other exception group is an error of the demonstration, and is shown."""
    monkeypatch.setattr(cli, "SCENES", interrupting(ExceptionGroup("bug", [ValueError()])))
    with pytest.raises(ExceptionGroup, match="bug"):
        run(poem)


# In its own process


def test_process_into_a_pipe_of_another_encoding(tmp_path: Path) -> None:
    """In an ASCII pipe, other characters are escaped, without a warning."""
    path = tmp_path / "greek.txt"
    path.write_text("αβγ and more", encoding="utf-8")
    with python("-m", "actorstream", str(path), PYTHONIOENCODING="ascii") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\\u03b1" in out
    assert TITLES[-1] in out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a child")
def test_process_interrupted(backend: str) -> None:
    """A real Ctrl-C during a stream leaves no traceback, and exit status 130."""
    with python("-c", ENDLESS, "--backend", backend) as process:
        assert process.stdout
        assert any(line == "reading\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "python -m actorstream: interrupted\n")
