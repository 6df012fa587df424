"""What the runtime keeps in an actor: where the actor is registered, and its ports."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from actorstream._actors.cell import Cell
from actorstream._actors.registry import Registry
from actorstream._ports.port import Port

_NO_PORTS: Mapping[str, Port[Any]] = MappingProxyType({})


class ActorSlot:
    """What the runtime keeps in an actor.

    Attributes:
        cell: The cell that the actor is in, if it is registered.
        registry: Where the actor is registered, if it is.
        ports: The ports by name, in the order of creation.
    """

    __slots__ = ("_actor_id", "cell", "ports", "registry")

    def __init__(self, actor: object, ports: Mapping[str, Port[Any]]) -> None:
        self.cell: Cell | None = None
        self.registry: Registry | None = None
        self.ports = ports
        self._actor_id = id(actor)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave it out of pickles and deep copies of the actor: those are not registered."""
        return type(None), ()

    def is_of(self, actor: object) -> bool:
        """Return whether it is this actor's; a shallow copy of an actor has the original's."""
        return self._actor_id == id(actor)

    def enter(self, cell: Cell, registry: Registry) -> None:
        """Note the cell and the registry of the actor."""
        self.cell = cell
        self.registry = registry

    def leave(self) -> None:
        """Forget the cell and the registry."""
        self.cell = self.registry = None

    def add_port(self, port: Port[Any]) -> None:
        """Add a port of the actor."""
        self.ports = {**self.ports, port.name: port}


def slot_of(actor: object) -> ActorSlot:
    """Return the slot of an actor; create it on first use.

    ``object.__setattr__`` also works if a subclass is frozen or computes its attributes, and the
    slot is made here since ``__init__`` may not call ``super().__init__()``.
    """
    slot: ActorSlot | None = object.__getattribute__(actor, "_actorstream")
    if slot is None or not slot.is_of(actor):
        slot = ActorSlot(actor, _NO_PORTS if slot is None else slot.ports)
        object.__setattr__(actor, "_actorstream", slot)
    return slot
