"""Options are checked at the call, frozen, and merged with single overrides."""

import math
from fractions import Fraction
from typing import Any

import attrs
import pytest

from actorstream import AbortController, Actor, MessageRouter, StreamAsyncOptions
from actorstream._options import merge_options, needs_watch

TIMES = ["timeout", "first_timeout", "idle_timeout", "stall_timeout"]
POLICIES = ["wait", "drop_oldest", "drop_newest", "fail"]


def options(**values: Any) -> StreamAsyncOptions:
    return StreamAsyncOptions(**values)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert attrs.asdict(options(), recurse=False) == {
        "signal": None,
        "buffer_size": 100,
        "timeout": 60.0,
        "first_timeout": None,
        "idle_timeout": None,
        "stall_timeout": None,
        "overflow": "wait",
    }


def test_options_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        options().timeout = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_options_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        StreamAsyncOptions(None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_options_are_equal_by_value() -> None:
    assert options(buffer_size=7) == options(buffer_size=7) != options(buffer_size=8)


@pytest.mark.parametrize("size", [1, 2, 10**9])
def test_a_buffer_holds_one_item_or_more(size: int) -> None:
    assert options(buffer_size=size).buffer_size == size


@pytest.mark.parametrize("size", [0, -1])
def test_a_buffer_size_below_1_is_a_value_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"buffer_size is at least 1, not {size}"):
        options(buffer_size=size)


@pytest.mark.parametrize("size", [1.0, math.inf, math.nan, "1", None, True])
def test_a_buffer_size_is_a_whole_number(size: object) -> None:
    with pytest.raises(TypeError, match="buffer_size is a whole number of items") as caught:
        options(buffer_size=size)
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", [None, 0, 0.5, 10, math.inf])
def test_a_time_limit_is_a_number_of_seconds_or_none(name: str, seconds: float | None) -> None:
    assert getattr(options(**{name: seconds}), name) == seconds


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf, math.nan])
def test_a_negative_time_limit_is_a_value_error_that_names_it(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 0 seconds or more") as caught:
        options(**{name: seconds})
    assert repr(seconds) in str(caught.value)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("seconds", ["1", True, [1], Fraction(1, 2)])
def test_a_time_limit_of_another_type_is_a_type_error_that_names_it(
    name: str, seconds: object
) -> None:
    with pytest.raises(TypeError, match=f"^{name} is a number of seconds or None"):
        options(**{name: seconds})


@pytest.mark.parametrize("policy", POLICIES)
def test_there_are_four_overflow_policies(policy: str) -> None:
    assert options(overflow=policy).overflow == policy


@pytest.mark.parametrize(("policy", "error"), [("drop", ValueError), ("", ValueError)])
def test_another_policy_is_a_value_error_that_lists_the_four(
    policy: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="overflow is one of wait, drop_oldest, drop_newest, fail"):
        options(overflow=policy)


@pytest.mark.parametrize("policy", [None, 1, ["wait"], {}])
def test_a_policy_that_is_not_a_str_is_a_type_error(policy: object) -> None:
    with pytest.raises(TypeError, match="overflow is one of"):
        options(overflow=policy)


def test_a_signal_is_accepted() -> None:
    signal = AbortController().signal
    assert options(signal=signal).signal is signal


def test_a_controller_as_a_signal_is_an_error_that_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"write signal=controller\.signal"):
        options(signal=AbortController())


@pytest.mark.parametrize("signal", ["stop", 1, object])
def test_a_signal_of_another_type_is_a_type_error(signal: object) -> None:
    with pytest.raises(TypeError, match="signal is an AbortSignal or None"):
        options(signal=signal)


def test_no_options_and_no_overrides_give_the_defaults() -> None:
    assert merge_options(None, {}) == options()


def test_options_without_overrides_are_returned_unchanged() -> None:
    given = options(buffer_size=7)
    assert merge_options(given, {}) is given


def test_an_override_wins_and_keeps_the_other_options() -> None:
    merged = merge_options(options(buffer_size=7, timeout=1), {"timeout": None})
    assert merged == options(buffer_size=7, timeout=None)


def test_an_override_does_not_change_the_given_options() -> None:
    given = options(buffer_size=7)
    merge_options(given, {"buffer_size": 8})
    assert given.buffer_size == 7


def test_an_override_is_checked() -> None:
    with pytest.raises(ValueError, match="buffer_size"):
        merge_options(None, {"buffer_size": 0})


def test_an_unknown_option_is_named_and_the_known_ones_listed() -> None:
    with pytest.raises(TypeError, match=r"^buffersize is not an option.*buffer_size.*timeout$"):
        merge_options(None, {"buffersize": 1})


def test_all_unknown_options_are_named_in_order() -> None:
    with pytest.raises(TypeError, match=r"^a, b is not an option"):
        merge_options(None, {"b": 1, "timeout": 1, "a": 1})


@pytest.mark.parametrize("wrong", [{"buffer_size": 1}, 1, StreamAsyncOptions])
def test_options_of_another_type_are_a_type_error_that_says_what_to_write(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"write options=StreamAsyncOptions\(buffer_size=\.\.\.\)"):
        merge_options(wrong, {})


@pytest.mark.parametrize("bad", [{"buffer_size": 0}, {"timeout": -1}, {"overflow": "no"}])
def test_a_bad_option_raises_at_the_call(bad: dict[str, Any]) -> None:
    router = MessageRouter()
    router.register_actor("a", Actor())
    with pytest.raises(ValueError, match=next(iter(bad))):
        router.stream_async("a", "go", **bad)
    assert router.statistics().opened_streams == 0


@pytest.mark.parametrize("values", [{}, {"timeout": 5}, {"idle_timeout": math.inf}])
def test_a_stream_with_only_a_timeout_needs_no_watchdog(values: dict[str, Any]) -> None:
    assert not needs_watch(options(**values))


@pytest.mark.parametrize("name", TIMES[1:])
def test_a_stream_with_another_limit_needs_a_watchdog(name: str) -> None:
    assert needs_watch(options(**{name: 1}))


def test_a_stream_with_a_signal_needs_a_watchdog() -> None:
    assert needs_watch(options(signal=AbortController().signal))
