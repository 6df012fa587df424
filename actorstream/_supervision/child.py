"""A supervisor's record of one child, and of children that are restarted together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from actorstream._actors.cell import Cell
from actorstream._loop.timers import Timer
from actorstream._supervision.policy import ChildSpec


class RestartBatch:
    """Children that are restarted together, in order."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self._pending = deque(ids)
        self._timer: Timer | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending)

    @property
    def first(self) -> str | None:
        """The id of the next child to start."""
        return self._pending[0] if self._pending else None

    def pop_first(self) -> None:
        """Remove the next child, which was started or does not wait any more."""
        self._pending.popleft()

    def wait(self, timer: Timer) -> None:
        """Remember the backoff timer."""
        self._timer = timer

    def cancel(self) -> None:
        """Cancel the backoff: the children are not started."""
        if self._timer is not None:
            self._timer.cancel()


class Child:
    """One child: its specification, its cell, and its number of restarts in a row.

    Attributes:
        batch: The children it was last restarted with, or is restarted with next.
        failed_first: Whether the first start failed, which fails the supervisor.
    """

    def __init__(self, spec: ChildSpec, cell: Cell) -> None:
        self.spec = spec
        self.cell = cell
        self.batch = RestartBatch()
        self.failed_first = False
        self._attempts = 0
        self._counted = 0  # the number of the incarnation that was counted last
        self._first_number = cell.incarnation.number + 1  # a cell may be older than the child

    @property
    def has_failed_at_first(self) -> bool:
        """Whether the child is failing, or has failed, in its first start."""
        first = self.cell.incarnation
        is_first = first.number == self._first_number
        return is_first and not first.has_started and first.failure is not None

    def note_failed_first(self) -> None:
        """Note that the first start failed."""
        self.failed_first = True

    def join(self, batch: RestartBatch) -> None:
        """Wait for a restart with the other children of a batch."""
        self.batch = batch

    def next_attempt(self, within: float) -> int:
        """Return the number of the next restart in a row; the first is 1.

        The count starts anew once after each incarnation that has run for ``within`` seconds:
        a factory that fails again and again does not make another success of the same one.
        """
        ended = self.cell.incarnation
        if ended.number != self._counted and ended.seconds_run >= within:
            self._attempts = 0
        self._counted = ended.number
        self._attempts += 1
        return self._attempts
