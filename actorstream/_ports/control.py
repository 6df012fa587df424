"""What the runtime does with a port of an actor: end it, post to it, attach subscriptions to it."""

# Users see the methods of a port that have no underscore.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from actorstream._ports.delivery import SubscriptionChannel
from actorstream._ports.port import Port
from actorstream._ports.subscription import Attach
from actorstream._streams.outcome import Outcome

T = TypeVar("T")


def give_up_reading(
    port: Port[Any], task_id: int, make_outcome: Callable[[], Outcome]
) -> list[SubscriptionChannel]:
    """Let those subscriptions end rather than hold a publisher up that a task reads.

    Returns:
        The subscriptions. When the task reads again, call ``go_on()`` of each.
    """
    channels = [
        channel for channel in port._channels.values() if channel.backlog.reader_task == task_id
    ]
    for channel in channels:
        channel.give_up(make_outcome)
    return channels


def end_port(port: Port[Any], make_outcome: Callable[[], Outcome]) -> None:
    """End each subscription with an outcome of its own, because the port's actor is gone.

    A ``publish()`` that waits returns: no subscriber is left. The port is not closed: once its
    actor is registered again, it accepts subscribers again.
    """
    port._end(make_outcome)


def post(port: Port[T], value: T) -> None:
    """Hand a value to every subscriber of a port whose publisher cannot wait."""
    port._hand_out(value)


def attach_to(port: Port[T]) -> Attach:
    """Return the function that attaches a subscription to a port."""
    return port._attach
