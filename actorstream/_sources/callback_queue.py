"""A bounded queue from any thread to the event loop, in order, in which no call blocks.

``put()`` may interrupt itself at any line: it may be called in a signal handler, in a
``__del__``, and in many threads at once. So nothing here waits, and each step is one operation
that Python makes atomic: an item needs a slot before it goes in, slots are counted by taking
them from an iterator and a deque, the first ending wins through ``dict.setdefault``, and the
right to wake the event loop is a lock that is tried and never waited for.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from itertools import repeat
from threading import Lock
from typing import Any, Generic, Literal, TypeVar

import attrs

from actorstream._loop.wakeup import CallSoon
from actorstream._message import AsyncStreamMessage
from actorstream._statistics import ThreadSafeCounter

T = TypeVar("T")

CallbackOverflow = Literal["drop_oldest", "drop_newest", "latest", "fail"]


@attrs.frozen
class Ending:
    """What comes after the last item: a plain end, an end or error event, or a failure."""

    event: AsyncStreamMessage[Any] | None = None
    error: BaseException | None = None


NATURAL = Ending()
OVERFLOWED = Ending()


class CallbackQueue(Generic[T]):
    """Carries items from any thread to the event loop's thread; a ``Reserve`` of a buffer.

    Args:
        size: The most items that may wait; at least 1.
        overflow: What to do with an item when no slot is free.
        lost: Counts the items that were dropped.
        call_soon: Calls a function in the event loop, from any thread.
        on_news: Called in the event loop's thread, soon after an item or the ending was put
            in, once for all that came in meanwhile.
    """

    def __init__(
        self,
        size: int,
        overflow: CallbackOverflow,
        lost: ThreadSafeCounter,
        call_soon: CallSoon,
        on_news: Callable[[], object],
    ) -> None:
        self.size: int = 1 if overflow == "latest" else size
        self._overflow = overflow
        self._lost = lost
        self._call_soon = call_soon
        self._on_news: Callable[[], object] | None = on_news
        self._items: deque[T] = deque()
        self._slots = _Slots(self.size)
        self._waking = Lock()  # held while a wake-up of the event loop is pending
        self._ending: dict[str, Ending] = {}  # empty, or one entry

    def __len__(self) -> int:
        return len(self._items)

    # In any thread

    def put(self, item: T) -> None:
        """Put an item in, or apply the overflow policy; does nothing after the ending."""
        if self._ending:
            return
        if self._slots.take() or self._make_room():
            self._items.append(item)
        self._wake_soon()

    def end(self, ending: Ending) -> None:
        """Accept no more items; only the first ending counts."""
        self._ending.setdefault("ending", ending)
        self._wake_soon()

    def _make_room(self) -> bool:
        """Take the slot of the oldest item, if the policy says so; return whether that worked."""
        if self._overflow == "fail":
            self._ending.setdefault("ending", OVERFLOWED)
            return False
        self._lost.add()
        if self._overflow == "drop_newest":
            return False
        try:
            self._items.popleft()
        except IndexError:  # all slots belong to calls that this one has interrupted
            return False
        return True

    def _wake_soon(self) -> None:
        if self._waking.acquire(blocking=False):
            self._call_soon(self._wake)

    # In the event loop's thread

    @property
    def ending(self) -> Ending | None:
        """What comes after the items; once it is seen, the items put before it are in the queue."""
        return self._ending.get("ending")

    def move(self, items: deque[T]) -> None:
        """Append the oldest item to ``items``, if there is one."""
        try:
            items.append(self._items.popleft())
        except IndexError:
            return
        self._slots.give_back()

    def drain(self, items: deque[T]) -> None:
        """Append all items to ``items``, and accept no more."""
        self.close()
        while self._items:
            self.move(items)

    def close(self) -> None:
        """Accept no more items, and do not call ``on_news`` again."""
        self._ending.setdefault("ending", NATURAL)
        self._on_news = None  # a callback that is kept must not keep the stream alive

    def _wake(self) -> None:
        self._waking.release()  # first, so that a later put() can ask again
        if self._on_news is not None:
            self._on_news()


class _Slots:
    """A number of slots. Taking one and giving it back are atomic."""

    def __init__(self, count: int) -> None:
        self._unused = repeat(True, min(count, sys.maxsize))
        self._given_back: deque[bool] = deque()

    def take(self) -> bool:
        """Take a slot; return whether one was free."""
        try:
            return self._given_back.pop()
        except IndexError:
            return next(self._unused, False)

    def give_back(self) -> None:
        """Free a slot."""
        self._given_back.append(True)
