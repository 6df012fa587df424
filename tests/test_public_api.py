"""The public API: what the package exports, all of it documented, and nothing more."""

import importlib.resources
import inspect
import re
import typing

import anyio
import pytest

import actorstream
from actorstream._actors.slot import replaceable

EXPORTED = {
    # design.md, section 3
    "Actor",
    "MessageRouter",
    "Address",
    "address",
    "Message",
    "AsyncStreamMessage",
    "StreamAsyncOptions",
    "Stream",
    "AbortController",
    "AbortSignal",
    "generate_message_id",
    "generate_correlation_id",
    "current_message",
    # section 6
    "ActorStreamError",
    "ActorNotFoundError",
    "StreamingNotSupportedError",
    "StreamConsumedError",
    "RouterClosedError",
    "ActorStoppedError",
    "StreamError",
    "StreamAbortedError",
    "StreamClosedError",
    "StreamTimeoutError",
    "StreamOverflowError",
    # messages, life, supervision
    "ActorError",
    "ActorRestartedError",
    "AskCycleError",
    "AskTimeoutError",
    "ChildSpec",
    "MailboxFullError",
    "RestartLimitError",
    "StartTimeoutError",
    "Supervisor",
    "UnhandledMessageError",
    "handles",
    "streams",
    # ports
    "Port",
    "PortClosedError",
    "PortNotFoundError",
    "Subscription",
    # the custom
    "__version__",
}
CALLABLES = sorted(EXPORTED - {"__version__"})


def members_of(name: str) -> list[str]:
    """List the public members that a class of the package defines."""
    kind = getattr(actorstream, name)
    return [f"{name}.{member}" for member in vars(kind) if not member.startswith("_")]


METHODS = [
    member
    for name in CALLABLES
    if inspect.isclass(getattr(actorstream, name))
    for member in members_of(name)
    if callable(inspect.getattr_static(getattr(actorstream, name), member.split(".")[1]))
    or isinstance(
        inspect.getattr_static(getattr(actorstream, name), member.split(".")[1]),
        property | staticmethod | replaceable,
    )
]


def test_all():
    """`__all__` is the list of the design, sorted, and each name exists."""
    assert set(actorstream.__all__) == EXPORTED
    assert len(actorstream.__all__) == len(EXPORTED)
    assert all(hasattr(actorstream, name) for name in actorstream.__all__)


def test_nothing_else():
    """The package has no public name beyond `__all__`, except for one module, once imported."""
    public = {name for name in vars(actorstream) if not name.startswith("_")}
    assert public - {"testing"} == EXPORTED - {"__version__"}


def test_star_import():
    """`from actorstream import *` imports exactly those names."""
    namespace: dict[str, object] = {}
    exec("from actorstream import *", namespace)  # exactly this statement
    assert namespace.keys() - {"__builtins__"} == EXPORTED


@pytest.mark.parametrize("name", CALLABLES)
def test_docstring(name):
    """Every public class and function has its own docstring, which begins with a sentence."""
    public = getattr(actorstream, name)
    doc = vars(public)["__doc__"] if inspect.isclass(public) else public.__doc__
    assert re.match(r"[A-Z].*[.:]", inspect.cleandoc(doc).partition("\n\n")[0], re.DOTALL)


@pytest.mark.parametrize("name", METHODS)
def test_docstring_of_a_method(name):
    """Every public method and property has a docstring."""
    owner, member = name.split(".")
    assert inspect.getdoc(getattr(getattr(actorstream, owner), member))


def test_methods_are_checked():
    """The test above checks methods, properties and static methods."""
    assert {"Stream.collect", "Actor.address", "AbortSignal.any"} <= set(METHODS)


@pytest.mark.parametrize("name", CALLABLES)
def test_home(name):
    """Everything public has the package as its `__module__`, and is found there by its name."""
    public = getattr(actorstream, name)
    assert (public.__module__, public.__qualname__) == ("actorstream", name)


@pytest.mark.parametrize("name", [name for name in CALLABLES if name[0].isupper()])
def test_annotations_resolve(name):
    """The annotations of a public class resolve, in a subclass as well."""
    public = getattr(actorstream, name)
    hints = typing.get_type_hints(public)
    assert not any(isinstance(hint, str) for hint in hints.values())
    assert hints.keys() == typing.get_type_hints(type("Sub", (public,), {})).keys()


def test_version():
    """The version is one that packaging tools can order."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", actorstream.__version__)


def test_typed():
    """The package is marked as typed."""
    assert importlib.resources.files(actorstream).joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("error", "base"),
    [
        ("ActorNotFoundError", LookupError),
        ("StreamingNotSupportedError", TypeError),
        ("StreamClosedError", anyio.ClosedResourceError),
        ("StreamConsumedError", RuntimeError),
        ("RouterClosedError", RuntimeError),
        ("StreamTimeoutError", TimeoutError),
        ("PortNotFoundError", LookupError),
        ("PortClosedError", anyio.ClosedResourceError),
    ],
)
def test_bases_of_errors(error, base):
    """Each error is also a subclass of its built-in kind."""
    assert issubclass(getattr(actorstream, error), base)


@pytest.mark.parametrize("name", [name for name in CALLABLES if name.endswith("Error")])
def test_base_of_all_errors(name):
    """Every error is an `ActorStreamError`."""
    assert issubclass(getattr(actorstream, name), actorstream.ActorStreamError)


@pytest.mark.parametrize(
    "name", ["StreamAbortedError", "StreamTimeoutError", "StreamOverflowError"]
)
def test_kinds_of_stream_error(name):
    """An abort, a timeout and an overflow are each a `StreamError`."""
    assert issubclass(getattr(actorstream, name), actorstream.StreamError)
