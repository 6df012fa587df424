"""Opening a stream to an actor, and finding a port of it; both wait for an actor that starts."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._actors.actor import ports_of
from actorstream._actors.behavior import actor_in, find_opener
from actorstream._actors.cell import Cell
from actorstream._actors.registry import Registry
from actorstream._address import Address
from actorstream._errors import PortNotFoundError, StreamingNotSupportedError
from actorstream._message import Message
from actorstream._options import StreamAsyncOptions
from actorstream._ports.port import attach_to
from actorstream._ports.subscription import Attach
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome
from actorstream._streams.producer import NothingToStreamError, produce
from actorstream._streams.producer_task import ProducerTask
from actorstream._streams.watchdog import find_early_outcome


def open_stream(
    registry: Registry, request: Message, options: StreamAsyncOptions, early: Outcome | None
) -> Channel:
    """Start the producer of a stream, unless the stream is over already.

    Args:
        registry: Where the actor is registered.
        request: What the consumer asks.
        options: The limits of the stream.
        early: The outcome of a stream that was cancelled before it started.

    Raises:
        ActorNotFoundError, RouterClosedError, StreamingNotSupportedError: There is nothing to
            stream from.
    """
    channel = Channel(request, options)
    if early is None:
        registry.runtime.check_open()
        early = find_early_outcome(options, request.to)
    if early is not None:
        channel.terminate(early)
        return channel
    cell = registry.find(request.to)
    if not cell.accepting:
        channel.terminate(cell.interruption())
        return channel
    if cell.state == "running":
        opener = find_opener(actor_in(cell), request)
    else:
        opener = partial(_open_when_running, cell)
    task = ProducerTask(request, registry.runtime)
    channel.start(registry.runtime, cell.on_stream_left, task)
    cell.open_stream(channel)
    registry.count_stream()
    registry.runtime.start_soon(produce, channel, task, opener, name=request.to.id)
    return channel


async def _open_when_running(cell: Cell, channel: Channel) -> Awaitable[None]:
    """Open the stream of an actor that has not started yet."""
    if not await cell.wait_running():
        return checkpoint()  # the actor has ended, and its cell ends the stream
    try:
        opener = find_opener(actor_in(cell), channel.request)
    except StreamingNotSupportedError as exc:
        raise NothingToStreamError(*exc.args) from None
    return await opener(channel)


def find_port(registry: Registry, to: Address, name: str) -> Attach:
    """Find a port of an actor, and return what attaches a subscription to it.

    Raises:
        ActorNotFoundError, PortNotFoundError, RouterClosedError: It is not there.
    """
    registry.runtime.check_open()
    ports: dict[str, Any] = ports_of(actor_in(registry.find(to)))
    if name not in ports:
        known = ", ".join(ports) or "none"
        raise PortNotFoundError(
            f"{to} has no port {name!r}; its ports: {known}; "
            f"write self.create_port({name!r}) in the actor"
        )
    return attach_to(ports[name])


async def wait_for_port(registry: Registry, to: Address, name: str) -> Attach:
    """Find a port once its actor has started, since the actor may make the port there."""
    registry.runtime.check_open()
    await registry.find(to).wait_running()
    return find_port(registry, to, name)
