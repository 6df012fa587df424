"""The answer to one ask: given once, awaited by one task."""

from __future__ import annotations

from typing import Any

from anyio import CancelScope

from actorstream._address import Address
from actorstream._errors import ActorRestartedError, ActorStoppedError, raise_if
from actorstream._loop.waiter import Waiter, make_waiter


class Reply:
    """What an asker waits for.

    Attributes:
        given: Whether an answer or an error was given, or the asker has gone.
        scope: The cancel scope of the handling, while it runs.
    """

    __slots__ = ("_error", "_value", "_waiter", "given", "scope")

    def __init__(self) -> None:
        self.given: bool = False
        self.scope: CancelScope | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._waiter: Waiter | None = None

    # The actor's side

    def start_handling(self, scope: CancelScope | None) -> None:
        """Note the scope in which the message is handled, if it has one of its own."""
        self.scope = scope

    def end_handling(self) -> None:
        """Forget the scope: the message has been handled."""
        self.scope = None

    def give(self, value: Any) -> None:
        """Answer with a value; only the first answer counts."""
        if not self.given:
            self._value = value
            self._settle()

    def fail(self, error: BaseException) -> bool:
        """Answer with an error, which the asker raises; return whether this is the first answer."""
        if self.given:
            return False
        self._error = error
        self._settle()
        return True

    # The asker's side

    def abandon(self) -> None:
        """Give up the wait; cancel the handling if it runs."""
        self.given = True
        if self.scope is not None:
            self.scope.cancel()

    async def wait(self) -> Any:
        """Wait for the answer, and return or raise it. Cancelling this is safe."""
        self._waiter = make_waiter()
        while not self.given:
            await self._waiter.wait()
        if self._error is not None:
            raise_if(self._take_error())
        return self._value

    def _take_error(self) -> BaseException | None:
        error, self._error = self._error, None
        return error

    def _settle(self) -> None:
        self.given = True
        if self._waiter is not None:
            self._waiter.wake()


def no_answer(to: Address, failure: BaseException | None, *, restarted: bool) -> ActorStoppedError:
    """Make the error for an asker whose actor ended first; its cause is the actor's failure."""
    error: ActorStoppedError
    if restarted:
        error = ActorRestartedError(f"{to} was restarted before it answered")
    else:
        error = ActorStoppedError(f"{to} was stopped before it answered")
    error.__cause__ = failure
    return error
