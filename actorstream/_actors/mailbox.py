"""The mailbox of an actor: a bounded queue from many senders to one actor.

A message that finds the queue full waits in a backlog, and enters the queue before any message that
was sent later. So messages are handled in the order in which they were sent. A second, unbounded
queue holds system messages from the runtime (such as: a child has failed), which go first.
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
"""A function that the actor's task runs between two messages."""


class Envelope:
    """A message on its way to one actor.

    Attributes:
        message: What is sent.
        reply: Where the answer goes, if one is awaited.
        waiter: Where the sender waits for room in the queue; ``None`` once the message is queued,
            or if the sender waits only for the answer.
    """

    __slots__ = ("message", "reply", "waiter")

    def __init__(self, message: Message, reply: Reply | None = None) -> None:
        self.message: Message = message
        self.reply: Reply | None = reply
        self.waiter: StrictWaiter | None = None


class Mailbox:
    """Keeps the messages to an actor until the actor takes them.

    Args:
        size: Most messages in the queue; at least 1.

    Attributes:
        size: Maximum number of queued messages.
        ended: Whether the mailbox takes no more messages.
    """

    __slots__ = (
        "_backlog",
        "_queue",
        "_reader",
        "_since_rest",
        "_system_messages",
        "ended",
        "size",
    )

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.ended: bool = False
        self._queue: deque[Envelope] = deque()
        # Unlike a dict, it finds its first entry quickly after many have been removed.
        self._backlog: OrderedDict[Envelope, None] = OrderedDict()
        self._system_messages: deque[SystemMessage] = deque()
        self._reader: Waiter | None = None
        self._since_rest = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a new message goes to the backlog."""
        return len(self._queue) >= self.size

    @property
    def waiting(self) -> int:
        """Number of messages in the backlog."""
        return len(self._backlog)

    def add(self, envelope: Envelope) -> bool:
        """Put an envelope into the queue, or into the backlog if the queue is full.

        Returns:
            Whether the envelope is in the queue.
        """
        if self.full:  # always true while there is a backlog
            self._backlog[envelope] = None
            return False
        self._queue.append(envelope)
        self._wake()
        return True

    async def wait_admitted(self, envelope: Envelope) -> bool:
        """Wait until an envelope leaves the backlog for the queue. Cancelling discards it.

        Returns:
            Whether the envelope was queued; the mailbox may end instead.
        """
        waiter = envelope.waiter = make_strict_waiter()
        try:
            while envelope in self._backlog:
                await waiter.wait()
        except BaseException:
            self.discard(envelope)
            raise
        return envelope.waiter is not waiter

    def discard(self, envelope: Envelope) -> None:
        """Remove an envelope that still waits."""
        if envelope in self._backlog:
            del self._backlog[envelope]
        elif envelope in self._queue:
            self._queue.remove(envelope)
            self._admit()

    def put_system(self, message: SystemMessage) -> None:
        """Have the actor's task run ``message`` before it handles the next envelope."""
        self._system_messages.append(message)
        self._wake()

    async def get(self) -> Envelope | SystemMessage | None:
        """Wait for the next message or system message. Cancelling this loses nothing.

        Returns:
            ``None`` once the mailbox has ended and is empty.
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
        """Take no more messages.

        Returns:
            The backlog, which is discarded; its senders are woken.
        """
        self.ended = True
        self._wake()
        refused = list(self._backlog)
        self._backlog.clear()
        for envelope in refused:
            if envelope.waiter is not None:
                envelope.waiter.wake()
        return refused

    def reopen(self) -> None:
        """Keep the queue for the next incarnation, and drop the system messages of the last."""
        self.ended = False
        self._system_messages.clear()

    def clear(self) -> list[Envelope]:
        """Empty the queue, and return what was in it."""
        left = list(self._queue)
        self._queue.clear()
        return left

    async def _wait(self) -> None:
        if self._reader is None:  # made in the event loop, and used for every wait
            self._reader = make_waiter()
        await self._reader.wait()

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.wake()

    def _admit(self) -> None:
        """Fill the queue from the backlog, and skip senders that have just been cancelled."""
        while self._backlog and not self.full:
            envelope, _ = self._backlog.popitem(last=False)
            waiter = envelope.waiter
            if waiter is None:
                self._queue.append(envelope)
            elif waiter.waiting:
                envelope.waiter = None
                self._queue.append(envelope)
                waiter.wake()
