"""What a port knows of its actor: where it is registered, if it is. It does not keep it alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actorstream._actors.slot import slot_of
from actorstream._address import Address
from actorstream._errors import ActorNotFoundError, RouterClosedError
from actorstream._loop.runtime import Runtime
from actorstream._ports.port import Port

FindActor = Callable[[], object | None]
"""Returns the actor of a port, a weak reference; ``None`` once the actor is gone."""


def locate_port(find_actor: FindActor, name: str) -> tuple[Address, Runtime]:
    """Return the address of a port's actor, and the runtime of its router."""
    actor = find_actor()
    slot = None if actor is None else slot_of(actor)
    if slot is None or slot.registry is None or slot.cell is None:
        raise RouterClosedError(
            f"the port {name!r} is in no router, since its actor is not registered; "
            'write router.register_actor("actor-id", actor)'
        )
    to = slot.cell.address
    if slot.registry.find(to) is not slot.cell:
        raise ActorNotFoundError(
            f"another actor is registered as {to} now; "
            f"write router.subscribe({to.id!r}, {name!r}) for a port of that one"
        )
    slot.registry.runtime.check_open()
    return to, slot.registry.runtime


def forget_port(find_actor: FindActor, port: Port[Any]) -> None:
    """Remove a port that has been closed from its actor."""
    actor = find_actor()
    if actor is not None:
        slot_of(actor).remove_port(port)


def find_runtime(find_actor: FindActor) -> Runtime | None:
    """Return the runtime of a port's router; ``None`` if its actor is not registered."""
    actor = find_actor()
    registry = None if actor is None else slot_of(actor).registry
    return None if registry is None else registry.runtime
