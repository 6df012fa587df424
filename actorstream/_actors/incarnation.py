"""One incarnation of an actor: what is known of one actor in a cell, from its launch to its end."""

from __future__ import annotations

from anyio import CancelScope

from actorstream._actors.lifecycle import Ending


class Incarnation:
    """One actor in a cell. A restart puts a fresh actor there, and that is the next incarnation.

    Attributes:
        number: 1 for the first one; 0 while the cell waits for it.
        has_started: Whether it has come to its messages.
        failure: The exception that it failed with, if it did.
        ordered: Whether its supervisor ordered this end, and need not be told of it.
    """

    __slots__ = (
        "_is_stopping",
        "_reason",
        "_restart",
        "_scope",
        "failure",
        "has_started",
        "number",
        "ordered",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_started = False
        self.failure: BaseException | None = None
        self.ordered = False
        self._reason: Ending = "shutdown"
        self._restart: bool | None = None  # whether a fresh actor comes next, once decided
        self._scope: CancelScope | None = None  # once its task runs
        self._is_stopping = False

    @property
    def ending(self) -> Ending:
        """How it ends, as far as that is known."""
        return "abnormal" if self.failure is not None else self._reason

    @property
    def is_decided(self) -> bool:
        """Whether it has been decided what comes after it."""
        return self._restart is not None

    @property
    def will_restart(self) -> bool:
        """Whether a fresh actor comes after it, as far as that is decided."""
        return bool(self._restart)

    def note_started(self) -> None:
        """It comes to its messages now."""
        self.has_started = True

    def fail(self, failure: BaseException | None) -> None:
        """Keep the exception that it failed with."""
        self.failure = failure

    def order_end(self) -> None:
        """Its supervisor has decided about its end."""
        self.ordered = True

    def decide(self, *, restart: bool) -> None:
        """Decide whether a fresh actor comes next. A stop that was final stays final."""
        self._restart = restart and self._restart is not False

    def end_normally(self) -> None:
        """It was told to finish its messages."""
        self._reason = "normal"

    def end_at_once(self) -> None:
        """It was told to stop."""
        self._reason = "shutdown"

    def open_scope(self, *, shield: bool) -> CancelScope:
        """Return the cancel scope for its task."""
        self._scope = CancelScope(shield=shield)
        if self._is_stopping:
            self._scope.cancel()
        return self._scope

    def cancel(self) -> None:
        """Cancel its task, or as soon as that runs."""
        self._is_stopping = True
        if self._scope is not None:
            self._scope.cancel()
