"""The task of one actor: it starts, handles messages one at a time, and cleans up."""

from __future__ import annotations

import logging
from functools import partial

from anyio import move_on_after

from actorstream._actors.cell import Cell
from actorstream._address import Address
from actorstream._context import begin_work, current_cell
from actorstream._errors import ActorError
from actorstream._kinds import is_a, is_inspectable
from actorstream._loop.failures import is_cancellation, is_scope_cancelled, split_failure
from actorstream._loop.runtime import Runtime
from actorstream._loop.scopes import ActorScopes
from actorstream._loop.shield import finish
from actorstream._streams.channel import Channel
from actorstream._texts import describe, loggable, repr_of

logger = logging.getLogger("actorstream")


async def run_actor(cell: Cell, runtime: Runtime) -> None:
    """Run the actor that is in a cell to its end.

    Raises:
        BaseException: What also ends the router: a failure without a supervisor, a
            cancellation, a ``KeyboardInterrupt``.
    """
    begin_work(None, cell=cell)  # the router may have been entered in another router's actor
    # A cancellation of the router does not reach a child: its supervisor stops it in turn.
    scopes = cell.incarnation.open_scopes(runtime, shield=cell.supervisor is not None)
    error: BaseException | None = None
    life = _run(cell, scopes, runtime)
    del cell  # its failure may be raised here, and leads back to this frame
    try:
        await life
    except BaseException as exc:  # noqa: ASYNC103 - raised below, except for a cancellation
        if not scopes.left_open:
            raise
        error = None if is_cancellation(exc) else exc
    if scopes.left_open:
        await runtime.end_task(error)  # noqa: ASYNC104


def abandon_actor(cell: Cell, *_: object) -> None:
    """Stop an actor whose task does not run; does nothing if ``run_actor()`` has begun."""
    if not cell.incarnation.has_task:
        cell.incarnation.decide(restart=False)
        cell.start_stopping()
        cell.leave()
        cell.parent.on_terminated(cell)


async def _run(cell: Cell, scopes: ActorScopes, runtime: Runtime) -> None:
    try:
        with scopes:
            await _live_and_clean_up(cell, scopes, runtime)
    finally:
        try:
            cell.leave()
        finally:
            try:
                _note_end(cell, scopes)
            finally:
                del cell


async def _live_and_clean_up(cell: Cell, scopes: ActorScopes, runtime: Runtime) -> None:
    is_fatal = False
    try:
        await _live(cell, scopes, runtime)
    except BaseException as exc:  # neither a failure nor a stop of this actor: the router ends
        cell.note_router_closing()
        is_fatal = not is_cancellation(exc)
        raise
    finally:
        await _clean_up(cell, scopes, is_fatal=is_fatal)  # noqa: ASYNC102 - shielded, and bounded


async def _live(cell: Cell, scopes: ActorScopes, runtime: Runtime) -> None:
    try:
        if cell.state == "starting":
            await cell.behavior.start()
            cell.messages.forget_waits()
            if cell.incarnation.failure is not None:
                return  # it returned too late, although it was cancelled
            cell.note_started()
        await cell.messages.run(cell.behavior, scopes)
    except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
        failure, rest = await _judge(exc, cell, scopes, runtime)  # noqa: ASYNC102 - shielded
        if failure is not None:
            has_failed = cell.incarnation.failure is not None
            _fail(cell, failure, "on_start()", has_failed=has_failed)
        del cell, failure  # break the cycle traceback -> frame -> error
        try:
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - the failure is kept
        finally:
            del rest
    finally:
        scopes.start_clean_up()


async def _judge(
    exc: BaseException, cell: Cell, scopes: ActorScopes, runtime: Runtime
) -> tuple[BaseException | None, BaseException | None]:
    """Return what the actor failed with, if it did, and what ends the router, if anything."""
    failure, rest = split_failure(exc)
    if rest is None or not is_cancellation(rest):
        return failure, rest
    if scopes.cancel_called:
        return failure, None
    if not is_scope_cancelled():  # asyncio has cancelled this task alone: the actor is stopped
        cell.incarnation.decide(restart=False)
        return failure, None
    scopes.start_clean_up()
    if is_scope_cancelled() and (cell.supervisor is not None or not await runtime.is_cancelled()):
        return _interrupted(cell.address) if failure is None else failure, None
    return failure, rest


async def _clean_up(cell: Cell, scopes: ActorScopes, *, is_fatal: bool) -> None:
    """End the incarnation: fail waiting asks, and let the actor clean up."""
    cell.start_stopping()
    streams = list(cell.channels)
    cell.end_streams()
    await finish(cell.behavior.stop_children)
    await finish(partial(_wait_left, cell, streams))
    try:
        await _stop(cell, scopes, is_fatal=is_fatal)
    finally:
        await finish(cell.behavior.stop_helpers)  # noqa: ASYNC102 - those of on_stop(); shielded


async def _wait_left(cell: Cell, streams: list[Channel]) -> None:
    """Wait until the streams have ended, or the time for it has passed."""
    seconds = cell.options.stop_timeout
    with move_on_after(seconds) as scope:
        for stream in streams:
            if stream.task is not None:
                await stream.task.wait(cell)
    if scope.cancelled_caught:
        logger.warning(
            "the streams of %s did not end within %g s; its on_stop() runs now",
            cell.address,
            seconds,
        )


async def _stop(cell: Cell, scopes: ActorScopes, *, is_fatal: bool) -> None:
    """Call ``on_stop()``. The actor fails with its exception, unless it has failed already."""
    incarnation = cell.incarnation
    reason = incarnation.ending if incarnation.failure is None else incarnation.failure
    seconds = cell.options.stop_timeout
    try:
        scopes.limit(seconds)
        await cell.behavior.stop(reason)
    except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
        failure, rest = split_failure(exc)
        if rest is not None and is_cancellation(rest):
            if scopes.is_late:
                logger.warning(
                    "%s did not stop within %g s, and was cancelled", cell.address, seconds
                )
            elif is_scope_cancelled() and failure is None:
                failure = rest
            rest = None
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
    first = cell.incarnation.failure
    if not has_failed:
        cell.incarnation.fail(_as_exception(cell.address, failure))
    elif type(first) is ActorError and first.__cause__ is None:
        first.__cause__ = failure  # what a task group raises when on_stop() leaves it
    else:  # the first failure counts
        logger.error("%s also failed in its %s", cell.address, hook, exc_info=loggable(failure))


def _note_end(cell: Cell, scopes: ActorScopes) -> None:
    if scopes.left_open:
        logger.warning(
            "%s ended, but left a cancel scope or a task group open, which was cancelled; close "
            "it in on_stop()",
            cell.address,
        )
    try:
        cell.parent.on_terminated(cell)
    finally:
        del cell


def _interrupted(address: Address) -> ActorError:
    return ActorError(
        f"{address} failed: a cancel scope or a task group that it holds open was cancelled"
    )


def _as_exception(address: Address, failure: BaseException) -> Exception:
    """Return a failure, wrapped if the task group that it is raised in cannot deal with it.

    The group would take it for a cancellation. Or the group itself would fail: AnyIO asks for the
    class of an exception, and trio for its ``repr()``.
    """
    if not is_a(failure, Exception):
        error = ActorError(f"{address} failed: {repr_of(failure)}, though it was not cancelled")
    elif is_inspectable(failure):
        return failure
    else:
        error = ActorError(f"{address} failed: {describe(failure)}")
    error.__cause__ = failure
    return error


def living_cell() -> Cell | None:
    """Return the cell of the actor that cannot end before the running code, if there is one."""
    cell: Cell | None = current_cell()
    return cell if cell is not None and cell.incarnation.contains_caller() else None
