"""The package as it ships: the wheel and the sdist, built here and used where the checkout is not.

They are built once and installed in an environment of their own, with what the metadata asks for
and pytest. The first steps need a package index; without one, these tests are skipped. Whatever
goes wrong after those is a failure. ``-m "not package"`` leaves them out.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PUBLIC_SURFACE = ROOT / "tests" / "test_public_api.py"
EXAMPLE = ROOT / "docs" / "examples" / "session_search.py"

pytestmark = [pytest.mark.package, pytest.mark.slow]


def run(
    *command: str | Path, cwd: Path, path: str = "", seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of the checkout; ``path`` is its ``PYTHONPATH``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command,
        cwd=cwd,
        env={**clean, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def fetch(python: Path, *arguments: str | Path) -> None:
    """Install from the package index; skip the tests if there is none."""
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--retries=1", "--timeout=10")
    try:
        done = run(*pip, "install", "--quiet", *arguments, cwd=python.parent)
    except subprocess.TimeoutExpired:
        pytest.skip("needs a package index, and this one is too slow")
    if done.returncode:
        pytest.skip(f"needs a package index: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment that contains only pip; return its interpreter."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    made = run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    assert not made.returncode, made.stderr
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="session")
def dist(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from it; return the folder with both."""
    folder = tmp_path_factory.mktemp("dist")
    tools = tmp_path_factory.mktemp("tools")
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    fetch(python, "--target", tools, "build", *backend)
    build = (python, "-m", "build", "--no-isolation", "--outdir", folder)
    done = run(*build, ROOT, cwd=folder, path=str(tools))
    assert not done.returncode, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def installed(python: Path, dist: Path) -> Path:
    """Install the wheel, and pytest; return the interpreter."""
    fetch(python, *PROJECT["dependencies"], "pytest>=9")
    [wheel] = dist.glob("*.whl")
    # Without an index, a requirement of the wheel beyond pyproject.toml fails.
    done = run(python, "-m", "pip", "install", "--quiet", "--no-index", wheel, cwd=dist)
    assert not done.returncode, done.stderr
    return python


@pytest.fixture(scope="session")
def in_wheel(dist: Path) -> set[str]:
    """List the files of the wheel."""
    [wheel] = dist.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="session")
def in_sdist(dist: Path) -> set[str]:
    """List the files of the sdist, below its one folder."""
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="session")
def metadata(dist: Path) -> Message:
    """Read the metadata of the wheel."""
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_public_surface_holds_in_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    """The tests of the public API pass on the wheel."""
    shutil.copy(PUBLIC_SURFACE, tmp_path)
    pytest_ = (installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    done = run(*pytest_, f"--rootdir={tmp_path}", PUBLIC_SURFACE.name, cwd=tmp_path)
    assert not done.returncode, done.stdout + done.stderr
    assert re.search(r"^\d{3,} passed", done.stdout, re.MULTILINE), done.stdout


def test_it_is_the_wheel_that_is_imported(installed: Path, tmp_path: Path) -> None:
    """These tests import the package from the environment, not from the checkout."""
    done = run(installed, "-c", "import actorstream as a; print(a.__file__)", cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(installed.parent.parent)


def test_an_example_runs_without_trio(installed: Path, tmp_path: Path) -> None:
    """The library and its testing module need no trio on asyncio."""
    shutil.copy(EXAMPLE, tmp_path)
    done = run(installed, "-W", "error", EXAMPLE.name, cwd=tmp_path)
    assert (done.stdout, done.stderr) == (EXAMPLE.with_suffix(".txt").read_text(), "")
    missing = run(installed, "-c", "import actorstream.testing, trio", cwd=tmp_path)
    assert "No module named 'trio'" in missing.stderr


def test_the_version_is_the_one_in_the_metadata(installed: Path, tmp_path: Path) -> None:
    """`actorstream.__version__` equals the version in the installed metadata."""
    code = "from importlib.metadata import version; import actorstream as a; "
    code += "print(version('actorstream'), a.__version__)"
    ours, theirs = run(installed, "-c", code, cwd=tmp_path).stdout.split()
    assert ours == theirs


def test_the_command_line_tells_the_version(installed: Path, tmp_path: Path) -> None:
    """`python -m actorstream --version` prints the installed version."""
    done = run(installed, "-m", "actorstream", "--version", cwd=tmp_path)
    shown = run(installed, "-m", "pip", "show", "actorstream", cwd=tmp_path).stdout
    [version] = re.findall(r"^Version: (.*)$", shown, re.MULTILINE)
    assert (done.stdout, done.returncode) == (f"actorstream {version}\n", 0)


def test_the_wheel_holds_the_package_and_nothing_else(in_wheel: set[str]) -> None:
    """The wheel contains each file of the package, including `py.typed`, and no tests."""
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "actorstream").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in in_wheel if ".dist-info/" not in name} == package
    assert "actorstream/py.typed" in in_wheel


def test_the_license_is_in_both(in_wheel: set[str], in_sdist: set[str]) -> None:
    """The wheel and the sdist contain the license."""
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)
    assert "LICENSE" in in_sdist


def test_the_sdist_holds_what_the_tests_need(in_sdist: set[str]) -> None:
    """The sdist is enough to run the tests and to read the docs."""
    wanted = {"CHANGELOG.md", "PKG-INFO", "README.md", "noxfile.py", "pyproject.toml"}
    for folder in ("actorstream", "docs", "tests"):
        wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
    assert wanted - {name for name in wanted if "_build" in name} <= in_sdist


def test_the_sdist_holds_nothing_of_this_machine(in_sdist: set[str]) -> None:
    """The sdist has no environment, no cache, and no hidden file except `.gitignore`."""
    hidden = {name for name in in_sdist if any(part[:1] == "." for part in name.split("/"))}
    assert hidden <= {".gitignore", ".flake8"}
    assert not [name for name in in_sdist if "__pycache__" in name]


def test_the_metadata_says_what_it_runs_on(metadata: Message) -> None:
    """The classifiers list the frameworks, the typing, and each Python that nox tests."""
    classifiers = set(metadata.get_all("Classifier", []))
    frameworks = {f"Framework :: {name}" for name in ("AnyIO", "AsyncIO", "Trio")}
    assert frameworks | {"Typing :: Typed"} <= classifiers
    [oldest] = re.findall(r"^>=(\d+\.\d+)$", metadata["Requires-Python"])
    assert f"Programming Language :: Python :: {oldest}" in classifiers
    assert "python=nox.project.python_versions(PYPROJECT)" in (ROOT / "noxfile.py").read_text()


def test_the_metadata_names_no_host(metadata: Message) -> None:
    """The project has no page on the web, so the metadata has no link to one."""
    assert not metadata.get_all("Project-URL", [])
    assert not metadata.get_all("Home-page", [])


def test_the_description_is_the_readme(metadata: Message) -> None:
    """A package index shows the README, as Markdown, with the license as an expression."""
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "MIT"
