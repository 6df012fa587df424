"""What users subclass."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from actorstream._address import Address
from actorstream._callbacks import CallbackItems, Register
from actorstream._errors import StreamingNotSupportedError
from actorstream._inbox import CallbackOverflow
from actorstream._producer import Opener, open_callback, open_iterable
from actorstream._sources import (
    EventSource,
    OnBackpressure,
    ThreadItemsOf,
    WatchedItems,
    check_iterable,
    items_of,
)

if TYPE_CHECKING:
    from actorstream._router import MessageRouter

T = TypeVar("T")


class Actor:
    """An actor; subclass it, and register an instance with a router.

    It streams if it has one of two methods:

    - ``stream_async(self, payload)``: an async generator function, a coroutine function that
      returns an async iterable, or a plain method that does. An item that is no
      ``AsyncStreamMessage`` becomes a data event.
    - ``async def stream(self, payload, on_chunk)``, the older form: ``await
      on_chunk(chunk)`` for each item.

    Either serves all callers. There is no need to call ``super().__init__()``.
    """

    _address: Address | None = None
    _router: MessageRouter | None = None

    @property
    def address(self) -> Address:
        """The address under which it is registered.

        Raises:
            AttributeError: It is not registered.
        """
        if self._address is None:
            raise AttributeError(_unregistered(self, "address"))
        return self._address

    @property
    def router(self) -> MessageRouter:
        """The router with which it is registered.

        Raises:
            AttributeError: It is not registered.
        """
        if self._router is None:
            raise AttributeError(_unregistered(self, "router"))
        return self._router

    def create_async_stream(
        self, items: Iterable[T] | AsyncIterable[T], correlation_id: str | None = None
    ) -> EventSource[T]:
        """Make a stream of events of any iterable or async iterable.

        Return it from ``stream_async``, or iterate it there. It gives data events, then an
        end event, or an error event if ``items`` raises.

        Args:
            items: What to stream. A generator is closed if the stream ends early.
            correlation_id: For the events; by default that of the stream.

        Raises:
            TypeError: ``items`` is no iterable.
        """
        return EventSource(items_of(items), self._address, correlation_id)

    def create_async_stream_with_backpressure(
        self,
        source: Iterable[T] | AsyncIterable[T],
        *,
        check_interval: int = 10,
        on_backpressure: OnBackpressure | None = None,
        correlation_id: str | None = None,
    ) -> EventSource[T]:
        """Do as ``create_async_stream()``, and tell when the consumer is slow.

        Args:
            source: What to stream.
            check_interval: After how many items to look, each time.
            on_backpressure: Called with whether the consumer holds the stream up: the
                producer had to wait since the last look, or would have to now. A coroutine
                function is awaited. What it raises becomes an error event.
            correlation_id: For the events; by default that of the stream.

        Raises:
            TypeError, ValueError: An argument is of the wrong kind; the message names it.
        """
        items = WatchedItems(items_of(source), check_interval, on_backpressure)
        return EventSource(items, self._address, correlation_id)

    def create_thread_stream(
        self, iterable: Iterable[T], correlation_id: str | None = None
    ) -> EventSource[T]:
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
        return EventSource(ThreadItemsOf(iterable), self._address, correlation_id)

    def create_callback_stream(
        self,
        register: Register[T],
        *,
        overflow: CallbackOverflow = "drop_oldest",
        correlation_id: str | None = None,
    ) -> EventSource[T]:
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
        items = CallbackItems(register, overflow)
        return EventSource(items, self._address, correlation_id)


def bind(actor: Actor, address: Address | None, router: MessageRouter | None) -> None:
    """Tell an actor where it is registered, if anywhere."""
    object.__setattr__(actor, "_address", address)  # even if its class is a frozen one
    object.__setattr__(actor, "_router", router)


def is_bound(actor: Actor) -> bool:
    """Return whether an actor is registered somewhere."""
    return actor._address is not None  # pyright: ignore[reportPrivateUsage]


def find_method(actor: Actor, to: Address) -> tuple[Opener, Callable[..., Any]]:
    """Return the method that makes an actor's items, and what calls it.

    Raises:
        StreamingNotSupportedError: It has neither of the two methods.
    """
    stream_async = getattr(actor, "stream_async", None)
    if callable(stream_async):
        return open_iterable, stream_async
    stream = getattr(actor, "stream", None)
    if callable(stream):
        return open_callback, stream
    raise StreamingNotSupportedError(
        f"{to} does not support async streaming: {type(actor).__name__} has neither "
        "stream_async() nor stream(); write `async def stream_async(self, payload): yield item`"
    )


def _unregistered(actor: Actor, what: str) -> str:
    return (
        f"{type(actor).__name__} has no {what} before it is registered; "
        'write router.register_actor("actor-id", actor)'
    )
