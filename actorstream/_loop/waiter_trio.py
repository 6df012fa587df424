"""``_loop/waiter.py`` for trio."""

from __future__ import annotations

from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled


class TrioWaiter:
    """A waiter on trio, which tells a task of its cancellation whenever it begins to wait."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    @property
    def waiting(self) -> bool:
        """Whether a task waits here, and has neither been let go on nor cancelled."""
        return self._task is not None

    async def wait(self) -> None:
        """Wait until ``unpark()``. May be cancelled freely."""
        self._task = current_task()
        await wait_task_rescheduled(self._give_up)

    def wake(self) -> None:
        """Let the task go on that waits here, if one does."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def _give_up(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
