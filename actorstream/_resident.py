"""An actor as its cell sees it: which of its methods is called when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any

from actorstream._actor import Actor, bind, find_handler, ports_of
from actorstream._cell import Cell
from actorstream._errors import ActorNotFoundError
from actorstream._message import Message
from actorstream._outcome import Outcome
from actorstream._port import Port, end_port
from actorstream._registry import Registry


class Resident:
    """Lives in a cell on an actor's behalf.

    Args:
        actor: The actor.
        registry: Where it is registered.
    """

    def __init__(self, actor: Actor, registry: Registry) -> None:
        self.actor = actor
        self.registry = registry
        self.cell: Cell

    def __repr__(self) -> str:
        return repr(self.actor)

    @property
    def kind(self) -> str:
        """The name of the actor's class."""
        return type(self.actor).__name__

    @property
    def ports(self) -> Mapping[str, Port[Any]]:
        """The actor's ports."""
        return ports_of(self.actor)

    @property
    def begins_at_once(self) -> bool:
        """Whether the actor has no ``on_start()``."""
        return type(self.actor).on_start is Actor.on_start

    def move_in(self, cell: Cell) -> None:
        """Tell the actor its address."""
        self.cell = cell
        bind(self.actor, cell, self.registry)

    async def begin(self) -> None:
        """Call ``on_start()``."""
        await self.actor.on_start()

    async def handle(self, message: Message) -> Any:
        """Call the method for the message's type, and return the reply."""
        result = find_handler(self.actor, message)
        return await result if isawaitable(result) else result

    async def stop_dependents(self) -> None:
        """Nobody lives under a plain actor."""

    async def end(self, reason: str | BaseException) -> None:
        """Call ``on_stop()``."""
        await self.actor.on_stop(reason)

    def leave(self, outcome: Callable[[], Outcome]) -> None:
        """End the subscriptions of the actor's ports, and take its address away."""
        for port in self.ports.values():
            end_port(port, outcome)
        bind(self.actor, None, None)


def actor_in(cell: Cell) -> Actor:
    """Return the actor in a cell.

    Raises:
        ActorNotFoundError: It has not been made yet.
    """
    if not isinstance(cell.inhabitant, Resident):
        raise ActorNotFoundError(
            f"{cell.address} has no actor yet, for its supervisor has not started it; "
            f"write `await router.ask({cell.address.id!r}, ...)` first, which waits for it"
        )
    return cell.inhabitant.actor
