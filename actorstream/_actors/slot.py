"""What the runtime keeps in an actor: where the actor is registered, and its ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from actorstream._actors.cell import Cell
from actorstream._actors.registry import Registry
from actorstream._address import Address
from actorstream._ports.port import Port

T = TypeVar("T")

_NO_PORTS: Mapping[str, Port[Any]] = MappingProxyType({})
_REMEMBERED = 100  # names of closed ports


class ActorSlot:
    """What the runtime keeps in an actor.

    Attributes:
        cell: The cell that the actor is in, if it is registered.
        registry: Where the actor is registered, if it is.
        left: Where a fresh actor has taken this one's place, after a restart.
    """

    __slots__ = ("_actor_id", "_closed", "_ports", "cell", "left", "registry")

    def __init__(self, actor: object, ports: Mapping[str, Port[Any]]) -> None:
        self.cell: Cell | None = None
        self.registry: Registry | None = None
        self.left: Address | None = None
        self._actor_id = id(actor)
        self._ports: dict[str, Port[Any]] | None = dict(ports) if ports else None
        self._closed: dict[str, None] | None = None  # names, the oldest first

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
        self.left = None

    def leave(self, *, restarted: bool) -> None:
        """Forget the cell and the registry."""
        if restarted and self.cell is not None:
            self.left = self.cell.address
        self.cell = self.registry = None

    @property
    def ports(self) -> Mapping[str, Port[Any]]:
        """The open ports by name, in the order of creation."""
        return _NO_PORTS if self._ports is None else self._ports

    def has_closed(self, name: str) -> bool:
        """Return whether a port of that name was closed; only the latest names are remembered."""
        return self._closed is not None and name in self._closed

    def add_port(self, port: Port[Any]) -> None:
        """Add a port of the actor."""
        if self._ports is None:
            self._ports = {}
        self._ports[port.name] = port
        if self._closed is not None:
            self._closed.pop(port.name, None)

    def remove_port(self, port: Port[Any]) -> None:
        """Remove a port that has been closed; its name is free again."""
        if self._ports is None or self._ports.get(port.name) is not port:
            return
        del self._ports[port.name]
        if self._closed is None:
            self._closed = {}
        self._closed[port.name] = None
        if len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]


class replaceable(Generic[T]):  # noqa: N801 - a decorator, like property
    """A property that a class or an instance may replace by an attribute of its own.

    ``address`` and ``router`` are common names. The runtime itself reads the slot.
    """

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read

    @overload
    def __get__(self, actor: None, owner: object) -> property: ...

    @overload
    def __get__(self, actor: object, owner: object) -> T: ...

    def __get__(self, actor: object, owner: object) -> T | property:
        return property(self._read) if actor is None else self._read(actor)


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
