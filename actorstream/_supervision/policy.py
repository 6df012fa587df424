"""Restart policy: what a supervisor does when a child ends, after Erlang/OTP, without I/O.

The functions here decide and return a value; the supervisor acts on it. The rules are those of
https://www.erlang.org/doc/system/sup_princ.html and of OTP's ``supervisor`` module
(https://www.erlang.org/doc/apps/stdlib/supervisor.html). Three things differ:

- A child that is not live when a sibling fails stays as it is: it was stopped on purpose, or is a
  transient child that had finished. OTP starts it again with the others.
- Times are fractions of a second. OTP counts its window in whole seconds.
- A supervisor may wait before a restart (``backoff``). OTP restarts at once.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Collection, Sequence
from inspect import iscoroutinefunction
from typing import Any, Literal, get_args

import attrs

from actorstream._actors.lifecycle import Ending
from actorstream._address import address
from actorstream._checks import (
    as_seconds,
    check_choice,
    check_count,
    check_seconds,
    is_number,
    validate,
)
from actorstream._loop.interrupts import interruptible
from actorstream._texts import repr_of

Restart = Literal["permanent", "transient", "temporary"]
"""When a child that ended is restarted: always, after a failure, never."""

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""What is restarted with a child: nothing else, all siblings, or those started after it."""

Backoff = float | Callable[[int], float] | None
"""Seconds before a restart, or a function of the number of restarts in a row (1, 2, ...)."""

_LONGEST = sys.float_info.max


def _id_of(value: str) -> str:
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"a child's id is a str, not {repr_of(value)} ({type(value).__name__}); "
            'write ChildSpec("a", MyActor)'
        )
    try:
        return address(value).id
    except ValueError:
        raise ValueError(
            f'a child\'s id is empty in {value!r}; write ChildSpec("a", MyActor)'
        ) from None


def _check_factory(_: object, __: object, value: Any) -> None:
    if not callable(value):
        raise TypeError(
            f"factory makes a fresh actor each time it is called; {repr_of(value)} cannot be "
            'called; write ChildSpec("a", MyActor) or ChildSpec("a", lambda: MyActor(...))'
        )
    if iscoroutinefunction(value):
        raise TypeError(
            f"factory is a plain function that returns an actor, not the coroutine function "
            f'{repr_of(value)}; write ChildSpec("a", MyActor), and await in the actor\'s on_start()'
        )


@attrs.frozen
class ChildSpec:
    """One child of a supervisor: how to make it, and when to restart it.

    Attributes:
        id: The child's id below its supervisor's (``"workers/a"``). May be a path.
        factory: Called without arguments for each start: an actor's class, or a function
            that makes a fresh actor.
        restart: ``"permanent"``: restart the child however it ends. ``"transient"``: only if it
            fails. ``"temporary"``: never, not even with its siblings.
        mailbox_size: Maximum number of waiting messages; at least 1.
        start_timeout: Seconds that the child's ``on_start()`` may take; ``None`` and ``inf`` mean
            no limit. A child that takes longer has failed.
        stop_timeout: Seconds that the child's streams get to clean up, and then its
            ``on_stop()``, until that is cancelled; ``None`` and ``inf`` mean no limit. For a
            child that is a supervisor, the time of its own children does not count.

    Raises:
        TypeError, ValueError: An argument has the wrong type or an impossible value; the
            message names it.
    """

    id: str = attrs.field(converter=_id_of)
    factory: Callable[[], Any] = attrs.field(validator=_check_factory)
    restart: Restart = attrs.field(
        default="permanent", validator=validate(check_choice, get_args(Restart))
    )
    mailbox_size: int = attrs.field(default=100, kw_only=True, validator=validate(check_count))
    start_timeout: float | None = attrs.field(
        default=30.0, kw_only=True, validator=validate(check_seconds)
    )
    stop_timeout: float | None = attrs.field(
        default=5.0, kw_only=True, validator=validate(check_seconds)
    )


def restarts(restart: Restart, ending: Ending) -> bool:
    """Return whether a child that ended without an order of its supervisor is restarted.

    | restart   | normal | shutdown | abnormal |
    |-----------|--------|----------|----------|
    | permanent | yes    | yes      | yes      |
    | transient | no     | no       | yes      |
    | temporary | no     | no       | no       |

    From OTP's ``supervisor``, "Child specification".
    """
    return restart == "permanent" or (restart == "transient" and ending == "abnormal")


class RestartBudget:
    """How many restarts a supervisor has: ``max_restarts`` in any ``within`` seconds.

    The window slides: it is the last ``within`` seconds before each restart, both ends
    included, so a restart exactly ``within`` seconds ago still counts. A refused restart counts,
    too. From OTP's ``supervisor``, "Restart intensity and period".

    One failure counts once, however many siblings are restarted with it. A start that fails
    counts as another failure.

    Args:
        max_restarts: Most restarts in the window; 0 allows none.
        within: Length of the window, in seconds.
    """

    __slots__ = ("_max_restarts", "_recent", "_within")

    def __init__(self, max_restarts: int, within: float) -> None:
        self._max_restarts = max_restarts
        self._within = within
        self._recent: deque[float] = deque()

    def __repr__(self) -> str:
        return f"RestartBudget(max_restarts={self._max_restarts}, within={self._within})"

    def spend(self, now: float) -> bool:
        """Count a restart; return False if it exceeds the budget.

        Args:
            now: The time of the restart, in seconds; never before that of the last one.
        """
        recent = self._recent
        while recent and now - recent[0] > self._within:
            recent.popleft()
        recent.append(now)
        if len(recent) <= self._max_restarts:
            return True
        recent.popleft()  # only the latest ones decide the next, and there are max_restarts at most
        return False


@interruptible
def delay(backoff: Backoff, attempt: int) -> float:
    """Return the seconds to wait before a restart.

    Args:
        backoff: A number of seconds, a function of ``attempt``, or ``None`` for no wait.
        attempt: The number of the restart in a row; the first is 1.

    Raises:
        TypeError, ValueError: The function returned something other than a finite number of
            seconds, 0 or more. Its own exceptions propagate.
    """
    if backoff is None:
        return 0.0
    if not callable(backoff):
        return backoff
    seconds = backoff(attempt)
    _check_backoff_seconds(f"backoff({attempt}) returned {repr_of(seconds)}; it", seconds)
    return seconds


def _check_backoff_seconds(subject: str, value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"{subject} must be a number of seconds, such as 0.5")
    if not 0 <= value <= _LONGEST:  # false for nan, too
        raise ValueError(f"{subject} must be a finite number of seconds, 0 or more")


@attrs.frozen
class Plan:
    """What a supervisor does for a child that ended, in this order.

    Attributes:
        stop: Live siblings to stop, in the reverse order of their start.
        start: Children to start, in order, including the one that ended.
    """

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()


def plan(strategy: Strategy, specs: Sequence[ChildSpec], ended: str, live: Collection[str]) -> Plan:
    """Decide which children to stop and start when one is restarted.

    A temporary sibling that is stopped is not started again. From OTP's ``supervisor``,
    "Restart Strategies".

    Args:
        strategy: Which siblings are restarted, too.
        specs: All children, in the order of their start.
        ended: The id of the child that ended.
        live: The ids of the children that have not been stopped for good, including those that
            wait for a restart. May omit ``ended``.

    Raises:
        RuntimeError: ``ended`` is not one of ``specs``, which is a bug of this library.
    """
    place = _find(specs, ended)
    live = {*live, ended}
    touched = [spec for spec in _restarted_with(strategy, specs, place) if spec.id in live]
    return Plan(
        stop=tuple(spec.id for spec in reversed(touched) if spec.id != ended),
        start=tuple(spec.id for spec in touched if spec.restart != "temporary"),
    )


def _find(specs: Sequence[ChildSpec], child_id: str) -> int:
    for place, spec in enumerate(specs):
        if spec.id == child_id:
            return place
    raise RuntimeError(
        f"{child_id!r} is not one of the children: "
        f"{', '.join(repr(spec.id) for spec in specs) or 'none'}; "
        "this is a bug in actorstream, please report it"
    )


def _restarted_with(
    strategy: Strategy, specs: Sequence[ChildSpec], place: int
) -> Sequence[ChildSpec]:
    if strategy == "one_for_all":
        return specs
    if strategy == "rest_for_one":
        return specs[place:]
    return [specs[place]]


def _children(children: Any) -> tuple[ChildSpec, ...]:
    """Check that the children are specifications with distinct ids."""
    if not isinstance(children, Sequence) or isinstance(children, str | bytes):
        raise TypeError(
            f"children is a list of ChildSpec, not {repr_of(children)}; "
            'write children=[ChildSpec("a", MyActor)]'
        )
    specs: dict[str, ChildSpec] = {}
    child: object
    for child in children:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(child, ChildSpec):
            raise TypeError(
                f"each of children is a ChildSpec, not {child!r}; "
                'write children=[ChildSpec("a", MyActor)]'
            )
        if child.id in specs:
            raise ValueError(
                f"two children have the id {child.id!r}; give each ChildSpec an id of its own"
            )
        specs[child.id] = child
    return tuple(specs.values())


def _check_max_restarts(_: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"max_restarts is a whole number of restarts (an int), not {repr_of(value)}"
        )
    if value < 0:
        raise ValueError(f"max_restarts is at least 0, which allows none, not {value!r}")


def _check_within(_: str, value: Any) -> None:
    if not is_number(value):
        raise TypeError(f"within is a number of seconds, not {repr_of(value)}")
    if not 0 < value <= math.inf:  # false for nan, too
        raise ValueError(f"within is more than 0 seconds, not {repr_of(value)}")


def _check_backoff(_: str, value: object) -> None:
    if value is None:
        return
    if iscoroutinefunction(value):
        raise TypeError(
            f"backoff is a plain function that returns seconds, not the coroutine function "
            f"{repr_of(value)}; write backoff=lambda attempt: 0.1 * attempt"
        )
    if callable(value):
        return
    if not is_number(value):
        raise TypeError(
            f"backoff is a number of seconds, a function that returns one, or None, not "
            f"{repr_of(value)}; write backoff=0.5 or backoff=lambda attempt: 0.1 * attempt"
        )
    _check_backoff_seconds(f"backoff={repr_of(value)}; it", value)


@attrs.frozen
class SupervisorOptions:
    """The options of a supervisor; see `Supervisor`."""

    children: tuple[ChildSpec, ...] = attrs.field(converter=_children)
    strategy: Strategy = attrs.field(validator=validate(check_choice, get_args(Strategy)))
    max_restarts: int = attrs.field(validator=validate(_check_max_restarts))
    within: float = attrs.field(converter=as_seconds, validator=validate(_check_within))
    backoff: Backoff = attrs.field(validator=validate(_check_backoff))
