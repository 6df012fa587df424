"""An actor as its cell sees it: which of its methods is called when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import Any

from actorstream._actors.actor import Actor, bind, ports_of
from actorstream._actors.cell import Cell
from actorstream._actors.handlers import argument, types_of
from actorstream._actors.registry import Registry
from actorstream._errors import ActorNotFoundError, StreamingNotSupportedError
from actorstream._message import Message
from actorstream._ports.port import Port, end_port
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import Opener, open_callback, open_iterable


class ActorBehavior:
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
    def starts_at_once(self) -> bool:
        """Whether the actor has no ``on_start()``."""
        return type(self.actor).on_start is Actor.on_start

    def attach(self, cell: Cell) -> None:
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

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """End the subscriptions of the actor's ports, and take its address away."""
        for port in self.ports.values():
            end_port(port, outcome)
        bind(self.actor, None, None)


def actor_in(cell: Cell) -> Actor:
    """Return the actor in a cell.

    Raises:
        ActorNotFoundError: It has not been made yet.
    """
    if not isinstance(cell.behavior, ActorBehavior):
        raise ActorNotFoundError(
            f"{cell.address} has no actor yet, for its supervisor has not started it; "
            f"write `await router.ask({cell.address.id!r}, ...)` first, which waits for it"
        )
    return cell.behavior.actor


class NotStarted:
    """Lives in a cell before its first actor is made: nobody."""

    kind = "no actor yet"
    ports: Mapping[str, Port[Any]] = MappingProxyType({})
    starts_at_once = False

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def attach(self, cell: Cell) -> None:
        """There is nobody to tell."""

    async def begin(self) -> None:
        """Nobody begins."""

    async def handle(self, message: Message) -> Any:
        """Nobody handles anything."""

    async def stop_dependents(self) -> None:
        """Nobody lives under nobody."""

    async def end(self, reason: str | BaseException) -> None:
        """Nobody ends."""

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """Nobody leaves."""


def find_handler(actor: Actor, message: Message) -> Any:
    """Call the method that handles a message, and return what it returns."""
    entry = type(actor)._actorstream_handlers.get(message.type)  # pyright: ignore[reportPrivateUsage]
    if entry is None:
        return actor.receive(message)
    name, takes_message = entry
    return getattr(actor, name)(argument(message, takes_message))


def find_source(actor: Actor, request: Message) -> tuple[Opener, Callable[..., Any]]:
    """Return the method that makes a stream's items, and what calls it.

    Raises:
        StreamingNotSupportedError: It has none.
    """
    entry = type(actor)._actorstream_streamers.get(request.type)  # pyright: ignore[reportPrivateUsage]
    if entry is not None:
        name, takes_message = entry
        return open_iterable, _taking(getattr(actor, name), argument(request, takes_message))
    stream_async = getattr(actor, "stream_async", None)
    if callable(stream_async):
        return open_iterable, stream_async
    stream = getattr(actor, "stream", None)
    if callable(stream):
        return open_callback, stream
    known = ", ".join(types_of(type(actor)._actorstream_streamers))  # pyright: ignore[reportPrivateUsage]
    only = f" for {request.type!r}, only @streams({known})" if known else ""
    raise StreamingNotSupportedError(
        f"{request.to} does not support async streaming: {type(actor).__name__} has neither "
        f"stream_async() nor stream(){only}; "
        "write `async def stream_async(self, payload): yield item`"
    )


def check_actor(actor: object) -> Actor:
    """Return an actor that is free to be registered.

    Raises:
        TypeError: It is no ``Actor``.
        ValueError: It is registered already.
    """
    if not isinstance(actor, Actor):
        raise TypeError(
            f"an actor is an instance of a subclass of Actor, not {actor!r}; "
            "write register_actor(id, MyActor())"
        )
    if actor._actorstream_cell is not None:  # pyright: ignore[reportPrivateUsage]
        raise ValueError(
            f"{actor!r} is registered as {actor.address} already; make an actor for each id"
        )
    return actor


def _taking(method: Callable[..., Any], what: Any) -> Callable[..., Any]:
    """Return a function of a payload that calls ``method`` with something else instead."""

    def call(_: Any) -> Any:
        return method(what)

    return call
