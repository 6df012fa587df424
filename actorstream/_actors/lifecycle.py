"""The life of an actor: one table of states and transitions, without I/O.

| transition | what happened                                                             |
|------------|---------------------------------------------------------------------------|
| launch     | the router runs, and the actor's task begins                              |
| started    | ``on_start`` has returned                                                 |
| drain      | somebody stops the actor, and what is queued is to be finished first      |
| halt       | nothing more is to be handled: it is drained, stopped at once, or failed  |
| again      | the old instance is gone, and its supervisor wants a fresh one            |
| finish     | nothing more comes                                                        |

Nothing drains an actor that is starting: whoever wants that waits until it runs. The runtime asks
this table before it acts, so a life that is not in it is a bug that shows at once. The form is that
of h11, whose ``_state.py`` keeps the life of a connection (https://h11.readthedocs.io).
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
"""How a child came to its end: it had finished, it was told to, or it failed."""

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
"""Where each transition leads from each state; what is not here cannot happen."""

ACCEPTS: frozenset[State] = frozenset({"registered", "starting", "running", "restarting"})
"""The states in which messages are queued."""


def next_state(state: State, transition: Transition) -> State:
    """Return where ``transition`` leads from ``state``.

    Raises:
        RuntimeError: It leads nowhere from there, which is a bug of this library.
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
