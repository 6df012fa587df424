"""How a value reaches one subscriber: ``publish()``, not a task, feeds its channel.

If the buffer of a subscriber is full and its policy is ``"wait"``, the value waits in the buffer's
backlog, as a delivery. The subscriber itself moves it into the buffer when it takes a value out.
So each subscriber gets the values in the order of publishing, as soon as *it* has room, whatever
the other subscribers do; and a publisher waits for one event, however many buffers are full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from sys import maxsize
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from anyio import Event
from anyio.lowlevel import checkpoint

from actorstream._loop.runtime import Runtime
from actorstream._message import Message
from actorstream._options import StreamAsyncOptions
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome
from actorstream._streams.pace import PacedBuffer
from actorstream._wait_graph import Node, Wait, running_node

T = TypeVar("T")

_TURNS = 3
"""How many turns of the event loop a new subscriber gets to begin to read."""


class Delivery(Generic[T]):
    """A value on its way to subscribers that have no room for it yet. A node of the wait-for graph.

    Attributes:
        value: The value.
        lost: Whether a subscription ended before it had room.
    """

    __slots__ = ("_buffers", "_settled", "lost", "value")

    def __init__(self, value: T, buffers: Iterable[BackloggedBuffer[T]]) -> None:
        self.value: T = value
        self.lost: bool = False
        self._settled = Event()
        self._buffers: dict[BackloggedBuffer[T], None] = dict.fromkeys(buffers)
        for buffer in self._buffers:
            buffer.enqueue(self)

    async def wait(self, check: Callable[[Self], bool] | None) -> None:
        """Wait until each subscriber has the value, or has left.

        If cancelled, no more subscribers get the value; those that have it keep it.

        Args:
            check: Raises if this wait would never end; returns whether to check again soon.
        """
        try:
            if check is not None:
                await self._let_read(check)
            await self._settled.wait()
        finally:
            for buffer in self._buffers:
                buffer.withdraw(self)

    async def _let_read(self, check: Callable[[Self], bool]) -> None:
        """Check, but before a subscriber has read, let it begin to: another task may do so."""
        for _ in range(_TURNS):
            if self.is_read and not check(self):
                return
            await checkpoint()
        check(self)

    @property
    def label(self) -> str:
        """What an error message about a cycle calls it."""
        return "a subscriber"

    @property
    def is_read(self) -> bool:
        """Whether each subscriber that has no room has read before, so that its code is known."""
        return all(buffer.reader_task for buffer in self._buffers)

    def waits(self, *, for_end: bool) -> Iterable[Wait]:
        """Return the waits for the subscribers to read."""
        readers = [buffer.reader for buffer in self._buffers]
        return [Wait(None, reader, for_end=True) for reader in readers if reader is not None]

    def settle(self, buffer: BackloggedBuffer[T], *, lost: bool) -> None:
        """The value has left the backlog of a buffer."""
        del self._buffers[buffer]
        self.lost = self.lost or lost
        if not self._buffers:
            self._settled.set()


class BackloggedBuffer(PacedBuffer[T]):
    """A buffer with a backlog: while it is full, deliveries wait there for items to be taken.

    Attributes:
        reader: The actor or the stream whose code reads; before the first read, the one whose
            code has subscribed.
        reader_task: Identifies the task that has read last; 0 before the first read.
    """

    __slots__ = ("_backlog", "_find_task", "reader", "reader_task")

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.reader: Node | None = None
        self.reader_task = 0
        self._find_task: Callable[[], object] | None = None
        # Unlike a dict, it finds its first entry quickly after many have been removed.
        self._backlog: OrderedDict[Delivery[T], None] = OrderedDict()

    @property
    def producer_waiting(self) -> bool:
        """Whether a publisher waits for room."""
        return bool(self._backlog)

    def send_nowait(self, item: T) -> None:
        """Put an item in; see ``Buffer``."""
        if (
            self.put_turn_over and not self.goes_on()
        ):  # a publisher counts its own turns; see Port.publish()
            self._begin_turn()
        super().send_nowait(item)

    def receive_nowait(self) -> T:
        """Take the oldest item out, and let the oldest delivery in; see ``Buffer``."""
        item = super().receive_nowait()
        if self._find_task is not None and (self._backlog or not self.reader_task):
            self.reader = running_node()
            self.reader_task = id(self._find_task())
            self._set_marks()
        if self._backlog:
            delivery, _ = self._backlog.popitem(last=False)
            self.items.append(delivery.value)
            delivery.settle(self, lost=False)
            self._set_marks()
        return item

    def expect_reader(self, find_task: Callable[[], object]) -> None:
        """Note who reads, which is probably the code that runs now."""
        self._find_task = find_task
        self.reader = running_node()
        self._set_marks()

    def enqueue(self, delivery: Delivery[T]) -> None:
        """Put a delivery into the backlog. The buffer is full."""
        self._backlog[delivery] = None
        self._set_marks()

    def withdraw(self, delivery: Delivery[T]) -> None:
        """Take a delivery out of the backlog."""
        del self._backlog[delivery]
        self._set_marks()

    def end(self) -> None:
        """Accept no more items, and lose the backlog; see ``Buffer``."""
        while self._backlog:
            delivery, _ = self._backlog.popitem(last=False)
            delivery.settle(self, lost=True)
        super().end()
        self.reader = self._find_task = None  # keep no actor alive

    def _set_marks(self) -> None:
        super()._set_marks()
        if self._backlog or not self.reader_task:
            self.low = maxsize  # make the consumer call receive_nowait()


class SubscriptionChannel(Channel):
    """The channel of one subscription. It is live while it is attached to its port."""

    opened_by: ClassVar[str] = "subscribe()"

    __slots__ = ("_attached", "_give_up")

    def __init__(self, request: Message, options: StreamAsyncOptions) -> None:
        super().__init__(request, options)
        self._give_up: Callable[[], Outcome] | None = None
        self.buffer = BackloggedBuffer(options.buffer_size)
        self._attached = False

    @property
    def live(self) -> bool:
        """Whether the port feeds this channel."""
        return self._attached

    @property
    def backlog(self) -> BackloggedBuffer[Any]:
        """The buffer, typed as the one where deliveries wait."""
        return cast("BackloggedBuffer[Any]", self.buffer)

    @property
    def holds_up(self) -> bool:
        """Whether a publisher would have to wait for this subscriber."""
        waits = self.options.overflow == "wait" and self._give_up is None
        return waits and self.buffer.full and not self.over

    def attach(self, runtime: Runtime, on_left: Callable[[Channel], object]) -> None:
        """The port feeds this channel from now on.

        Args:
            runtime: The router's runtime.
            on_left: Called when the port must stop feeding it.
        """
        self._attached = True
        self.backlog.expect_reader(runtime.current_task)
        self.start(runtime, on_left)

    def give_up(self, make_outcome: Callable[[], Outcome]) -> None:
        """End rather than hold a publisher up, now or later: the reader waits for the publisher."""
        self._give_up = make_outcome
        if self.buffer.producer_waiting:
            self.terminate(make_outcome())

    def go_on(self) -> None:
        """Undo ``give_up()``, if the subscription has not ended."""
        self._give_up = None

    def offer(self, value: Any) -> bool:
        """Take or drop a value; return ``False`` if the value must wait for room."""
        while not self.over:
            if not self.buffer.full:
                self.buffer.send_nowait(value)
                return True
            if self.options.overflow == "wait":
                if self._give_up is None:
                    return False
                self.terminate(self._give_up())
            elif not self.make_room():
                return True
        return True

    def end(self, outcome: Outcome) -> None:
        """Decide the outcome, and leave the port."""
        super().end(outcome)
        if self._attached:
            self._attached = False
            self._on_left(self)
