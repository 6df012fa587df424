"""Items as events: data events, then one end or error event.

A class and not an async generator, so that dropping it half-read does not cause a warning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, Generic, Self, TypeVar

from actorstream._address import Address
from actorstream._context import current_cell
from actorstream._errors import StreamError
from actorstream._ids import generate_correlation_id
from actorstream._kinds import is_a
from actorstream._loop.interrupts import interruptible
from actorstream._message import AsyncStreamMessage, error_event, is_event
from actorstream._streams.channel import Channel
from actorstream._streams.half_read import (
    Droppable,
    HalfRead,
    Way,
    close,
    close_and_log,
    current_sources,
)
from actorstream._streams.producer import Source, pump, throw_into
from actorstream._streams.producer_task import running_task
from actorstream._streams.running import running_channel
from actorstream._texts import repr_of

T = TypeVar("T")


class EventIterator(Source, Droppable, Generic[T]):
    """Iterates items as events.

    An exception of the items becomes an error event; an item that is an
    ``AsyncStreamMessage`` already is passed on as it is. In an actor, the read after an error
    event raises ``StreamError``, unless the actor has yielded the event on: a failure that the
    actor passes over must not look like the end of the items.

    Args:
        items: The items to read. They are closed with this iterator.
        sender: The actor, if it is registered.
        correlation_id: The events' own; by default the stream's, or a new one for items that are
            read outside of a stream.
    """

    _half_read: HalfRead | None = None  # closes the items if the actor leaves them half-read

    def __init__(
        self, items: AsyncIterator[T], sender: Address | None, correlation_id: str | None
    ) -> None:
        self._items = items
        self._sender = sender
        self._correlation_id = correlation_id or ""
        self._id_outside = ""  # the correlation id outside of a stream
        self._started = False
        self._over = False
        self._has_closing_event = False  # the items include their own end or error event
        self._failure: AsyncStreamMessage[T] | None = None  # the error event that was read last

    def __repr__(self) -> str:
        return f"<EventIterator of {repr_of(self._items)}>"

    def __del__(self) -> None:
        if self._half_read is not None:
            self._half_read.drop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncStreamMessage[T]:
        if self._failure is not None:
            await self._check_seen()
        if self._over:
            raise StopAsyncIteration
        if not self._started:
            self._find_owner()
        try:
            return await self._event_of(anext(self._items))
        except BaseException:
            del self  # a traceback must not keep it: it is closed when it is dropped
            raise

    @property
    def way_to_close(self) -> Way:
        """At once: another helper reads this one, and dropping it is enough."""
        return "at once"

    @interruptible
    async def athrow(self, exception: BaseException) -> AsyncStreamMessage[T]:
        """Throw an exception into the items at their ``yield``; without one, raise it."""
        try:
            if self._over:
                raise exception
            return await self._event_of(throw_into(self._items, exception))
        finally:
            del exception  # break the cycle traceback -> frame -> error

    @interruptible
    async def aclose(self) -> None:
        """Close the items, if they can be closed and have not ended."""
        if self._over:
            return
        self._failure = None
        self._retire()
        await close(self._items)

    async def feed(self, channel: Channel) -> None:
        """Put the bare items into a channel, which makes the same events from them.

        This is how the runtime reads a source that ``stream_async`` returned.
        """
        channel.rename(self._correlation_id)
        self._over = True  # only this call reads the items
        if is_a(self._items, Source):
            await self._items.feed(channel)
        else:
            await pump(self._items, channel)

    @interruptible
    async def _event_of(self, step: Awaitable[T]) -> AsyncStreamMessage[T]:
        try:
            item = await step
        except StopAsyncIteration:
            is_cut_short = self._half_read is not None and self._half_read.outlived
            self._retire()
            if self._has_closing_event or is_cut_short:
                raise
            return AsyncStreamMessage("end", **self._signature())
        except Exception as exc:  # becomes an event
            self._retire()
            await close_and_log(self._items)  # noqa: ASYNC120 - a cancellation comes first
            if self._has_closing_event:
                raise
            self._failure = error_event(exc, **self._signature())
            return self._failure
        except BaseException:
            del self  # see __anext__()
            raise
        if not is_event(item):
            return AsyncStreamMessage("data", item, **self._signature())
        self._has_closing_event = self._has_closing_event or item.type != "data"
        if item.type == "error":
            self._failure = item
        return item

    async def _check_seen(self) -> None:
        """Raise the failure that an actor has read last, unless it has yielded the event on."""
        failure, self._failure = self._failure, None
        channel = running_channel()
        closing = None if channel is None else channel.closing_event
        is_seen = closing is not None and closing.type == "error"
        is_in_actor = channel is not None or current_cell() is not None
        if failure is None or is_seen or not is_in_actor:
            return
        if not self._over:
            await self.aclose()
        raise StreamError(
            f"the items that {self._sender or 'an actor'} read from a helper failed: "
            f"{failure.error}; at the error event, raise an error, leave the loop, or yield it on"
        ) from failure.exception

    def _signature(self) -> dict[str, Any]:
        outside = self._id_outside and running_task() is None
        correlation_id = self._id_outside if outside else self._correlation_id
        return {"correlation_id": correlation_id, "sender": self._sender}

    def _find_owner(self) -> None:
        self._started = True
        if running_task() is None:
            self._id_outside = self._correlation_id or generate_correlation_id()
        sources = current_sources()
        if sources is not None:
            self._half_read = sources.adopt(self._items)

    def _retire(self) -> None:
        self._over = True
        if self._half_read is not None:
            self._half_read.release()
            self._half_read = None  # do not keep the owner alive
