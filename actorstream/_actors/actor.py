"""``Actor``, which users subclass."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from actorstream._abort import AbortSignal
from actorstream._actors.ask_and_tell import ask, make_message, tell, tell_nowait
from actorstream._actors.handlers import build_tables, tables_of, types_of
from actorstream._actors.port_owner import find_runtime, forget_port, locate_port
from actorstream._actors.registry import Registry
from actorstream._actors.slot import ActorSlot, replaceable, slot_of
from actorstream._address import Address
from actorstream._checks import check_iterable
from actorstream._errors import (
    ActorStoppedError,
    RouterClosedError,
    UnhandledMessageError,
)
from actorstream._message import Message
from actorstream._ports.options import PortOptions, PortOverflow
from actorstream._ports.port import Port
from actorstream._sources.callback_queue import CallbackOverflow
from actorstream._sources.callbacks import CallbackSource, Register
from actorstream._sources.events import EventIterator
from actorstream._sources.iterables import OnBackpressure, WatchedSource, iterate
from actorstream._sources.threads import ThreadSource

if TYPE_CHECKING:
    from actorstream._router import MessageRouter

T = TypeVar("T")


class Actor:
    """An actor; subclass it, and register an instance with a router.

    An actor handles messages with ``receive()``, or with methods that are marked with
    ``@handles``. It streams with methods that are marked with ``@streams``, or with one of:

    - ``stream_async(self, payload)``: an async generator function, a coroutine function that
      returns an async iterable, or a plain method that does. An item that is not an
      ``AsyncStreamMessage`` becomes a data event.
    - ``async def stream(self, payload, on_chunk)``, the older form: ``await
      on_chunk(chunk)`` for each item.

    Both forms serve ``router.stream_async()`` and ``router.stream_ask()``. There is no need to
    call ``super().__init__()``.
    """

    _actorstream: ActorSlot | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        build_tables(cls, reserved=_RESERVED)

    def __repr__(self) -> str:
        cell = slot_of(self).cell
        where = "unregistered" if cell is None else str(cell.address)
        return f"<{type(self).__name__} {where}>"

    @replaceable
    def address(self) -> Address:
        """The address that the actor is registered under.

        Raises:
            AttributeError: The actor is not registered.
        """
        cell = slot_of(self).cell
        if cell is None:
            raise AttributeError(_unregistered(self, "address"))
        return cell.address

    @replaceable
    def router(self) -> MessageRouter:
        """The router that the actor is registered with.

        Raises:
            AttributeError: The actor is not registered.
        """
        registry = slot_of(self).registry
        if registry is None:
            raise AttributeError(_unregistered(self, "router"))
        router: MessageRouter = registry.router
        return router

    # Hooks

    async def on_start(self) -> None:
        """Prepare; the first message and the first stream come after this has returned.

        Context variables that this sets are seen by ``on_stop()``, but not by handlers.
        """

    async def on_stop(self, reason: str | BaseException) -> None:
        """Clean up; runs however the actor ends, after its streams are gone.

        This is shielded from cancellation for ``stop_timeout`` seconds, then cancelled.

        Args:
            reason: ``"normal"`` (stopped when its mailbox was empty), ``"shutdown"`` (stopped
                at once: by a call, by its supervisor, or because the router was left), or the
                exception that the actor failed with.
        """

    async def receive(self, message: Message) -> Any:
        """Handle a message for which no method is marked with ``@handles``.

        Messages are handled one at a time, in the order in which they were sent, each in a copy
        of its sender's context. The return value is the reply to an ask. An exception reaches
        the asker as the cause of an ``ActorError``; after a tell, this actor fails with it.

        Raises:
            UnhandledMessageError: Always, unless a subclass overrides this.
        """
        known = ", ".join(types_of(tables_of(type(self)).handlers)) or "none"
        raise UnhandledMessageError(
            f"{message.to} does not handle {message.type!r}; it handles: {known}; write "
            f"@handles({message.type!r}) above a method of {type(self).__name__}, or receive()",
            message,
        )

    # Messages

    async def tell(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Like ``MessageRouter.tell()``, but with this actor as the sender."""
        await tell(_registry_of(self), make_message(to, type, payload, _own_address(self)))

    def tell_nowait(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Like ``MessageRouter.tell_nowait()``, but with this actor as the sender."""
        tell_nowait(_registry_of(self), make_message(to, type, payload, _own_address(self)))

    async def ask(
        self,
        to: str | Address,
        type: str,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        signal: AbortSignal | None = None,
    ) -> Any:
        """Like ``MessageRouter.ask()``, but with this actor as the sender."""
        registry = _registry_of(self)
        message = make_message(to, type, payload, _own_address(self))
        return await ask(registry, message, timeout, signal)

    # Streams and ports

    def create_async_stream(
        self, items: Iterable[T] | AsyncIterable[T], correlation_id: str | None = None
    ) -> EventIterator[T]:
        """Make a stream of events from any iterable or async iterable.

        Return the stream from ``stream_async``, or iterate it in the actor. It gives data events,
        then an end event, or an error event if ``items`` raises. An actor that reads on after an
        error event gets ``StreamError``, unless it has yielded the event on.

        Args:
            items: What to stream. If the stream ends early, or the actor leaves it half-read, what
                has an ``aclose()`` or ``close()``, such as a generator, is closed.
            correlation_id: For the events; by default the stream's. Events that are read
                outside any stream share a new one.

        Raises:
            TypeError: ``items`` is not an iterable.
        """
        return EventIterator(iterate(items), _own_address(self), correlation_id)

    def create_async_stream_with_backpressure(
        self,
        source: Iterable[T] | AsyncIterable[T],
        *,
        check_interval: int = 10,
        on_backpressure: OnBackpressure | None = None,
        correlation_id: str | None = None,
    ) -> EventIterator[T]:
        """Like ``create_async_stream()``, but report when the consumer is slow.

        Args:
            source: What to stream.
            check_interval: Number of items between two checks.
            on_backpressure: Called at each check with whether the consumer holds the stream
                up: the producer had to wait since the last check, or would have to now. Outside
                of a stream: whether ``source`` has waited for its reader longer than the reader
                for ``source``. May be a coroutine function. Its exception becomes an error event.
            correlation_id: For the events; by default the stream's. Events that are read
                outside any stream share a new one.

        Raises:
            TypeError, ValueError: An argument has the wrong type; the message names it.
        """
        items = WatchedSource(iterate(source), check_interval, on_backpressure)
        return EventIterator(items, _own_address(self), correlation_id)

    def create_thread_stream(
        self, iterable: Iterable[T], correlation_id: str | None = None
    ) -> EventIterator[T]:
        """Like ``create_async_stream()``, but for an iterable that blocks.

        The iterable (a synchronous LLM client, a file, a database cursor) runs in a worker thread,
        so the event loop stays free. The thread is never ahead of the stream's buffer.

        All fetches run in the same thread and context, also in a handler. A blocking fetch cannot
        be interrupted. When the stream ends early, its consumer is told at once; the producer is
        gone when the fetch has returned and the source has been closed, also in the thread. In
        the fetch, ``from_thread.check_cancelled()`` raises, and ``from_thread.run()`` is cancelled.

        Raises:
            TypeError: ``iterable`` is not an iterable.
        """
        check_iterable(iterable)
        return EventIterator(ThreadSource(iterable), _own_address(self), correlation_id)

    def create_callback_stream(
        self,
        register: Register[T],
        *,
        overflow: CallbackOverflow = "drop_oldest",
        correlation_id: str | None = None,
    ) -> EventIterator[T]:
        """Make a stream of events from the calls of another library's callback.

        ``register(push)`` is called in the event loop, when the stream is first read. It hooks
        ``push`` in: ``push(item)`` puts an item into the stream, ``push.end()`` ends it, and
        ``push.fail(exception)`` fails it, both after the items pushed before. All three may be
        called from any thread, from a signal handler, and from the event loop; they never
        block, and do nothing after the end.

        A callback cannot wait, so a consumer that reads too slowly loses items; they are
        counted in ``stream.statistics().dropped``. Up to ``buffer_size`` items wait for the
        consumer, or 100 outside any consumer's stream.

        Args:
            register: Hooks the callback in. May return a function that unhooks it, which is
                called once, in the event loop, however the stream ends. Both may be coroutine
                functions; the one that unhooks is shielded from cancellation. While ``register``
                waits, items and the end count as ever; the end of the stream cancels it.
            overflow: What to do with an item when too many are unread: ``"drop_oldest"`` and
                ``"drop_newest"`` lose one, ``"latest"`` keeps only the newest, ``"fail"``
                ends the stream with ``StreamOverflowError``. If the consumer asks for an
                ``overflow`` other than ``"wait"``, that applies instead.
            correlation_id: For the events; by default the stream's.

        Raises:
            TypeError, ValueError: An argument has the wrong type; the message names it.
        """
        items = CallbackSource(register, overflow)
        return EventIterator(items, _own_address(self), correlation_id)

    def create_port(
        self, name: str, *, buffer_size: int = 100, overflow: PortOverflow = "wait"
    ) -> Port[Any]:
        """Make a port, which passes every published value to all its subscribers.

        This works before the actor is registered, and in ``__init__``. When the actor is
        unregistered, or the router left, the subscriptions end with an error. A port that is
        closed leaves its actor, and its name is free again.

        Args:
            name: What ``router.subscribe()`` finds the port by.
            buffer_size: Most values that wait to be read, for each subscriber.
            overflow: What a full buffer does, unless a subscriber asks otherwise:
                ``"wait"`` holds ``publish()`` up, ``"drop_oldest"`` and ``"drop_newest"``
                lose values and count them, ``"latest"`` keeps only the newest, and
                ``"fail"`` ends that subscription with ``StreamOverflowError``.

        Raises:
            ValueError: The actor has an open port of that name, or an option has an impossible
                value.
            TypeError: An argument has the wrong type; the message names it.
        """
        options = PortOptions(buffer_size=buffer_size, overflow=overflow)
        actor = ref(self)
        port: Port[Any] = Port(
            name,
            options,
            partial(locate_port, actor, name),
            partial(find_runtime, actor),
            on_close=partial(forget_port, actor),
        )
        if name in slot_of(self).ports:
            raise ValueError(
                f"{type(self).__name__} has a port {name!r} already; choose another name, or "
                "keep the port that create_port() returns and publish there"
            )
        slot_of(self).add_port(port)
        return port


def _registry_of(actor: Actor) -> Registry:
    slot = slot_of(actor)
    if slot.registry is None:
        if slot.left is not None:
            raise ActorStoppedError(_ended(actor, slot.left))
        raise RouterClosedError(_unregistered(actor, "router"))
    return slot.registry


_RESERVED = frozenset(name for name in vars(Actor) if not name.startswith("_")) - {
    "on_start",
    "on_stop",
    "receive",
}


def _own_address(actor: Actor) -> Address | None:
    cell = slot_of(actor).cell
    return None if cell is None else cell.address


def _ended(actor: Actor, left: Address) -> str:
    return (
        f"this {type(actor).__name__} was {left} until a restart; send from the actor that is "
        "there now, or with the router's methods"
    )


def _unregistered(actor: Actor, what: str) -> str:
    left = slot_of(actor).left
    if left is not None:
        return f"{type(actor).__name__} has no {what} any more: it was {left} until a restart"
    return (
        f"{type(actor).__name__} has no {what} before it is registered; "
        'write router.register_actor("actor-id", actor)'
    )
