"""The answer to one ask: given once, awaited by one task."""

from __future__ import annotations

from typing import Any

from anyio import CancelScope

from actorstream._loop.waiter import Waiter, make_waiter


class Reply:
    """What an asker waits for.

    Attributes:
        given: Whether there is an answer, or a reason why there will be none, or nobody who
            waits for it.
        scope: The cancel scope of the handling, while it runs.
    """

    __slots__ = ("_error", "_value", "_waiter", "given", "scope")

    def __init__(self) -> None:
        self.given: bool = False
        self.scope: CancelScope | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiter: Waiter | None = None

    def give(self, value: Any) -> None:
        """Answer with a value; only the first answer counts."""
        if not self.given:
            self._value = value
            self._settle()

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, which the asker raises; return whether it will."""
        if self.given:
            return False
        self._error = error
        self._settle()
        return True

    def abandon(self) -> None:
        """Wait no more; the handling is cancelled, if it runs."""
        self.given = True
        if self.scope is not None:
            self.scope.cancel()

    async def wait(self) -> Any:
        """Wait for the answer, and return or raise it. May be cancelled freely."""
        self._waiter = make_waiter()
        while not self.given:
            await self._waiter.wait()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # or its traceback would lead back to itself
        return self._value

    def _settle(self) -> None:
        self.given = True
        if self._waiter is not None:
            self._waiter.wake()
