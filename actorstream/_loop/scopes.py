"""The runtime's cancel scopes around the code of an actor, which may leave its own scopes open.

An actor may open a cancel scope or a task group in one method and close it in another: a client
from ``on_start()`` to ``on_stop()``. Scopes are left in the reverse order of their entering. So a
scope of the runtime around the first method stays open until the actor has closed its own, and
there is no scope of the runtime around the second method alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from anyio import CancelScope, current_time, get_cancelled_exc_class

from actorstream._kinds import is_a
from actorstream._loop.current_task import is_inside

CountGroups = Callable[[], int]


class ActorScopes:
    """The scopes around the life of an actor, and around its clean-up.

    The outer one is cancelled to end the life. The inner one shields the clean-up from that, and
    limits its time.

    Args:
        current_task: Returns the current task; now, that is the one of the actor.
        shield: Whether a cancellation from outside does not reach the actor.

    Attributes:
        left_open: Whether the actor has ended and left a scope of its own open.
    """

    __slots__ = (
        "_count_groups",
        "_current_task",
        "_held",
        "_inner",
        "_outer",
        "_task_id",
        "left_open",
    )

    def __init__(self, current_task: Callable[[], object], *, shield: bool) -> None:
        self.left_open = False
        self._current_task = current_task
        self._task_id = id(current_task())
        self._outer = CancelScope(shield=shield)
        self._inner = CancelScope()
        self._held: list[HandlingScope] = []
        self._count_groups = _find_group_counter()

    def __enter__(self) -> Self:
        self._outer.__enter__()
        self._inner.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave_handling()
        self.left_open = not _leave(self._inner)
        if self.left_open:
            self._inner.cancel()  # and with it what runs in the task groups of the actor
        _leave(self._outer)

    @property
    def cancel_called(self) -> bool:
        """Whether the actor's life has been cancelled by ``cancel()``."""
        return self._outer.cancel_called

    @property
    def is_late(self) -> bool:
        """Whether the time limit of the clean-up has passed."""
        return self._inner.cancel_called

    def cancel(self) -> None:
        """Cancel the actor's life. The clean-up is not cancelled."""
        self._outer.cancel()

    def start_clean_up(self) -> None:
        """Shield what follows from all cancellations but those of the actor's own scopes."""
        self._inner.shield = True
        if is_asyncio():
            _take_back_cancellations()

    def limit(self, seconds: float | None) -> None:
        """Cancel the rest of the clean-up when this time has passed."""
        if seconds is not None:
            self._inner.deadline = current_time() + seconds

    def contains_caller(self, handling: CancelScope | None) -> bool:
        """Return whether the running code is in the actor's task, or in a task group opened there.

        Args:
            handling: A scope for a message; then the task group must have been opened in that.
        """
        task = self._current_task()
        if task is None:
            return False
        return id(task) == self._task_id or is_inside(handling or self._inner)

    # The scopes of single messages

    def handling(self) -> HandlingScope:
        """Return a scope for the handling of one message, to be able to cancel that alone."""
        return HandlingScope(self._held, self._count_groups)

    def leave_handling(self) -> None:
        """Leave the scopes of messages that were held open, if the actor has left its own."""
        while self._held and self._held[-1].try_leave():
            self._held.pop()


class HandlingScope:
    """A cancel scope around the handling of one message.

    If the actor leaves a scope open in it, it is held open, too. Until it is left, other messages
    are handled without a scope: one of them may leave the actor's scope.
    """

    __slots__ = ("_count_groups", "_groups", "_held", "_scope")

    def __init__(self, held: list[HandlingScope], count_groups: CountGroups) -> None:
        self._held = held
        self._count_groups = count_groups

    def __enter__(self) -> CancelScope | None:
        if self._held:
            self._scope = None
            return None
        self._groups = self._count_groups()
        self._scope = CancelScope()
        return self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._scope is None:
            return False
        if self._count_groups() == self._groups:
            try:
                return self._scope.__exit__(exc_type, exc, traceback)
            except RuntimeError:
                if not is_asyncio():  # trio has left it, and given up the actor's scope in it
                    raise
        self._held.append(self)
        return False

    def try_leave(self) -> bool:
        """Leave the scope, unless the actor has left one open in it."""
        assert self._scope is not None
        return self._count_groups() <= self._groups and _leave(self._scope)


def _leave(scope: CancelScope) -> bool:
    """Leave a scope; return False if the actor has left one open in it.

    asyncio then changes nothing. trio leaves the scope, and cancels what is open in it.
    """
    try:
        scope.__exit__(None, None, None)
    except RuntimeError:
        return False
    return True


def _take_back_cancellations() -> None:
    """Have asyncio forget the cancellations of this task, which it counts: they have been obeyed.

    Otherwise a scope that is left in the clean-up would take them for new ones.
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def is_asyncio() -> bool:
    """Return whether the running event loop is asyncio's."""
    return get_cancelled_exc_class() is asyncio.CancelledError


# The end of a task that has left a scope open


class LeftOpenError(Exception):
    """Raised at the end of a task that has left a scope or a task group of its own open.

    AnyIO and trio then replace what the task raises by an error of theirs.

    Attributes:
        error: What the task raises, if anything.
    """

    def __init__(self, error: BaseException | None) -> None:
        super().__init__()
        self.error = error


def find_errors(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return what the tasks of a group have raised, without the errors for scopes left open."""
    found: list[BaseException] = []
    for error in group.exceptions:
        marker = error if is_a(error, LeftOpenError) else error.__context__
        if not is_a(marker, LeftOpenError):
            found.append(error)
        elif marker.error is not None:
            found.append(marker.error)
    return found


def _find_group_counter() -> CountGroups:
    """Return a function that counts the task groups that this task has open, on trio.

    On asyncio it returns 0: there, a scope refuses to be left while the task is in an inner one.
    """
    if is_asyncio():
        return int
    from trio.lowlevel import current_task  # trio is optional

    return lambda: len(current_task().child_nurseries)
