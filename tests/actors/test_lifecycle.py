"""The lifecycle table, compared with the same transitions written out again."""

import re
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorstream._actors.lifecycle import (
    ACCEPTS,
    INITIAL,
    TABLE,
    State,
    Transition,
    next_state,
)

STATES: tuple[State, ...] = get_args(State)
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)
LIFE: list[tuple[State, Transition, State]] = [
    ("registered", "launch", "starting"),
    ("registered", "finish", "stopped"),
    ("starting", "started", "running"),
    ("starting", "stop", "stopping"),
    ("running", "drain", "draining"),
    ("running", "stop", "stopping"),
    ("draining", "stop", "stopping"),
    ("stopping", "restart", "restarting"),
    ("stopping", "finish", "stopped"),
    ("restarting", "launch", "starting"),
    ("restarting", "finish", "stopped"),
]
POSSIBLE = {(state, transition) for state, transition, _ in LIFE}
IMPOSSIBLE = sorted(set(product(STATES, TRANSITIONS)) - POSSIBLE)


def live(*transitions: Transition) -> State:
    """Return the state of an actor after ``transitions``."""
    state: State = INITIAL
    for transition in transitions:
        state = next_state(state, transition)
    return state


def reachable(start: State, without: Transition | None = None) -> set[State]:
    """Return all states that an actor can reach from ``start``."""
    found: set[State] = set()
    waiting: list[State] = [start]
    while waiting:
        for transition, following in TABLE[waiting.pop()].items():
            if transition != without and following not in found:
                found.add(following)
                waiting.append(following)
    return found


@pytest.mark.parametrize(("state", "transition", "following"), LIFE)
def test_each_possible_transition_leads_where_the_contract_says(
    state: State, transition: Transition, following: State
) -> None:
    assert next_state(state, transition) == following


@pytest.mark.parametrize(("state", "transition"), IMPOSSIBLE)
def test_any_other_transition_raises_and_names_what_is_possible(
    state: State, transition: Transition
) -> None:
    with pytest.raises(RuntimeError, match="bug in actorstream") as caught:
        next_state(state, transition)
    named = set(re.findall(r"'(\w+)'", str(caught.value)))
    assert named == {state, transition, *TABLE[state]}


def test_the_table_knows_every_state_and_nothing_else() -> None:
    assert tuple(TABLE) == STATES


def test_the_table_uses_every_transition() -> None:
    assert {transition for possible in TABLE.values() for transition in possible} == set(
        TRANSITIONS
    )


def test_an_actor_that_is_drained_ends_stopped() -> None:
    assert live("launch", "started", "drain", "stop", "finish") == "stopped"


def test_an_actor_that_fails_may_run_again() -> None:
    assert live("launch", "started", "stop", "restart", "launch", "started") == "running"


def test_an_actor_whose_start_failed_may_start_again() -> None:
    assert live("launch", "stop", "restart", "launch") == "starting"


def test_an_actor_that_was_never_launched_just_finishes() -> None:
    assert live("finish") == "stopped"


def test_every_state_can_be_reached() -> None:
    assert reachable(INITIAL) | {INITIAL} == set(STATES)


@pytest.mark.parametrize("state", [state for state in STATES if state != "stopped"])
def test_every_state_can_reach_stopped(state: State) -> None:
    assert "stopped" in reachable(state)


def test_only_stopped_is_final() -> None:
    assert [state for state, possible in TABLE.items() if not possible] == ["stopped"]


@pytest.mark.parametrize("state", STATES)
def test_only_a_restart_leads_back_to_an_earlier_state(state: State) -> None:
    assert state not in reachable(state, without="restart")


def test_a_starting_actor_cannot_be_drained() -> None:
    with pytest.raises(RuntimeError, match="'starting' has no transition 'drain'"):
        next_state("starting", "drain")


def test_the_error_of_a_final_state_says_that_nothing_is_possible() -> None:
    with pytest.raises(RuntimeError, match="'launch'; possible: none;"):
        next_state("stopped", "launch")


@given(st.lists(st.sampled_from(TRANSITIONS)))
def test_after_a_drain_or_stop_nothing_is_queued_until_a_restart(
    transitions: list[Transition],
) -> None:
    """Between its stop and a restart, an actor accepts no message, whatever it went through."""
    state: State = INITIAL
    ending = False
    for transition in transitions:
        if transition not in TABLE[state]:
            continue
        state = next_state(state, transition)
        ending = transition in ("drain", "stop", "finish") or (ending and transition != "restart")
        assert (state in ACCEPTS) is not ending


def test_messages_are_queued_in_four_states() -> None:
    assert {"registered", "starting", "running", "restarting"} == ACCEPTS


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TABLE["stopped"] = {}  # type: ignore[index]  # pyright: ignore[reportIndexIssue]
