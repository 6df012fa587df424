"""How a cell calls the actor in it: which method runs when, and what ends with the actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from actorstream._actors.actor import Actor
from actorstream._actors.cell import Cell
from actorstream._actors.handlers import argument, tables_of, types_of
from actorstream._actors.lifecycle import Ending
from actorstream._actors.registry import Registry
from actorstream._actors.slot import slot_of
from actorstream._errors import ActorNotFoundError, StreamingNotSupportedError
from actorstream._kinds import is_a, is_awaitable
from actorstream._loop.interrupts import interruptible
from actorstream._message import Message
from actorstream._ports.control import end_port
from actorstream._ports.port import Port
from actorstream._streams.half_read import Sources
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import Opener, open_callback, open_iterable, open_with_message
from actorstream._texts import repr_of
from actorstream._wait_graph import Wait


class ActorBehavior:
    """Calls the methods of an actor, and is the parent of its helpers.

    A helper is an actor that the code of this one has registered under a path below its own
    address. It ends with its maker, before the maker's ``on_stop()``, as a child does.

    Args:
        actor: The actor.
        registry: Where the actor is registered.

    Attributes:
        cell: The cell that the actor is in; set by ``attach()``.
    """

    __slots__ = (
        "_handlers",
        "_has_stopped",
        "_helpers",
        "_sources",
        "actor",
        "cell",
        "registry",
    )

    def __init__(self, actor: Actor, registry: Registry) -> None:
        self.actor = actor
        self.registry = registry
        self.cell: Cell
        self._handlers = tables_of(type(actor)).handlers
        self._helpers: dict[Cell, None] = {}
        self._sources: Sources | None = None
        self._has_stopped = False

    def __repr__(self) -> str:
        return repr(self.actor)

    @property
    def kind(self) -> str:
        """The name of the actor's class."""
        return type(self.actor).__name__

    @property
    def ports(self) -> Mapping[str, Port[Any]]:
        """The actor's ports, by name."""
        return slot_of(self.actor).ports

    @property
    def starts_at_once(self) -> bool:
        """Whether the actor has no ``on_start()``."""
        return type(self.actor).on_start is Actor.on_start

    def attach(self, cell: Cell) -> None:
        """Tell the actor its address."""
        self.cell = cell
        slot_of(self.actor).enter(cell, self.registry)

    def open_sources(self) -> Sources | None:
        """Return where the sources are kept that the actor reads, but for those of its streams.

        Once the actor has stopped, and in another event loop, there is no such place.
        """
        runtime = self.registry.runtime
        if self._has_stopped or not runtime.in_loop():
            return None
        if self._sources is None:
            self._sources = Sources(runtime)
        return self._sources

    @interruptible
    async def start(self) -> None:
        """Call ``on_start()``, which fails if it takes longer than ``start_timeout``.

        A timer, and not a scope: ``on_start()`` may leave a scope open until ``on_stop()``.
        """
        seconds, limit = self.cell.options.start_timeout, None
        if seconds is not None:
            timers = self.registry.runtime.timers
            limit = timers.call_after(seconds, self.cell.time_out_start)
        try:
            await _check_awaitable(self.actor, "on_start", self.actor.on_start())
        finally:
            if limit is not None:
                limit.cancel()

    @interruptible
    async def handle(self, message: Message) -> Any:
        """Call the method for the message's type, and return the reply."""
        result = self._call_handler(message)
        return await result if is_awaitable(result) else result

    @interruptible
    def _call_handler(self, message: Message) -> Any:
        entry = self._handlers.get(message.type)
        if entry is None:
            return self.actor.receive(message)
        name, takes_message = entry
        return getattr(self.actor, name)(argument(message, takes_message))

    def note_draining(self) -> None:
        """Do nothing: a plain actor just handles its messages."""

    async def stop_children(self) -> None:
        """Stop the helpers: a plain actor has no other children."""
        await self.stop_helpers()

    async def stop_helpers(self) -> None:
        """Stop the helpers, in the reverse order of their registration."""
        while self._helpers:
            helper = next(reversed(self._helpers))
            if self.cell.router_closing:
                helper.note_router_closing()
            self.registry.stop(helper)
            with Wait(self.cell, helper, for_end=True):
                await helper.wait_stopped()
            self._helpers.pop(helper, None)

    async def stop(self, reason: str | BaseException) -> None:
        """Call ``on_stop()``, then close the sources that the actor has left half-read."""
        try:
            await self._call_on_stop(reason)
        finally:
            self._has_stopped = True
            if self._sources is not None:
                await self._sources.close()  # noqa: ASYNC102 - bounded by the stop timeout

    @interruptible
    async def _call_on_stop(self, reason: str | BaseException) -> None:
        await _check_awaitable(self.actor, "on_stop", self.actor.on_stop(reason))

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """End the subscriptions of the actor's ports, and clear its address."""
        for port in self.ports.values():
            end_port(port, outcome)
        slot_of(self.actor).leave(restarted=self.cell.will_restart)

    def release_children(self) -> None:
        """Do nothing: helpers do not outlive their maker."""

    # As the parent of its helpers' cells

    def add_helper(self, helper: Cell) -> None:
        """Stop an actor with this one."""
        self._helpers[helper] = None

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Return False: a helper comes back if its maker registers it again."""
        return False

    def keeps_name(self, cell: Cell) -> bool:
        """Return False: the maker may register another one at once."""
        return False

    def on_terminated(self, cell: Cell) -> None:
        """Forget a helper; raise or log its failure."""
        self._helpers.pop(cell, None)
        self.registry.on_terminated(cell)


def _check_awaitable(actor: Actor, name: str, made: object) -> Awaitable[object]:
    """Return what a method has returned, if it can be awaited.

    Raises:
        TypeError: The method is a plain function.
    """
    if not is_awaitable(made):
        raise TypeError(
            f"{type(actor).__name__}.{name}() returned {repr_of(made)}, which cannot be awaited; "
            f"write `async def {name}`"
        )
    return made


def actor_in(cell: Cell) -> Actor:
    """Return the actor in a cell.

    Raises:
        ActorNotFoundError: The actor has not been made yet, or has stopped.
    """
    if cell.state == "stopped":
        raise ActorNotFoundError(
            f"{cell.address} has stopped, and its actor is not kept; write `actor = MyActor()` "
            "before you register it, and use that"
        )
    if not isinstance(cell.behavior, ActorBehavior):
        raise ActorNotFoundError(
            f"{cell.address} has no actor yet, since its supervisor has not started it; "
            f"write `await router.ask({cell.address.id!r}, ...)` first, which waits for it"
        )
    return cell.behavior.actor


def check_actor(actor: object) -> Actor:
    """Return ``actor``, if it can be registered.

    Raises:
        TypeError: It is not an ``Actor``.
        ValueError: It is registered already.
    """
    if not is_a(actor, Actor):
        raise TypeError(
            f"an actor is an instance of a subclass of Actor, not {repr_of(actor)}; "
            "write register_actor(id, MyActor())"
        )
    cell = slot_of(actor).cell
    if cell is not None:
        raise ValueError(
            f"{repr_of(actor)} is registered as {cell.address} already; make an actor for each id"
        )
    return actor


def find_streamer(actor: Actor, request: Message) -> tuple[Opener, Callable[..., Any]]:
    """Return the method that makes a stream's items, and the opener that calls it.

    Raises:
        StreamingNotSupportedError: The actor has no such method.
    """
    entry = tables_of(type(actor)).streamers.get(request.type)
    if entry is not None:
        name, takes_message = entry
        return open_with_message if takes_message else open_iterable, getattr(actor, name)
    stream_async = getattr(actor, "stream_async", None)
    if callable(stream_async):
        return open_iterable, stream_async
    stream = getattr(actor, "stream", None)
    if callable(stream):
        return open_callback, stream
    known = ", ".join(types_of(tables_of(type(actor)).streamers))
    only = f" for {request.type!r}, only @streams({known})" if known else ""
    raise StreamingNotSupportedError(
        f"{request.to} does not support async streaming: {type(actor).__name__} has neither "
        f"stream_async() nor stream(){only}; "
        "write `async def stream_async(self, payload): yield item`"
    )
