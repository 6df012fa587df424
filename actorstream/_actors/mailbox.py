"""The mailbox of an actor: a bounded queue from many senders to one actor.

A message that finds no room stands in line, and comes in as soon as there is room, before any
that was sent later. So messages are handled in the order in which they were sent, full or not.
Beside the queue there is a small, unbounded one for orders of the runtime itself (a child has
failed, say), which go first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._actors.reply import Reply
from actorstream._loop.waiter import StrictWaiter, Waiter, make_strict_waiter, make_waiter
from actorstream._message import Message
from actorstream._streams.buffer import TURN

SystemMessage = Callable[[], Coroutine[Any, Any, object]]


class Envelope:
    """A message on its way to one actor.

    Attributes:
        message: What is sent.
        reply: Where the answer goes, if one is awaited.
        waiter: Where its sender waits until it is let in; ``None`` once it is, or if its sender
            waits for the answer only.
    """

    __slots__ = ("message", "reply", "waiter")

    def __init__(self, message: Message, reply: Reply | None = None) -> None:
        self.message: Message = message
        self.reply: Reply | None = reply
        self.waiter: StrictWaiter | None = None


class Mailbox:
    """Keeps what is sent to an actor until the actor takes it.

    Args:
        size: The most messages that may be in it; at least 1.

    Attributes:
        size: The same.
        ended: Whether nothing more is let in.
    """

    __slots__ = ("_line", "_queue", "_reader", "_since_rest", "_system_messages", "ended", "size")

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.ended: bool = False
        self._queue: deque[Envelope] = deque()
        self._line: OrderedDict[Envelope, None] = OrderedDict()  # any number may come and go
        self._system_messages: deque[SystemMessage] = deque()
        self._reader: Waiter | None = None
        self._since_rest = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a message has to stand in line."""
        return len(self._queue) >= self.size

    @property
    def waiting(self) -> int:
        """How many messages stand in line."""
        return len(self._line)

    def add(self, envelope: Envelope) -> bool:
        """Put an envelope into the queue, or in line if there is no room.

        Returns:
            Whether it is in the queue.
        """
        if self.full:  # it is, while somebody stands in line
            self._line[envelope] = None
            return False
        self._queue.append(envelope)
        self._wake()
        return True

    async def wait_admitted(self, envelope: Envelope) -> bool:
        """Wait until an envelope that stands in line is let in. If cancelled, it leaves the line.

        Returns:
            Whether it was let in; the mailbox may end instead.
        """
        waiter = envelope.waiter = make_strict_waiter()
        try:
            while envelope in self._line:
                await waiter.wait()
        except BaseException:
            self.discard(envelope)
            raise
        return envelope.waiter is not waiter

    def discard(self, envelope: Envelope) -> None:
        """Take an envelope away, wherever it waits; do nothing if it has been taken out."""
        if envelope in self._line:
            del self._line[envelope]
        elif envelope in self._queue:
            self._queue.remove(envelope)
            self._admit()

    def put_system(self, message: SystemMessage) -> None:
        """Have the actor's task run something before it handles the next message."""
        self._system_messages.append(message)
        self._wake()

    async def get(self) -> Envelope | SystemMessage | None:
        """Wait for the next order or message, and take it out. Cancelling it loses nothing.

        Returns:
            ``None`` where the mailbox has ended and is empty.
        """
        self._since_rest += 1
        if self._since_rest >= TURN:
            self._since_rest = 0
            await checkpoint()
        while not (self._system_messages or self._queue or self.ended):
            self._since_rest = 0
            await self._wait()
        if self._system_messages:
            return self._system_messages.popleft()
        if not self._queue:
            return None
        envelope = self._queue.popleft()
        self._admit()
        return envelope

    def end(self) -> list[Envelope]:
        """Let nothing more in.

        Returns:
            What stood in line; its senders are woken.
        """
        self.ended = True
        self._wake()
        refused = list(self._line)
        self._line.clear()
        for envelope in refused:
            if envelope.waiter is not None:
                envelope.waiter.wake()
        return refused

    def reopen(self) -> None:
        """Begin anew with what is queued; orders are for the life in which they were given."""
        self.ended = False
        self._system_messages.clear()

    def clear(self) -> list[Envelope]:
        """Take out and return what is queued."""
        left = list(self._queue)
        self._queue.clear()
        return left

    async def _wait(self) -> None:
        if self._reader is None:  # made where the event loop runs, and used for every wait
            self._reader = make_waiter()
        await self._reader.wait()

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.wake()

    def _admit(self) -> None:
        """Let in whoever is first in line, unless its sender has just been cancelled."""
        while self._line and not self.full:
            envelope, _ = self._line.popitem(last=False)
            waiter = envelope.waiter
            if waiter is None:
                self._queue.append(envelope)
            elif waiter.waiting:
                envelope.waiter = None
                self._queue.append(envelope)
                waiter.wake()
