"""The state of a cell, and the wait for its changes."""

from __future__ import annotations

from anyio import Event

from actorstream._actors.lifecycle import INITIAL, State, Transition, next_state


class CellState:
    """What a cell is a kind of: something that goes from state to state while others wait.

    Attributes:
        state: The current state.
    """

    __slots__ = ("_changed", "state")

    def __init__(self) -> None:
        self.state: State = INITIAL
        self._changed: Event | None = None

    async def wait_stopped(self) -> None:
        """Wait until the cell is stopped for good."""
        while self.state != "stopped":
            await self._wait_changed()

    def _apply(self, transition: Transition) -> None:
        """Go to the next state."""
        self.state = next_state(self.state, transition)
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait_changed(self) -> None:
        """Wait until the state has changed; it may have changed again since."""
        if self._changed is None:
            self._changed = Event()
        await self._changed.wait()
