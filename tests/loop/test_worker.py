"""The worker thread that makes all calls of one source."""

import asyncio
import threading

import pytest
from anyio import CancelScope, create_task_group, get_cancelled_exc_class

from actorstream._loop.worker import ThreadCall, WorkerThread
from actorstream.testing import settle

pytestmark = pytest.mark.real_clock


async def test_calls_are_made_in_one_thread():
    """All calls run in the same thread, which is not the event loop's."""
    worker = WorkerThread({})
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        idents = {await worker.call(threading.get_ident) for _ in range(3)}
        worker.stop()
    assert len(idents) == 1
    assert threading.get_ident() not in idents


async def test_exception_of_a_call():
    """An exception in a call is raised to its caller, and the next call works."""
    worker = WorkerThread({})
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 // 0)
        assert await worker.call(lambda: 1) == 1
        worker.stop()


async def test_each_call_has_its_own_answer():
    """Calls that overlap each get their own answer."""
    worker = WorkerThread({})
    answers: dict[int, int] = {}

    async def ask(number: int) -> None:
        answers[number] = await worker.call(lambda: number)

    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        async with create_task_group() as asking:
            for number in range(5):
                asking.start_soon(ask, number)
        worker.stop()
    assert answers == {number: number for number in range(5)}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("made", [False, True], ids=["before the answer", "as it comes"])
async def test_answer_after_a_cancellation_by_asyncio(made):
    """A wait that asyncio itself cancels leaves its answer for the next wait."""
    pending = ThreadCall(lambda: "answer")
    waiting = asyncio.ensure_future(pending.wait())
    await settle()
    if made:
        pending.make(lambda callback: callback())
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    if not made:
        pending.make(lambda callback: callback())
    await pending.wait()
    assert pending.result() == "answer"


async def test_cancelled_before_it_serves():
    """A worker cancelled before it got its thread refuses calls instead of hanging."""
    worker = WorkerThread({})
    with CancelScope() as scope:
        scope.cancel()
        await worker.serve()
    with pytest.raises(RuntimeError, match="cancelled before"):
        await worker.call(lambda: 1)


@pytest.mark.parametrize("shield", [True, False])
async def test_cancelled_while_a_call_waits_for_the_thread(shield):
    """A call is woken if the worker gets no thread; its own cancellation precedes an error."""
    worker = WorkerThread({})
    expected = RuntimeError if shield else get_cancelled_exc_class()
    async with create_task_group() as tasks:
        tasks.start_soon(worker.serve)
        tasks.cancel_scope.cancel()
        with CancelScope(shield=shield), pytest.raises(expected):
            await worker.call(lambda: 1)


async def test_listed_until_it_is_stopped():
    """A worker is listed until it is stopped; stopping it again is harmless."""
    peers: dict[WorkerThread, None] = {}
    worker = WorkerThread(peers)
    assert list(peers) == [worker]
    worker.stop()
    worker.stop()
    assert worker.gone
    assert not peers
    await worker.serve()
