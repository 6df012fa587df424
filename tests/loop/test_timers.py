"""Timers: called at their time, in order, once; cancelled timers are removed."""

import gc
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from actorstream._loop.timers import Timer, Timers
from actorstream.testing import settle


@pytest.fixture
async def clock() -> AsyncIterator[Timers]:
    clock = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await settle()
        yield clock
        clock.stop()


class Calls(list[str]):
    """Records which timers were called."""

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.append(name)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def after(unit: float) -> Callable[[float], float]:
    """Return a function that gives the time a number of units from now."""
    return lambda units: anyio.current_time() + units * unit


@pytest.fixture
def wait(unit: float) -> Callable[[float], Awaitable[None]]:
    return lambda units: anyio.sleep(units * unit)


At = Callable[[float], float]
Wait = Callable[[float], Awaitable[None]]


async def test_a_timer_is_called_at_its_time_and_not_before(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    clock.call_at(after(2), calls.note("two"))
    await wait(1)
    assert calls == []
    await wait(2)
    assert calls == ["two"]


async def test_timers_are_called_in_the_order_of_their_times(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    for units in (3, 1, 2):
        clock.call_at(after(units), calls.note(str(units)))
    await wait(5)
    assert calls == ["1", "2", "3"]


async def test_timers_with_the_same_time_are_called_in_the_order_of_creation(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    when = after(1)
    for name in "abcdef":
        clock.call_at(when, calls.note(name))
    await wait(3)
    assert calls == list("abcdef")


async def test_an_earlier_timer_is_not_late_because_of_a_later_one(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    clock.call_at(after(50), calls.note("late"))
    await settle()
    clock.call_at(after(1), calls.note("early"))
    await wait(3)
    assert calls == ["early"]


async def test_a_timer_in_the_past_is_called_at_once(
    clock: Timers, calls: Calls, after: At
) -> None:
    clock.call_at(after(-1), calls.note("past"))
    await settle()
    assert calls == ["past"]


async def test_a_timer_set_before_the_clock_runs_is_called(
    calls: Calls, after: At, wait: Wait
) -> None:
    clock = Timers()
    clock.call_at(after(1), calls.note("early bird"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await wait(3)
        clock.stop()
    assert calls == ["early bird"]


async def test_a_callback_may_set_a_timer(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    clock.call_at(after(1), lambda: clock.call_at(after(1), calls.note("second")))
    await wait(5)
    assert calls == ["second"]


async def test_a_callback_may_cancel_a_timer_due_at_the_same_time(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    when = after(1)
    clock.call_at(when, lambda: second.cancel())
    second = clock.call_at(when, calls.note("second"))
    await wait(3)
    assert calls == []


async def test_a_cancelled_timer_is_not_called(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    clock.call_at(after(1), calls.note("never")).cancel()
    clock.call_at(after(2), calls.note("after it"))
    await wait(4)
    assert calls == ["after it"]


async def test_a_timer_is_active_until_it_is_called(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    timer = clock.call_at(after(1), calls.note("now"))
    assert timer.live
    await wait(3)
    assert not timer.live


async def test_a_timer_is_active_until_it_is_cancelled(
    clock: Timers, calls: Calls, after: At
) -> None:
    timer = clock.call_at(after(1), calls.note("never"))
    timer.cancel()
    assert not timer.live


async def test_cancelling_twice_or_after_the_call_is_harmless(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    timer = clock.call_at(after(-1), calls.note("once"))
    await settle()
    timer.cancel()
    timer.cancel()
    clock.call_at(after(1), calls.note("next"))
    await wait(3)
    assert calls == ["once", "next"]


async def test_a_timer_fired_by_hand_is_called_only_once(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    timer = clock.call_at(after(1), calls.note("once"))
    timer.fire()
    timer.fire()
    await wait(3)
    assert calls == ["once"]


async def test_a_cancelled_timer_drops_its_callback_at_once(clock: Timers, after: At) -> None:
    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    timer = clock.call_at(after(1), callback)
    gone = weakref.ref(callback)
    del callback
    timer.cancel()
    assert gone() is None


async def test_cancelled_timers_do_not_pile_up(clock: Timers, calls: Calls, after: At) -> None:
    for _ in range(5000):
        clock.call_at(after(1000), calls.note("never")).cancel()
    gc.collect()
    assert sum(type(it) is Timer for it in gc.get_objects()) < 500


async def test_removing_cancelled_timers_keeps_the_others_in_order(
    clock: Timers, calls: Calls, after: At, wait: Wait
) -> None:
    start, order = after(1), random.Random(1)
    live = [(f"{number:03}", start + number / 1000) for number in range(100)]
    timers = [*live, *[("never", start)] * 400]
    order.shuffle(timers)
    made = [(name, clock.call_at(when, calls.note(name))) for name, when in timers]
    for name, timer in made:
        if name == "never":
            timer.cancel()
    await wait(10)
    assert calls == [name for name, _ in live]


async def test_a_stopped_clock_calls_no_timer(calls: Calls, after: At, wait: Wait) -> None:
    clock = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        clock.call_at(after(1), calls.note("never"))
        await settle()
        clock.stop()
    await wait(3)
    assert calls == []


async def test_a_clock_stopped_before_it_ran_ends_at_once() -> None:
    clock = Timers()
    clock.stop()
    with anyio.fail_after(60):
        await clock.run()


async def test_a_clock_without_timers_sleeps(virtual_time: bool, unit: float) -> None:
    clock = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await anyio.sleep(10**6 if virtual_time else unit)
        clock.stop()
