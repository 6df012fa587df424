"""The router, the public face of the runtime: it only delegates to other modules."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from actorstream._abort import AbortSignal
from actorstream._actors import ask_and_tell, stopping, stream_and_subscribe
from actorstream._actors.actor import Actor
from actorstream._actors.ask_and_tell import make_message
from actorstream._actors.behavior import actor_in, check_actor
from actorstream._actors.helpers import register
from actorstream._actors.options import ActorOptions
from actorstream._actors.registry import OnFailure, Registry
from actorstream._actors.stream_and_subscribe import OnChunk
from actorstream._actors.tree import RouterTree, count_all, make_tree
from actorstream._address import Address, address
from actorstream._checks import check_name
from actorstream._errors import RouterClosedError
from actorstream._options import StreamAsyncOptions, merge_options
from actorstream._ports.options import PortOverflow, SubscriptionOptions
from actorstream._ports.port import Port
from actorstream._ports.subscription import Subscription
from actorstream._statistics import RouterStatistics
from actorstream._streams.stream import Stream
from actorstream._supervision.supervisor import make_behavior
from actorstream._texts import repr_of


class MessageRouter:
    """Registers actors, sends them messages, and opens streams to them.

    Use the router in ``async with``::

        async with MessageRouter() as router:
            router.register_actor("greeter", Greeter())
            reply = await router.ask("greeter", "greet", "world")
            async for event in router.stream_async("greeter", "query"):
                ...

    All actors and producers run in the router's task group. Leaving the router ends open streams
    with ``RouterClosedError``, stops every actor, and waits until all are gone. An exception of
    the block propagates unchanged. A router is entered once, and used only in that event loop.

    Args:
        on_failure: What happens when an actor without a supervisor fails: with ``"raise"``, its
            exception leaves the router, in the task group's exception group; with ``"stop"``,
            the actor is stopped, and its exception is logged.

    Raises:
        ValueError: ``on_failure`` has another value.
    """

    def __init__(self, *, on_failure: OnFailure = "raise") -> None:
        if on_failure not in get_args(OnFailure):
            raise ValueError(f'on_failure is "raise" or "stop", not {repr_of(on_failure)}')
        self._registry = Registry(self, on_failure)
        self._runtime = self._registry.runtime

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<MessageRouter {self._runtime.state}: {now.actors} actors, "
            f"{now.active_streams} active streams>"
        )

    async def __aenter__(self) -> Self:
        if self._runtime.state != "not entered":
            raise RouterClosedError(
                f"this router is {self._runtime.state}; enter a router once, and make a new one "
                "with MessageRouter()"
            )
        await self._registry.open()
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        self._runtime.check_owner()
        self._registry.close()
        try:
            return await self._runtime.wait_tasks(*exc_info)  # noqa: ASYNC102 - each actor has its limit
        finally:
            self._registry.finish()

    # Actors

    def register_actor(
        self,
        id: str | Address,
        actor: Actor,
        *,
        mailbox_size: int = 100,
        start_timeout: float | None = 30.0,
        stop_timeout: float | None = 5.0,
    ) -> Address:
        """Register an actor under an id, and return its address. An open router starts it.

        An actor that another one's code registers below its own address is a helper: it is stopped
        with its maker, before the maker's ``on_stop()``.

        Args:
            id: The actor's id; may be a path such as ``"workers/a"``.
            actor: An instance of a subclass of ``Actor``.
            mailbox_size: Maximum number of waiting messages; at least 1.
            start_timeout: Seconds that its ``on_start()`` may take, or the actor fails with
                ``StartTimeoutError``; ``None`` for no limit.
            stop_timeout: Seconds that its streams get to clean up, and then its ``on_stop()``,
                until that is cancelled; ``None`` for no limit.

        Raises:
            ValueError: The id is taken or empty, or the actor is registered already.
            RouterClosedError: The router is being left, or has been left.
            TypeError: An argument has the wrong type.
        """
        to = address(id)
        check_actor(actor)
        options = ActorOptions(
            mailbox_size=mailbox_size, start_timeout=start_timeout, stop_timeout=stop_timeout
        )
        behavior = make_behavior(actor, self._registry)
        register(self._registry, to, behavior, options)
        return to

    async def stop_actor(
        self,
        id: str | Address,
        *,
        drain: bool = True,
        timeout: float | Literal["stop_timeout"] | None = "stop_timeout",
    ) -> None:
        """Stop an actor; its open streams end with ``ActorStoppedError``.

        Returns when ``on_stop()`` has run and the actor's producers are gone; the actor stops even
        if this wait is cancelled. A second call waits as well, and without ``drain`` cuts a drain
        short. A caller that the end waits for (the actor itself, one below it, one whose answer it
        awaits) does not wait. A stop is final, except for a ``"permanent"`` child.

        Args:
            id: The actor.
            drain: Whether queued messages are handled first, which is a normal end. Otherwise
                the running handler is cancelled, and askers get ``ActorStoppedError``.
            timeout: Seconds for the drain; then the actor is stopped as without ``drain``. By
                default its ``stop_timeout``; ``None`` for no limit.

        Raises:
            ActorNotFoundError: No actor is registered under that id.
            TypeError, ValueError: The timeout is not valid.
        """
        await stopping.stop_actor(self._registry, address(id), drain=drain, timeout=timeout)

    async def unregister_actor(self, id: str | Address) -> None:
        """Like ``stop_actor()``, under its older name."""
        await self.stop_actor(id)

    async def wait_stopped(self, id: str | Address) -> None:
        """Wait until an actor is stopped for good; return at once if there is none of that id.

        Raises:
            AskCycleError: The actor cannot end before the caller does.
        """
        await stopping.wait_stopped(self._registry, address(id))

    def get_actor(self, id: str | Address) -> Actor:
        """Return the actor that is registered under an id.

        Raises:
            ActorNotFoundError: There is none.
        """
        return actor_in(self._registry.find(address(id)))

    def list_actors(self) -> list[str]:
        """Return the ids of all actors, in the order of registration."""
        return self._registry.ids()

    def statistics(self) -> RouterStatistics:
        """Return how many actors, streams and messages there are."""
        return count_all(self._registry)

    def tree(self) -> RouterTree:
        """Return all actors, each with its children, state and streams; ``print()`` draws it."""
        return make_tree(self._registry.cells)

    # Messages

    async def tell(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Send a message, and do not wait until it is handled.

        Waits while the actor's mailbox is full; if that wait is cancelled, the message was not
        sent. An undeliverable message goes to ``dead_letters`` and to the log.

        Raises:
            MailboxFullError: The mailbox is full, and its actor waits for this tell.
            RouterClosedError: The router is not open.
            TypeError, ValueError: The address or the type is not valid.
        """
        await ask_and_tell.tell(self._registry, make_message(to, type, payload))

    def tell_nowait(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Like ``tell()``, but raise ``MailboxFullError`` instead of waiting for room."""
        ask_and_tell.tell_nowait(self._registry, make_message(to, type, payload))

    async def ask(
        self,
        to: str | Address,
        type: str,
        payload: Any = None,
        *,
        timeout: float | None = 30.0,
        signal: AbortSignal | None = None,
    ) -> Any:
        """Send a message, and return the actor's reply.

        If the wait ends early, the handling is cancelled, whether queued or running.

        Args:
            to: The actor's address or id.
            type: The type of the message.
            payload: Any object.
            timeout: Seconds until the reply, including the wait for room in the mailbox;
                ``None`` for no limit.
            signal: Ends the wait when it is aborted.

        Raises:
            ActorError: The actor failed; its exception is the cause. The actor lives on.
            UnhandledMessageError: The actor has no handler for this type.
            ActorNotFoundError: No actor is registered under that id.
            ActorStoppedError, ActorRestartedError: The actor ended before it answered.
            AskTimeoutError: The timeout passed (also a ``TimeoutError``).
            StreamAbortedError: The signal was aborted.
            AskCycleError: The actor waits for the asker, directly or through others.
            RouterClosedError: The router is not open.
            TypeError, ValueError: An argument is not valid.
        """
        message = make_message(to, type, payload)
        return await ask_and_tell.ask(self._registry, message, timeout, signal)

    # Streams

    def stream_async(
        self,
        to: str | Address,
        type: str,
        payload: Any = None,
        *,
        options: StreamAsyncOptions | None = None,
        **overrides: Any,
    ) -> Stream[Any]:
        """Ask an actor for a stream. Nothing runs until the stream is iterated or entered.

        Args:
            to: The actor's address or id.
            type: What is asked for; the actor finds it in ``current_message()``.
            payload: Passed to the actor.
            options: The options of the stream.
            **overrides: Single options, such as ``buffer_size=10, timeout=None``; see
                ``StreamAsyncOptions``.

        Raises:
            TypeError, ValueError: An option or the address is not valid; the message names it.
        """
        request = make_message(to, type, payload)
        merged = merge_options(options, overrides)
        return stream_and_subscribe.make_stream(self._registry, request, merged)

    async def stream_ask(
        self,
        to: str | Address,
        type: str,
        payload: Any = None,
        *,
        on_chunk: OnChunk,
        options: StreamAsyncOptions | None = None,
        **overrides: Any,
    ) -> None:
        """Call ``on_chunk`` with each payload of a stream: the older form of ``stream_async``.

        The calls never overlap. While a coroutine function ``on_chunk`` waits, the actor is held
        up. If ``on_chunk`` raises, the stream is stopped, and the exception is raised here. The
        producer is gone when this returns or raises; cancelling this closes the stream.

        Raises:
            StreamError: The actor failed, or the stream was aborted or timed out.
            TypeError: ``on_chunk`` is not callable, or yields.
        """
        stream = self.stream_async(to, type, payload, options=options, **overrides)
        await stream_and_subscribe.call_with_chunks(stream, on_chunk)

    # Ports

    @property
    def dead_letters(self) -> Port[Any]:
        """The port of undeliverable messages; by default a slow subscriber loses the oldest."""
        return self._registry.dead_letters.port

    def subscribe(
        self,
        to: str | Address,
        port_name: str,
        *,
        buffer_size: int | None = None,
        overflow: PortOverflow | None = None,
        signal: AbortSignal | None = None,
    ) -> Subscription[Any]:
        """Subscribe to what an actor publishes at one of its ports from now on.

        If the port is not there yet, the subscription begins when it is entered or first read;
        that raises ``RouterClosedError``, ``ActorNotFoundError`` or ``PortNotFoundError``.

        Args:
            to: The actor's address or id.
            port_name: The name that the actor gave to ``create_port()``.
            buffer_size: Maximum number of unread values; by default the port's.
            overflow: What a full buffer does; by default the port's.
            signal: Cancels the subscription when it is aborted.

        Raises:
            PortClosedError: The port is closed.
            TypeError, ValueError: An argument is not valid; the message names it.
        """
        check_name("port_name", port_name)
        options = SubscriptionOptions(buffer_size=buffer_size, overflow=overflow, signal=signal)
        return stream_and_subscribe.subscribe(self._registry, address(to), port_name, options)
