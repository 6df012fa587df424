"""All checks, each in its own environment. ``nox --list`` lists them."""

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = [
    "lint",
    "typing",
    "docs_examples",
    "docs",
    "coverage",
    "tests",
    "tests_anyio",
]

PYPROJECT = nox.project.load_toml("pyproject.toml")

BENCHMARKS = [f"tests/benchmarks/{name}.py" for name in ("run", "profiling", "memory_worker")]


def oldest_anyio() -> str:
    """Pin AnyIO to the lower bound that pyproject.toml gives."""
    dependencies = map(Requirement, PYPROJECT["project"]["dependencies"])
    [anyio] = [wanted for wanted in dependencies if wanted.name == "anyio"]
    [bound] = [spec.version for spec in anyio.specifier if spec.operator == ">="]
    return f"anyio=={bound}"


def install(session: nox.Session, *groups: str, package: tuple[str, ...] = (".[trio]",)) -> None:
    """Install the package and dependency groups of pyproject.toml, with any version of pip."""
    session.install(*package, *nox.project.dependency_groups(PYPROJECT, *groups))
    # Import the installed package, not the folder of the same name in the checkout.
    session.env["PYTHONSAFEPATH"] = "1"


@nox.session(python=nox.project.python_versions(PYPROJECT))
def tests(session: nox.Session) -> None:
    """Run the tests on each supported Python that is installed."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
@nox.parametrize("anyio", [nox.param(oldest_anyio(), id="oldest"), nox.param("anyio", id="newest")])
def tests_anyio(session: nox.Session, anyio: str) -> None:
    """Run the tests on the oldest allowed and on the newest AnyIO."""
    install(session, "test", package=(".[trio]", anyio))
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage; fail if it is too low."""
    install(session, "test", package=("--editable", ".[trio]"))
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style, and the rules for async code."""
    install(session, "lint", package=())
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("flake8")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the package, its public API, and the tests."""
    install(session, "typing")
    session.run("mypy")
    session.run("mypy", *BENCHMARKS, env={"MYPYPATH": "tests/benchmarks"})
    session.run("pyright")
    session.run("pyright", "--verifytypes", "actorstream", "--ignoreexternal")


@nox.session
def docs_examples(session: nox.Session) -> None:
    """Run every code sample of the README and the docs."""
    install(session, "test")
    session.run("pytest", "tests/test_docs.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; a broken link fails."""
    install(session, "docs")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-E", "docs", "docs/_build/html")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; arguments after ``--`` go to them."""
    install(session, "bench")
    session.run("python", "tests/benchmarks/run.py", *session.posargs)


@nox.session
def profile(session: nox.Session) -> None:
    """Profile a program of profiling.py; its name and a backend follow ``--``."""
    install(session, "bench")
    session.run("python", "tests/benchmarks/profiling.py", *session.posargs)
