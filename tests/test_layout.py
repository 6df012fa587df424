"""The law of arrows: a module imports from its own floor and those below, and nothing in a circle.

Every import counts, those for types alone and those inside of functions, too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import actorstream

PACKAGE = Path(actorstream.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

WORDS = {
    *("_abort", "_address", "_checks", "_context", "_errors", "_ids", "_message", "_options"),
    *("_kinds", "_lazy_fields", "_pickling", "_statistics", "_texts", "_version", "_wait_graph"),
}
FLOORS = [
    {"_loop", *WORDS},
    {"_streams"},
    {"_sources", "_ports"},
    {"_actors"},
    {"_supervision"},
    {"_router"},
    {"", "testing", "_demo", "__main__"},
]
TYPE_ONLY_ARROW_BACK = ("_actors.actor", "_router")
"""The type of an actor's ``router``; no other import leads upwards."""

HEAVY = {"trio", "uvloop", "starlette", "httpx", "uvicorn", "opentelemetry"}


def name_of(path: Path) -> str:
    """Return a module's name within the package; the package itself is ``""``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def arrows() -> Iterator[tuple[str, str]]:
    """List which module imports which."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            for target in imported(node):
                yield name_of(path), target


def imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (module_in(alias.name) for alias in node.names if inside(alias.name))
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "a relative import hides where it leads"
        if inside(str(node.module)):
            yield from (module_in(f"{node.module}.{alias.name}") for alias in node.names)


def inside(name: str) -> bool:
    return name.split(".")[0] == "actorstream"


def module_in(name: str) -> str:
    """Return the module that a dotted name refers to, without the names inside it."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in NAMES:
        parts.pop()
    return ".".join(parts)


def floor_of(name: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if name.split(".")[0] in floor)


ARROWS = sorted({*arrows()} - {TYPE_ONLY_ARROW_BACK})


def test_every_module_has_a_floor_and_its_imports_are_found() -> None:
    """The tests below check all modules, including those in folders."""
    assert len(NAMES) == len(MODULES) > 50
    assert all(floor_of(name) >= 0 for name in NAMES)
    assert {("_streams.stream", "_streams.channel"), TYPE_ONLY_ARROW_BACK} <= {*arrows()}


@pytest.mark.parametrize(("module", "target"), ARROWS, ids=lambda name: name or "actorstream")
def test_an_import_leads_down(module: str, target: str) -> None:
    """No module imports from a floor above its own, or from another folder on its floor."""
    assert floor_of(target) <= floor_of(module)
    if floor_of(target) == floor_of(module) > 0 and floor_of(module) < len(FLOORS) - 1:
        assert target.split(".")[0] == module.split(".")[0]


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {name: set() for name in NAMES}
    for module, target in ARROWS:
        graph[module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_folder_of_the_package_is_flat() -> None:
    """A folder holds modules; its ``__init__`` has a docstring and imports nothing."""
    for path in PACKAGE.glob("*/__init__.py"):
        assert len(ast.parse(path.read_text()).body) == 1, path
        assert not [inner for inner in path.parent.iterdir() if (inner / "__init__.py").exists()]


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Optional dependencies are imported where they are used."""
    code = "import sys, actorstream, actorstream.testing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "actorstream" in loaded.split()
    assert not HEAVY & set(loaded.split())


def test_only_one_folder_knows_the_backends() -> None:
    """Apart from the clocks for tests, what AnyIO does not offer is in `_loop/`."""
    knowing = {
        name_of(path).split(".")[0]
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        for name in foreign(node)
        if name in ("asyncio", "trio")
    }
    assert knowing == {"_loop", "testing"}


def foreign(node: ast.AST) -> Iterator[str]:
    """Name the libraries that an import leads to."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module).split(".")[0]
