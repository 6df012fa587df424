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
        registry: Where it is registered, if it is.
        ports: Its ports by name, in the order of their making.
    """

    __slots__ = ("cell", "ports", "registry")

    def __init__(self) -> None:
        self.cell: Cell | None = None
        self.registry: Registry | None = None
        self.ports: Mapping[str, Port[Any]] = _NO_PORTS

    def enter(self, cell: Cell, registry: Registry) -> None:
        """The actor is in this cell from now on."""
        self.cell = cell
        self.registry = registry

    def leave(self) -> None:
        """The actor is in no cell any more."""
        self.cell = self.registry = None

    def add_port(self, port: Port[Any]) -> None:
        """The actor has made a port."""
        self.ports = {**self.ports, port.name: port}


def slot_of(actor: object) -> ActorSlot:
    """Return the slot of an actor, and make it first if need be.

    An ``__init__`` need not call that of ``Actor``, a frozen class forbids to set attributes,
    and any attribute may be computed by the class: so this goes by ``object``.
    """
    slot: ActorSlot | None = object.__getattribute__(actor, "_actorstream")
    if slot is None:
        slot = ActorSlot()
        object.__setattr__(actor, "_actorstream", slot)
    return slot
