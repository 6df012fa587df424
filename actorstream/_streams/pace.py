"""How many items a producer makes in one turn: few, unless it makes them quickly.

A producer that computes its items, and never awaits, keeps the event loop to itself until its turn
is over. If the items are slow, a turn of ``TURN`` of them takes long, and a waiting consumer gets
the first one late. So a turn is short, and goes on only if it has been quick. The clock is read
when a turn ends or the consumer is woken, not for each item.
"""

from __future__ import annotations

from time import monotonic
from typing import TypeVar

from actorstream._streams.buffer import TURN, Buffer

T = TypeVar("T")

SHORT_TURN = 8
"""How many items a producer makes, after it has woken the consumer, until its pace is judged."""

_QUICK = 25e-6  # seconds for each item, so a turn of quick items takes 12.5 ms at most
SHORT_TIME = SHORT_TURN * _QUICK
"""How many seconds a short turn of quick items takes at most."""


def length_after(turn: int, began: float) -> int:
    """Return the length of the turn after one that began at a time of ``monotonic()``."""
    return TURN if monotonic() - began < turn * _QUICK else SHORT_TURN


class PacedBuffer(Buffer[T]):
    """A buffer whose producer has short turns, unless it is quick."""

    __slots__ = ()

    def wake_consumer(self) -> None:
        """Wake the consumer, if it waits; it runs when the producer rests."""
        reader = self._reader
        if reader is None:
            return
        if self.size > SHORT_TURN:
            now = monotonic()
            if now - self._turn_began >= SHORT_TIME:
                self._put_turn = SHORT_TURN
            self._turn_began = now
            self._put_until = len(self.items) - 1 + self._put_turn
        reader.wake()
        self._reader = None
        self._set_marks()

    def goes_on(self, *, trusted: bool = False) -> bool:
        """Return whether the producer may append an item, since its short turn becomes a long one.

        Args:
            trusted: Whether the items are quick in any case.
        """
        if self._put_turn != SHORT_TURN:
            return False
        if not trusted and not (self.put_turn_over and self.next_turn() == TURN):
            return False
        self._put_turn = TURN
        self._put_until += TURN - SHORT_TURN
        self._set_marks()
        return len(self.items) < self.high

    def next_turn(self) -> int:
        """Return how many items the producer may make, or drop, in the turn after this one."""
        self._put_turn = length_after(self._put_turn, self._turn_began)
        return self._put_turn

    async def rest_producer(self) -> None:
        """Let other tasks run, and begin the producer's next turn."""
        self.next_turn()
        await self.rest()
        if self._reader is self._spare_reader is None:  # woken; but trio runs tasks in any order
            await self.rest()
        self._turn_began = monotonic()
