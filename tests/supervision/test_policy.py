"""The supervision policy, decided without an event loop: conformance rules R63 to R66."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorstream import Actor
from actorstream._actors.lifecycle import Ending
from actorstream._supervision.policy import (
    ChildSpec,
    Plan,
    Restart,
    RestartBudget,
    Strategy,
    SupervisorOptions,
    delay,
    plan,
    restarts,
)

RESTARTS: tuple[Restart, ...] = get_args(Restart)
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
ENDINGS: tuple[Ending, ...] = get_args(Ending)

NINE_CASES: list[tuple[Restart, Ending, bool]] = [
    ("permanent", "normal", True),
    ("permanent", "shutdown", True),
    ("permanent", "abnormal", True),
    ("transient", "normal", False),
    ("transient", "shutdown", False),
    ("transient", "abnormal", True),
    ("temporary", "normal", False),
    ("temporary", "shutdown", False),
    ("temporary", "abnormal", False),
]
NOT_AGAIN = [(restart, ending) for restart, ending, again in NINE_CASES if not again]


class Worker(Actor):
    """Does nothing."""


def family(*restarts: Restart) -> list[ChildSpec]:
    """Return children with the ids ``a``, ``b``, ``c`` and so on."""
    return [
        ChildSpec(child_id, Worker, restart=restart)
        for child_id, restart in zip("abcdefgh", restarts, strict=False)
    ]


def ids(specs: Sequence[ChildSpec]) -> list[str]:
    return [spec.id for spec in specs]


FOUR = family("permanent", "permanent", "permanent", "permanent")


# R63: which children restart


@pytest.mark.parametrize(("restart", "ending", "again"), NINE_CASES)
def test_r63_the_nine_cases_are_those_of_otp(restart: Restart, ending: Ending, again: bool) -> None:
    """permanent, transient, temporary x normal, shutdown, abnormal: nine outcomes."""
    assert restarts(restart, ending) is again


# R64, R66: restart limits


def test_r64_as_many_restarts_as_allowed_pass_and_one_more_does_not() -> None:
    budget = RestartBudget(3, 5.0)
    assert [budget.spend(now) for now in (0.0, 0.0, 1.0, 2.0)] == [True, True, True, False]


def test_r64_with_a_budget_of_0_the_first_restart_is_one_too_many() -> None:
    assert not RestartBudget(0, 5.0).spend(0.0)


def test_r64_a_restart_is_forgotten_when_it_is_older_than_the_window() -> None:
    budget = RestartBudget(1, 5.0)
    assert budget.spend(0.0)
    assert budget.spend(5.001)


def test_r64_a_restart_just_as_old_as_the_window_still_counts() -> None:
    """As in OTP, a restart exactly as old as the window is still within it."""
    budget = RestartBudget(1, 5.0)
    assert budget.spend(0.0)
    assert not budget.spend(5.0)


def test_r64_the_window_slides() -> None:
    """Restarts on both sides of a fixed window's edge count together."""
    budget = RestartBudget(2, 10.0)
    assert [budget.spend(now) for now in (9.0, 9.5, 10.5)] == [True, True, False]


def test_r64_rare_restarts_always_pass() -> None:
    budget = RestartBudget(1, 5.0)
    assert all(budget.spend(6.0 * day) for day in range(1000))


def test_r64_a_refused_restart_counts_like_any_other() -> None:
    budget = RestartBudget(1, 5.0)
    assert [budget.spend(now) for now in (0.0, 4.0, 8.0)] == [True, False, False]


def test_r64_an_infinite_window_forgets_nothing() -> None:
    budget = RestartBudget(2, math.inf)
    assert [budget.spend(now) for now in (0.0, 1e9, 1e18)] == [True, True, False]


def test_r64_a_window_may_exceed_the_range_of_a_float() -> None:
    budget = RestartBudget(1, 10**400)
    assert [budget.spend(now) for now in (0.5, 1.5)] == [True, False]


@given(
    max_restarts=st.integers(0, 5),
    within=st.integers(1, 10),
    pauses=st.lists(st.integers(0, 6), max_size=40),
)
def test_r64_the_window_is_that_of_a_naive_model(
    max_restarts: int, within: int, pauses: list[int]
) -> None:
    """A restart passes if at most ``max_restarts`` fall in the last ``within`` seconds."""
    budget = RestartBudget(max_restarts, within)
    times = [sum(pauses[: index + 1]) for index in range(len(pauses))]
    for index, now in enumerate(times):
        in_window = [time for time in times[: index + 1] if now - within <= time <= now]
        assert budget.spend(now) is (len(in_window) <= max_restarts)


def test_r66_a_failure_that_restarts_all_siblings_spends_once() -> None:
    """A plan lists all children to restart, so that its caller spends once for all of them."""
    budget = RestartBudget(1, 5.0)
    assert len(plan("one_for_all", FOUR, "b", "abcd").start) == 4
    assert budget.spend(0.0)


def test_the_repr_of_a_budget_shows_its_limits() -> None:
    assert repr(RestartBudget(3, 5.0)) == "RestartBudget(max_restarts=3, within=5.0)"


# R65: strategies


def test_r65_one_for_one_restarts_that_child_alone() -> None:
    assert plan("one_for_one", FOUR, "b", "abcd") == Plan(start=("b",))


def test_r65_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() -> None:
    decided = plan("one_for_all", FOUR, "b", "abcd")
    assert decided == Plan(stop=("d", "c", "a"), start=("a", "b", "c", "d"))


def test_r65_rest_for_one_touches_only_later_siblings() -> None:
    decided = plan("rest_for_one", FOUR, "b", "abcd")
    assert decided == Plan(stop=("d", "c"), start=("b", "c", "d"))


def test_r65_rest_for_one_of_the_last_child_restarts_that_child_alone() -> None:
    assert plan("rest_for_one", FOUR, "d", "abcd") == Plan(start=("d",))


def test_r65_rest_for_one_of_the_first_child_is_one_for_all() -> None:
    of_rest, of_all = (
        plan(strategy, FOUR, "a", "abcd") for strategy in ("rest_for_one", "one_for_all")
    )
    assert of_rest == of_all


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_sibling_is_stopped_and_not_started_again(strategy: Strategy) -> None:
    """A temporary child is never restarted, even if it was stopped for a sibling."""
    specs = family("permanent", "temporary", "transient")
    decided = plan(strategy, specs, "a", "abc")
    assert decided == Plan(stop=("c", "b"), start=("a", "c"))


def test_a_transient_sibling_that_is_stopped_for_another_is_started_with_it() -> None:
    """Its stop is part of the restart, and does not count as its own end."""
    specs = family("permanent", "transient")
    decided = plan("one_for_all", specs, "a", "ab")
    assert decided == Plan(stop=("b",), start=("a", "b"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_siblings_that_are_not_live_stay_as_they_are(strategy: Strategy) -> None:
    specs = family("permanent", "permanent", "temporary")
    assert plan(strategy, specs, "a", ["a"]) == Plan(start=("a",))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_unknown_child_is_a_bug_in_the_library(strategy: Strategy) -> None:
    with pytest.raises(
        RuntimeError, match=r"'x' is not one of the children: 'a', 'b', 'c', 'd'; .*bug"
    ):
        plan(strategy, FOUR, "x", "abcd")


@attrs.frozen
class Case:
    """What a supervisor knows when a child ends."""

    strategy: Strategy
    specs: list[ChildSpec]
    ended: str
    live: frozenset[str]

    def plan(self) -> Plan:
        return plan(self.strategy, self.specs, self.ended, self.live)

    def restart_of(self, child_id: str) -> Restart:
        return next(spec.restart for spec in self.specs if spec.id == child_id)

    def place(self, child_id: str) -> int:
        return ids(self.specs).index(child_id)


@st.composite
def cases(draw: st.DrawFn, strategies: tuple[Strategy, ...] = STRATEGIES) -> Case:
    specs = family(
        *draw(
            st.lists(st.sampled_from(RESTARTS), min_size=1, max_size=8).filter(
                lambda restarts: set(restarts) != {"temporary"}
            )
        )
    )
    restarted = [spec.id for spec in specs if spec.restart != "temporary"]
    some_id = st.sampled_from(ids(specs))
    return Case(
        strategy=draw(st.sampled_from(strategies)),
        specs=specs,
        ended=draw(st.sampled_from(restarted)),
        live=draw(st.frozensets(some_id)),
    )


@given(cases(("rest_for_one",)))
def test_r65_under_rest_for_one_no_earlier_sibling_is_touched(case: Case) -> None:
    decided = case.plan()
    touched = {*decided.stop, *decided.start}
    assert all(case.place(child_id) >= case.place(case.ended) for child_id in touched)


@given(cases(("one_for_one",)))
def test_r65_under_one_for_one_no_sibling_is_touched(case: Case) -> None:
    decided = case.plan()
    assert {*decided.stop, *decided.start} <= {case.ended}


@given(cases(("one_for_all",)))
def test_r65_under_one_for_all_every_live_sibling_is_stopped(case: Case) -> None:
    assert set(case.plan().stop) == case.live - {case.ended}


@given(cases())
def test_r65_children_start_in_order_and_stop_in_reverse(case: Case) -> None:
    decided = case.plan()
    for in_order in (decided.start, decided.stop[::-1]):
        places = [case.place(child_id) for child_id in in_order]
        assert places == sorted(set(places))


@given(cases())
def test_only_live_siblings_are_stopped(case: Case) -> None:
    stopped = set(case.plan().stop)
    assert stopped <= case.live - {case.ended}


@given(cases())
def test_every_stopped_child_restarts_unless_it_is_temporary(case: Case) -> None:
    """No child is lost, and no child starts that was not live before."""
    decided = case.plan()
    over = {*decided.stop, case.ended}
    temporary = {child_id for child_id in over if case.restart_of(child_id) == "temporary"}
    assert set(decided.start) == over - temporary


@given(cases())
def test_whether_the_ended_child_counts_as_live_makes_no_difference(case: Case) -> None:
    without, with_it = (
        attrs.evolve(case, live=live)
        for live in (case.live - {case.ended}, case.live | {case.ended})
    )
    assert without.plan() == with_it.plan()


# Backoff


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [(None, 0), (0, 0), (0.5, 0.5), (lambda attempt: 0.1 * 2**attempt, 0.8), (lambda _: 0, 0)],
)
def test_a_delay_is_zero_a_number_or_the_result_of_a_function(backoff: Any, seconds: float) -> None:
    assert delay(backoff, 3) == seconds


def test_a_backoff_is_called_with_the_number_of_the_restart() -> None:
    assert [delay(float, attempt) for attempt in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("seconds", ["1", None, True, [1]])
def test_a_backoff_that_returns_anything_else_is_a_type_error_that_shows_it(
    seconds: Any,
) -> None:
    with pytest.raises(TypeError, match=re.escape(f"backoff(2) returned {seconds!r}; it must be")):
        delay(lambda _: seconds, 2)


@pytest.mark.parametrize("seconds", [-1, -0.001, math.inf, -math.inf, math.nan, 10**400])
def test_a_backoff_that_does_not_return_a_finite_time_is_a_value_error(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"^backoff\(2\) returned .*a finite number of seconds"):
        delay(lambda _: seconds, 2)


def test_what_a_backoff_raises_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        delay(lambda attempt: 1 / (attempt - 1), 1)


# ChildSpec


def test_the_defaults_of_a_child_are_those_of_otp() -> None:
    """Permanent, with five seconds to stop."""
    spec = ChildSpec("a", Worker)
    assert (spec.id, spec.factory) == ("a", Worker)
    assert (spec.restart, spec.mailbox_size) == ("permanent", 100)
    assert (spec.start_timeout, spec.stop_timeout) == (30.0, 5.0)


def test_a_spec_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ChildSpec("a", Worker).id = "b"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_options_of_a_child_are_given_by_name_only() -> None:
    make: Any = ChildSpec
    with pytest.raises(TypeError, match="positional"):
        make("a", Worker, "transient", 5)


@pytest.mark.parametrize("child_id", ["a", "workers/a", "with space", "ünïcode"])
def test_a_childs_id_may_be_any_text(child_id: str) -> None:
    assert ChildSpec(child_id, Worker).id == child_id


def test_a_childs_id_may_be_spelled_like_an_address() -> None:
    assert ChildSpec("@(a)", Worker) == ChildSpec("a", Worker)


@pytest.mark.parametrize("empty", ["", " ", "@()"])
def test_an_empty_id_is_a_value_error_that_shows_it(empty: str) -> None:
    with pytest.raises(ValueError, match="a child's id is empty in") as caught:
        ChildSpec(empty, Worker)
    assert repr(empty) in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 7, b"a", Worker])
def test_an_id_that_is_not_a_str_is_a_type_error_that_says_what_to_write(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r'a child\'s id is a str.*write ChildSpec\("a", MyActor\)'):
        ChildSpec(wrong, Worker)


@pytest.mark.parametrize("factory", [Worker, lambda: Worker(), partial(Worker)])
def test_any_callable_that_makes_an_actor_may_be_a_factory(factory: Callable[[], Any]) -> None:
    assert ChildSpec("a", factory).factory is factory


@pytest.mark.parametrize("wrong", [Worker(), None, "Worker"])
def test_an_actor_instead_of_a_factory_is_an_error_that_says_what_to_write(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r'write ChildSpec\("a", MyActor\) or .*lambda') as caught:
        ChildSpec("a", wrong)
    assert repr(wrong) in str(caught.value)


def test_an_async_factory_is_an_error_that_says_where_to_await() -> None:
    with pytest.raises(TypeError, match=r"factory is a plain function.*await in .*on_start\(\)"):
        ChildSpec("a", anyio.sleep_forever)


@pytest.mark.parametrize(("wrong", "error"), [("always", ValueError), (None, TypeError)])
def test_another_restart_is_an_error_that_lists_the_three(
    wrong: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="restart is one of permanent, transient, temporary") as caught:
        ChildSpec("a", Worker, restart=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError)])
def test_a_mailbox_holds_a_whole_number_of_messages(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^mailbox_size is"):
        ChildSpec("a", Worker, mailbox_size=wrong)


@pytest.mark.parametrize("name", ["start_timeout", "stop_timeout"])
@pytest.mark.parametrize("seconds", [None, 0, 0.5, math.inf, 10**400])
def test_a_time_limit_is_a_number_of_seconds_or_none(name: str, seconds: float | None) -> None:
    options: Any = {name: seconds}
    assert getattr(ChildSpec("a", Worker, **options), name) == seconds


@pytest.mark.parametrize("name", ["start_timeout", "stop_timeout"])
@pytest.mark.parametrize("wrong", [-1, -math.inf, math.nan])
def test_a_negative_time_limit_is_a_value_error(name: str, wrong: float) -> None:
    options: Any = {name: wrong}
    with pytest.raises(ValueError, match=f"{name} is 0 seconds or more") as caught:
        ChildSpec("a", Worker, **options)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("name", ["start_timeout", "stop_timeout"])
@pytest.mark.parametrize("wrong", ["1", True, [1]])
def test_a_time_limit_that_is_not_a_number_is_a_type_error(name: str, wrong: Any) -> None:
    options: Any = {name: wrong}
    with pytest.raises(TypeError, match=f"{name} is a number of seconds or None"):
        ChildSpec("a", Worker, **options)


# check_supervisor


def check(**changed: object) -> None:
    """Check valid supervisor options with some of them changed."""
    good: dict[str, object] = {
        "children": [ChildSpec("a", Worker)],
        "strategy": "one_for_one",
        "max_restarts": 3,
        "within": 5.0,
        "backoff": None,
    }
    arguments: dict[str, Any] = {**good, **changed}
    SupervisorOptions(**arguments)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"children": []},
        {"children": tuple(FOUR)},
        *({"strategy": strategy} for strategy in STRATEGIES),
        {"max_restarts": 0},
        {"within": 1},
        {"within": math.inf},
        {"backoff": 0},
        {"backoff": 0.5},
        {"backoff": float},
    ],
)
def test_valid_options_pass(changed: dict[str, object]) -> None:
    check(**changed)


@pytest.mark.parametrize(
    "children", [None, "", ChildSpec("a", Worker), {"a": Worker}, iter(FOUR), [Worker], ["a"]]
)
def test_children_are_a_list_of_specs(children: object) -> None:
    with pytest.raises(
        TypeError, match=r'children is a .*write children=\[ChildSpec\("a", MyActor\)\]'
    ):
        check(children=children)


@pytest.mark.parametrize("twin", ["b", "@(b)"])
def test_two_children_with_one_id_are_a_value_error_that_names_it(twin: str) -> None:
    with pytest.raises(ValueError, match="two children have the id 'b'"):
        check(children=[*FOUR, ChildSpec(twin, Worker)])


@pytest.mark.parametrize(("wrong", "error"), [("all", ValueError), (None, TypeError)])
def test_another_strategy_is_an_error_that_lists_the_three(
    wrong: object, error: type[Exception]
) -> None:
    listed = "strategy is one of one_for_one, one_for_all, rest_for_one"
    with pytest.raises(error, match=listed) as caught:
        check(strategy=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError), ("3", TypeError)],
)
def test_max_restarts_is_a_whole_number(wrong: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^max_restarts is ") as caught:
        check(max_restarts=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (math.nan, ValueError),
        (None, TypeError),
        (True, TypeError),
        ("5", TypeError),
    ],
)
def test_within_is_a_positive_number(wrong: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^within is ") as caught:
        check(within=wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (-1, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        (True, TypeError),
        ("1", TypeError),
        (anyio.sleep, TypeError),
    ],
)
def test_a_backoff_is_a_finite_time_or_a_plain_function(
    wrong: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"^backoff") as caught:
        check(backoff=wrong)
    assert repr(wrong) in str(caught.value)
