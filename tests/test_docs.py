"""The README and the docs do what they say: samples run, outputs match, links lead somewhere.

How a page is read:

- The ```` ```python ```` fences under one ``##`` heading are one program, in their order. On a
  page that says so in a comment (``<!-- samples: one program -->``), all of them are.
- What a fence prints is in the ```` ```text ```` fence that follows it. No such fence: it prints
  nothing.
- A program that calls ``anyio.run(main)`` runs on asyncio and on trio; any other runs as it is.
- A fence with ``await`` at its top is a cell of a notebook: each runs in a task of its own.
- Nothing else is set up: each program starts with an empty namespace.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain, count, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import attrs
import pytest

import actorstream
import actorstream.testing
from actorstream._actors import lifecycle
from actorstream._supervision import policy

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
BACKENDS = ("asyncio", "trio")
LANGUAGES = {"", "mermaid", "python", "sh", "text", "typescript"}
DIRECTIVES = {"{eval-rst}", "{literalinclude}", "{toctree}"}

ENDINGS: tuple[lifecycle.Ending, ...] = ("normal", "shutdown", "abnormal")

RUN = "anyio.run(main)"
ONE_PROGRAM = "<!-- samples: one program -->"


class Fence(NamedTuple):
    """A fenced block: its language, its text, and the line number where the text begins."""

    language: str
    text: str
    line: int


class Heading(NamedTuple):
    """A heading: its level, from 1, and its text."""

    level: int
    text: str


class Sample(NamedTuple):
    """Code and its output."""

    code: Fence
    output: str


class Program(NamedTuple):
    """Samples that build on each other."""

    page: Path
    samples: list[Sample]

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.samples[0].code.line}"

    @property
    def source(self) -> str:
        return "".join(sample.code.text for sample in self.samples)

    @property
    def backends(self) -> tuple[str, ...]:
        """Where to run it; as it is, for a program that chooses for itself."""
        return BACKENDS if RUN in self.source else ("as it is",)


def parse(text: str) -> Iterator[Fence | Heading | str]:
    """Split a page into fences, headings and other lines."""
    lines = iter(enumerate(text.splitlines(keepends=True), 1))
    for number, line in lines:
        if line.startswith("```"):
            language = line[3:].strip()
            body: list[str] = []
            for _, inner in lines:
                if inner.startswith("```"):
                    break
                body.append(inner)
            else:
                raise AssertionError(f"the fence in line {number} is never closed")
            yield Fence(language, "".join(body), number + 1)
        elif heading := re.match(r"(#{1,6}) (.*)", line):
            yield Heading(len(heading[1]), heading[2])
        else:
            yield line


def fences(page: Path) -> list[Fence]:
    return [part for part in parse(page.read_text()) if isinstance(part, Fence)]


def headings(page: Path) -> list[Heading]:
    return [part for part in parse(page.read_text()) if isinstance(part, Heading)]


def anchors(page: Path) -> set[str]:
    """Build the anchors that GitHub and MyST make from a page's headings."""
    found: set[str] = set()
    for heading in headings(page):
        slug = re.sub(r"[^\w\- ]", "", heading.text.lower()).strip().replace(" ", "-")
        numbered = (f"{slug}-{number}" for number in count(1))
        found.add(next(anchor for anchor in chain([slug], numbered) if anchor not in found))
    return found


def links(page: Path) -> list[str]:
    """List the targets of a page's links and images, except for those in code."""
    prose = "".join(part for part in parse(page.read_text()) if isinstance(part, str))
    prose += "".join(heading.text for heading in headings(page))
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "code", prose))


def programs(page: Path) -> list[Program]:
    """Collect the programs of a page."""
    text = page.read_text()
    found: list[Program] = []
    samples: list[Sample] = []
    for part in parse(text):
        if isinstance(part, Heading) and part.level <= 2 and ONE_PROGRAM not in text:
            samples = []
        if not isinstance(part, Fence):
            continue
        if part.language == "python":
            if not samples:
                found.append(Program(page, samples))
            samples.append(Sample(part, ""))
        elif part.language == "text":
            where = f"{page.name}:{part.line}"
            assert samples, f"{where}: an output without a sample before it"
            assert not samples[-1].output, f"{where}: a second output of one sample"
            samples[-1] = samples[-1]._replace(output=part.text)
    return found


def needs(source: str) -> pytest.MarkDecorator:
    """Skip a program that imports something this environment lacks."""
    imports = re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)
    missing = sorted({name for name in imports if find_spec(name) is None})
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


RUNS = [
    pytest.param(program, backend, id=f"{program.id}-{backend}", marks=needs(program.source))
    for page in PAGES
    for program in programs(page)
    for backend in program.backends
]


def run_program(program: Program, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a program and compare what each sample prints with what the page shows."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as notebook:
        for code, output in program.samples:
            # As many empty lines before it as on the page, so that a traceback shows the page.
            source = "\n" * (code.line - 1) + code.text
            if backend in BACKENDS:
                source = source.replace(RUN, f"anyio.run(main, backend={backend!r})")
            cell = compile(source, program.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if cell.co_flags & inspect.CO_COROUTINE:
                notebook.run(eval(cell, namespace))
            else:
                exec(cell, namespace)
            printed, complaints = capsys.readouterr()
            assert printed == output, f"{program.page.name}:{code.line}"
            assert not complaints


@pytest.mark.real_clock
@pytest.mark.slow
@pytest.mark.parametrize(("program", "backend"), RUNS)
def test_a_sample_runs_and_prints_what_the_page_shows(
    program: Program, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_program(program, backend, capsys)


def recipe(heading: str) -> str:
    """Return the code under a heading of the page on tests."""
    text = (DOCS / "testing.md").read_text()
    start = text.count("\n", 0, text.index(f"\n{heading}\n")) + 1
    return next(
        program.source
        for program in programs(DOCS / "testing.md")
        if program.samples[0].code.line > start
    )


@pytest.mark.real_clock
@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "plugin", "options"),
    [
        ("## Use with pytest", "anyio", ["-p", "no:asyncio"]),
        ("## Use with pytest-asyncio", "pytest_asyncio", ["-o", "asyncio_mode=auto"]),
    ],
)
def test_a_recipe_for_pytest_runs(
    heading: str, plugin: str, options: list[str], tmp_path: Path
) -> None:
    pytest.importorskip(plugin)
    (tmp_path / "test_recipe.py").write_text(recipe(heading))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir=.", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_recipe_for_pytest_asyncio_runs_in_three_tasks() -> None:
    """As pytest-asyncio runs it, also if that is not installed."""
    namespace: dict[str, Any] = {}
    exec(re.sub(r"@pytest\.\S+.*\n", "", recipe("## Use with pytest-asyncio")), namespace)
    fixture = namespace["router"]()
    with asyncio.Runner() as runner:
        router = runner.run(anext(fixture))
        runner.run(namespace["test_echo"](router))
        assert runner.run(anext(fixture, "done")) == "done"
    actorstream.testing.assert_nothing_left(router)


@pytest.mark.parametrize("shown", ["", "```text\n2\n```\n"])
def test_an_output_that_is_missing_or_wrong_is_noticed(
    shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```python\nprint(1)\n```\n\n{shown}")
    [program] = programs(page)
    with pytest.raises(AssertionError, match=r"page\.md:2"):
        run_program(program, "as it is", capsys)


def test_a_program_sees_nothing_of_the_previous_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\n## Next\n```python\nprint(a)\n```\n")
    _, later = programs(page)
    with pytest.raises(NameError):
        run_program(later, "as it is", capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_has_a_known_language(page: Path) -> None:
    """A misspelt language would silently take a sample out of the tests."""
    words = {fence.language.partition(" ")[0] for fence in fences(page)}
    assert words <= LANGUAGES | DIRECTIVES
    indented = [part for part in parse(page.read_text()) if re.match(r"\s+```", str(part))]
    assert not indented


def test_the_pages_have_samples() -> None:
    pages = {program.page.name for page in PAGES for program in programs(page)}
    expected = {"README.md", "tutorial.md", "how-to.md", "migration.md", "best-practices.md"}
    expected |= {"messages.md", "lifecycle.md", "supervision.md", "ports.md", "testing.md"}
    expected |= {"leaving.md"}
    assert expected <= pages


RUNNABLE = [pytest.param(path, id=path.stem, marks=needs(path.read_text())) for path in EXAMPLES]


def run_example(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a file with the package under test, with warnings as errors."""
    package = find_spec("actorstream")
    assert package is not None
    assert package.origin is not None
    return subprocess.run(
        [sys.executable, "-W", "error", path.name, *arguments],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(Path(package.origin).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.real_clock
@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", RUNNABLE)
def test_an_example_runs_alone_and_prints_its_recorded_output(path: Path, backend: str) -> None:
    done = run_example(path, backend)
    assert (done.stdout, done.stderr) == (path.with_suffix(".txt").read_text(), "")
    assert done.returncode == 0


def test_an_example_without_an_argument_runs_on_asyncio() -> None:
    path = DOCS / "examples" / "session_search.py"
    assert run_example(path).stdout == path.with_suffix(".txt").read_text()


def test_every_example_is_in_the_index_with_its_output() -> None:
    listed = set(links(DOCS / "index.md"))
    files = {f"examples/{path.name}" for path in EXAMPLES}
    outputs = {f"examples/{path.with_suffix('.txt').name}" for path in EXAMPLES}
    assert EXAMPLES
    assert files | outputs <= listed


def test_every_example_is_shown_whole_with_its_output() -> None:
    included = [
        fence.language.partition(" ")[2]
        for fence in fences(DOCS / "examples.md")
        if fence.language.startswith("{literalinclude}")
    ]
    pairs = ((path, path.with_suffix(".txt")) for path in EXAMPLES)
    assert sorted(included) == [f"examples/{file.name}" for file in chain(*pairs)]


def other_pages() -> set[str]:
    return {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_every_page_is_in_the_index() -> None:
    assert other_pages() <= set(links(DOCS / "index.md"))


def test_every_page_is_one_of_the_four_kinds() -> None:
    kinds: dict[str, list[str]] = {}
    for fence in fences(DOCS / "index.md"):
        if fence.language == "{toctree}":
            caption, _, pages = fence.text.partition(":hidden:\n")
            kinds[caption.removeprefix(":caption: ").strip()] = pages.split()
    assert list(kinds) == ["Tutorial", "How-to guides", "Reference", "Explanation"]
    assert sorted(f"{name}.md" for name in chain(*kinds.values())) == sorted(other_pages())


def generated() -> dict[str, list[str]]:
    """Map each module to the names whose docstrings the page about the API shows."""
    shown: dict[str, list[str]] = {"actorstream": [], "actorstream.testing": []}
    module = ""
    for fence in fences(DOCS / "api.md"):
        for directive, name in re.findall(r"^\.\. (\w+):: ([\w.]+)", fence.text, re.MULTILINE):
            if directive == "currentmodule":
                module = name
            elif not name.startswith("actorstream._"):
                shown[module].append(name)
    return shown


@pytest.mark.parametrize("module", [actorstream, actorstream.testing], ids=lambda it: it.__name__)
def test_the_page_about_the_api_shows_every_public_name_once(module: ModuleType) -> None:
    assert sorted(generated()[module.__name__]) == sorted(module.__all__)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("furo") is None, reason="needs the dependency group docs")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = ["sphinx", "-n", "-W", "--keep-going", "-q", "-E", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in links(page):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def proofs() -> list[tuple[str, list[str]]]:
    """List each guarantee with the tests that prove it."""
    text = (DOCS / "guarantees.md").read_text()
    sections = re.findall(r"^### (\d+)\. .*\n((?:(?!#).*\n)*)", text, re.MULTILINE)
    return [(number, re.findall(r"`([\w/]+\.py::\w+)`", body)) for number, body in sections]


def functions_in(module: str) -> set[str]:
    """List the test functions of a module, which is parsed and not imported."""
    body = ast.parse((ROOT / "tests" / module).read_text()).body
    functions = [it for it in body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {it.name for it in functions if it.name.startswith("test_")}


def test_the_guarantees_are_numbered_from_one() -> None:
    numbers = [int(number) for number, _ in proofs()]
    assert len(numbers) > 30
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(("number", "proving"), proofs(), ids=[number for number, _ in proofs()])
def test_each_guarantee_names_tests_that_exist(number: str, proving: list[str]) -> None:
    assert proving
    for proof in proving:
        module, _, name = proof.partition("::")
        assert name in functions_in(module), proof


def documented() -> dict[str, str]:
    """Map each name that has a heading in the reference to the text below that heading."""
    parts = list(parse((DOCS / "reference.md").read_text()))
    starts = [index for index, part in enumerate(parts) if isinstance(part, Heading)]
    sections: dict[str, str] = {}
    for start, end in pairwise([*starts, len(parts)]):
        heading = parts[start]
        assert isinstance(heading, Heading)
        body = (part for part in parts[start + 1 : end] if isinstance(part, str))
        if name := re.fullmatch(r"`([\w.]+)`", heading.text):
            sections[name[1]] = "".join(body)
    return sections


def find(name: str) -> Any:
    """Return the object that a documented name stands for, as its class holds it."""
    value: Any = actorstream
    for part in name.split("."):
        value = inspect.getattr_static(value, part)
    return value


def public_names() -> Iterator[str]:
    """List the package's names, and the public methods and properties of its classes."""
    for name in (*actorstream.__all__, *(f"testing.{it}" for it in actorstream.testing.__all__)):
        yield name
        value = find(name)
        if isinstance(value, type) and not issubclass(value, Exception):
            data = {field.name for field in attrs.fields(value)} if attrs.has(value) else set()
            for member in vars(value):
                if not member.startswith("_") and member not in data | UNDOCUMENTED:
                    if inspect.ismemberdescriptor(find(f"{name}.{member}")):
                        continue  # a slot: the class's own section describes it
                    yield f"{name}.{member}"


UNDOCUMENTED = {"time"}  # a method that every event loop has


def test_every_public_name_has_a_heading_in_the_reference() -> None:
    assert set(public_names()) <= documented().keys()


def test_every_name_in_a_heading_exists() -> None:
    for name in documented():
        find(name)


def shape(code: str) -> list[tuple[str, str, str]]:
    """Reduce a signature to names, kinds and defaults, without annotations."""
    tree = ast.parse(f"def f({code}): pass").body[0]
    assert isinstance(tree, ast.FunctionDef)
    for node in ast.walk(tree.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    bare = ast.unparse(tree.args)
    namespace: dict[str, Any] = {}
    exec(f"def f({bare}): pass", namespace)
    return shape_of(inspect.signature(namespace["f"]))


def shape_of(signature: inspect.Signature) -> list[tuple[str, str, str]]:
    """List names, kinds and defaults; ``...`` stands for a default that is made by a factory."""
    return [
        (
            parameter.name,
            parameter.kind.name,
            repr(... if parameter.default is attrs.NOTHING else parameter.default),
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]


def called(name: str) -> Any:
    """Return the callable behind a documented name, or ``None`` for a property and the like."""
    value = find(name)
    if isinstance(value, staticmethod):
        return value.__func__
    if isinstance(value, type):
        return None if issubclass(value, Exception) else value
    return value if callable(value) else None


NOT_FOR_USERS_TO_CALL = {"Port", "Stream", "Subscription"}


def signatures() -> Iterator[Any]:
    for name, section in documented().items():
        if called(name) is not None and name not in NOT_FOR_USERS_TO_CALL:
            yield pytest.param(name, section, id=name)


@pytest.mark.parametrize(("name", "section"), list(signatures()))
def test_a_signature_in_the_reference_matches_the_code(name: str, section: str) -> None:
    written = re.match(r"\s*`(?:await )?([\w.]+)\((.*?)\)(?: -> [^`]+)?`", section, re.DOTALL)
    assert written is not None, f"the section of {name} does not begin with its signature"
    assert written[1] == (name if "." not in name else name.rpartition(".")[2])
    assert shape(" ".join(written[2].split())) == shape_of(inspect.signature(called(name)))


def test_the_reference_lists_every_option_of_a_stream_with_its_default() -> None:
    section = documented()["StreamAsyncOptions"]
    for field in attrs.fields(actorstream.StreamAsyncOptions):
        default = f'"{field.default}"' if isinstance(field.default, str) else field.default
        assert f"| `{field.name}` | `{default}` |" in section


def test_the_reference_says_which_builtin_errors_each_error_is() -> None:
    for name in actorstream.__all__:
        error = getattr(actorstream, name)
        if isinstance(error, type) and issubclass(error, Exception):
            bases = [base.__name__ for base in error.__bases__]
            assert all(f"`{base}`" in documented()[name] for base in bases), name


def test_the_diagram_of_an_actors_life_shows_the_table() -> None:
    [drawn] = [fence.text for fence in fences(DOCS / "lifecycle.md") if fence.language == "mermaid"]
    arrows = re.findall(r"^    (\w+) --> (\w+): (\w+)$", drawn, re.MULTILINE)
    assert [(state, transition, following) for state, following, transition in arrows] == [
        (state, transition, following)
        for state, possible in lifecycle.TABLE.items()
        for transition, following in possible.items()
    ]


def test_the_page_about_life_names_every_transition() -> None:
    transitions = {name for possible in lifecycle.TABLE.values() for name in possible}
    page = (DOCS / "lifecycle.md").read_text()
    assert all(f"| `{transition}` |" in page for transition in transitions)


def test_the_nine_cases_on_the_page_are_those_of_the_policy() -> None:
    page = (DOCS / "supervision.md").read_text()
    rows = re.findall(r'^\| `"(\w+)"`[^|]*\| (yes|no) \| (yes|no) \| (yes|no) \|$', page, re.M)
    shown = {
        (restart, ending): cell
        for restart, *cells in rows
        for ending, cell in zip(ENDINGS, cells, strict=True)
    }
    decided = {
        (restart, ending): "yes" if policy.restarts(restart, ending) else "no"
        for restart in get_args(policy.Restart)
        for ending in ENDINGS
    }
    assert shown == decided
