"""Aborting from anywhere: the first reason wins, every waiter wakes, nothing is left behind."""

import gc
import math
import signal as signals
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    MessageRouter,
    StreamAbortedError,
)
from actorstream._abort import attach, deadline_of, detach
from actorstream.testing import settle
from tests.support import CountTo, FrozenError


class Short(Actor):
    async def stream_async(self, _: object) -> AsyncIterator[int]:
        yield 1
        yield 2


def callbacks_at(signal: AbortSignal) -> int:
    """Count the callbacks attached to a signal."""
    return len(signal._callbacks)  # pyright: ignore[reportPrivateUsage]


def abort_in_another_thread(controller: AbortController, reason: object = "thread") -> None:
    thread = threading.Thread(target=controller.abort, args=(reason,))
    thread.start()
    thread.join()


async def abort_in_a_worker(controller: AbortController) -> None:
    await anyio.to_thread.run_sync(controller.abort)


# A controller and its signal


def test_a_new_signal_is_not_aborted() -> None:
    signal = AbortController().signal
    assert not signal.aborted
    assert signal.reason is None


def test_abort_sets_the_signal_and_its_reason() -> None:
    controller, reason = AbortController(), object()
    controller.abort(reason)
    assert controller.signal.aborted
    assert controller.signal.reason is reason


def test_a_reason_may_be_left_out() -> None:
    controller = AbortController()
    controller.abort()
    assert controller.signal.reason == "aborted"


@pytest.mark.parametrize("reason", [None, 0, ""], ids=repr)
def test_an_empty_reason_aborts_as_well(reason: object) -> None:
    controller = AbortController()
    controller.abort(reason)
    assert controller.signal.aborted
    assert controller.signal.reason == reason


def test_the_first_reason_wins() -> None:
    controller = AbortController()
    controller.abort("first")
    controller.abort("second")
    assert controller.signal.reason == "first"


def test_with_many_threads_one_reason_wins_and_stays() -> None:
    controller, go = AbortController(), threading.Barrier(9)
    seen: list[object] = []

    def abort(number: int) -> None:
        go.wait()
        controller.abort(number)
        seen.append(controller.signal.reason)

    threads = [threading.Thread(target=abort, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    go.wait()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert set(seen) == {controller.signal.reason}


def test_throw_if_aborted_does_nothing_before() -> None:
    AbortController().signal.throw_if_aborted()


def test_throw_if_aborted_raises_with_the_reason() -> None:
    controller = AbortController()
    controller.abort("enough")
    with pytest.raises(StreamAbortedError, match="cancelled: enough") as caught:
        controller.signal.throw_if_aborted()
    assert caught.value.reason == "enough"


def test_each_throw_is_an_error_of_its_own() -> None:
    controller = AbortController()
    controller.abort()
    errors = []
    for _ in range(2):
        with pytest.raises(StreamAbortedError) as caught:
            controller.signal.throw_if_aborted()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_a_controller_keeps_its_signal() -> None:
    controller = AbortController()
    assert controller.signal is controller.signal


def test_the_reprs_tell_the_state() -> None:
    controller = AbortController()
    assert repr(controller) == "<AbortController <AbortSignal not aborted>>"
    controller.abort("enough")
    assert repr(controller.signal) == "<AbortSignal aborted: 'enough'>"


def test_a_signal_handler_may_abort() -> None:
    controller = AbortController()
    before = signals.signal(signals.SIGINT, lambda *_: controller.abort("SIGINT"))
    try:
        signals.raise_signal(signals.SIGINT)
    finally:
        signals.signal(signals.SIGINT, before)
    assert controller.signal.reason == "SIGINT"


def test_del_may_abort() -> None:
    class Owner:
        def __init__(self) -> None:
            self.controller = AbortController()

        def __del__(self) -> None:
            self.controller.abort("owner is gone")

    owner = Owner()
    signal = owner.controller.signal
    del owner
    gc.collect()
    assert signal.reason == "owner is gone"


def test_an_abort_within_an_abort_changes_nothing() -> None:
    controller = AbortController()
    calls: list[str] = []

    def abort_again() -> None:
        calls.append("one")
        controller.abort("inner")

    attach(controller.signal, abort_again)
    attach(controller.signal, lambda: calls.append("two"))
    controller.abort("outer")
    assert sorted(calls) == ["one", "two"]
    assert controller.signal.reason == "outer"


# Callbacks


def test_a_callback_is_called_once_in_the_aborting_thread() -> None:
    controller = AbortController()
    threads: list[threading.Thread] = []
    attach(controller.signal, lambda: threads.append(threading.current_thread()))
    thread = threading.Thread(target=controller.abort)
    thread.start()
    thread.join()
    controller.abort()
    assert threads == [thread]


def test_a_callback_attached_after_the_abort_is_called_at_once() -> None:
    controller = AbortController()
    controller.abort()
    calls: list[str] = []
    attach(controller.signal, lambda: calls.append("late"))
    assert calls == ["late"]


def test_a_detached_callback_is_not_called() -> None:
    controller = AbortController()
    calls: list[str] = []
    detach(controller.signal, attach(controller.signal, lambda: calls.append("never")))
    controller.abort()
    assert calls == []


def test_a_callback_may_detach_another() -> None:
    controller = AbortController()
    calls: list[str] = []
    attach(controller.signal, lambda: detach(controller.signal, second))
    second = attach(controller.signal, lambda: calls.append("never"))
    controller.abort()
    assert calls == []


def test_detaching_twice_or_after_the_abort_does_no_harm() -> None:
    controller = AbortController()
    key = attach(controller.signal, lambda: None)
    controller.abort()
    detach(controller.signal, key)
    detach(controller.signal, key)
    assert callbacks_at(controller.signal) == 0


# wait()


async def test_wait_returns_at_once_if_it_has_been_aborted() -> None:
    controller = AbortController()
    controller.abort()
    with anyio.move_on_after(0):
        await controller.signal.wait()
        return
    pytest.fail("it waited")


async def test_abort_wakes_all_waiters() -> None:
    controller = AbortController()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(controller.signal.wait)
        await settle()
        controller.abort()
    assert callbacks_at(controller.signal) == 0


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    signal = AbortController().signal
    with anyio.move_on_after(0):
        await signal.wait()
    assert callbacks_at(signal) == 0


async def test_a_signal_handler_wakes_a_waiter() -> None:
    controller = AbortController()
    before = signals.signal(signals.SIGINT, lambda *_: controller.abort("SIGINT"))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.signal.wait)
            await settle()
            signals.raise_signal(signals.SIGINT)
    finally:
        signals.signal(signals.SIGINT, before)


@pytest.mark.real_clock
async def test_another_thread_wakes_a_waiter() -> None:
    controller = AbortController()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.signal.wait)
            await settle()
            await anyio.to_thread.run_sync(controller.abort)


# cancel_scope()


async def test_abort_cancels_the_scope_and_what_follows_goes_on() -> None:
    controller = AbortController()
    with controller.signal.cancel_scope() as scope:
        controller.abort()
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    await settle(1)


async def test_a_scope_of_an_aborted_signal_is_cancelled_from_its_start() -> None:
    controller = AbortController()
    controller.abort()
    with controller.signal.cancel_scope() as scope:
        assert scope.cancel_called
        await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_scope_that_ends_first_is_not_cancelled() -> None:
    controller = AbortController()
    with controller.signal.cancel_scope() as scope:
        await settle(1)
    controller.abort()
    await settle()
    assert not scope.cancel_called


async def test_a_scope_leaves_nothing_at_the_signal() -> None:
    signal = AbortController().signal
    with signal.cancel_scope():
        assert callbacks_at(signal) == 1
    assert callbacks_at(signal) == 0


async def test_a_scope_is_entered_once() -> None:
    signal = AbortController().signal
    scope = signal.cancel_scope()
    with scope:
        with pytest.raises(RuntimeError):
            scope.__enter__()
        assert callbacks_at(signal) == 1
    assert callbacks_at(signal) == 0


async def test_a_scope_passes_on_the_exception_of_its_block() -> None:
    signal = AbortController().signal
    with pytest.raises(FrozenError), signal.cancel_scope():
        raise FrozenError
    assert callbacks_at(signal) == 0


async def test_scopes_of_one_signal_nest() -> None:
    controller = AbortController()
    with controller.signal.cancel_scope() as outer:
        with controller.signal.cancel_scope():
            controller.abort()
            await anyio.sleep_forever()
        await anyio.sleep_forever()
    assert outer.cancelled_caught


async def test_a_timeouts_scope_ends_with_it(unit: float) -> None:
    before = anyio.current_time()
    with AbortSignal.timeout(unit).cancel_scope() as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - before == pytest.approx(unit, rel=20)


@pytest.mark.real_clock
async def test_another_thread_cancels_the_scope() -> None:
    controller = AbortController()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(abort_in_a_worker, controller)
            with controller.signal.cancel_scope() as scope:
                await anyio.sleep_forever()
            assert scope.cancelled_caught


# timeout()


async def test_a_timeout_aborts_when_it_expires(unit: float) -> None:
    signal = AbortSignal.timeout(unit)
    assert not signal.aborted
    await anyio.sleep(2 * unit)
    assert signal.aborted


async def test_a_timeout_says_so_in_its_reason(virtual_time: bool, unit: float) -> None:
    signal = AbortSignal.timeout(unit)
    await signal.wait()
    assert signal.reason == f"timed out after {unit:g} s"


async def test_a_timeout_of_0_is_aborted_from_the_start() -> None:
    assert AbortSignal.timeout(0).aborted


async def test_an_infinite_timeout_is_never_aborted(virtual_time: bool, unit: float) -> None:
    signal = AbortSignal.timeout(math.inf)
    await anyio.sleep(10**6 if virtual_time else unit)
    assert not signal.aborted


async def test_waiting_for_a_timeout_takes_its_time(unit: float) -> None:
    before = anyio.current_time()
    await AbortSignal.timeout(3 * unit).wait()
    assert anyio.current_time() - before >= 2.9 * unit


async def test_a_timeout_knows_its_deadline(virtual_time: bool) -> None:
    now = anyio.current_time()
    assert deadline_of(AbortSignal.timeout(5)) == pytest.approx(now + 5, abs=1)
    assert deadline_of(AbortController().signal) == math.inf


@pytest.mark.parametrize("seconds", [-1, -0.1, math.nan])
async def test_a_negative_timeout_is_a_value_error(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds is 0 or more"):
        AbortSignal.timeout(seconds)


@pytest.mark.parametrize("seconds", ["1", None, True])
async def test_a_timeout_is_a_number(seconds: Any) -> None:
    with pytest.raises(TypeError, match="seconds is a number"):
        AbortSignal.timeout(seconds)


def test_a_timeout_needs_an_event_loop() -> None:
    with pytest.raises(RuntimeError):
        AbortSignal.timeout(1)


@pytest.mark.real_clock
async def test_a_thread_without_a_loop_sees_a_timeout() -> None:
    signal = AbortSignal.timeout(0)
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(signal.aborted))
    thread.start()
    thread.join()
    assert seen == [True]


# any()


def test_any_of_none_is_never_aborted() -> None:
    signal = AbortSignal.any([])
    assert not signal.aborted
    assert deadline_of(signal) == math.inf


def test_any_aborts_with_the_reason_of_its_source() -> None:
    one, other = AbortController(), AbortController()
    signal = AbortSignal.any([one.signal, other.signal])
    other.abort("other")
    assert signal.aborted
    assert signal.reason == "other"


def test_any_keeps_the_first_reason_even_if_it_was_not_read() -> None:
    one, other = AbortController(), AbortController()
    signal = AbortSignal.any([one.signal, other.signal])
    other.abort("first")
    one.abort("second")
    assert signal.reason == "first"


def test_any_keeps_the_reason_that_it_has_shown() -> None:
    one, other = AbortController(), AbortController()
    signal = AbortSignal.any([one.signal, other.signal])
    one.abort("first")
    assert signal.reason == "first"
    other.abort("second")
    assert signal.reason == "first"


def test_any_of_aborted_signals_is_aborted() -> None:
    controller = AbortController()
    controller.abort("before")
    assert AbortSignal.any([AbortController().signal, controller.signal]).reason == "before"


def test_any_takes_any_iterable_once() -> None:
    controller = AbortController()
    signal = AbortSignal.any(it for it in [controller.signal])
    controller.abort()
    assert signal.aborted
    assert signal.aborted


def test_any_of_any_sees_the_inner_sources() -> None:
    controller = AbortController()
    signal = AbortSignal.any([AbortSignal.any([controller.signal])])
    controller.abort("deep")
    assert signal.reason == "deep"


@pytest.mark.parametrize("wrong", [AbortController(), None, "stop"], ids=repr)
def test_any_takes_signals_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"AbortSignal\.any\(\) takes signals"):
        AbortSignal.any([wrong])


def test_a_callback_of_any_is_called_once_if_two_sources_abort() -> None:
    one, other = AbortController(), AbortController()
    calls: list[str] = []
    attach(AbortSignal.any([one.signal, other.signal]), lambda: calls.append("called"))
    one.abort()
    other.abort()
    assert calls == ["called"]


def test_a_callback_of_any_is_called_once_if_two_sources_had_aborted() -> None:
    one, other = AbortController(), AbortController()
    one.abort()
    other.abort()
    calls: list[str] = []
    attach(AbortSignal.any([one.signal, other.signal]), lambda: calls.append("called"))
    assert calls == ["called"]


def test_any_attaches_to_its_sources_only_while_in_use() -> None:
    controller = AbortController()
    signal = AbortSignal.any([controller.signal])
    assert callbacks_at(controller.signal) == 0
    key = attach(signal, lambda: None)
    assert callbacks_at(controller.signal) == 1
    detach(signal, key)
    assert callbacks_at(controller.signal) == 0


def test_a_long_lived_source_keeps_no_combination_alive() -> None:
    controller = AbortController()
    gone = weakref.ref(AbortSignal.any([controller.signal]))
    assert gone() is None


async def test_waiting_for_any_ends_with_the_first() -> None:
    controller = AbortController()
    signal = AbortSignal.any([AbortController().signal, controller.signal])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(signal.wait)
        await settle()
        controller.abort()
    assert callbacks_at(controller.signal) == 0


async def test_any_with_a_timeout_aborts_in_time(unit: float) -> None:
    signal = AbortSignal.any([AbortController().signal, AbortSignal.timeout(unit)])
    with signal.cancel_scope() as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert signal.aborted


async def test_the_deadline_of_any_is_the_earliest(unit: float) -> None:
    late, early = AbortSignal.timeout(9), AbortSignal.timeout(3)
    assert deadline_of(AbortSignal.any([late, early])) == deadline_of(early)


async def test_a_timeout_wins_over_a_later_abort(unit: float) -> None:
    controller = AbortController()
    signal = AbortSignal.any([controller.signal, AbortSignal.timeout(unit)])
    await anyio.sleep(2 * unit)
    controller.abort("too late")
    assert signal.reason == f"timed out after {unit:g} s"


async def test_the_shorter_of_two_timeouts_wins(unit: float) -> None:
    signal = AbortSignal.any([AbortSignal.timeout(2 * unit), AbortSignal.timeout(unit)])
    await anyio.sleep(3 * unit)
    assert signal.reason == f"timed out after {unit:g} s"


# Streams and their signals


COMBINE = pytest.mark.parametrize(
    "combine",
    [
        pytest.param(lambda signal: signal, id="plain"),
        pytest.param(lambda signal: AbortSignal.any([signal]), id="any"),
    ],
)


@COMBINE
async def test_a_finished_stream_leaves_nothing_at_its_signal(
    router: MessageRouter, combine: Any
) -> None:
    controller = AbortController()
    router.register_actor("a", Short())
    stream = router.stream_async("a", "go", signal=combine(controller.signal))
    assert await stream.collect() == [1, 2]
    assert callbacks_at(controller.signal) == 0


@COMBINE
async def test_a_long_lived_signal_keeps_no_finished_stream_alive(
    router: MessageRouter, combine: Any
) -> None:
    controller = AbortController()
    router.register_actor("a", Short())
    stream = router.stream_async("a", "go", signal=combine(controller.signal))
    async for _ in stream:
        pass
    await settle()
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None


@COMBINE
async def test_a_stream_left_early_leaves_nothing_at_its_signal(
    router: MessageRouter, combine: Any
) -> None:
    controller = AbortController()
    router.register_actor("a", CountTo())
    async for _ in router.stream_async("a", "go", signal=combine(controller.signal)):
        break
    await settle()
    assert callbacks_at(controller.signal) == 0


async def test_a_stream_that_was_never_started_leaves_nothing_at_its_signal(
    router: MessageRouter,
) -> None:
    controller = AbortController()
    router.register_actor("a", Short())
    router.stream_async("a", "go", signal=controller.signal)
    assert callbacks_at(controller.signal) == 0


async def test_a_stream_that_could_not_start_leaves_nothing_at_its_signal(
    router: MessageRouter,
) -> None:
    controller = AbortController()
    with pytest.raises(LookupError):
        await router.stream_async("nobody", "go", signal=controller.signal).collect()
    assert callbacks_at(controller.signal) == 0


async def test_one_signal_aborts_many_streams(router: MessageRouter) -> None:
    controller = AbortController()
    router.register_actor("a", CountTo())
    streams = [router.stream_async("a", "go", signal=controller.signal) for _ in range(5)]
    readers = [aiter(stream) for stream in streams]
    for reader in readers:
        await anext(reader)
    controller.abort("all of you")
    for reader in readers:
        with pytest.raises(StreamAbortedError, match="all of you"):
            await anext(reader)
    await settle()
    assert router.statistics().active_streams == 0


@pytest.mark.real_clock
async def test_another_thread_aborts_a_stream(router: MessageRouter) -> None:
    controller = AbortController()
    router.register_actor("a", CountTo())
    reader = aiter(router.stream_async("a", "go", signal=controller.signal))
    await anext(reader)
    abort_in_another_thread(controller)
    with pytest.raises(StreamAbortedError, match="thread"):
        await anext(reader)


@pytest.mark.real_clock
async def test_another_threads_abort_wakes_a_consumer_that_waits(router: MessageRouter) -> None:
    controller = AbortController()
    silent = Actor()
    silent.stream_async = lambda _: _never()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    router.register_actor("silent", silent)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(abort_in_a_worker, controller)
            with pytest.raises(StreamAbortedError):
                await router.stream_async("silent", "go", signal=controller.signal).collect()


async def _never() -> AsyncIterator[int]:
    await anyio.sleep_forever()
    yield 0


@pytest.mark.real_clock
async def test_a_thread_that_serves_the_loop_may_abort_through_it() -> None:
    controller = AbortController()

    def work() -> None:
        anyio.from_thread.run_sync(controller.abort, "from the worker")

    await anyio.to_thread.run_sync(work)
    assert controller.signal.reason == "from the worker"


def test_an_abort_after_the_loop_has_closed_does_no_harm(
    anyio_backend: tuple[str, dict[str, Any]],
) -> None:
    controller = AbortController()
    name, options = anyio_backend

    async def main() -> None:
        async with MessageRouter() as router:
            router.register_actor("a", CountTo())
            await anext(aiter(router.stream_async("a", "go", signal=controller.signal)))

    anyio.run(main, backend=name, backend_options=options)
    controller.abort()
    assert controller.signal.aborted


def test_signals_combined_again_and_again():
    """A combination of combinations looks at each source once, however deep it is."""
    controller = AbortController()
    signal = controller.signal
    for _ in range(3000):
        signal = AbortSignal.any([signal, signal])
    assert not signal.aborted
    controller.abort("enough")
    assert signal.reason == "enough"


class Unclassifiable:
    """A reason that fails when it is asked for its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("no class")


async def test_a_reason_on_which_isinstance_raises(router):
    """It reaches the consumer like any other reason."""
    router.register_actor("a", CountTo())
    controller, reason = AbortController(), Unclassifiable()
    payloads = router.stream_async("a", "q", None, signal=controller.signal).payloads()
    await anext(payloads)
    controller.abort(reason)
    with pytest.raises(StreamAbortedError) as caught:
        await anext(payloads)
    assert caught.value.reason is reason
