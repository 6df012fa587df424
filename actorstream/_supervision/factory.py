"""How a supervisor calls the functions of its user: a child's factory, and the backoff."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from actorstream._actors.actor import Actor
from actorstream._actors.behavior import ActorBehavior, check_actor
from actorstream._actors.cell import Behavior
from actorstream._loop.interrupts import interruptible
from actorstream._supervision.policy import ChildSpec
from actorstream._texts import repr_of

T = TypeVar("T")


@interruptible
def make_actor(spec: ChildSpec, last: Behavior) -> Actor:
    """Make a fresh actor for a child.

    Args:
        spec: The child's.
        last: The behavior of the child's cell until now.

    Raises:
        TypeError, ValueError: The factory has made no actor, or one that is in use.
    """
    try:
        actor = check_actor(call_apart(spec.factory))
        _check_fresh(actor, last)
    except (TypeError, ValueError) as exc:
        with suppress(Exception):  # an exception of a frozen class takes no note
            exc.add_note(f"It was made by the factory of ChildSpec({spec.id!r}, ...)")
        raise
    return actor


def call_apart(function: Callable[[], T]) -> T:
    """Call a user's function in a copy of the context: what it sets there is gone with it."""
    return copy_context().run(function)


def _check_fresh(actor: Actor, last: Behavior) -> None:
    if isinstance(last, ActorBehavior) and last.actor is actor:
        raise ValueError(
            f"a restart needs a fresh actor, not {repr_of(actor)} again, which has ended; "
            "write a factory that makes one each time"
        )
