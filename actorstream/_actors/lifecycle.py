"""The life of an actor: one table of states and transitions, without I/O.

| transition | what happens                                                              |
|------------|---------------------------------------------------------------------------|
| launch     | the router is open, and the actor's task begins                           |
| started    | ``on_start`` has returned                                                 |
| drain      | a stop was requested, and the queued messages are handled first           |
| stop       | message handling ends: the actor is drained, stopped at once, or failed   |
| restart    | the old instance is gone, and the supervisor wants a fresh one            |
| finish     | the actor is stopped for good                                             |

An actor that is starting cannot drain: a drain waits until the actor runs. The runtime asks this
table before it acts, so an impossible transition is a bug that shows at once. The design follows
h11, whose ``_state.py`` describes the life of a connection (https://h11.readthedocs.io).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

State = Literal[
    "registered", "starting", "running", "draining", "stopping", "restarting", "stopped"
]
Transition = Literal["launch", "started", "drain", "stop", "restart", "finish"]

Ending = Literal["normal", "shutdown", "abnormal"]
"""How a child ended: it had finished, it was told to stop, or it failed."""

INITIAL: State = "registered"

TABLE: Mapping[State, Mapping[Transition, State]] = MappingProxyType(
    {
        "registered": {"launch": "starting", "finish": "stopped"},
        "starting": {"started": "running", "stop": "stopping"},
        "running": {"drain": "draining", "stop": "stopping"},
        "draining": {"stop": "stopping"},
        "stopping": {"restart": "restarting", "finish": "stopped"},
        "restarting": {"launch": "starting", "finish": "stopped"},
        "stopped": {},
    }
)
"""The next state for each state and transition; no other transition is possible."""

ACCEPTS: frozenset[State] = frozenset({"registered", "starting", "running", "restarting"})
"""The states in which messages are queued."""


def next_state(state: State, transition: Transition) -> State:
    """Return the state that ``transition`` leads to from ``state``.

    Raises:
        RuntimeError: The transition is not possible, which is a bug of this library.
    """
    possible = TABLE[state]
    try:
        return possible[transition]
    except KeyError:
        raise RuntimeError(
            f"an actor that is {state!r} has no transition {transition!r}; "
            f"possible: {', '.join(map(repr, possible)) or 'none'}; "
            "this is a bug in actorstream, please report it"
        ) from None
