"""One producer, many subscribers: what is published at a port goes to each of them."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Generic, TypeVar

from anyio import Event, WouldBlock
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled
from attrs import evolve

from actorstream._abort import AbortSignal
from actorstream._address import Address
from actorstream._checks import check_count, check_name
from actorstream._errors import PortClosedError, raise_if
from actorstream._loop.runtime import Runtime
from actorstream._message import Message
from actorstream._ports.delivery import Delivery, SubscriptionChannel
from actorstream._ports.options import PortOptions, PortOverflow, SubscriptionOptions
from actorstream._ports.publisher_wait import wait_for_readers
from actorstream._ports.subscription import Attach, Subscription
from actorstream._statistics import PortStatistics
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import ENDED, Outcome
from actorstream._streams.pace import SHORT_TIME, SHORT_TURN, length_after
from actorstream._streams.watchdog import find_early_outcome

T = TypeVar("T")


class Port(Generic[T]):
    """Where an actor publishes values to all subscribers.

    Make one with ``Actor.create_port()``. Each subscriber has a buffer of its own, and an
    ``overflow`` policy that says what happens when it is full::

        progress = self.create_port("progress", overflow="drop_oldest")
        await progress.publish(0.5)

        async for done in router.subscribe("worker", "progress"):
            ...

    A port is used in the event loop of its router.

    Attributes:
        name: The name to subscribe to.
    """

    __slots__ = (
        "__weakref__",
        "_can_wait",
        "_changed",
        "_channels",
        "_closed",
        "_dropped",
        "_find_runtime",
        "_last_end",
        "_locate",
        "_on_close",
        "_options",
        "_published",
        "_rest_at",
        "_thread",
        "_turn",
        "_turn_began",
        "_waiting",
        "name",
    )

    def __init__(
        self,
        name: str,
        options: PortOptions,
        locate: Callable[[], tuple[Address, Runtime]],
        find_runtime: Callable[[], Runtime | None],
        *,
        can_wait: bool = True,
        on_close: Callable[[Port[Any]], object] | None = None,
    ) -> None:
        check_name("name", name)
        self.name: str = name
        self._options = options
        self._locate = locate
        self._find_runtime = find_runtime
        self._thread = 0  # where the event loop has been checked last
        self._can_wait = can_wait
        self._on_close = on_close
        self._channels: dict[Channel, SubscriptionChannel] = {}  # in the order of attaching
        self._closed = False
        self._published = 0
        self._rest_at = 0
        self._turn = SHORT_TURN
        self._turn_began = 0.0
        self._dropped = 0  # by subscribers that have left
        self._waiting = 0
        self._changed: Event | None = None
        self._last_end: Callable[[], Outcome] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._channels)} subscribers"
        return f"<Port {self.name!r}: {state}>"

    def statistics(self) -> PortStatistics:
        """Return the number of subscribers, and of values published and lost."""
        return PortStatistics(
            subscribers=len(self._channels),
            published=self._published,
            dropped=self._dropped + sum(channel.dropped for channel in self._channels.values()),
            publishers_waiting=self._waiting,
        )

    # Publishing

    async def publish(self, value: T) -> None:
        """Hand a value to every subscriber; without subscribers, the value is lost.

        Subscribers with room get the value at once. Then this waits for those whose buffer
        is full and whose policy is ``"wait"``; each of them gets the value as soon as it
        reads. It does not wait any longer for one that leaves or is cancelled. Each
        subscriber gets the values in the order of the calls.

        If it is cancelled while it waits, subscribers that have the value keep it, and the
        others do not get it. If it need not wait, it lets other tasks run, and notices a
        cancellation, now and then: every 500 values at the latest.

        Raises:
            PortClosedError: The port is closed, or was closed before every subscriber had
                room.
            AskCycleError: A subscriber without room cannot read, since its code waits for the
                end of the actor that publishes. Those with room have the value. An ask of the
                publisher by such code raises this itself.
            RouterClosedError: This is another event loop than that of the port's router.
        """
        if self._closed or self._thread != get_ident():  # a check without a call, for each value
            self._check_open()
            self._check_loop()
        turn_over = self._published >= self._rest_at
        if turn_over:  # a checkpoint in two halves: if cancelled here, the value is not handed out
            self._check_loop()
            await checkpoint_if_cancelled()
            self._turn = length_after(self._turn, self._turn_began)
            self._rest_at = self._published + self._turn
        delivery = self._hand_out(value)
        if delivery is not None:
            await self._wait_for(delivery)
        elif turn_over:  # not before: a later call could overtake this one
            await cancel_shielded_checkpoint()
            if self._turn == SHORT_TURN:  # trio runs tasks in any order: let the subscribers run
                await cancel_shielded_checkpoint()
            self._turn_began = monotonic()

    def publish_nowait(self, value: T) -> None:
        """Hand a value to every subscriber, or to none.

        Raises:
            WouldBlock: A subscriber whose policy is ``"wait"`` has no room (the class is
                AnyIO's).
            PortClosedError: The port is closed.
            RouterClosedError: This is another event loop than that of the port's router.
        """
        self._check_open()
        self._check_loop()
        for channel in self._channels.values():
            if channel.holds_up:
                raise WouldBlock
        self._hand_out(value)

    async def wait_subscribers(self, n: int) -> None:
        """Wait until at least ``n`` subscriptions are attached. Cancelling it is safe.

        Raises:
            TypeError, ValueError: ``n`` is not a whole number of at least 1.
            PortClosedError: The port is closed, perhaps during the wait.
            ActorStoppedError, RouterClosedError: The actor or the router went away during the
                wait.
        """
        check_count("n", n)
        self._check_loop()
        last_end = self._last_end
        self._check_open()
        await checkpoint()
        while True:
            self._check_open()
            self._check_not_ended(last_end)
            if len(self._channels) >= n:
                return
            self._changed = self._changed or Event()
            await self._changed.wait()

    def close(self) -> None:
        """Close the port; closing twice is harmless.

        Each subscription delivers the values in its buffer and then ends. Publishing and
        subscribing raise ``PortClosedError`` from now on, and so does a ``publish()`` that
        waits. The actor lets go of the port: it may make another one of that name.

        Raises:
            RouterClosedError: This is another event loop than that of the port's router.
        """
        self._check_loop()
        self._closed = True
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close(self)
        self._end_all(lambda: ENDED)

    def _hand_out(self, value: T) -> Delivery[T] | None:
        """Hand a value to all subscribers with room; return the delivery to wait for, if any."""
        self._published += 1
        others: list[SubscriptionChannel] = []
        for channel in self._channels.values():
            buffer = channel.buffer
            if len(buffer.items) < buffer.high:  # the fast path that _streams/buffer.py explains
                buffer.items.append(value)
            else:
                others.append(channel)
        if not others:
            return None
        self._note_wake()
        full = [channel.backlog for channel in others if not channel.offer(value)]
        return Delivery(value, full) if full else None

    def _note_wake(self) -> None:
        """A subscriber may have been woken; it runs when the publisher rests."""
        now = monotonic()
        if now - self._turn_began >= SHORT_TIME:
            self._turn = SHORT_TURN
            self._rest_at = min(self._rest_at, self._published + SHORT_TURN)
        self._turn_began = now

    async def _wait_for(self, delivery: Delivery[T]) -> None:
        self._waiting += 1
        try:
            await wait_for_readers(delivery)
        finally:
            self._waiting -= 1
        if delivery.lost:
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise closed_error(self.name)

    def _check_loop(self) -> None:
        runtime = self._find_runtime()
        if runtime is not None:
            runtime.check_loop()
            self._thread = get_ident()

    def _check_not_ended(self, since: Callable[[], Outcome] | None) -> None:
        if self._last_end is not None and self._last_end is not since:
            raise_if(self._last_end().error)

    def _end(self, make_outcome: Callable[[], Outcome]) -> None:
        self._last_end = make_outcome
        self._end_all(make_outcome)

    def _end_all(self, make_outcome: Callable[[], Outcome]) -> None:
        for channel in list(self._channels.values()):
            channel.terminate(make_outcome())
        self._note_change()

    def _note_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # Subscribing

    def subscribe(
        self,
        *,
        buffer_size: int | None = None,
        overflow: PortOverflow | None = None,
        signal: AbortSignal | None = None,
    ) -> Subscription[T]:
        """Subscribe to what is published from now on.

        If the port's actor is not registered with a running router yet, the subscription
        begins with the first read or on entering. That raises ``RouterClosedError`` if the
        actor still is not registered.

        Args:
            buffer_size: The most values that may wait to be read; by default the port's.
            overflow: What happens to values beyond that; by default the port's.
            signal: Cancels the subscription when it is aborted.

        Raises:
            PortClosedError: The port is closed.
            TypeError, ValueError: An option has the wrong type or an impossible value; the
                message names it.
        """
        self._check_open()
        options = SubscriptionOptions(buffer_size=buffer_size, overflow=overflow, signal=signal)
        find, find_later = lambda: self._attach, self._find_later
        return Subscription(self.name, options, find, find_later, self._check_loop)

    async def _find_later(self) -> Attach:  # noqa: ASYNC124 - a router may wait for its port
        return self._attach

    def _attach(self, options: SubscriptionOptions) -> SubscriptionChannel:
        """Feed a new subscription from now on, unless its signal has been aborted.

        Raises:
            PortClosedError: The port is closed.
            RouterClosedError: The port's actor is not in a running router.
        """
        self._check_open()
        to, runtime = self._locate()
        request = Message(to=to, type=self.name)
        if options.overflow == "wait" and not self._can_wait:
            options = evolve(options, overflow=None)
        channel = SubscriptionChannel(request, options.on_top_of(self._options))
        early = find_early_outcome(channel.options, to)
        if early is not None:
            channel.terminate(early)
            return channel
        self._channels[channel] = channel
        channel.attach(runtime, self._detach)
        self._note_change()
        return channel

    def _detach(self, channel: Channel) -> None:
        self._dropped += self._channels.pop(channel).dropped


def closed_error(name: str) -> PortClosedError:
    """Make the error of a port that is used after its end."""
    return PortClosedError(
        f"the port {name!r} is closed and takes neither values nor subscribers; "
        "close() it after the last value"
    )
