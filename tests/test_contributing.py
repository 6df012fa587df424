"""The contributing page matches the tree: its paths, its nox sessions, its folders."""

import ast
import re

import pytest

from tests.test_docs import DOCS, ROOT, fences

PAGE = DOCS / "contributing.md"
TEXT = PAGE.read_text()
CODE = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = sorted({code for code in CODE if re.fullmatch(r"[\w./-]+(/|\.(py|md|toml|svg))", code)})


def sessions() -> set[str]:
    """List the nox sessions, by the decorators in the noxfile."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        if any("nox.session" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def test_paths_are_found():
    """The test below checks files and folders of each kind."""
    assert {"noxfile.py", "docs/", "docs/performance.svg", "actorstream/_options.py"} <= set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    """Everything on the page that looks like a path of the project exists."""
    assert (ROOT / path).exists()
    assert (ROOT / path).is_dir() == path.endswith("/")


def test_every_session_exists():
    """Each `nox -s NAME` on the page names a session."""
    named = set(re.findall(r"nox (?:-s|--session) (\w+)", TEXT))
    assert {"tests", "bench"} <= named <= sessions()


def test_every_default_session_is_named():
    """Each session that `nox` runs by default is on the page."""
    [listed] = re.findall(r"^nox\.options\.sessions = (\[.*?\])$", noxfile(), re.M | re.S)
    assert all(f"`nox -s {name}`" in TEXT for name in ast.literal_eval(listed))


def noxfile() -> str:
    return (ROOT / "noxfile.py").read_text()


def test_every_folder_has_its_row():
    """Each folder of the package is on the page."""
    wings = {path.parent.name for path in (ROOT / "actorstream").glob("*/__init__.py")}
    assert wings
    assert all(f"| `actorstream/{wing}/` | " in TEXT for wing in wings)


def test_every_marker_and_group_exists():
    """The pytest markers and dependency groups that the page names exist."""
    pyproject = (ROOT / "pyproject.toml").read_text()
    [markers] = re.findall(r"^markers = \[(.*?)^\]", pyproject, re.M | re.S)
    named = {name.split()[-1] for name in re.findall(r'pytest -m "?((?:not )?\w+)"?`', TEXT)}
    assert named
    assert all(f'"{name}: ' in markers for name in named)
    groups = re.findall(r"--group (\w+)", "".join(fence.text for fence in fences(PAGE)))
    assert groups
    assert all(re.search(rf"^{group} = \[", pyproject, re.M) for group in groups)


@pytest.mark.parametrize("title", ["Add an option", "Add an error", "Add a guarantee"])
def test_every_checklist_names_files(title):
    """A checklist names what to change: the code, a test, a page, the changelog."""
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    for place in (r"`actorstream/", r"`tests/[\w/]+\.py`", r"`docs/\w+\.md`", "`CHANGELOG.md`"):
        assert re.search(place, section)
