"""Items as events: data events, then one end or error event.

A class and not an async generator, so that dropping it half-read is no warning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Generic, Self, TypeVar

from actorstream._address import Address
from actorstream._ids import generate_correlation_id
from actorstream._message import AsyncStreamMessage, error_event, is_event
from actorstream._streams.channel import Channel, running_channel
from actorstream._streams.producer import Source, close, pump, throw_into

T = TypeVar("T")


class EventIterator(Source, Generic[T]):
    """Items as events.

    An exception of the items becomes an error event; an item that is an
    ``AsyncStreamMessage`` already is passed on as it is.

    Args:
        items: What to read. It is closed when this is.
        sender: The actor, where it is registered.
        correlation_id: For the events; by default the stream's own, or one made for a source
            that is read outside of any producer.
    """

    def __init__(
        self, items: AsyncIterator[T], sender: Address | None, correlation_id: str | None
    ) -> None:
        self._items = items
        self._sender = sender
        self._correlation_id = correlation_id or ""
        self._id_outside = ""  # the correlation id of what is read outside of any producer
        self._over = False
        self._closed = False  # whether the items are events, and have brought their own end
        self._adopted_by: dict[Any, None] | None = None

    def __repr__(self) -> str:
        return f"<EventIterator of {self._items!r}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncStreamMessage[T]:
        if self._over:
            raise StopAsyncIteration
        if self._adopted_by is None:
            self._find_owner()
        return await self._event_of(anext(self._items))

    async def athrow(self, exception: BaseException) -> AsyncStreamMessage[T]:
        """Throw an exception into the items at their ``yield``, if they have one."""
        if self._over:
            raise exception
        return await self._event_of(throw_into(self._items, exception))

    async def aclose(self) -> None:
        """Close the items, if they can be closed and have not come to their end."""
        if self._over:
            return
        self._retire()
        await close(self._items)

    async def feed(self, channel: Channel) -> None:
        """Put the bare items into a channel, which makes the same events of them.

        This is how the runtime reads a source that ``stream_async`` returned.
        """
        if self._correlation_id:
            channel.identity = channel.identity.renamed(self._correlation_id)
        self._over = True  # read here, once, and nowhere else
        if isinstance(self._items, Source):
            await self._items.feed(channel)
        else:
            await pump(self._items, channel)

    async def _event_of(self, step: Awaitable[T]) -> AsyncStreamMessage[T]:
        try:
            item = await step
        except StopAsyncIteration:
            self._retire()
            if self._closed:
                raise
            return self._signed(AsyncStreamMessage("end"))
        except Exception as exc:  # it becomes an event
            self._retire()
            return self._signed(error_event(exc))
        if not is_event(item):
            return self._signed(AsyncStreamMessage("data", item))
        self._closed = self._closed or item.type != "data"
        return item

    def _signed(self, event: AsyncStreamMessage[Any]) -> AsyncStreamMessage[T]:
        event.correlation_id = self._correlation_id
        if self._id_outside and running_channel() is None:
            event.correlation_id = self._id_outside
        event.sender = self._sender
        return event

    def _find_owner(self) -> None:
        """Have the producer that reads this close it, should it be left half-read."""
        channel = running_channel()
        if channel is None:
            self._adopted_by = {}  # by nobody: whoever drops it half-read lets it go at once
            self._id_outside = self._correlation_id or generate_correlation_id()
        else:
            if channel.half_read is None:
                channel.half_read = {}
            self._adopted_by = channel.half_read
            self._adopted_by[self] = None

    def _retire(self) -> None:
        self._over = True
        if self._adopted_by is not None:
            self._adopted_by.pop(self, None)
