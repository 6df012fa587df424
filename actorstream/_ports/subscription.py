"""The subscriber's side of a port: values to iterate, bare or scoped."""

# A port, its subscriptions and the runtime share what is not for users.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._errors import (
    ActorNotFoundError,
    PortNotFoundError,
    RouterClosedError,
    StreamConsumedError,
)
from actorstream._ports.delivery import SubscriptionChannel
from actorstream._ports.options import SubscriptionOptions
from actorstream._statistics import StreamStatistics
from actorstream._streams.buffer import Buffer
from actorstream._streams.channel import END
from actorstream._streams.outcome import CLOSED, Outcome, aborted
from actorstream._streams.stream import EMPTY_BUFFER, stop

if TYPE_CHECKING:
    from actorstream._ports.port import Port

T = TypeVar("T")


class Subscription(Generic[T]):
    """What comes from a port, from the moment on at which it is attached to it.

    An async iterator of the values, to be used once::

        async for value in router.subscribe("worker", "progress"):  # bare
            ...

        async with router.subscribe("worker", "progress") as values:  # scoped
            async for value in values:
                ...

    In the bare form, it is detached from the port when the last reference to it goes, which
    ``break`` does, within a few turns of the event loop; in the scoped form, when the block
    ends. From then on no publisher waits for it. An exception of the block leaves it as it is.

    Reading raises ``StreamAbortedError`` (its signal, or ``cancel()``),
    ``StreamOverflowError`` (``overflow="fail"``), and ``ActorStoppedError`` and
    ``RouterClosedError`` when those go away; if it was not attached from the first,
    ``ActorNotFoundError`` and ``PortNotFoundError`` at the first pull or on entering. A read
    may be cancelled at any time and loses nothing.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_channel",
        "_early",
        "_entered",
        "_locate",
        "_name",
        "_options",
        "_search",
    )

    def __init__(
        self, name: str, options: SubscriptionOptions, locate: Callable[[], Awaitable[Port[T]]]
    ) -> None:
        self._channel: SubscriptionChannel | None = None
        self._buffer: Buffer[Any] = EMPTY_BUFFER
        self._name = name
        self._options = options
        self._locate = locate
        self._entered = False
        self._early: Outcome | None = None
        self._search: CancelScope | None = None

    def __repr__(self) -> str:
        if self._channel is None:
            state = "not attached" if self._early is None else "ended"
            return f"<Subscription {self._name!r}: {state}>"
        return f"<Subscription {self._name!r} of {self._channel.request.to}: {self._channel.state}>"

    def __del__(self) -> None:
        if self._channel is not None:
            self._channel.abandon()

    @property
    def dropped(self) -> int:
        """How many values it has lost to its ``overflow`` policy."""
        return 0 if self._channel is None else self._channel.dropped

    def statistics(self) -> StreamStatistics:
        """Return how full the buffer is, who waits, and how many values have passed.

        Before it is attached, a ``buffer_size`` that was left to the port shows as 0.
        """
        if self._channel is None:
            return StreamStatistics(0, self._options.buffer_size or 0, 0, 0, False, False)
        return self._channel.statistics()

    # Reading

    def __aiter__(self) -> Self:
        """Iterate the values; after a ``break``, go on where it was left.

        Raises:
            StreamConsumedError: It has come to its end, or has been closed.
        """
        if self._used_up:
            raise StreamConsumedError(f"{self!r} is over; call subscribe() again for a new one")
        return self

    async def __anext__(self) -> T:
        buffer = self._buffer
        if len(buffer.items) > buffer.low:  # the fast path that _streams/buffer.py explains
            buffer.delivered += 1
            value: T = buffer.items.popleft()
            return value
        try:
            channel = self._channel or await self._open()
            if channel is None:
                stop(self._take_early_error())
            item = await channel.take()
        except BaseException:
            del self  # a traceback must not keep it; see _Reader in _streams/stream.py
            raise
        if item is END:
            stop(channel.take_closing_error())
        result: T = item
        return result

    async def collect(self) -> list[T]:
        """Return all values until the end as a list. Cancelling it closes the subscription.

        Raises:
            StreamConsumedError: It has come to its end, or has been closed.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self)
            return [value async for value in self]

    # Ending

    def cancel(self, reason: object = "cancel() was called") -> None:
        """Abort it: its next read raises ``StreamAbortedError`` with ``reason``.

        What is still buffered is discarded. Does nothing after the end. To be called in the
        event loop's thread; from another one, abort a signal.
        """
        self._terminate(aborted(reason))

    async def aclose(self) -> None:
        """Detach it from its port; a loop over it ends. Does no harm twice."""
        if self._channel is None:
            self._early = None
            self._terminate(CLOSED)
        else:
            self._channel.close()

    async def __aenter__(self) -> Self:
        if self._entered or self._used_up:
            raise StreamConsumedError(
                f"{self!r} is in use already; call subscribe() again for a new one"
            )
        self._entered = True
        await self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()  # noqa: ASYNC102 - does not wait

    @property
    def _used_up(self) -> bool:
        return self._early is CLOSED if self._channel is None else self._channel.concluded

    def _terminate(self, outcome: Outcome) -> None:
        if self._channel is not None:
            self._channel.terminate(outcome)
        elif self._early is None:
            self._early = outcome
            if self._search is not None:
                self._search.cancel()

    # Attaching

    def _attach(self, port: Port[T]) -> None:
        if self._early is None:
            self._channel = port._attach(self._options)
            self._buffer = self._channel.buffer

    async def _open(self) -> SubscriptionChannel | None:
        """Attach it, unless it is, or has ended before."""
        if self._channel is None and self._early is None:
            await self._find_port()
        return self._channel

    async def _find_port(self) -> None:
        """Find the port, and attach; an end that comes meanwhile interrupts the search."""
        if self._search is not None:
            raise StreamConsumedError(
                f"two tasks read {self!r} at once; let one task read it, or call subscribe() "
                "once for each"
            )
        signal = self._options.signal
        try:
            with CancelScope() as self._search, self._heed_signal():
                await checkpoint_if_cancelled()  # the signal may have been aborted before
                self._attach(await self._locate())
        except Exception:
            self._early = CLOSED
            raise
        finally:
            self._search = None
        if self._channel is None and self._early is None and signal is not None:
            self._early = aborted(signal.reason)

    def _heed_signal(self) -> AbstractContextManager[object]:
        signal = self._options.signal
        return nullcontext() if signal is None else signal.cancel_scope()

    def _take_early_error(self) -> BaseException | None:
        outcome, self._early = self._early, CLOSED
        return None if outcome is None else outcome.error


def open_subscription(
    name: str,
    options: SubscriptionOptions,
    find: Callable[[], Port[T]],
    locate: Callable[[], Awaitable[Port[T]]],
) -> Subscription[T]:
    """Make a subscription, and attach it already now if its port is there.

    Args:
        name: The port's.
        options: What the subscriber asks for.
        find: Returns the port, or raises that it is not there.
        locate: Does the same later, if it has to, and may wait for the port.

    Raises:
        PortClosedError: The port is closed.
    """
    subscription = Subscription(name, options, locate)
    with suppress(RouterClosedError, ActorNotFoundError, PortNotFoundError):
        subscription._attach(find())
    return subscription
