"""One incarnation of an actor: the state of one actor in a cell, from launch to end."""

from __future__ import annotations

from anyio import CancelScope

from actorstream._actors.lifecycle import Ending
from actorstream._loop.clock import current_time
from actorstream._loop.runtime import Runtime
from actorstream._loop.scopes import ActorScopes
from actorstream._loop.timers import Timer


class Incarnation:
    """One actor in a cell; a restart begins the next incarnation.

    Attributes:
        number: 1 for the first one; 0 before it is launched.
        has_started: Whether the actor has begun to handle messages.
        failure: The exception that the actor failed with, if any.
        ordered: Whether the supervisor ordered this end, and so does not react to it.
        seconds_run: How long it handled messages; neither its start nor its clean-up counts.
            Known of an actor with a supervisor, once it handles no more messages.
    """

    __slots__ = (
        "_drain_limit",
        "_is_stopping",
        "_reason",
        "_restart",
        "_scopes",
        "_started_at",
        "failure",
        "has_started",
        "number",
        "ordered",
        "seconds_run",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_started = False
        self.failure: BaseException | None = None
        self.ordered = False
        self.seconds_run = 0.0
        self._started_at: float | None = None
        self._drain_limit: Timer | None = None
        self._reason: Ending = "shutdown"
        self._restart: bool | None = None  # whether a restart follows, once decided
        self._scopes: ActorScopes | None = None  # once the task runs
        self._is_stopping = False

    @property
    def ending(self) -> Ending:
        """How the actor ends, as far as that is known."""
        return "abnormal" if self.failure is not None else self._reason

    @property
    def will_restart(self) -> bool:
        """Whether a restart follows; False while that is undecided."""
        return bool(self._restart)

    @property
    def has_task(self) -> bool:
        """Whether the actor's task has begun."""
        return self._scopes is not None

    def note_started(self, now: float | None) -> None:
        """Note that the actor handles messages from now on, and the time, if it is of interest."""
        self.has_started = True
        self._started_at = now

    def limit_drain(self, timer: Timer) -> None:
        """Remember what stops the actor if its drain takes too long; the earliest one counts."""
        if self._drain_limit is None or not self._drain_limit.live:
            self._drain_limit = timer
        else:
            later = max(self._drain_limit, timer)
            self._drain_limit = min(self._drain_limit, timer)
            later.cancel()

    def note_stopping(self) -> None:
        """Note that the actor handles no more messages."""
        if self._drain_limit is not None:
            self._drain_limit.cancel()
            self._drain_limit = None
        if self._started_at is not None:
            self.seconds_run = current_time() - self._started_at

    def fail(self, failure: BaseException) -> None:
        """Keep the exception that the actor failed with."""
        self.failure = failure

    def forget_failure(self) -> None:
        """Do not keep the exception, nor what its traceback refers to, alive any longer."""
        self.failure = None

    def decide(self, *, restart: bool, ordered: bool = False) -> None:
        """Decide whether a restart follows. A final stop stays final."""
        self._restart = restart and self._restart is not False
        self.ordered = self.ordered or ordered

    def end(self, reason: Ending) -> None:
        """Note why the actor ends: it finishes its messages, or stops now."""
        self._reason = reason

    def open_scopes(self, runtime: Runtime, *, shield: bool) -> ActorScopes:
        """Make the cancel scopes for the actor's task, in that task: AnyIO needs one running."""
        self._scopes = ActorScopes(runtime.current_task, shield=shield)
        if self._is_stopping:
            self._scopes.cancel()
        return self._scopes

    def contains_caller(self, handling: CancelScope | None = None) -> bool:
        """Return whether the running code is the actor's, which must end before the actor does.

        Args:
            handling: The scope of the current message; then the code must be part of that.
        """
        return self._scopes is not None and self._scopes.contains_caller(handling)

    def cancel(self) -> None:
        """Cancel the actor's task now, or when it begins."""
        self._is_stopping = True
        if self._scopes is not None:
            self._scopes.cancel()
