"""Tests of the thread that makes all calls of one source."""

import threading

import pytest
from anyio import CancelScope, create_task_group

from actorstream._worker import Worker

pytestmark = pytest.mark.real_clock


async def test_calls_are_made_in_one_thread():
    """All calls run in the same thread, which is not the event loop's."""
    worker = Worker()
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        idents = {await worker.call(threading.get_ident) for _ in range(3)}
        worker.stop()
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_exception_of_a_call():
    """What a call raises is raised where it was made, and the next call works."""
    worker = Worker()
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 // 0)
        assert await worker.call(lambda: 1) == 1
        worker.stop()


async def test_cancelled_before_it_serves():
    """A worker whose task never got its thread refuses calls instead of hanging."""
    worker = Worker()
    with CancelScope() as scope:
        scope.cancel()
        await worker.serve()
    with pytest.raises(RuntimeError, match="cancelled before"):
        await worker.call(lambda: 1)


async def test_cancelled_while_a_call_waits_for_the_thread():
    """A call that is waiting is woken if the thread cannot be had."""
    worker = Worker()
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        tasks.cancel_scope.cancel()
        with pytest.raises(RuntimeError, match="cancelled before"):
            await worker.call(lambda: 1)
