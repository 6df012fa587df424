"""A coroutine that does one job after the other, each in a context of its own, in one task.

A task has one context from first to last, on asyncio as on trio. So the task makes the steps of
the coroutine itself, with ``Context.run()``: what the coroutine yields goes on to the event loop,
and what the event loop sends or throws goes on to the coroutine. Cancel scopes and timeouts
belong to the task, so they work as ever. A coroutine for each job would cost twice as much::

    jobs = do_jobs()  # awaits next_job() again and again, and never returns
    jobs.send(None)
    ...
    step = context.run(jobs.send, job)
    if step is not JOB_DONE:
        await finish_job(jobs, context, step)
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import Context
from functools import partial
from types import coroutine
from typing import Any

JOB_DONE = object()
"""What the coroutine yields when it wants the next job."""


@coroutine
def next_job() -> Generator[object, Any, Any]:
    """Return the next job, to the coroutine that does the jobs."""
    return (yield JOB_DONE)


@coroutine
def finish_job(
    jobs: Coroutine[Any, Any, None], context: Context, step: object
) -> Generator[Any, Any, None]:
    """Go on with a job that has to wait, until it is done.

    Args:
        jobs: The coroutine that does the job. An exception of the job ends it.
        context: The context of the job.
        step: What the coroutine has yielded, for the event loop.
    """
    while step is not JOB_DONE:
        try:
            sent = yield step
        except GeneratorExit:  # the task will never go on
            context.run(jobs.close)
            raise
        except BaseException as exc:  # noqa: ASYNC103 - forwarded
            go_on = partial(jobs.throw, exc)
        else:
            go_on = partial(jobs.send, sent)
            del sent  # on trio it may hold an exception
        try:  # after the ``except`` block, or a later error would have this one as its context
            step = context.run(go_on)
        finally:
            del go_on  # break the cycle traceback -> frame -> error
