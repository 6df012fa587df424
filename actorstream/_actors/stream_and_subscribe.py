"""Opening a stream to an actor, and finding a port of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._actors.behavior import actor_in, find_source
from actorstream._actors.cell import Cell
from actorstream._errors import StreamingNotSupportedError
from actorstream._message import Message
from actorstream._streams.channel import Channel
from actorstream._streams.producer import NothingToStreamError, Opener

Source = tuple[Opener, Callable[..., Any]]
WaitForOpening = Callable[[Message], Awaitable[Source | None]]


async def open_when_running(channel: Channel, wait_for_opening: WaitForOpening) -> Awaitable[None]:
    """Open the stream of an actor that has not begun."""
    source = await wait_for_opening(channel.request)
    if source is None:
        return checkpoint()  # the actor has ended, and its cell ends the stream
    opener, method = source
    return await opener(channel, method)


async def wait_for_opening(cell: Cell, request: Message) -> Source | None:
    if not await cell.wait_running():
        return None
    try:
        return find_source(actor_in(cell), request)
    except StreamingNotSupportedError as exc:
        raise NothingToStreamError(*exc.args) from None
