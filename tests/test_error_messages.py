"""Error messages: each is on the page about them, raised there by an example, and tells the fix.

``test_docs`` runs the page's examples and compares what they print. Here the page is compared with
the package: each ``raise`` with a message needs an example.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import actorstream
from tests.test_docs import DOCS, fences

PACKAGE = Path(actorstream.__file__).parent
PAGE = DOCS / "errors.md"


class Site(NamedTuple):
    """A place that makes an error: where it is, its class, and the fixed parts of its message."""

    where: str
    error: str
    fixed: tuple[str, ...]


class Shown(NamedTuple):
    """A message on the page."""

    error: str
    text: str


def shown() -> list[Shown]:
    """Read the messages that the page's examples print."""
    outputs = [fence.text for fence in fences(PAGE) if fence.language == "text"]
    return [Shown(*output.rstrip("\n").split(": ", 1)) for output in outputs]


def fixed_parts(node: ast.expr, scope: list[ast.AST]) -> tuple[str, ...]:
    """Return the literal parts of a message, wherever in its module it is built."""
    if isinstance(node, ast.Name):
        node = next((value for name, value in assigned(scope[-1]) if name == node.id), node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node = next((value for name, value in returned(scope[0]) if name == node.func.id), node)
    return tuple(
        part.value
        for part in (node.values if isinstance(node, ast.JoinedStr) else [node])
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def assigned(function: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """List the names that a function assigns, with their values."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def returned(module: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """List what a module's functions return."""
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            last = node.body[-1]
            if isinstance(last, ast.Return) and last.value is not None:
                yield node.name, last.value


def find_sites(path: Path) -> Iterator[Site]:
    """List where a module makes an error, or calls a function that makes one to raise."""

    def visit(node: ast.AST, scope: list[ast.AST], names: list[str]) -> Iterator[Site]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [*names, node.name]
            if not isinstance(node, ast.ClassDef):
                scope = [*scope, node]
        call = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(call, ast.Call):
            error = call.func.id if isinstance(call.func, ast.Name) else ""
            fixed = sum((fixed_parts(argument, scope) for argument in call.args), ())
            if error.endswith("Error") or (call is not node and fixed):
                yield Site(".".join(names), error, fixed)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, scope, names)

    module = ast.parse(path.read_text())
    where = path.relative_to(PACKAGE).with_suffix("").parts
    return visit(module, [module], list(where))


SITES = sorted(
    {
        site
        for path in PACKAGE.rglob("*.py")
        if "_demo" not in path.parts
        for site in find_sites(path)
    }
)

UNWORDED = {
    "_abort.AbortSignal.throw_if_aborted": "StreamAbortedError",
    "_actors.ask_and_tell._FailingOnAbort._abort": "StreamAbortedError",
    "_streams.outcome.aborted": "StreamAbortedError",
    "_streams.outcome.timed_out": "StreamTimeoutError",
    "_streams.producer._forward": "StreamingNotSupportedError",
    "_actors.stream_and_subscribe._wait_for_streamer": "NothingToStreamError",
    "_loop.runtime.Runtime.end_task": "LeftOpenError",
}
"""Places where the class builds the message, or the message is another error's."""

ANYIOS_OWN = {"_streams.buffer.Buffer.wait_readable"}
"""Places that raise an error of AnyIO's interface, which only the library sees."""

SEEN_AS = {"NothingToStreamError": "StreamingNotSupportedError"}
"""The public class that a private one is turned into."""


def worded() -> list[Site]:
    return [site for site in SITES if site.fixed and site.where not in ANYIOS_OWN]


def test_the_sites_are_found():
    """The search finds errors raised at once, made for later, or built elsewhere."""
    found = {site.where for site in SITES}
    assert {
        "_address.address",
        "_streams.outcome.overflowed",
        "_actors.actor.Actor.router",
    } <= found
    assert {
        "_sources.callbacks._check_overflow",
        "_actors.ask_and_tell.tell",
        "testing.Probe.expect",
    } <= found


@pytest.mark.parametrize(
    "site", worded(), ids=lambda site: f"{site.where} {site.error} {''.join(site.fixed)[:50]}"
)
def test_each_message_is_raised_on_the_page(site: Site) -> None:
    """Each place that makes an error with its own message has an example."""
    kind = SEEN_AS.get(site.error, site.error)
    kinds = {kind} if kind.endswith("Error") else {message.error for message in shown()}
    assert any(
        message.error in kinds and all(part in message.text for part in site.fixed)
        for message in shown()
    ), f"provoke it in an example of {PAGE.name}: {''.join(site.fixed)}"


def test_a_message_from_elsewhere_is_listed_here():
    """A place without its own message is on the list of known ones."""
    assert {site.where: site.error for site in SITES if not site.fixed} == UNWORDED


@pytest.mark.parametrize("name", [name for name in actorstream.__all__ if name.endswith("Error")])
def test_each_public_class_is_on_the_page(name):
    """The page shows each public error class, except for the base, which is never raised."""
    assert name == "ActorStreamError" or name in {message.error for message in shown()}


def test_each_message_is_of_a_class_that_users_can_catch():
    """Each class is public, built in, or an assertion of the testing module."""
    kinds = {message.error for message in shown()}
    assert all(hasattr(actorstream, kind) or hasattr(builtins, kind) for kind in kinds)


WHAT_HAPPENED = {
    "ActorError",  # the actor's exception is in it
    "ActorRestartedError",
    "ActorStoppedError",
    "AssertionError",  # what a test saw, and what it expected
    "StreamAbortedError",  # the reason is the caller's own
    "StreamError",
}
"""Classes that report an event rather than a mistake: there is nothing to write instead."""

DEFECTS = ("this is a bug in actorstream", "the router was cancelled before")
"""Messages about the library itself, or about a race that is not a mistake of the user."""

CAME = r", not \S|^.+(; | and |, )"
WANTED = (
    r"\bis an? |\bis at least|\bis one of|\bis more than|\bis \d+ |\bis \"|\btakes? |\bmakes a |"
    r"\bmust be a |\bthe options are |\bpass an? |"
    r"\bwrite |\bgive |\bcall |\bchoose |\benter |\buse |\bmake |\blet |\bleave |"
    r"\breturn |\bread |\ballow more |\braise buffer_size|\bwait with |\bthere are |"
    r"\byield nothing|\bclose\(\) it after|\binstall "
)


@pytest.mark.parametrize(
    "message",
    [
        message
        for message in shown()
        if message.error not in WHAT_HAPPENED and not any(it in message.text for it in DEFECTS)
    ],
)
def test_a_message_says_what_came_what_was_wanted_and_what_to_write(message):
    """A message says what came or happened, and what was wanted or what to do."""
    assert re.search(CAME, message.text)
    assert re.search(WANTED, message.text)
