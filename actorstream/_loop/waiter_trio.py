"""The trio version of ``_loop/waiter.py``."""

from __future__ import annotations

from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled


class TrioWaiter:
    """A waiter on trio, which delivers a pending cancellation whenever a task starts to wait."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    @property
    def waiting(self) -> bool:
        """Whether a task waits here that has been neither woken nor cancelled."""
        return self._task is not None

    async def wait(self) -> None:
        """Wait until ``wake()`` is called. Safe to cancel."""
        self._task = current_task()
        await wait_task_rescheduled(self._on_cancel)

    def wake(self) -> None:
        """Wake the waiting task, if there is one."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    def _on_cancel(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
