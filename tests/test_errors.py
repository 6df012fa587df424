"""Every error has the library's base, is caught as its built-in kind, and explains itself."""

import copy
import pickle
import sys
from types import ModuleType
from typing import Any

import pytest
from anyio import ClosedResourceError

import actorstream
from actorstream import (
    ActorError,
    ActorNotFoundError,
    ActorStoppedError,
    ActorStreamError,
    PortClosedError,
    PortNotFoundError,
    RouterClosedError,
    StreamAbortedError,
    StreamClosedError,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    StreamOverflowError,
    StreamTimeoutError,
    address,
)

TEXTS = {
    "total": "it did not end within 1.5 s; allow more with timeout=...",
    "first": "its first item did not come within 1.5 s; allow more with first_timeout=...",
    "idle": "the next item did not come within 1.5 s; allow more with idle_timeout=...",
    "stall": "its consumer did not read within 1.5 s; allow more with stall_timeout=...",
}


def timed_out(kind: Any = "total", seconds: float = 1.5) -> StreamTimeoutError:
    return StreamTimeoutError(kind, seconds, address("slow"))


def public_errors() -> list[type[BaseException]]:
    exported = [getattr(actorstream, name) for name in actorstream.__all__]
    return [it for it in exported if isinstance(it, type) and issubclass(it, BaseException)]


@pytest.mark.parametrize("error", public_errors())
def test_every_public_error_has_the_same_base(error: type[BaseException]) -> None:
    assert issubclass(error, ActorStreamError)


def test_the_base_is_an_ordinary_exception() -> None:
    assert ActorStreamError.__bases__ == (Exception,)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ActorNotFoundError, LookupError),
        (StreamingNotSupportedError, TypeError),
        (StreamConsumedError, RuntimeError),
        (RouterClosedError, RuntimeError),
        (StreamAbortedError, StreamError),
        (StreamTimeoutError, StreamError),
        (StreamTimeoutError, TimeoutError),
        (StreamOverflowError, StreamError),
        (PortNotFoundError, LookupError),
        (PortClosedError, ClosedResourceError),
        (StreamClosedError, ClosedResourceError),
    ],
)
def test_an_error_is_also_of_its_built_in_kind(
    error: type[BaseException], kind: type[BaseException]
) -> None:
    assert issubclass(error, kind)


@pytest.mark.parametrize(
    "error",
    [
        ActorNotFoundError,
        StreamClosedError,
        StreamConsumedError,
        RouterClosedError,
        ActorStoppedError,
    ],
)
def test_an_error_that_is_not_the_actors_failure_is_not_a_stream_error(
    error: type[BaseException],
) -> None:
    assert not issubclass(error, StreamError)


def test_an_overflow_and_an_abort_are_not_timeouts() -> None:
    assert not issubclass(StreamOverflowError, TimeoutError)
    assert not issubclass(StreamAbortedError, TimeoutError)


@pytest.mark.parametrize("reason", ["enough", None, 7, {"code": 1}])
def test_an_abort_keeps_its_reason_unchanged(reason: object) -> None:
    assert StreamAbortedError(reason).reason is reason


def test_an_abort_says_that_the_stream_was_cancelled_and_why() -> None:
    assert str(StreamAbortedError("enough")) == "the stream was cancelled: enough"


def test_an_exception_as_a_reason_is_the_cause() -> None:
    reason = ValueError("no more")
    error = StreamAbortedError(reason)
    assert error.__cause__ is error.reason is reason


def test_any_other_reason_is_not_the_cause() -> None:
    assert StreamAbortedError("enough").__cause__ is None


def test_an_abort_needs_no_reason() -> None:
    assert StreamAbortedError().reason is None


@pytest.mark.parametrize("kind", TEXTS)
def test_a_timeout_knows_its_kind_its_limit_and_the_actor(kind: str) -> None:
    error = timed_out(kind)
    assert (error.kind, error.seconds, error.address) == (kind, 1.5, address("slow"))


@pytest.mark.parametrize(("kind", "text"), TEXTS.items())
def test_a_timeout_says_what_was_late_and_which_option_allows_more(kind: str, text: str) -> None:
    assert str(timed_out(kind)) == (
        f"the stream of @(slow) timed out: {text}, or None for no limit"
    )


@pytest.mark.parametrize(("seconds", "text"), [(60.0, "60 s"), (0.001, "0.001 s"), (5, "5 s")])
def test_a_timeout_shows_its_limit_as_a_person_would_write_it(seconds: float, text: str) -> None:
    assert f"within {text};" in str(timed_out(seconds=seconds))


def test_a_timeout_is_caught_as_the_built_in_one() -> None:
    with pytest.raises(TimeoutError):
        raise timed_out()


ERRORS = [
    ActorStreamError("text"),
    ActorNotFoundError("text"),
    StreamingNotSupportedError("text"),
    StreamClosedError("text"),
    StreamConsumedError("text"),
    RouterClosedError("text"),
    ActorStoppedError("text"),
    PortNotFoundError("text"),
    PortClosedError("text"),
    StreamError("text"),
    StreamOverflowError("text"),
    StreamAbortedError("enough"),
    timed_out("idle"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_copying_and_pickling(error: ActorStreamError, clone: Any) -> None:
    again = clone(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


class UnpicklableError(Exception):
    """Its constructor needs arguments that pickle does not pass."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)
        self.other = other


@pytest.mark.parametrize(
    ("cause", "expected"), [(KeyError("k"), "KeyError('k')"), (UnpicklableError("a", "b"), "None")]
)
def test_pickling_includes_the_cause_where_possible(cause: Exception, expected: str) -> None:
    error = ActorError("text")
    error.__cause__ = cause
    assert repr(pickle.loads(pickle.dumps(error)).__cause__) == expected


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy])
def test_a_copy_has_the_very_cause(clone: Any) -> None:
    error = ActorError("text")
    error.__cause__ = UnpicklableError("a", "b")
    assert clone(error).__cause__ is error.__cause__


def test_a_pickled_error_can_be_loaded_where_the_class_of_its_cause_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    exec("class OddError(Exception): pass", vars(elsewhere))
    error = ActorError("text")
    error.__cause__ = elsewhere.OddError()
    pickled = pickle.dumps(error)
    monkeypatch.delitem(sys.modules, "elsewhere")
    again = pickle.loads(pickled)
    assert (str(again), again.__cause__) == ("text", None)


def test_a_long_chain_of_causes_is_pickled_level_by_level() -> None:
    """At twice the work for each level, this would not end."""
    error: BaseException = ValueError()
    for level in range(60):
        error, cause = StreamError(str(level)), error
        error.__cause__ = cause
    again = pickle.loads(pickle.dumps(error))
    for _ in range(60):
        again = again.__cause__
    assert isinstance(again, ValueError)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_pickle_names_no_private_module(error: ActorStreamError) -> None:
    assert b"actorstream._" not in pickle.dumps(error)
