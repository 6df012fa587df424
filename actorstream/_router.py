"""Where actors are registered, and the task group in which their producers run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Self, cast

from anyio import create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup

from actorstream._abort import AbortSignal
from actorstream._actor import Actor, bind, find_method, is_bound, ports_of
from actorstream._address import Address, address
from actorstream._channel import Channel
from actorstream._clock import Clock
from actorstream._context import request_in_hand
from actorstream._errors import ActorNotFoundError, PortNotFoundError, RouterClosedError
from actorstream._limits import find_early_outcome
from actorstream._message import Message
from actorstream._options import (
    PortOptions,
    PortOverflow,
    StreamAsyncOptions,
    SubscriptionOptions,
    check_name,
    merge_options,
)
from actorstream._outcome import Outcome, actor_stopped, router_closed
from actorstream._port import Home, Port, end_port
from actorstream._producer import current_channel, produce
from actorstream._statistics import RouterStatistics
from actorstream._stream import Stream
from actorstream._subscription import Subscription, open_subscription
from actorstream._wakeup import CallSoon, current_call_soon, watch_loop

OnChunk = Callable[[Any], Awaitable[object] | object]


class MessageRouter:
    """Registers actors and opens streams to them.

    It works inside of ``async with``::

        async with MessageRouter() as router:
            router.register_actor("greeter", Greeter())
            async for event in router.stream_async("greeter", "query"):
                ...

    Every producer runs in the router's task group. Leaving the router ends every stream
    that is still open, with ``RouterClosedError`` for its consumer, and waits until the
    producers are gone. An exception of the block leaves it as it is. A router is entered
    once, and used in the event loop where it was entered.
    """

    def __init__(self) -> None:
        self._actors: dict[str, Actor] = {}
        self._channels: dict[Channel, None] = {}  # in the order of opening
        self._opened = 0
        self._state = "not entered"
        self._dead_letters: Port[Any] = Port(
            "dead_letters", PortOptions(overflow="drop_oldest"), self._own_home
        )
        self._tasks: TaskGroup  # these belong to an event loop: made on entering
        self._clock: Clock
        self._call_soon: CallSoon
        self._in_loop: Callable[[], bool]

    def __repr__(self) -> str:
        return (
            f"<MessageRouter {self._state}: {len(self._actors)} actors, "
            f"{len(self._channels)} active streams>"
        )

    async def __aenter__(self) -> Self:
        if self._state != "not entered":
            raise RouterClosedError(
                f"this router is {self._state}; enter a router once, and make a new one with "
                "MessageRouter()"
            )
        self._tasks = create_task_group()
        await self._tasks.__aenter__()
        self._call_soon = current_call_soon()
        self._in_loop = watch_loop()
        self._clock = Clock()
        self._tasks.start_soon(self._clock.run)
        self._state = "open"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._close()
        try:
            if exc is None or _is_cancellation(exc):
                return await self._tasks.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102
            # The task group would wrap the block's exception, and has nothing left to cancel.
            with suppress(get_cancelled_exc_class()):  # the block's exception comes instead
                await self._tasks.__aexit__(None, None, None)  # noqa: ASYNC102
            return False
        finally:
            for actor in self._actors.values():
                bind(actor, None, None)

    def register_actor(self, id: str | Address, actor: Actor) -> Address:
        """Register an actor under an id, and return its address.

        Raises:
            ValueError: The id is taken or empty, or the actor is registered already.
            TypeError: ``actor`` is no ``Actor``, or the id no ``str``.
        """
        to = address(id)
        if not isinstance(actor, Actor):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"an actor is an instance of a subclass of Actor, not {actor!r}; "
                "write register_actor(id, MyActor())"
            )
        if to.id in self._actors:
            raise ValueError(
                f"{to} is taken by {self._actors[to.id]!r}; choose another id, or call "
                f"`await router.unregister_actor({to.id!r})` first"
            )
        if is_bound(actor):
            raise ValueError(
                f"{actor!r} is registered as {actor.address} already; make an actor for each id"
            )
        self._actors[to.id] = actor
        bind(actor, to, self)
        return to

    async def unregister_actor(self, id: str | Address) -> None:
        """Take an actor away; its open streams end with ``ActorStoppedError``.

        Returns when their producers are gone. If the wait is cancelled, they still go. An
        actor that unregisters itself waits for its other streams only.

        Raises:
            ActorNotFoundError: Nobody is registered under that id.
        """
        to = address(id)
        actor = self._find(to)
        del self._actors[to.id]
        mine = [channel for channel in self._channels if channel.request.to == to]
        for channel in mine:
            channel.terminate(actor_stopped(to))
        for port in ports_of(actor).values():
            end_port(port, partial(actor_stopped, to))
        self._unbind(actor)
        for channel in mine:
            if channel is not current_channel.get():
                await channel.wait_left()

    def get_actor(self, id: str | Address) -> Actor:
        """Return the actor that is registered under an id.

        Raises:
            ActorNotFoundError: There is none.
        """
        return self._find(address(id))

    def list_actors(self) -> list[str]:
        """Return the ids of all actors, in the order of their registration."""
        return list(self._actors)

    def statistics(self) -> RouterStatistics:
        """Return how many actors and streams there are."""
        return RouterStatistics(
            actors=len(self._actors),
            active_streams=len(self._channels),
            opened_streams=self._opened,
        )

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
        if not isinstance(type, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f'type is a str such as "query", not {type!r}')
        served = request_in_hand.get(None)
        sender = None if served is None else served.to
        request = Message(to=address(to), type=type, payload=payload, sender=sender)
        return Stream(request, merge_options(options, overrides), self._launch)

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

    @property
    def dead_letters(self) -> Port[Any]:
        """The port where messages to nobody are published, until the router is left.

        A subscriber that is slow loses the oldest, unless it asks otherwise.
        """
        return self._dead_letters

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
        find = partial(self._find_port, actor_address, port_name)
        locate = partial(self._locate_port, actor_address, port_name)
        return open_subscription(port_name, options, find, locate)

    async def _locate_port(  # noqa: ASYNC124 - where a port may have to be waited for
        self, to: Address, name: str
    ) -> Port[Any]:
        return self._find_port(to, name)

    def _find_port(self, to: Address, name: str) -> Port[Any]:
        self._check_open()
        ports = ports_of(self._find(to))
        if name not in ports:
            known = ", ".join(ports) or "none"
            raise PortNotFoundError(
                f"{to} has no port {name!r}; its ports: {known}; "
                f"write self.create_port({name!r}) in the actor"
            )
        return ports[name]

    def _home_of(self, actor: Actor) -> Home:
        """Return what the subscriptions of an actor's port need.

        Raises:
            RouterClosedError: The router is not running.
            ActorNotFoundError: The actor is registered no more.
        """
        self._check_open()
        to = actor.address
        if self._find(to) is not actor:
            raise ActorNotFoundError(f"another actor is registered as {to} by now")
        return Home(to, self._clock, self._call_soon)

    def _own_home(self) -> Home:
        self._check_open()
        return Home(address("router"), self._clock, self._call_soon)

    def _launch(
        self, request: Message, options: StreamAsyncOptions, early: Outcome | None
    ) -> Channel:
        """Start the producer of a stream, unless the stream is over already."""
        channel = Channel(request, options)
        if early is None:
            self._check_open()
            early = find_early_outcome(options, request.to)
        if early is not None:
            channel.terminate(early)
            return channel
        actor = self._find(request.to)
        opener, method = find_method(actor, request.to)
        channel.enter(
            self._clock, self._call_soon, self._tasks.start_soon, partial(self._left, actor)
        )
        self._channels[channel] = None
        self._opened += 1
        self._tasks.start_soon(produce, channel, opener, method, name=request.to.id)
        return channel

    def _left(self, actor: Actor, channel: Channel) -> None:
        del self._channels[channel]
        self._unbind(actor)

    def _unbind(self, actor: Actor) -> None:
        """Take an actor's address away once it is not registered and none of its streams lives."""
        if not is_bound(actor) or self._actors.get(actor.address.id) is actor:
            return
        if all(channel.request.to != actor.address for channel in self._channels):
            bind(actor, None, None)

    def _find(self, to: Address) -> Actor:
        try:
            return self._actors[to.id]
        except KeyError:
            known = ", ".join(self._actors) or "none"
            raise ActorNotFoundError(
                f"no actor is registered as {to}; registered: {known}; "
                f"write router.register_actor({to.id!r}, actor)"
            ) from None

    def _check_open(self) -> None:
        if self._state != "open":
            raise RouterClosedError(
                f"the router is {self._state}; stream inside of "
                "`async with MessageRouter() as router:`"
            )
        if not self._in_loop():
            raise RouterClosedError(
                "the router runs in another event loop; use it in the thread and loop where it "
                "was entered, or through anyio.from_thread.run()"
            )

    def _close(self) -> None:
        self._state = "closed"
        self._clock.stop()
        for channel in list(self._channels):
            channel.terminate(router_closed(channel.request.to))
        for actor in self._actors.values():
            for port in ports_of(actor).values():
                end_port(port, partial(router_closed, actor.address))
        self._dead_letters.close()


def _is_cancellation(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(get_cancelled_exc_class()) is not None
    return isinstance(exc, get_cancelled_exc_class())
