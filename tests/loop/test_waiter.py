"""Where one task waits until another one lets it go on."""

from anyio import CancelScope, create_task_group

from actorstream._loop.waiter import Waiter, make_strict_waiter, make_waiter
from actorstream.testing import settle


class WaitingTask:
    """A task that parks and notes when it goes on."""

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


async def test_a_task_waits_until_it_is_let_go_on() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        assert task.went_on == 0
        task.waiter.wake()
        await settle()
        assert task.went_on == 1


async def test_a_task_is_let_go_on_right_after_it_began_to_wait() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        while not task.began:
            await settle(1)
        task.waiter.wake()
    assert task.went_on == 1


async def test_letting_go_on_is_not_noted_for_the_next_wait() -> None:
    task = WaitingTask(make_waiter())
    task.waiter.wake()
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        assert task.went_on == 0
        task.scope.cancel()


async def test_a_waiter_serves_again_and_again() -> None:
    waiter = make_waiter()
    for _ in range(3):
        task = WaitingTask(waiter)
        async with create_task_group() as tasks:
            tasks.start_soon(task.run)
            await settle()
            waiter.wake()
        assert task.went_on == 1


async def test_a_wait_may_be_cancelled_and_the_waiter_used_again() -> None:
    task = WaitingTask(make_waiter())
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        task.scope.cancel()
        await settle()
        task.waiter.wake()
    assert task.went_on == 0
    await test_a_waiter_serves_again_and_again()


async def test_two_that_let_each_other_go_on_in_every_turn_can_be_cancelled() -> None:
    """On asyncio, a task whose future is done whenever AnyIO looks would never be cancelled."""
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


async def test_a_strict_waiter_is_occupied_while_a_task_waits() -> None:
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


async def test_a_strict_waiter_is_not_occupied_from_the_cancellation_on() -> None:
    waiter = make_strict_waiter()
    task = WaitingTask(waiter)
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        task.scope.cancel()
        assert not waiter.waiting
    assert task.went_on == 0


async def test_a_task_that_was_let_through_a_strict_waiter_is_not_cancelled_any_more() -> None:
    waiter = make_strict_waiter()
    task = WaitingTask(waiter)
    async with create_task_group() as tasks:
        tasks.start_soon(task.run)
        await settle()
        waiter.wake()
        task.scope.cancel()
    assert task.went_on == 1
