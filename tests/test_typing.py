"""Types are part of the API: the samples that type checkers read also run."""

import inspect
import subprocess
import sys
import typing
from importlib.util import find_spec
from pathlib import Path

import pytest

import actorstream
from actorstream import MessageRouter
from tests import typing_samples

pytestmark = pytest.mark.slow

SAMPLES = Path(typing_samples.__file__)

FUNCTIONS = [
    pytest.param(function, id=function.__qualname__)
    for public in actorstream.__all__
    for kind in [getattr(actorstream, public)]
    for name, function in (vars(kind).items() if inspect.isclass(kind) else [(public, kind)])
    if inspect.isfunction(function) and not name.startswith("_")
]


@pytest.fixture
def samples(router: MessageRouter) -> MessageRouter:
    """Return a router with the actors of the samples."""
    typing_samples.register(router)
    return router


@pytest.mark.parametrize(("to", "expected"), [("counter", [0, 1, 2]), ("hand-made", [3])])
async def test_consuming(samples, to, expected):
    """The sample of the event form runs, for bare items and for hand-made messages."""
    assert await typing_samples.consume(samples, to) == expected


async def test_consuming_payloads(samples):
    """The sample of the payload forms runs."""
    assert await typing_samples.consume_payloads(samples) == [0, 1]


async def test_asking(samples):
    """The sample of the older form runs."""
    assert await typing_samples.ask(samples) == [0, 1, 0, 1]


async def test_handling_errors(samples):
    """The sample of options, signals and errors runs."""
    assert await typing_samples.handle_errors(samples) == "enough"


async def test_watching(samples):
    """The sample of ports runs."""
    assert await typing_samples.watch(samples) == [1, 2]


@pytest.mark.parametrize("words", [["a", "b"], []])
@pytest.mark.real_clock
async def test_helpers(samples, words):
    """The sample of the helpers runs."""
    assert await samples.stream_async("plain", "query", words).collect() == words


@pytest.mark.parametrize("function", FUNCTIONS)
def test_annotations_resolve(function):
    """Each public function is annotated, and its annotations resolve at run time."""
    hints = typing.get_type_hints(function, localns=vars(actorstream))
    parameters = inspect.signature(function).parameters.keys() - {"self", "cls"}
    assert hints.keys() >= parameters | {"return"}


needs_mypy = pytest.mark.skipif(not find_spec("mypy"), reason="needs mypy")


def check(source: str, folder: Path) -> str:
    """Return what mypy reports, in strict mode, for a piece of source."""
    folder.joinpath("sample.py").write_text(source)
    arguments = ["--strict", "--config-file=", f"--cache-dir={folder}", f"{folder}/sample.py"]
    command = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@needs_mypy
def test_samples_type_check(tmp_path):
    """mypy finds no errors in the samples."""
    assert check(SAMPLES.read_text(), tmp_path).startswith("Success")


@needs_mypy
def test_wrong_type_is_found(tmp_path):
    """mypy knows a stream's item type: it finds a wrong use."""
    source = SAMPLES.read_text().replace("assert_type(payload, int)", "payload.upper()")
    assert '"int" has no attribute "upper"' in check(source, tmp_path)
