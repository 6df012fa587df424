"""Hooks a callback of another library in, and out again, with the user's two functions.

The one that hooks in may be a coroutine function that waits long, or for ever: its library may
push items, and even the end, before it returns. So it gets a task of its own. The same task
unhooks, since the two may be the ends of a cancel scope or a task group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CancelScope, Event

from actorstream._kinds import is_awaitable, is_coroutine
from actorstream._loop.failures import split_failure
from actorstream._loop.runtime import Runtime
from actorstream._sources.iterables import NoStopIteration
from actorstream._texts import repr_of

Unhook = Callable[[], Awaitable[object] | object]


class Hook:
    """A callback that is hooked in, until ``close()``.

    Args:
        register: The user's function that hooks the callback in.
        on_failure: Called with what ``register`` raises in its own task.
    """

    def __init__(
        self, register: Callable[[], object], on_failure: Callable[[BaseException], object]
    ) -> None:
        self._register: Callable[[], object] | None = register
        self._on_failure: Callable[[BaseException], object] | None = on_failure
        self._unhook: Unhook | None = None
        self._scope = CancelScope()
        self._shield = CancelScope()
        self._waiting: Any = None  # what `register` has returned, until its task begins
        self._ended: Event | None = None  # set while the callback has a task of its own
        self._closing = Event()
        self._is_hooked = False
        self._is_closed = False
        self._error: BaseException | None = None

    async def open(self, runtime: Runtime | None) -> None:
        """Hook the callback in.

        Args:
            runtime: Where the task for a coroutine function runs; without it, this call waits.

        Raises:
            Exception: What ``register`` raised, unless it has a task of its own.
        """
        register, self._register = self._register, None
        assert register is not None
        with NoStopIteration():
            made = register()
            if not is_awaitable(made):
                self._unhook = _check_unhook(made)
            elif runtime is None:
                with self._scope:
                    self._unhook = _check_unhook(await made)
            else:
                self._waiting, self._ended = made, Event()
                runtime.start_soon(self._run, runtime)

    def take_unhook(self) -> Unhook | None:
        """Return the function that unhooks, if it is still to be called outside of a task."""
        unhook, self._unhook = self._unhook, None
        return unhook if self._ended is None else None

    def stop_waiting(self) -> None:
        """Cancel ``register``, if it still waits: the source has ended."""
        if self._ended is None:
            self._scope.cancel()

    async def close(self) -> None:
        """Unhook the callback, once; shielded from cancellation."""
        self._is_closed = True
        if self._ended is None:
            with CancelScope(shield=True):
                await self._call_unhook()
            return
        if self._waiting is not None:  # its task has not begun, and never calls it
            if is_coroutine(self._waiting):
                self._waiting.close()
            self._waiting = None
            return
        self._closing.set()
        if not self._is_hooked:
            self._scope.cancel()
        with CancelScope(shield=True):
            await self._ended.wait()
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # break the cycle traceback -> frame -> error

    async def _run(self, runtime: Runtime) -> None:
        made, self._waiting = self._waiting, None
        if made is None:
            return
        assert self._ended is not None
        is_left_open = False
        try:
            with self._scope, self._shield:
                try:
                    await self._hook_in(made)
                    self._is_hooked = True
                    await self._closing.wait()
                finally:
                    # No scope of its own: `unhook` may leave one that `register` has entered.
                    self._shield.shield = True
                    await self._keep_failure(self._call_unhook())  # noqa: ASYNC102 - shielded
        except RuntimeError as exc:  # the user's functions have left a scope open
            is_left_open = True
            self._keep(exc)
        finally:
            self._ended.set()
        if is_left_open:
            await runtime.end_task(None)

    async def _hook_in(self, made: Awaitable[object]) -> None:
        await self._keep_failure(self._await_unhook(made))

    async def _await_unhook(self, made: Awaitable[object]) -> None:
        with NoStopIteration():
            self._unhook = _check_unhook(await made)

    async def _keep_failure(self, step: Awaitable[None]) -> None:
        """Await a step; its failure is the source's, or one of the clean-up."""
        try:
            await step
        except BaseException as exc:  # noqa: ASYNC103 - forwarded, or raised again
            failure, rest = split_failure(exc)
            if failure is not None:
                self._keep(failure)
            del failure  # break the cycle traceback -> frame -> error
            try:
                if rest is not None:
                    raise rest from None  # noqa: ASYNC104 - the failure is kept
            finally:
                del rest

    def _keep(self, failure: BaseException) -> None:
        on_failure, self._on_failure = self._on_failure, None  # it leads to the failure
        if on_failure is not None and not self._is_closed:
            on_failure(failure)
        elif self._error is None:
            self._error = failure

    async def _call_unhook(self) -> None:
        unhook, self._unhook = self._unhook, None
        if unhook is not None:
            with NoStopIteration():
                result = unhook()
                if is_awaitable(result):
                    await result


def _check_unhook(made: object) -> Unhook | None:
    if made is not None and not callable(made):
        raise TypeError(
            f"register returned {repr_of(made)}; return a function that unhooks the callback, "
            "or None"
        )
    return made
