"""What the other tests rely on: three backends, two of them in virtual time."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from actorstream.testing import VirtualTimeLoop, settle


def running_on() -> str:
    """Name the event loop that runs this task."""
    if trio.lowlevel.in_trio_run():
        return type(trio.lowlevel.current_clock()).__name__
    loop = type(asyncio.get_running_loop())
    return f"{loop.__module__.partition('.')[0]} {loop.__name__}"


EXPECTED = {
    "asyncio": f"actorstream {VirtualTimeLoop.__name__}",
    "asyncio+uvloop": "uvloop Loop",
    "trio": "MockClock",
}


@pytest.fixture
def backend_id(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["anyio_backend"])


async def test_each_backend_is_the_one_that_its_id_says(backend_id: str) -> None:
    assert running_on() == EXPECTED[backend_id]


@pytest.mark.real_clock
async def test_the_real_clock_uses_the_ordinary_loop_and_clock(virtual_time: bool) -> None:
    assert not virtual_time
    assert running_on() not in {EXPECTED["asyncio"], EXPECTED["trio"]}


async def test_an_hour_of_virtual_time_takes_no_time(virtual_time: bool, unit: float) -> None:
    started, virtually_started = time.monotonic(), anyio.current_time()
    await anyio.sleep(3600 if virtual_time else unit)
    assert anyio.current_time() - virtually_started >= (3599.9 if virtual_time else 0.9 * unit)
    assert time.monotonic() - started < 60


async def test_sleepers_wake_in_the_order_of_their_deadlines(unit: float) -> None:
    woken: list[int] = []

    async def sleep(units: int) -> None:
        await anyio.sleep(units * unit)
        woken.append(units)

    async with anyio.create_task_group() as tasks:
        for units in (3, 1, 2):
            tasks.start_soon(sleep, units)
    assert woken == [1, 2, 3]


async def test_a_timeout_comes_before_a_later_event(unit: float) -> None:
    with anyio.move_on_after(unit) as scope:
        await anyio.sleep(5 * unit)
    assert scope.cancelled_caught


async def test_virtual_time_stands_still_while_a_task_runs(virtual_time: bool) -> None:
    before = anyio.current_time()
    await settle(100)
    assert not virtual_time or anyio.current_time() == before


@pytest.mark.real_clock
async def test_a_real_clock_waits_for_a_thread() -> None:
    released = threading.Event()

    async def release() -> None:
        await anyio.sleep(0.01)
        released.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            assert await anyio.to_thread.run_sync(released.wait, 60)


@settings(max_examples=5)
@given(number=st.integers())
async def test_hypothesis_runs_its_examples_on_every_backend(backend_id: str, number: int) -> None:
    assert running_on() == EXPECTED[backend_id]


@pytest.fixture
async def held_open() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        yield tasks
        tasks.cancel_scope.cancel()


async def test_an_async_fixture_shares_the_tests_loop(
    held_open: TaskGroup, backend_id: str
) -> None:
    held_open.start_soon(anyio.sleep, 0)
    assert running_on() == EXPECTED[backend_id]
