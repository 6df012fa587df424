"""Opening streams and finding ports; both wait for an actor that is starting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._actors.behavior import actor_in, find_streamer
from actorstream._actors.cell import Cell
from actorstream._actors.handlers import check_no_generator
from actorstream._actors.registry import Registry
from actorstream._actors.slot import slot_of
from actorstream._address import Address
from actorstream._errors import AskCycleError, PortNotFoundError, StreamingNotSupportedError
from actorstream._kinds import is_awaitable
from actorstream._loop.interrupts import interruptible
from actorstream._loop.runtime import check_room
from actorstream._message import Message
from actorstream._options import StreamAsyncOptions
from actorstream._ports.control import attach_to
from actorstream._ports.options import SubscriptionOptions
from actorstream._ports.port import closed_error
from actorstream._ports.subscription import Attach, Subscription
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import NothingToStreamError, Opener, abandon, produce
from actorstream._streams.producer_task import ProducerTask
from actorstream._streams.stream import Stream
from actorstream._streams.watchdog import find_early_outcome
from actorstream._texts import one_line, repr_of
from actorstream._wait_graph import Wait, find_cycle, running_node

OnChunk = Callable[[Any], Awaitable[object] | object]


def make_stream(registry: Registry, request: Message, options: StreamAsyncOptions) -> Stream[Any]:
    """Make a stream that opens when it is first iterated or entered."""
    return Stream(request, options, partial(open_stream, registry))


def open_stream(
    registry: Registry, request: Message, options: StreamAsyncOptions, early: Outcome | None
) -> Channel:
    """Start the producer of a stream, unless the stream is over already.

    Args:
        registry: Where the actor is registered.
        request: What the consumer asks for.
        options: The limits of the stream.
        early: The outcome of a stream that was cancelled before it started.

    Raises:
        ActorNotFoundError, RouterClosedError, StreamingNotSupportedError: There is nothing to
            stream from.
    """
    check_room()
    channel = Channel(request, options)
    if early is None:
        registry.runtime.check_open()
        early = find_early_outcome(options, request.to)
    if early is not None:
        channel.terminate(early)
        return channel
    cell = registry.reach(request.to)
    if not cell.accepting:
        channel.terminate(cell.interruption())
        return channel
    if cell.state == "running":
        opener, method = find_streamer(actor_in(cell), request)
    else:
        opener, method = _open_when_running, partial(_wait_for_streamer, cell)
    task = ProducerTask(request, registry.runtime)
    task.note_reader(channel.buffer)
    if cell.state != "running":
        task.note_opening(cell)
    channel.start(registry.runtime, cell.on_stream_left, task)
    cell.open_stream(channel)
    registry.count_stream()
    registry.runtime.start_soon(
        produce, channel, task, opener, method, name=request.to.id, undo=abandon
    )
    return channel


async def _open_when_running(
    channel: Channel, wait_for_streamer: Callable[..., Any]
) -> Awaitable[None]:
    """Open the stream of an actor that has not started yet."""
    found = await wait_for_streamer(channel.request)
    if found is None:
        return checkpoint()  # the actor has ended, and its cell ends the stream
    if channel.task is not None:
        channel.task.note_opening(None)
    opener, method = found
    production: Awaitable[None] = await opener(channel, method)
    return production


async def _wait_for_streamer(
    cell: Cell, request: Message
) -> tuple[Opener, Callable[..., Any]] | None:
    if not await cell.wait_running():
        return None
    try:
        return find_streamer(actor_in(cell), request)
    except StreamingNotSupportedError as exc:
        raise NothingToStreamError(*exc.args) from None


@interruptible
async def call_with_chunks(stream: Stream[Any], on_chunk: OnChunk) -> None:
    """Call a function with each payload of a stream, one after the other.

    Raises:
        TypeError: ``on_chunk`` is not callable, or yields.
    """
    if not callable(on_chunk):
        raise TypeError(f"on_chunk is a function of one chunk, not {repr_of(on_chunk)}")
    check_no_generator("on_chunk", on_chunk)
    async with stream:
        async for chunk in stream.payloads():
            result = on_chunk(chunk)
            if is_awaitable(result):
                await result


def subscribe(
    registry: Registry, to: Address, name: str, options: SubscriptionOptions
) -> Subscription[Any]:
    """Make a subscription, attached now or else when it is first read or entered."""
    find = partial(find_port, registry, to, name)
    find_later = partial(wait_for_port, registry, to, name)
    return Subscription(name, options, find, find_later, registry.runtime.check_loop)


def find_port(registry: Registry, to: Address, name: str) -> Attach:
    """Find a port of an actor, and return what attaches a subscription to it.

    Raises:
        ActorNotFoundError, PortNotFoundError, RouterClosedError: The port cannot be found.
        PortClosedError: It has been closed.
    """
    registry.runtime.check_open()
    slot = slot_of(actor_in(registry.find(to)))
    ports = slot.ports
    if name not in ports:
        if slot.has_closed(name):
            raise closed_error(name)
        known = ", ".join(map(one_line, ports)) or "none"
        raise PortNotFoundError(
            f"{to} has no port {name!r}; its ports: {known}; "
            f"write self.create_port({name!r}) in the actor"
        )
    return attach_to(ports[name])


async def wait_for_port(registry: Registry, to: Address, name: str) -> Attach:
    """Find a port once its actor has started, since ``on_start()`` may create it.

    Raises:
        AskCycleError: The actor cannot start before the caller goes on.
    """
    registry.runtime.check_open()
    cell, subscriber = registry.reach(to), running_node()
    path = None if subscriber is None else find_cycle(subscriber, cell)
    if path and cell.state != "running":
        raise AskCycleError(
            f"this subscription would deadlock: {' -> '.join(map(one_line, path))}; let a task "
            "outside of the actor subscribe, or call subscribe() when the other actor runs"
        )
    with Wait(subscriber, cell):
        await cell.wait_running()
    return find_port(registry, to, name)
