"""A coroutine that does its jobs in contexts of their own."""

import gc
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any
from weakref import ref

import pytest
from anyio import move_on_after, sleep_forever
from anyio.lowlevel import checkpoint

from actorstream._loop.jobs import JOB_DONE, finish_job, next_job

variable: ContextVar[object] = ContextVar("variable", default=None)


class Log(list[Any]):
    """Does jobs: it calls each of them, and awaits the result if there is one."""

    async def do_jobs(self) -> None:
        """Do one job after the other."""
        while True:
            job = await next_job()
            result = job()
            if result is not None:
                self.append(await result)


async def do(jobs: Coroutine[Any, Any, None], job: object) -> None:
    """Do one job, in a context of its own."""
    context = copy_context()
    step = context.run(jobs.send, job)
    if step is not JOB_DONE:
        await finish_job(jobs, context, step)


@contextmanager
def begun(log: Log) -> Iterator[Coroutine[Any, Any, None]]:
    """Begin to do jobs."""
    jobs = log.do_jobs()
    jobs.send(None)
    yield jobs
    jobs.close()


async def test_each_job_has_its_own_context() -> None:
    """Also after it has waited."""
    log = Log()

    async def job() -> list[object]:
        seen = [variable.get()]
        variable.set("job")
        await checkpoint()
        return [*seen, variable.get()]

    with begun(log) as jobs:
        await do(jobs, job)
        await do(jobs, job)
    assert log == [[None, "job"]] * 2
    assert variable.get() is None


async def test_a_cancellation_reaches_the_job(unit: float) -> None:
    """It ends the coroutine and is raised on."""
    log = Log()

    async def job() -> None:
        variable.set("job")
        try:
            await sleep_forever()
        finally:
            log.append(variable.get())

    with begun(log) as jobs, move_on_after(unit) as scope:
        await do(jobs, job)
    assert scope.cancelled_caught
    assert log == ["job"]


async def test_a_job_may_outlive_a_cancellation(unit: float) -> None:
    """A scope of the job's own ends in the job."""
    log = Log()

    async def job() -> bool:
        with move_on_after(unit) as scope:
            await sleep_forever()
        await checkpoint()
        return scope.cancelled_caught

    with begun(log) as jobs:
        await do(jobs, job)
    assert log == [True]


async def test_a_task_that_never_goes_on() -> None:
    """The job is closed in its context."""
    log = Log()

    async def job() -> None:
        variable.set("job")
        try:
            await checkpoint()
        finally:
            log.append(variable.get())

    with begun(log) as jobs:
        doing = do(jobs, job)
        doing.send(None)
        doing.close()
    assert log == ["job"]


async def test_an_error_after_a_cancellation_has_no_false_context(unit: float) -> None:
    """What a job raises later has nothing to do with a cancellation that it has dealt with."""

    async def job() -> None:
        with move_on_after(unit):
            await sleep_forever()
        raise KeyError

    with begun(Log()) as jobs, pytest.raises(KeyError) as caught:
        await do(jobs, job)
    assert caught.value.__context__ is None


async def test_a_failed_job_leaves_no_cycle(unit: float) -> None:
    """Its exception, and what it holds, is freed at once."""

    class HeldError(OSError):
        pass

    async def job() -> None:
        try:
            await sleep_forever()
        finally:
            raise HeldError

    gc.disable()
    try:
        with begun(Log()) as jobs:
            try:
                with move_on_after(unit):
                    await do(jobs, job)
            except HeldError as exc:
                held = ref(exc)
        assert held() is None
    finally:
        gc.enable()
