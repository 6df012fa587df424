"""One subscriber's way from a port: its channel, fed by ``publish()`` and not by a task.

A value that finds a subscriber's buffer full, and is to wait, lines up there as a delivery. The
subscriber itself moves it into the buffer when it takes a value out. So each subscriber gets
the values in the order of publishing, whoever published them, as soon as *it* has room and
whatever the others do; and a publisher waits for one event, however many subscribers are full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from sys import maxsize
from typing import Any, ClassVar, Generic, TypeVar, cast

from anyio import Event

from actorstream._loop.timers import Timers
from actorstream._loop.wakeup import CallSoon
from actorstream._message import Message
from actorstream._options import StreamAsyncOptions
from actorstream._streams.buffer import Buffer
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome

T = TypeVar("T")


class Delivery(Generic[T]):
    """A value on its way to subscribers that have no room for it yet.

    Attributes:
        value: The value.
        lost: Whether a subscription ended before it had room.
    """

    __slots__ = ("_lines", "_settled", "lost", "value")

    def __init__(self, value: T, lines: Iterable[BackloggedBuffer[T]]) -> None:
        self.value: T = value
        self.lost: bool = False
        self._settled = Event()
        self._lines: dict[BackloggedBuffer[T], None] = dict.fromkeys(lines)
        for line in self._lines:
            line.enqueue(self)

    async def wait(self) -> None:
        """Wait until no subscriber is left that has to make room.

        If cancelled, it goes to no more subscribers; those that have it keep it.
        """
        try:
            await self._settled.wait()
        finally:
            for line in self._lines:
                line.withdraw(self)

    def settle(self, line: BackloggedBuffer[T], *, lost: bool) -> None:
        """Note that it has left a line."""
        del self._lines[line]
        self.lost = self.lost or lost
        if not self._lines:
            self._settled.set()


class BackloggedBuffer(Buffer[T]):
    """A buffer at which values line up while it is full, to come in as others are taken."""

    __slots__ = ("_line",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._line: deque[Delivery[T]] = deque()

    @property
    def producer_waiting(self) -> bool:
        """Whether a publisher waits for room."""
        return bool(self._line)

    def send_nowait(self, item: T) -> None:
        """Put an item in; see ``Buffer``."""
        if self.put_turn_over:  # a publisher rests by its own count, not by this buffer's
            self._begin_turn()
        super().send_nowait(item)

    def receive_nowait(self) -> T:
        """Take the oldest item out, and let in what is first in line; see ``Buffer``."""
        item = super().receive_nowait()
        if self._line:
            delivery = self._line.popleft()
            self.items.append(delivery.value)
            delivery.settle(self, lost=False)
            self._set_marks()
        return item

    def enqueue(self, delivery: Delivery[T]) -> None:
        """Let a delivery wait its turn. The buffer is full."""
        self._line.append(delivery)
        self._set_marks()

    def withdraw(self, delivery: Delivery[T]) -> None:
        """Take a delivery out of the line."""
        self._line.remove(delivery)
        self._set_marks()

    def end(self) -> None:
        """Let nothing more in, what is in line included; see ``Buffer``."""
        while self._line:
            self._line.popleft().settle(self, lost=True)
        super().end()

    def _set_marks(self) -> None:
        super()._set_marks()
        if self._line:
            self.low = maxsize  # the consumer is to come to receive_nowait()


class SubscriptionChannel(Channel):
    """The channel of one subscription. It is live while it is attached to its port."""

    opened_by: ClassVar[str] = "subscribe()"

    __slots__ = ()

    def __init__(self, request: Message, options: StreamAsyncOptions) -> None:
        super().__init__(request, options)
        self.buffer = BackloggedBuffer(options.buffer_size)

    @property
    def line(self) -> BackloggedBuffer[Any]:
        """The buffer, as what values line up at."""
        return cast("BackloggedBuffer[Any]", self.buffer)

    @property
    def concluded(self) -> bool:
        """Whether the subscriber has come to the end."""
        return self._concluded

    @property
    def holds_up(self) -> bool:
        """Whether a publisher would have to wait for this subscriber."""
        return self.options.overflow == "wait" and self.buffer.full and not self.over

    def attach(
        self, timers: Timers, call_soon: CallSoon, on_left: Callable[[Channel], object]
    ) -> None:
        """Note that a port channels it from now on.

        Args:
            timers: Runs the timers.
            call_soon: Reaches the event loop from anywhere.
            on_left: Called when the port is to channel it no more.
        """
        self.live = True
        self._on_left = on_left
        self.watch(timers, call_soon)

    def offer(self, value: Any) -> bool:
        """Do with a value what needs no waiting; return whether that was all."""
        while not self.over:
            if not self.buffer.full:
                self.buffer.send_nowait(value)
                return True
            if self.options.overflow == "wait":
                return False
            if not self.make_room_nowait():
                return True
        return True

    def _end(self, outcome: Outcome) -> None:
        super()._end(outcome)
        if self.live:
            self.leave()
