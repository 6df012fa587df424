"""Calling into a running event loop from any thread."""

import asyncio
import signal as signals
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from actorstream._loop.wakeup import CallSoon, current_call_soon, watch_loop
from actorstream.testing import settle

Backend = tuple[str, dict[str, Any]]


def in_a_thread(function: Callable[[], object]) -> None:
    """Run a function to its end in a new thread, without an event loop."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


async def test_a_callback_is_not_called_at_once() -> None:
    calls: list[str] = []
    current_call_soon()(lambda: calls.append("called"))
    assert calls == []
    await settle()
    assert calls == ["called"]


async def test_callbacks_are_called_in_order() -> None:
    calls: list[int] = []
    call_soon = current_call_soon()
    for number in range(5):
        call_soon(lambda number=number: calls.append(number))  # type: ignore[misc]
    await settle()
    assert calls == [0, 1, 2, 3, 4]


async def test_a_callback_from_another_thread_runs_in_the_loops_thread() -> None:
    threads: list[threading.Thread] = []
    call_soon = current_call_soon()
    in_a_thread(lambda: call_soon(lambda: threads.append(threading.current_thread())))
    await settle()
    assert threads == [threading.current_thread()]


async def test_a_callback_runs_in_the_loop() -> None:
    inside: list[bool] = []
    in_loop, call_soon = watch_loop(), current_call_soon()
    in_a_thread(lambda: call_soon(lambda: inside.append(in_loop())))
    await settle()
    assert inside == [True]


@pytest.mark.real_clock
async def test_a_sleeping_loop_is_woken() -> None:
    event, call_soon = anyio.Event(), current_call_soon()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, call_soon, event.set)
        with anyio.fail_after(60):
            await event.wait()


async def test_a_signal_handler_can_call_into_the_loop() -> None:
    calls: list[str] = []
    call_soon = current_call_soon()
    before = signals.signal(
        signals.SIGINT, lambda *_: call_soon(lambda: calls.append("interrupted"))
    )
    try:
        signals.raise_signal(signals.SIGINT)
        await settle()
    finally:
        signals.signal(signals.SIGINT, before)
    assert calls == ["interrupted"]


async def test_a_finalizer_can_call_into_the_loop() -> None:
    calls: list[str] = []

    class Dropped:
        call_soon: CallSoon

        def __del__(self) -> None:
            self.call_soon(lambda: calls.append("gone"))

    dropped = Dropped()
    dropped.call_soon = current_call_soon()
    del dropped
    await settle()
    assert calls == ["gone"]


def test_calling_into_a_closed_loop_does_nothing(anyio_backend: Backend) -> None:
    async def main() -> CallSoon:
        return current_call_soon()

    name, options = anyio_backend
    call_soon = anyio.run(main, backend=name, backend_options=options)
    call_soon(lambda: pytest.fail("nobody can call this"))


def test_outside_a_loop_there_is_none_to_call_into() -> None:
    with pytest.raises(RuntimeError):
        current_call_soon()


async def test_inside_the_loop_is_not_elsewhere() -> None:
    in_loop = watch_loop()
    assert in_loop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settle)
        assert in_loop()


async def test_a_thread_without_a_loop_is_elsewhere() -> None:
    in_loop = watch_loop()
    seen: list[bool] = []
    in_a_thread(lambda: seen.append(in_loop()))
    assert seen == [False]


@pytest.mark.real_clock
async def test_a_worker_thread_of_the_loop_is_elsewhere() -> None:
    in_loop = watch_loop()
    assert not await anyio.to_thread.run_sync(in_loop)


async def test_another_loop_in_another_thread_is_elsewhere() -> None:
    in_loop = watch_loop()
    seen: list[bool] = []

    async def look() -> None:
        seen.append(in_loop())

    in_a_thread(lambda: asyncio.run(look()))
    in_a_thread(lambda: anyio.run(look, backend="trio"))
    assert seen == [False, False]


def test_outside_every_loop_is_elsewhere(anyio_backend: Backend) -> None:
    async def main() -> Callable[[], bool]:
        return watch_loop()

    name, options = anyio_backend
    assert not anyio.run(main, backend=name, backend_options=options)()
