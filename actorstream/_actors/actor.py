"""What users subclass."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

from actorstream._abort import AbortSignal
from actorstream._actors.ask_and_tell import ask, make_message, tell, tell_nowait
from actorstream._actors.handlers import build_tables, tables_of, types_of
from actorstream._actors.registry import Registry
from actorstream._actors.slot import ActorSlot, slot_of
from actorstream._address import Address
from actorstream._checks import check_iterable
from actorstream._errors import (
    ActorNotFoundError,
    RouterClosedError,
    UnhandledMessageError,
)
from actorstream._loop.runtime import Runtime
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

    It handles messages if it has ``receive()``, or methods that are marked with ``@handles``. It
    streams if it has methods that are marked with ``@streams``, or one of two methods:

    - ``stream_async(self, payload)``: an async generator function, a coroutine function that
      returns an async iterable, or a plain method that does. An item that is no
      ``AsyncStreamMessage`` becomes a data event.
    - ``async def stream(self, payload, on_chunk)``, the older form: ``await
      on_chunk(chunk)`` for each item.

    Either serves all callers. There is no need to call ``super().__init__()``.
    """

    _actorstream: ActorSlot | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        build_tables(cls)

    def __repr__(self) -> str:
        cell = slot_of(self).cell
        where = "unregistered" if cell is None else str(cell.address)
        return f"<{type(self).__name__} {where}>"

    @property
    def address(self) -> Address:
        """The address under which it is registered.

        Raises:
            AttributeError: It is not registered.
        """
        cell = slot_of(self).cell
        if cell is None:
            raise AttributeError(_unregistered(self, "address"))
        return cell.address

    @property
    def router(self) -> MessageRouter:
        """The router with which it is registered.

        Raises:
            AttributeError: It is not registered.
        """
        registry = slot_of(self).registry
        if registry is None:
            raise AttributeError(_unregistered(self, "router"))
        router: MessageRouter = registry.router
        return router

    # What an actor may do, for a subclass to say

    async def on_start(self) -> None:
        """Prepare. It has returned before the first message and the first stream come."""

    async def on_stop(self, reason: str | BaseException) -> None:
        """Clean up; runs at every end, when the actor's streams are gone.

        It is shielded from cancellation for ``stop_timeout`` seconds, then it is cancelled.

        Args:
            reason: ``"normal"`` (stopped when its mailbox was empty), ``"shutdown"`` (stopped
                at once: the router was left, or its supervisor stopped it), or the exception
                with which the actor failed.
        """

    async def receive(self, message: Message) -> Any:
        """Handle a message for which no method is marked with ``@handles``.

        Messages are handled one at a time, in the order in which they were sent. What it
        returns is the reply to an ask. What it raises reaches the asker as the cause of an
        ``ActorError``; after a tell it is the failure of this actor.

        Raises:
            UnhandledMessageError: Always, unless it is overridden.
        """
        known = ", ".join(types_of(tables_of(type(self)).handlers)) or "none"
        raise UnhandledMessageError(
            f"{message.to} does not handle {message.type!r}; it handles: {known}; write "
            f"@handles({message.type!r}) above a method of {type(self).__name__}, or receive()",
            message,
        )

    # Talking to others

    async def tell(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Do as ``MessageRouter.tell()``, with this actor as the sender."""
        await tell(_joined(self), make_message(to, type, payload, self.address))

    def tell_nowait(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Do as ``MessageRouter.tell_nowait()``, with this actor as the sender."""
        tell_nowait(_joined(self), make_message(to, type, payload, self.address))

    async def ask(
        self,
        to: str | Address,
        type: str,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        signal: AbortSignal | None = None,
    ) -> Any:
        """Do as ``MessageRouter.ask()``, with this actor as the sender."""
        registry = _joined(self)
        message = make_message(to, type, payload, self.address)
        return await ask(registry, message, timeout, signal)

    # What it can stream from

    def create_async_stream(
        self, items: Iterable[T] | AsyncIterable[T], correlation_id: str | None = None
    ) -> EventIterator[T]:
        """Make a stream of events of any iterable or async iterable.

        Return it from ``stream_async``, or iterate it there. It gives data events, then an
        end event, or an error event if ``items`` raises.

        Args:
            items: What to stream. A generator is closed if the stream ends early.
            correlation_id: For the events; by default that of the stream. If they are read
                outside of any stream, one is made for them.

        Raises:
            TypeError: ``items`` is no iterable.
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
        """Do as ``create_async_stream()``, and tell when the consumer is slow.

        Args:
            source: What to stream.
            check_interval: After how many items to look, each time.
            on_backpressure: Called with whether the consumer holds the stream up: the
                producer had to wait since the last look, or would have to now. A coroutine
                function is awaited. What it raises becomes an error event.
            correlation_id: For the events; by default that of the stream. If they are read
                outside of any stream, one is made for them.

        Raises:
            TypeError, ValueError: An argument is of the wrong kind; the message names it.
        """
        items = WatchedSource(iterate(source), check_interval, on_backpressure)
        return EventIterator(items, _own_address(self), correlation_id)

    def create_thread_stream(
        self, iterable: Iterable[T], correlation_id: str | None = None
    ) -> EventIterator[T]:
        """Do as ``create_async_stream()`` for an iterable that blocks.

        It is iterated in a worker thread, so the event loop goes on meanwhile: a synchronous
        LLM client, a file, a database cursor. It is never ahead of the stream's buffer.

        A blocking fetch cannot be interrupted. When the stream ends early, its consumer is
        told at once; the producer is gone when the fetch has returned, and a generator has
        been closed, in a thread, too.

        Raises:
            TypeError: ``iterable`` is no iterable.
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
        """Make a stream of events of what a callback of another library is called with.

        ``register(push)`` is called in the event loop, when the stream is first read. It hooks
        ``push`` in: ``push(item)`` puts an item into the stream, ``push.end()`` ends it, and
        ``push.fail(exception)`` fails it, both after what has been pushed. All three may be
        called in any thread, in a signal handler, and in the event loop; they never block,
        and do nothing after the end.

        A callback cannot wait, so a consumer that reads too slowly loses items; they are
        counted in ``stream.statistics().dropped``. As many as ``buffer_size`` wait for it, or
        100 where no consumer's stream is around this.

        Args:
            register: Hooks the callback in. It may return a function that unhooks it, which
                is called once, in the event loop, however the stream ends. Both may be
                coroutine functions; the second one is shielded from cancellation.
            overflow: What to do with an item when too many are unread: ``"drop_oldest"`` and
                ``"drop_newest"`` lose one, ``"latest"`` keeps none but the newest, ``"fail"``
                ends the stream with ``StreamOverflowError``. A consumer that asks for an
                ``overflow`` other than ``"wait"`` has its own way instead.
            correlation_id: For the events; by default that of the stream.

        Raises:
            TypeError, ValueError: An argument is of the wrong kind; the message names it.
        """
        items = CallbackSource(register, overflow)
        return EventIterator(items, _own_address(self), correlation_id)

    def create_port(
        self, name: str, *, buffer_size: int = 100, overflow: PortOverflow = "wait"
    ) -> Port[Any]:
        """Make a port: what is published there goes to everybody who subscribes to it.

        It may be made before the actor is registered, and in ``__init__``. When the actor is
        unregistered, or the router left, the subscriptions end with an error.

        Args:
            name: For ``router.subscribe()``.
            buffer_size: The most values that may wait to be read, for each subscriber.
            overflow: What happens to more of them, unless a subscriber asks otherwise:
                ``"wait"`` holds ``publish()`` up, ``"drop_oldest"`` and ``"drop_newest"``
                lose values and count them, ``"latest"`` keeps the newest only, and
                ``"fail"`` ends that subscription with ``StreamOverflowError``.

        Raises:
            ValueError: There is a port of that name, or an option has an impossible value.
            TypeError: An argument is of the wrong kind; the message names it.
        """
        options = PortOptions(buffer_size=buffer_size, overflow=overflow)
        port: Port[Any] = Port(name, options, partial(_locate_port, ref(self), name))
        if name in slot_of(self).ports:
            raise ValueError(
                f"{type(self).__name__} has a port {name!r} already; choose another name, or "
                "keep the port that create_port() returns and publish there"
            )
        slot_of(self).add_port(port)
        return port


def _joined(actor: Actor) -> Registry:
    registry = slot_of(actor).registry
    if registry is None:
        raise RouterClosedError(_unregistered(actor, "router"))
    return registry


def _own_address(actor: Actor) -> Address | None:
    cell = slot_of(actor).cell
    return None if cell is None else cell.address


def _locate_port(find_actor: Callable[[], Actor | None], name: str) -> tuple[Address, Runtime]:
    """Return where a port is: the address of its actor, and the runtime of its router."""
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


def _unregistered(actor: Actor, what: str) -> str:
    return (
        f"{type(actor).__name__} has no {what} before it is registered; "
        'write router.register_actor("actor-id", actor)'
    )
