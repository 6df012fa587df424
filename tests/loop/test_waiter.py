"""Waiters: a task waits until another task wakes it."""

from anyio import CancelScope, create_task_group

from actorstream._loop.waiter import Waiter, make_strict_waiter, make_waiter
from actorstream.testing import settle


class WaitingTask:
    """A task that waits and records when it was woken."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.scope = CancelScope()
        self.began = False
        self.went_on = 0

    async def run(self) -> None:
        with self.scope:
            self.began = True
            await self.waiter.wait()
            self.went_on += 1


async def test_a_task_waits_until_it_is_woken() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        assert task.went_on == 0
        task.waiter.wake()
        await settle()
        assert task.went_on == 1


async def test_a_task_can_be_woken_right_after_it_began_to_wait() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        while not task.began:
            await settle(1)
        task.waiter.wake()
    assert task.went_on == 1


async def test_a_wake_without_a_wait_is_not_remembered() -> None:
    task = WaitingTask(make_waiter())
    task.waiter.wake()
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        assert task.went_on == 0
        task.scope.cancel()


async def test_a_waiter_can_be_reused() -> None:
    waiter = make_waiter()
    for _ in range(3):
        task = WaitingTask(waiter)
        async with create_task_group() as tasks:
            tasks.start_soon(task.run)
            await settle()
            waiter.wake()
        assert task.went_on == 1


async def test_a_waiter_can_be_reused_after_a_cancelled_wait() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        task.scope.cancel()
        await settle()
        task.waiter.wake()
    assert task.went_on == 0
    await test_a_waiter_can_be_reused()


async def test_two_tasks_that_wake_each_other_in_every_turn_can_be_cancelled() -> None:
    """AnyIO would never cancel an asyncio task whose future is done at each of its checks."""
    mine, theirs = make_waiter(), make_waiter()

    async def other() -> None:
        while True:
            mine.wake()
            await theirs.wait()

    turns = 0
    async with create_task_group() as tasks:
        tasks.start_soon(other)
        with CancelScope() as scope:
            while turns < 1000:
                turns += 1
                if turns == 10:
                    scope.cancel()
                theirs.wake()
                await mine.wait()
        tasks.cancel_scope.cancel()
    assert turns < 20


async def test_a_strict_waiter_is_waiting_while_a_task_waits() -> None:
    waiter = make_strict_waiter()
    assert not waiter.waiting
    task = WaitingTask(waiter)
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        assert waiter.waiting
        waiter.wake()
        assert not waiter.waiting
    assert task.went_on == 1


async def test_a_strict_waiter_stops_waiting_at_the_cancellation() -> None:
    waiter = make_strict_waiter()
    task = WaitingTask(waiter)
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        task.scope.cancel()
        assert not waiter.waiting
    assert task.went_on == 0


async def test_a_task_woken_by_a_strict_waiter_is_no_longer_cancelled() -> None:
    waiter = make_strict_waiter()
    task = WaitingTask(waiter)
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        waiter.wake()
        task.scope.cancel()
    assert task.went_on == 1
