"""How ``publish()`` waits for the subscribers without room, unless that would be for ever."""

from __future__ import annotations

from functools import partial
from typing import Any

from actorstream._errors import AskCycleError
from actorstream._ports.delivery import Delivery
from actorstream._texts import one_line
from actorstream._wait_graph import Wait, Waiter, find_cycle, refuse_waits, running_node


async def wait_for_readers(delivery: Delivery[Any]) -> None:
    """Wait until each subscriber has the value, or has left.

    Raises:
        AskCycleError: A subscriber waits for the publisher.
    """
    publisher = running_node()
    with Wait(publisher, delivery, for_end=True):
        await delivery.wait(None if publisher is None else partial(_check, publisher))


def _check(publisher: Waiter, delivery: Delivery[Any]) -> bool:
    """Refuse what a subscriber asks of the publisher, which waits for it to read.

    Returns:
        Whether there was anything to refuse.

    Raises:
        AskCycleError: A subscriber waits for the publisher in another way.
    """
    path = find_cycle(publisher, delivery, for_end=True)
    is_refused = path is not None and refuse_waits(delivery, publisher)
    if path and not is_refused:
        raise AskCycleError(
            f"this publish() would deadlock: {' -> '.join(map(one_line, path))}; let the "
            'subscriber read in a task of its own, or use another overflow policy than "wait"'
        )
    return is_refused
