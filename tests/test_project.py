"""The project itself: its layout, its dependencies, the README's two commands."""

import re
import subprocess
import tomllib
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "actorstream",
    "docs",
    "noxfile.py",
    "pyproject.toml",
    "tests",
}
COMMANDS = {"demo", "tests"}


def tracked_files() -> list[str]:
    """List the files that git tracks; outside a checkout, skip the test."""
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not in a git checkout")
    return listed.stdout.splitlines()


def dependencies() -> list[str]:
    """Read the run-time dependencies of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def readme_commands() -> dict[str, str]:
    """Read the fenced block after each ``<!-- command: NAME -->``."""
    pattern = r"^<!-- command: (\w+) -->\n+```sh\n(.*?)^```$"
    found = re.findall(pattern, (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == len(dict(found)), "a command's name stands twice in the README"
    return {name: block.removesuffix("\n") for name, block in found}


def ci_command(name: str) -> str:
    """Return the command that `.ci/run` runs."""
    script = ROOT / ".ci" / "readme-command"
    return subprocess.run([script, name], capture_output=True, text=True, check=True).stdout.strip()


def test_the_top_level_holds_what_it_should_and_no_more() -> None:
    top = {Path(name).parts[0] for name in tracked_files()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_the_runtime_depends_on_anyio_and_attrs_alone() -> None:
    names = {re.split(r"[^\w-]", wanted)[0] for wanted in dependencies()}
    assert names == {"anyio", "attrs"}


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("actorstream").joinpath("py.typed").is_file()


def test_the_readme_has_two_commands_each_one_line() -> None:
    commands = readme_commands()
    assert set(commands) == COMMANDS
    assert not [command for command in commands.values() if "\n" in command]


def test_each_command_makes_its_own_environment() -> None:
    assert all(text.startswith("python3 -m venv .venv && ") for text in readme_commands().values())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_ci_runs_exactly_what_the_readme_says(name: str) -> None:
    if not (ROOT / ".ci").is_dir():
        pytest.skip("not in a checkout")
    assert ci_command(name) == readme_commands()[name]
    assert f"$(.ci/readme-command {name})" in (ROOT / ".ci" / "run").read_text()
