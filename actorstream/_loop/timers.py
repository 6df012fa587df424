"""Timers: callbacks at points in the event loop's time, all run by one task.

A timer costs one push onto a heap, so a stream can have a time limit without a task or a
cancel scope of its own. A cancelled timer drops its callback at once, but stays in the heap
until it is due, or until cancelled timers are the majority and are swept out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from anyio import CancelScope, Event

from actorstream._loop.clock import current_clock

Callback = Callable[[], object]

_SWEEP_FROM = 64


class Timer:
    """A callback that is due at ``when``."""

    __slots__ = ("_callback", "_order", "_timers", "when")

    def __init__(self, timers: Timers, when: float, order: int, callback: Callback) -> None:
        self.when: float = when
        self._timers = timers
        self._order = order
        self._callback: Callback | None = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self._order) < (other.when, other._order)

    @property
    def live(self) -> bool:
        """Whether the callback has yet to be called."""
        return self._callback is not None

    def cancel(self) -> None:
        """Drop the callback; does nothing if it has been called."""
        if self._callback is not None:
            self._callback = None
            self._timers.forget_one()

    def fire(self) -> None:
        """Call the callback, unless it has been called or dropped."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Timers:
    """Runs callbacks at points in time while ``run()`` runs. The callbacks must not raise.

    Attributes:
        now: Returns the time of the event loop, also where no task runs.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = current_clock()
        self._heap: list[Timer] = []
        self._order = count()
        self._cancelled = 0
        self._scope = CancelScope()
        self._sleeping_until = -math.inf
        self._changed: Event | None = None

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call ``callback`` at ``when``, in seconds on the event loop's clock."""
        timer = Timer(self, when, next(self._order), callback)
        heappush(self._heap, timer)
        if when < self._sleeping_until and self._changed is not None:
            self._changed.set()
        return timer

    def call_after(self, seconds: float, callback: Callback) -> Timer:
        """Call ``callback`` in some seconds."""
        return self.call_at(self.now() + seconds, callback)

    def forget_one(self) -> None:
        """Count a cancelled timer; sweep if cancelled timers are the majority."""
        self._cancelled += 1
        if self._cancelled > _SWEEP_FROM and self._cancelled * 2 > len(self._heap):
            self._heap = [timer for timer in self._heap if timer.live]
            heapify(self._heap)
            self._cancelled = 0

    async def run(self) -> None:
        """Run the callbacks that are due, until ``stop()``."""
        with self._scope:
            while True:
                self._sleeping_until = self._fire_due()
                self._changed = Event()
                with CancelScope(deadline=self._sleeping_until):
                    await self._changed.wait()

    def stop(self) -> None:
        """End ``run()``; no more callbacks run."""
        self._scope.cancel()
        self._heap.clear()  # its timers refer back to this object

    def _fire_due(self) -> float:
        """Run the callbacks that are due; return when the next one is due."""
        now = self.now()
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
