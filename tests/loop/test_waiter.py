"""Where one task waits until another one lets it go on."""

from anyio import CancelScope, create_task_group

from actorstream._loop.waiter import Place, make_gate, make_place
from actorstream.testing import settle


class Waiter:
    """A task that parks and notes when it goes on."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.scope = CancelScope()
        self.began = False
        self.went_on = 0

    async def run(self) -> None:
        with self.scope:
            self.began = True
            await self.place.park()
            self.went_on += 1


async def test_a_task_waits_until_it_is_let_go_on() -> None:
    waiter = Waiter(make_place())
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        assert waiter.went_on == 0
        waiter.place.unpark()
        await settle()
        assert waiter.went_on == 1


async def test_a_task_is_let_go_on_right_after_it_began_to_wait() -> None:
    waiter = Waiter(make_place())
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        while not waiter.began:
            await settle(1)
        waiter.place.unpark()
    assert waiter.went_on == 1


async def test_letting_go_on_is_not_noted_for_the_next_wait() -> None:
    waiter = Waiter(make_place())
    waiter.place.unpark()
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        assert waiter.went_on == 0
        waiter.scope.cancel()


async def test_a_place_serves_again_and_again() -> None:
    place = make_place()
    for _ in range(3):
        waiter = Waiter(place)
        async with create_task_group() as tasks:
            tasks.start_soon(waiter.run)
            await settle()
            place.unpark()
        assert waiter.went_on == 1


async def test_a_wait_may_be_cancelled_and_the_place_used_again() -> None:
    waiter = Waiter(make_place())
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        waiter.scope.cancel()
        await settle()
        waiter.place.unpark()
    assert waiter.went_on == 0
    await test_a_place_serves_again_and_again()


async def test_two_that_let_each_other_go_on_in_every_turn_can_be_cancelled() -> None:
    """On asyncio, a task whose future is done whenever AnyIO looks would never be cancelled."""
    mine, theirs = make_place(), make_place()

    async def other() -> None:
        while True:
            mine.unpark()
            await theirs.park()

    turns = 0
    async with create_task_group() as tasks:
        tasks.start_soon(other)
        with CancelScope() as scope:
            while turns < 1000:
                turns += 1
                if turns == 10:
                    scope.cancel()
                theirs.unpark()
                await mine.park()
        tasks.cancel_scope.cancel()
    assert turns < 20


async def test_a_gate_is_occupied_while_a_task_waits() -> None:
    gate = make_gate()
    assert not gate.occupied
    waiter = Waiter(gate)
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        assert gate.occupied
        gate.unpark()
        assert not gate.occupied
    assert waiter.went_on == 1


async def test_a_gate_is_not_occupied_from_the_cancellation_on() -> None:
    gate = make_gate()
    waiter = Waiter(gate)
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        waiter.scope.cancel()
        assert not gate.occupied
    assert waiter.went_on == 0


async def test_a_task_that_was_let_through_a_gate_is_not_cancelled_any_more() -> None:
    gate = make_gate()
    waiter = Waiter(gate)
    async with create_task_group() as tasks:
        tasks.start_soon(waiter.run)
        await settle()
        gate.unpark()
        waiter.scope.cancel()
    assert waiter.went_on == 1
