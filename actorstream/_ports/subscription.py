"""The subscriber's side of a port: values to iterate, bare or scoped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled

from actorstream._errors import (
    ActorNotFoundError,
    PortNotFoundError,
    RouterClosedError,
    StreamConsumedError,
)
from actorstream._message import AsyncStreamMessage
from actorstream._ports.delivery import SubscriptionChannel
from actorstream._ports.options import SubscriptionOptions
from actorstream._statistics import StreamStatistics
from actorstream._streams.outcome import CLOSED, Outcome, aborted
from actorstream._streams.reader import Reader, stop

T = TypeVar("T")

Attach = Callable[[SubscriptionOptions], SubscriptionChannel]
"""Attaches a subscription to a port."""


class Subscription(Reader[T]):
    """The values that a port publishes while the subscription is attached to it.

    An async iterator of the values, to be used once::

        async for value in router.subscribe("worker", "progress"):  # bare
            ...

        async with router.subscribe("worker", "progress") as values:  # scoped
            async for value in values:
                ...

    In the bare form, it is detached from the port within a few turns of the event loop after
    its last reference goes, as with ``break``; in the scoped form, when the block ends. From
    then on no publisher waits for it. An exception of the block is raised unchanged.

    Reading raises ``StreamAbortedError`` (its signal, or ``cancel()``),
    ``StreamOverflowError`` (``overflow="fail"``), and ``ActorStoppedError`` and
    ``RouterClosedError`` when the actor or the router goes away; if it was not attached from
    the start, ``ActorNotFoundError`` and ``PortNotFoundError`` at the first read or on
    entering. Cancelling a read is safe at any time and loses nothing.
    """

    __slots__ = (
        "_check_loop",
        "_early",
        "_entered",
        "_find_later",
        "_name",
        "_options",
        "_search",
    )

    def __init__(
        self,
        name: str,
        options: SubscriptionOptions,
        find: Callable[[], Attach],
        find_later: Callable[[], Awaitable[Attach]],
        check_loop: Callable[[], None],
    ) -> None:
        super().__init__()
        check_loop()
        self._check_loop = check_loop
        self._name = name
        self._options = options
        self._find_later = find_later
        self._entered = False
        self._early: Outcome | None = None
        self._search: CancelScope | None = None
        with suppress(RouterClosedError, ActorNotFoundError, PortNotFoundError):
            self._attach(find())

    def __repr__(self) -> str:
        if self._channel is None:
            state = "not attached" if self._early is None else "ended"
            return f"<Subscription {self._name!r}: {state}>"
        return f"<Subscription {self._name!r} of {self._channel.request.to}: {self._channel.state}>"

    @property
    def dropped(self) -> int:
        """How many values were lost to the ``overflow`` policy."""
        return 0 if self._channel is None else self._channel.dropped

    def statistics(self) -> StreamStatistics:
        """Return how full the buffer is, who waits, and how many values have passed.

        Before the subscription is attached, a ``buffer_size`` left to the port shows as 0.
        """
        if self._channel is None:
            return StreamStatistics(0, self._options.buffer_size or 0, 0, 0, False, False)
        statistics: StreamStatistics = self._channel.statistics()
        return statistics

    # Reading

    def __aiter__(self) -> Self:
        """Iterate the values; after a ``break``, go on with the next value.

        Raises:
            StreamConsumedError: The subscription has ended or has been closed.
        """
        if self._used_up:
            raise StreamConsumedError(f"{self!r} is over; call subscribe() again for a new one")
        return self

    async def collect(self) -> list[T]:
        """Return all values until the end as a list. Cancelling it closes the subscription.

        Raises:
            StreamConsumedError: The subscription has ended or has been closed.
        """
        self._check_loop()
        try:
            return [value async for value in self]
        finally:
            await self.aclose()  # noqa: ASYNC102 - does not wait

    # Ending

    def cancel(self, reason: object = "cancel() was called") -> None:
        """Abort the subscription: its next read raises ``StreamAbortedError`` with ``reason``.

        Buffered values are discarded. Does nothing after the end. In another thread, abort a
        signal instead.

        Raises:
            RouterClosedError: The subscription belongs to another event loop.
        """
        self._check_loop()
        self._terminate(aborted(reason))

    async def aclose(self) -> None:
        """Detach from the port; a loop over the values ends. Closing twice is harmless.

        Raises:
            RouterClosedError: The subscription belongs to another event loop.
        """
        self._check_loop()
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
        self._check_loop()
        self._entered = True
        if self._channel is None and self._early is None:
            await self._find_port()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()  # noqa: ASYNC102 - does not wait
        except RouterClosedError:  # in another event loop
            if exc is None:
                raise

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

    def _attach(self, attach: Attach) -> None:
        """Attach to a port, unless the subscription has ended already."""
        if self._early is None:
            self._use(attach(self._options))

    async def _open(self) -> SubscriptionChannel:
        """Attach to the port, and return the channel.

        Raises:
            ActorStreamError: The subscription has ended before.
            StopAsyncIteration: The subscription has been closed before.
        """
        if self._channel is None and self._early is None:
            await self._find_port()
        if self._channel is None:
            outcome, self._early = self._early, CLOSED
            stop(None if outcome is None else outcome.error)
        channel: SubscriptionChannel = self._channel
        return channel

    async def _find_port(self) -> None:
        """Find the port, and attach to it; an end meanwhile interrupts the search."""
        if self._search is not None:
            raise StreamConsumedError(
                f"two tasks read {self!r} at once; let one task read it, or call subscribe() "
                "once for each"
            )
        signal = self._options.signal
        try:
            with CancelScope() as self._search, self._signal_scope():
                await checkpoint_if_cancelled()  # the signal may have been aborted before
                self._attach(await self._find_later())
        except Exception:
            self._early = CLOSED
            raise
        finally:
            self._search = None
        if self._channel is None and self._early is None and signal is not None:
            self._early = aborted(signal.reason)

    def _signal_scope(self) -> AbstractContextManager[object]:
        signal = self._options.signal
        return nullcontext() if signal is None else signal.cancel_scope()

    def _unwrap(self, event: AsyncStreamMessage[Any]) -> T:
        value: Any = event  # a published value like any other
        return cast("T", value)
