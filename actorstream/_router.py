"""The router: where actors are registered, told, asked, and streamed from.

It is entered and left, and hands everything on: to the registry of its actors, to their
mailboxes, and to the producers of streams, which run in its task group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, cast, get_args

from anyio import create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup

from actorstream._abort import AbortSignal
from actorstream._actors.actor import Actor
from actorstream._actors.ask_and_tell import ask, make_message, tell, tell_nowait
from actorstream._actors.behavior import actor_in, check_actor
from actorstream._actors.registry import OnFailure, Registry
from actorstream._actors.stopping import stop_actor, wait_stopped
from actorstream._actors.stream_and_subscribe import (
    find_port,
    open_stream,
    wait_for_port,
)
from actorstream._actors.tree import RouterTree, make_tree
from actorstream._address import Address, address
from actorstream._checks import check_count, check_name, check_seconds
from actorstream._errors import (
    RouterClosedError,
)
from actorstream._options import StreamAsyncOptions, merge_options
from actorstream._ports.options import PortOverflow, SubscriptionOptions
from actorstream._ports.port import Port
from actorstream._ports.subscription import Subscription
from actorstream._statistics import RouterStatistics
from actorstream._streams.stream import Stream
from actorstream._supervision.supervisor import make_behavior

OnChunk = Callable[[Any], Awaitable[object] | object]


class MessageRouter:
    """Registers actors, sends them messages, and opens streams to them.

    It works inside of ``async with``::

        async with MessageRouter() as router:
            router.register_actor("greeter", Greeter())
            reply = await router.ask("greeter", "greet", "world")
            async for event in router.stream_async("greeter", "query"):
                ...

    Every actor and every producer runs in the router's task group. Leaving the router ends
    every stream that is still open, with ``RouterClosedError`` for its consumer, stops every
    actor, and waits until all are gone. An exception of the block leaves it as it is. A router
    is entered once, and used in the event loop where it was entered.

    Args:
        on_failure: What happens when an actor without a supervisor fails: ``"raise"``: its
            exception leaves the router, in the group that the task group makes; ``"stop"``:
            that actor is stopped, and its exception is logged.

    Raises:
        ValueError: ``on_failure`` is neither.
    """

    def __init__(self, *, on_failure: OnFailure = "raise") -> None:
        if on_failure not in get_args(OnFailure):
            raise ValueError(f'on_failure is "raise" or "stop", not {on_failure!r}')
        self._registry = Registry(self, on_failure)
        self._tasks: TaskGroup

    def __repr__(self) -> str:
        now = self.statistics()
        return (
            f"<MessageRouter {self._registry.runtime.state}: {now.actors} actors, "
            f"{now.active_streams} active streams>"
        )

    async def __aenter__(self) -> Self:
        if self._registry.runtime.state != "not entered":
            raise RouterClosedError(
                f"this router is {self._registry.runtime.state}; enter a router once, and make a "
                "new one with MessageRouter()"
            )
        self._tasks = create_task_group()
        await self._tasks.__aenter__()
        self._registry.open(self._tasks)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._registry.close()
        try:
            return await self._leave(exc_type, exc, traceback)  # noqa: ASYNC102 - each actor has its limit
        finally:
            self._registry.finish()

    async def _leave(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Wait for all tasks; the task group would wrap an exception of the block, even alone."""
        if exc is None or _is_cancellation(exc):
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        try:
            with suppress(get_cancelled_exc_class()):  # the block's exception comes instead
                await self._tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            raise group.derive([exc, *group.exceptions]) from None
        return False

    def register_actor(
        self,
        id: str | Address,
        actor: Actor,
        *,
        mailbox_size: int = 100,
        stop_timeout: float | None = 5.0,
    ) -> Address:
        """Register an actor under an id, and return its address. In an open router, it starts.

        Args:
            id: Its id; may be a path such as ``"workers/a"``.
            actor: An instance of a subclass of ``Actor``.
            mailbox_size: Most messages that wait for it; at least 1.
            stop_timeout: Seconds that its streams are given to clean up, and then its
                ``on_stop()``, until that is cancelled; ``None`` for no limit.

        Raises:
            ValueError: The id is taken or empty, or the actor is registered already.
            RouterClosedError: The router is being left.
            TypeError: ``actor`` is no ``Actor``, or another argument has the wrong kind.
        """
        to = address(id)
        check_actor(actor)
        check_count("mailbox_size", mailbox_size)
        check_seconds("stop_timeout", stop_timeout)
        cell = self._registry.add(
            to, make_behavior(actor, self._registry), mailbox_size, stop_timeout
        )
        self._registry.launch_soon(cell)
        return to

    async def stop_actor(self, id: str | Address, *, drain: bool = True) -> None:
        """Stop an actor; its open streams end with ``ActorStoppedError``.

        Returns when its ``on_stop()`` has run and its producers are gone. If the wait is
        cancelled, it still stops; a second call waits as well, and without ``drain`` it ends an
        actor that drains. An actor that stops itself, a supervisor above it, or one that awaits
        its answer, does not wait. A child of a supervisor is started again if its ``restart``
        says so; with ``drain`` its end is a normal one, without it a shutdown.

        Args:
            id: The actor.
            drain: Whether the messages that are queued are handled first. Otherwise the one
                that is being handled is cancelled, and those who wait for an answer get
                ``ActorStoppedError``.

        Raises:
            ActorNotFoundError: Nobody is registered under that id.
        """
        await stop_actor(self._registry, address(id), drain=drain)

    async def unregister_actor(self, id: str | Address) -> None:
        """Do as ``stop_actor()``, under its older name."""
        await self.stop_actor(id)

    async def wait_stopped(self, id: str | Address) -> None:
        """Wait until an actor is stopped for good; return at once if there is none of that id."""
        await wait_stopped(self._registry, address(id))

    def get_actor(self, id: str | Address) -> Actor:
        """Return the actor that is registered under an id.

        Raises:
            ActorNotFoundError: There is none.
        """
        return actor_in(self._registry.find(address(id)))

    def list_actors(self) -> list[str]:
        """Return the ids of all actors, in the order of their registration."""
        return self._registry.ids()

    def statistics(self) -> RouterStatistics:
        """Return how many actors, streams and messages there are."""
        cells, dead_letters = self._registry.cells, self._registry.dead_letters
        return RouterStatistics(
            actors=len(self._registry.ids()),
            active_streams=sum(len(cell.channels) for cell in cells),
            opened_streams=self._registry.opened_streams,
            subscriptions=sum(
                port.statistics().subscribers
                for ports in (*(cell.behavior.ports.values() for cell in cells), [dead_letters])
                for port in ports
            ),
            dead_letters=dead_letters.statistics().published,
            restarts=self._registry.restarts,
            queued_messages=sum(len(cell.mailbox) + cell.mailbox.waiting for cell in cells),
        )

    def tree(self) -> RouterTree:
        """Return who there is, under whom, and how each stands; ``print()`` draws it."""
        return make_tree(self._registry.cells)

    # Messages

    async def tell(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Send a message, and do not wait until it is handled.

        Waits while the actor's mailbox is full. If it is cancelled then, the message was not
        sent. A message to nobody goes to ``dead_letters`` and to the log.

        Raises:
            MailboxFullError: The mailbox is full, and its actor waits for this very tell.
            RouterClosedError: The router is not open.
            TypeError, ValueError: The address or the type has the wrong kind.
        """
        await tell(self._registry, make_message(to, type, payload))

    def tell_nowait(self, to: str | Address, type: str, payload: Any = None) -> None:
        """Send a message, if there is room in the actor's mailbox.

        Raises:
            MailboxFullError: There is none.
            RouterClosedError: The router is not open.
            TypeError, ValueError: The address or the type has the wrong kind.
        """
        tell_nowait(self._registry, make_message(to, type, payload))

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

        However the wait ends early, the handling is cancelled, whether queued or running.

        Args:
            to: The actor's address or id.
            type: The type of the message.
            payload: Anything.
            timeout: Seconds until the reply, room in the mailbox included; ``None`` for no
                limit.
            signal: Ends the wait when it is aborted.

        Raises:
            ActorError: The actor failed; its exception is the cause. The actor lives on.
            UnhandledMessageError: It has no handler for this type.
            ActorNotFoundError: Nobody is registered under that id.
            ActorStoppedError, ActorRestartedError: It ended before it answered.
            AskTimeoutError: The time is over (also a ``TimeoutError``).
            StreamAbortedError: The signal was aborted.
            AskCycleError: The actor waits for the asker, directly or through others.
            RouterClosedError: The router is not open.
            TypeError, ValueError: An argument has the wrong kind.
        """
        return await ask(self._registry, make_message(to, type, payload), timeout, signal)

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
        """Ask an actor for a stream. Nothing runs until it is iterated or entered.

        Args:
            to: The actor's address or id.
            type: What is asked for; the actor finds it in ``current_message()``.
            payload: Handed to the actor.
            options: The options of the stream.
            **overrides: Single options, such as ``buffer_size=10, timeout=None``; see
                ``StreamAsyncOptions``.

        Raises:
            TypeError, ValueError: An option or the address has the wrong kind or an
                impossible value; the message names it.
        """
        request = make_message(to, type, payload)
        return Stream(
            request, merge_options(options, overrides), partial(open_stream, self._registry)
        )

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

        The calls never overlap. While a coroutine function ``on_chunk`` waits, the actor is
        held up. What ``on_chunk`` raises stops the stream and is raised here. The producer
        is gone when this returns or raises; cancelling it closes the stream.

        Raises:
            StreamError: The actor failed, or the stream was aborted or timed out.
            TypeError: ``on_chunk`` cannot be called.
        """
        if not callable(on_chunk):
            raise TypeError(f"on_chunk is a function of one chunk, not {on_chunk!r}")
        stream = self.stream_async(to, type, payload, options=options, **overrides)
        async with stream:
            async for chunk in stream.payloads():
                told = on_chunk(chunk)
                if isawaitable(told):
                    await told

    # Ports

    @property
    def dead_letters(self) -> Port[Any]:
        """The port where messages to nobody are published, until the router is left.

        A subscriber that is slow loses the oldest, unless it asks otherwise.
        """
        return self._registry.dead_letters

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

        If the router is not entered, or the actor or its port is not there yet, it is from
        the first pull on, or from the entering of the subscription, which raises
        ``RouterClosedError``, ``ActorNotFoundError`` or ``PortNotFoundError`` if that is
        still so.

        Args:
            to: The actor's address or id.
            port_name: The name that the actor gave to ``create_port()``.
            buffer_size: The most values that may wait to be read; by default the port's.
            overflow: What happens to more of them; by default the port's.
            signal: Cancels the subscription when it is aborted.

        Raises:
            PortClosedError: The port is closed.
            TypeError, ValueError: An option, the address or the name has the wrong kind or
                an impossible value; the message names it.
        """
        actor_address = address(to)
        check_name("port_name", port_name)
        options = SubscriptionOptions(buffer_size=buffer_size, overflow=overflow, signal=signal)
        find = partial(find_port, self._registry, actor_address, port_name)
        find_later = partial(wait_for_port, self._registry, actor_address, port_name)
        return Subscription(port_name, options, find, find_later)


def _is_cancellation(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(get_cancelled_exc_class()) is not None
    return isinstance(exc, get_cancelled_exc_class())
