"""Timers: callbacks at points of the event loop's time, all run by one task.

A timer costs a push onto a heap, so a stream can have a time limit without a task or a
cancel scope for each. A cancelled timer forgets its callback at once, stays in the heap
until it comes up, and is swept out when such entries become the majority.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from anyio import CancelScope, Event, current_time

Callback = Callable[[], object]

_SWEEP_FROM = 64


class Timer:
    """A callback that is due at ``when``."""

    __slots__ = ("_callback", "_heap", "_order", "when")

    def __init__(self, timers: Timers, when: float, order: int, callback: Callback) -> None:
        self.when: float = when
        self._heap = timers
        self._order = order
        self._callback: Callback | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self._order) < (other.when, other._order)

    @property
    def live(self) -> bool:
        """Whether its callback is still to be called."""
        return self._callback is not None

    def cancel(self) -> None:
        """Do not call; does nothing if the call has been made."""
        if self._callback is not None:
            self._callback = None
            self._heap.forget_one()

    def fire(self) -> None:
        """Call now, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Timers:
    """Calls back at points in time while ``run()`` runs. The callbacks must not raise."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = count()
        self._cancelled = 0
        self._scope = CancelScope()
        self._sleeping_until = -math.inf
        self._changed: Event | None = None

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call ``callback`` at ``when``, on the event loop's timers."""
        timer = Timer(self, when, next(self._order), callback)
        heappush(self._heap, timer)
        if when < self._sleeping_until and self._changed is not None:
            self._changed.set()
        return timer

    def forget_one(self) -> None:
        """Count a cancelled timer, and sweep if they are the majority."""
        self._cancelled += 1
        if self._cancelled > _SWEEP_FROM and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.live]
            heapify(self._heap)
            self._cancelled = 0

    async def run(self) -> None:
        """Call what is due, until ``stop()``."""
        with self._scope:
            while True:
                self._sleeping_until = self._fire_due()
                self._changed = Event()
                with CancelScope(deadline=self._sleeping_until):
                    await self._changed.wait()

    def stop(self) -> None:
        """End ``run()``; nothing more is called."""
        self._scope.cancel()

    def _fire_due(self) -> float:
        """Call what is due and return when the next one is."""
        now = current_time()
        while self._heap:
            timer = self._heap[0]
            if timer.live and timer.when > now:
                return timer.when
            heappop(self._heap)
            if timer.live:
                timer.fire()
            else:
                self._cancelled -= 1
        return math.inf
