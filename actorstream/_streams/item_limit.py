"""A time limit for the next item, which does not pass while the event loop is blocked.

Code that blocks the loop, such as a consumer that computes, holds up the item as well as the timer.
When the loop goes on, the item may have been there for long. So a timer that is late gives the
producer as much time as the loop took from it. Any timer gives it some turns to hand over an item.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from actorstream._loop.runtime import Runtime
from actorstream._loop.timers import Timer

_LATE = 0.01  # seconds; a timer is later than that only if the loop was blocked

_TURNS = 5  # from the thread or the socket that an item comes from to the buffer


class ItemLimit:
    """A time limit for the next item.

    Args:
        seconds: The limit.
        runtime: The router's runtime.
        on_passed: Called if no item has come in time.
    """

    __slots__ = ("_due", "_on_passed", "_runtime", "_seconds", "_timer")

    def __init__(self, seconds: float, runtime: Runtime, on_passed: Callable[[], object]) -> None:
        self._seconds = seconds
        self._runtime = runtime
        self._on_passed = on_passed
        self._due = math.inf  # while it is stopped
        self._timer: Timer | None = None

    def restart(self) -> None:
        """Measure from now on: an item has come, or the producer may make one again.

        This is called for each item, so it leaves an earlier timer, which then looks again.
        """
        self._due = self._runtime.timers.now() + self._seconds
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Measure no more, until ``restart()``. No timer keeps this alive."""
        self._due = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = self._runtime.timers.call_at(self._due, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._runtime.timers.now()
        late = now - self._due
        if late > _LATE:
            self._due = now + min(late, self._seconds)
        if now < self._due:
            self._arm()
        else:
            self._wait_turns(self._due, _TURNS)

    def _wait_turns(self, due: float, turns: int) -> None:
        if self._due != due:  # an item has come, or the stream is over
            return
        if turns:
            self._runtime.call_soon(partial(self._wait_turns, due, turns - 1))
        else:
            self._on_passed()
