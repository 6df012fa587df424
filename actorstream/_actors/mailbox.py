"""The mailbox of an actor: a bounded queue from many senders to one actor.

A message that finds the queue full waits in a backlog, and enters the queue before any message that
was sent later. So messages are handled in the order in which they were sent. A second queue holds
system messages from the runtime (such as: a child has failed), which go first.

Each sender has one place in the backlog, and waits there: the senders bound it. A message whose
sender has given up no longer counts. It stays in the queue, empty, until the actor reaches it, or
until such messages are the majority and are swept out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._actors.reply import Reply
from actorstream._loop.waiter import StrictWaiter, Waiter, make_strict_waiter, make_waiter
from actorstream._message import Message
from actorstream._streams.buffer import TURN

_SWEEP_FROM = 64

SystemMessage = Callable[[], Coroutine[Any, Any, object]]
"""A function that the actor's task runs between two messages."""


class Envelope:
    """A message on its way to one actor.

    Attributes:
        message: What is sent.
        context: A copy of the sender's context, for the handler.
        reply: Where the answer goes, if one is awaited.
        waiter: Where the sender waits for room in the queue; ``None`` once the message is queued,
            or if the sender waits only for the answer.
        queued: Whether it is in the queue, and its sender has not given up.
    """

    __slots__ = ("context", "message", "queued", "reply", "waiter")

    def __init__(self, message: Message, reply: Reply | None = None) -> None:
        self.message: Message = message
        self.context: Context = copy_context()
        self.reply: Reply | None = reply
        self.waiter: StrictWaiter | None = None
        self.queued: bool = False

    def empty(self) -> None:
        """Note that its sender has given up; keep nothing of it alive."""
        self.queued = False
        del self.context, self.message, self.reply


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
        "_withdrawn",
        "ended",
        "size",
    )

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.ended: bool = False
        self._queue: deque[Envelope] = deque()  # the first one is never a withdrawn one
        self._withdrawn = 0
        # Unlike a dict, it finds its first entry quickly after many have been removed.
        self._backlog: OrderedDict[Envelope, None] = OrderedDict()
        # Bounded by the commands and the children of the actor: each puts in one at a time.
        self._system_messages: deque[SystemMessage] = deque()
        self._reader: Waiter | None = None
        self._since_rest = 0

    def __len__(self) -> int:
        return len(self._queue) - self._withdrawn

    @property
    def full(self) -> bool:
        """Whether a new message goes to the backlog."""
        return len(self._queue) - self._withdrawn >= self.size

    @property
    def waiting(self) -> int:
        """Number of messages in the backlog."""
        return len(self._backlog)

    def resize(self, size: int) -> None:
        """Change the size. A queue that is longer than that stays as it is."""
        self.size = size
        self._admit()

    def add(self, envelope: Envelope) -> bool:
        """Put an envelope into the queue, or into the backlog if the queue is full.

        Returns:
            Whether the envelope is in the queue.
        """
        if self.full:  # always true while there is a backlog
            self._backlog[envelope] = None
            return False
        envelope.queued = True
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
        elif envelope.queued:
            envelope.empty()
            self._withdrawn += 1
            self._skip_withdrawn()
            if self._withdrawn > _SWEEP_FROM and self._withdrawn * 2 > len(self._queue):
                self._queue = deque(envelope for envelope in self._queue if envelope.queued)
                self._withdrawn = 0
            self._admit()

    def refuse(self, envelope: Envelope) -> bool:
        """Take an envelope out of the backlog, and wake its sender; return whether it was there."""
        is_waiting = envelope in self._backlog
        if is_waiting:
            del self._backlog[envelope]
            if envelope.waiter is not None:
                envelope.waiter.wake()
        return is_waiting

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
        envelope.queued = False
        if self._withdrawn:
            self._skip_withdrawn()
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
        """Empty the queue, and return what was in it; system messages are dropped."""
        self._system_messages.clear()
        left = [envelope for envelope in self._queue if envelope.queued]
        self._queue.clear()
        self._withdrawn = 0
        for envelope in left:
            envelope.queued = False
        return left

    def _skip_withdrawn(self) -> None:
        """Drop the withdrawn envelopes at the head of the queue."""
        while self._queue and not self._queue[0].queued:
            self._queue.popleft()
            self._withdrawn -= 1

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
            if waiter is not None and not waiter.waiting:
                continue
            envelope.waiter = None
            envelope.queued = True
            self._queue.append(envelope)
            if waiter is not None:
                waiter.wake()
