"""The task of one actor: it starts, handles messages one at a time, and cleans up."""

from __future__ import annotations

import logging
from types import TracebackType

from anyio import CancelScope, get_cancelled_exc_class, move_on_after

from actorstream._actors.cell import Cell
from actorstream._address import Address
from actorstream._context import begin_work, current_cell, current_request
from actorstream._errors import ActorError
from actorstream._loop.failures import split_failure
from actorstream._texts import repr_of

logger = logging.getLogger("actorstream")


async def run_actor(cell: Cell) -> None:
    """Run the actor that is in a cell to its end.

    Raises:
        BaseException: What also ends the router: a failure without a supervisor, a
            cancellation, a ``KeyboardInterrupt``.
    """
    begin_work(None, cell=cell)  # the router may have been entered in another router's actor
    is_fatal = False
    try:
        # A cancellation of the router does not reach a child: its supervisor stops it in turn.
        with cell.incarnation.open_scope(shield=cell.supervisor is not None):
            await _live(cell)
    except BaseException as exc:  # neither a failure nor a stop of this actor: the router ends
        cell.note_router_closing()
        is_fatal = not isinstance(exc, get_cancelled_exc_class())
        raise
    finally:
        try:
            await _end(cell, is_fatal=is_fatal)  # noqa: ASYNC102 - shielded inside, and bounded
        finally:
            try:
                cell.parent.on_terminated(cell)
            finally:
                del cell  # its failure may be raised here, and leads back to this frame


async def _live(cell: Cell) -> None:
    try:
        if cell.state == "starting":
            await cell.behavior.start()
            cell.messages.forget_waits()
            if cell.incarnation.failure is not None:
                return  # it returned too late, although it was cancelled
            cell.note_started()
        await cell.messages.run(cell.behavior)
    except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
        failure, rest = split_failure(exc)
        if failure is not None:
            has_failed = cell.incarnation.failure is not None
            _fail(cell, _as_exception(cell.address, failure), "on_start()", has_failed=has_failed)
        del cell, failure  # break the cycle traceback -> frame -> error
        try:
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - the failure is kept
        finally:
            del rest


async def _end(cell: Cell, *, is_fatal: bool) -> None:
    """End the incarnation: fail waiting asks, and let the actor clean up."""
    cell.start_stopping()
    try:
        with CancelScope(shield=True):
            await _clean_up(cell, is_fatal=is_fatal)
    finally:
        cell.leave()


async def _clean_up(cell: Cell, *, is_fatal: bool) -> None:
    streams = list(cell.channels)
    cell.end_streams()
    await cell.behavior.stop_children()
    with _Limit(cell, "the streams of %s did not end within %g s; its on_stop() runs now"):
        for stream in streams:
            await stream.wait_left()
    try:
        with _Limit(cell, "%s did not stop within %g s, and was cancelled"):
            await _stop(cell, is_fatal=is_fatal)
    finally:
        await cell.behavior.stop_helpers()  # noqa: ASYNC102 - those of on_stop(); shielded above


class _Limit:
    """Cancels what is inside of ``with`` after the stop timeout of an actor, with a warning."""

    def __init__(self, cell: Cell, warning: str) -> None:
        self._cell = cell
        self._warning = warning
        self._seconds = cell.options.stop_timeout

    def __enter__(self) -> None:
        self._scope = move_on_after(self._seconds)  # noqa: ASYNC122 - entered at once
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        is_handled = self._scope.__exit__(exc_type, exc, traceback)
        if self._scope.cancelled_caught:
            logger.warning(self._warning, self._cell.address, self._seconds)
        return is_handled


async def _stop(cell: Cell, *, is_fatal: bool) -> None:
    """Call ``on_stop()``. The actor fails with its exception, unless it has failed already."""
    incarnation = cell.incarnation
    reason = incarnation.ending if incarnation.failure is None else incarnation.failure
    try:
        await cell.behavior.stop(reason)
    except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
        failure, rest = split_failure(exc)
        if failure is not None:
            has_failed = is_fatal or incarnation.failure is not None
            _fail(cell, failure, "on_stop()", has_failed=has_failed)
        del cell, incarnation, failure, reason  # break the cycle traceback -> frame -> error
        try:
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - the failure is kept
        finally:
            del rest


def _fail(cell: Cell, failure: BaseException, hook: str, *, has_failed: bool) -> None:
    if has_failed:  # the first failure counts
        logger.error("%s also failed in its %s", cell.address, hook, exc_info=failure)
    else:
        cell.incarnation.fail(failure)


def _as_exception(address: Address, failure: BaseException) -> Exception:
    """Return a failure, wrapped if a task group would mistake it for a cancellation."""
    if isinstance(failure, Exception):
        return failure
    error = ActorError(f"{address} failed: {repr_of(failure)}, though it was not cancelled")
    error.__cause__ = failure
    return error


def serving_cell() -> Cell | None:
    """Return the cell whose next message waits for the running code, if there is one."""
    cell: Cell | None = current_cell()
    if cell is None or not cell.is_busy_with(current_request()):
        return None
    return cell
