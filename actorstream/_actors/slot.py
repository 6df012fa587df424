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

    __slots__ = ("cell", "ports", "registry")

    def __init__(self) -> None:
        self.cell: Cell | None = None
        self.registry: Registry | None = None
        self.ports: Mapping[str, Port[Any]] = _NO_PORTS

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
    if slot is None:
        slot = ActorSlot()
        object.__setattr__(actor, "_actorstream", slot)
    return slot
