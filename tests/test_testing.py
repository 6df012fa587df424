"""The testing module: virtual time, `settle`, `Probe`, `assert_nothing_left`."""

import asyncio
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import pytest

import actorstream.testing
from actorstream import Actor, Message, MessageRouter, StreamTimeoutError, address
from actorstream.testing import (
    Probe,
    VirtualTimeLoop,
    assert_nothing_left,
    settle,
    virtual_time,
)
from tests.support import CountTo

HOUR = 3600.0


def message(type: str, payload: object = None) -> Message:
    return Message(to=address("probe"), type=type, payload=payload)


# Virtual time


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Return a function that runs an async function in virtual time, on each backend."""
    return partial(actorstream.testing.run, backend=request.param)


def test_options_for_anyio():
    """`virtual_time()` returns options for `anyio.run()`."""

    async def main() -> float:
        await anyio.sleep(HOUR)
        return anyio.current_time()

    assert anyio.run(main, backend_options=virtual_time()) == pytest.approx(HOUR)


def test_arguments_and_the_result(run):
    """`run()` passes arguments on, and returns the function's result."""

    async def main(first: int, second: int) -> int:
        await anyio.sleep(HOUR)
        return first - second

    assert run(main, 3, 1) == 2


def test_an_hour_of_virtual_time_takes_no_time(run):
    """Sleeping for an hour takes an hour of the loop's clock, and no real time."""

    async def main() -> float:
        began = anyio.current_time()
        await anyio.sleep(HOUR)
        return anyio.current_time() - began

    began = time.monotonic()
    assert run(main) == pytest.approx(HOUR)
    assert time.monotonic() - began < 60


def test_a_stream_times_out_after_an_hour(run):
    """A stream's timeout of an hour expires in virtual time."""

    class Silent(Actor):
        async def stream_async(self, payload):
            yield 1
            await anyio.sleep_forever()

    async def main() -> float:
        began = anyio.current_time()
        async with MessageRouter() as router:
            router.register_actor("a", Silent())
            with pytest.raises(StreamTimeoutError):
                await router.stream_async("a", "go", timeout=HOUR).collect()
        return anyio.current_time() - began

    assert run(main) == pytest.approx(HOUR)


def test_a_thread_is_waited_for_when_no_deadline_is_ahead(run):
    """Without a deadline ahead, a wait for a thread is a real wait."""
    inside = threading.Event()

    async def main() -> bool:
        return await anyio.to_thread.run_sync(inside.wait, 60)

    other = threading.Thread(target=inside.set)
    other.start()
    assert run(main)
    other.join()


def test_the_clock_jumps_while_a_thread_works(run):
    """A thread does not hold back the clock, which jumps to the next deadline."""
    released = threading.Event()

    async def release() -> None:
        await anyio.sleep(HOUR)
        released.set()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(release)
            assert await anyio.to_thread.run_sync(released.wait, 60)

    run(main)


def test_each_run_has_its_own_clock(run):
    """The clock of a run starts afresh."""

    async def main() -> float:
        began = anyio.current_time()
        await anyio.sleep(HOUR)
        return began

    assert run(main) == run(main)


def test_trio_gets_a_new_clock():
    """Each call makes a new clock for trio, which can use one only once."""
    assert virtual_time("trio")["clock"] is not virtual_time("trio")["clock"]


def test_asyncio_is_the_default():
    """By default, the options are those for asyncio."""
    assert virtual_time() == virtual_time("asyncio") == {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize("backend", ["curio", "", "asyncio+uvloop", None])
def test_another_backend_is_a_value_error(backend):
    """Another backend is a `ValueError` that names it and the known ones."""
    with pytest.raises(ValueError, match='"asyncio" or "trio"') as caught:
        virtual_time(backend)
    assert repr(backend) in str(caught.value)


def test_trio_may_be_missing(monkeypatch):
    """Without trio, its virtual time raises an error that says how to install it."""
    monkeypatch.setitem(sys.modules, "trio.testing", None)
    with pytest.raises(ImportError, match=r'pip install "actorstream\[trio\]"'):
        virtual_time("trio")


def test_the_loop_works_with_asyncio_alone():
    """The loop may be a loop factory of `asyncio.Runner`; its clock begins at 0."""

    async def main() -> float:
        await asyncio.sleep(HOUR)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main()) == pytest.approx(HOUR)


# settle


async def test_settle_lets_others_run():
    """Each turn of `settle()` gives the other tasks a turn."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await settle(50)
        assert 0 < turns < 100


async def test_settle_can_be_cancelled():
    """`settle()` notices a cancellation."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await settle()
    assert scope.cancelled_caught


# Probe


@pytest.fixture
def probe(router: MessageRouter) -> Probe:
    """Return a registered probe."""
    probe = Probe()
    router.register_actor("probe", probe)
    return probe


async def test_a_probe_records_what_comes(probe: Probe):
    """A probe keeps all messages in order, expected or not."""
    one, two = message("one"), message("two")
    await probe.receive(one)
    await probe.receive(two)
    await probe.expect("one")
    assert probe.messages == [one, two]


async def test_expect_returns_the_next_message(probe: Probe):
    """Each `expect()` takes one message, in order."""
    first, second = message("a", 1), message("a", 2)
    await probe.receive(first)
    await probe.receive(second)
    assert [await probe.expect("a"), await probe.expect("a")] == [first, second]


async def test_expect_waits(probe: Probe, unit: float):
    """`expect()` waits for a message that has not arrived yet."""
    late = message("late")

    async def send() -> None:
        await anyio.sleep(unit)
        await probe.receive(late)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        assert await probe.expect("late", timeout=100 * unit) is late


async def test_expect_does_not_skip(probe: Probe):
    """If a message of another type comes first, `expect()` fails at once and names it."""
    await probe.receive(message("other", 17))
    await probe.receive(message("wanted"))
    with pytest.raises(AssertionError) as caught:
        await probe.expect("wanted")
    assert str(caught.value) == (
        "expected a message of type 'wanted' next, not one of type 'other' with payload 17; "
        "received so far: 'other', 'wanted'"
    )


async def test_expect_takes_nothing_when_it_fails(probe: Probe):
    """A message that `expect()` rejected is still the next one."""
    await probe.receive(message("other"))
    with pytest.raises(AssertionError):
        await probe.expect("wanted")
    assert (await probe.expect("other")).type == "other"


async def test_expect_gives_up(probe: Probe, unit: float):
    """After its timeout `expect()` says what it waited for, and which messages had come."""
    await probe.receive(message("earlier"))
    await probe.expect("earlier")
    with pytest.raises(AssertionError) as caught:
        await probe.expect("wanted", timeout=unit)
    assert str(caught.value) == (
        f"expected a message of type 'wanted' within {unit:g} s, but none came; "
        "received so far: 'earlier'"
    )


async def test_expect_gives_up_if_nothing_came(probe: Probe):
    """With a timeout of 0 the message must be there already; the error says that nothing came."""
    with pytest.raises(AssertionError, match="received so far: nothing"):
        await probe.expect("wanted", timeout=0)


@pytest.mark.parametrize("timeout", [None, math.inf])
async def test_expect_may_wait_without_a_limit(probe: Probe, unit: float, timeout: float | None):
    """Without a timeout `expect()` waits until it is cancelled."""
    with anyio.move_on_after(unit) as scope:
        await probe.expect("wanted", timeout=timeout)
    assert scope.cancelled_caught


async def test_a_cancelled_expectation_takes_nothing(probe: Probe):
    """A cancelled `expect()` leaves the message to the next one."""
    with anyio.move_on_after(0):
        await probe.expect("a")
    await probe.receive(message("a"))
    assert (await probe.expect("a")).type == "a"


async def test_two_may_wait_at_once(probe: Probe, unit: float):
    """Two tasks that wait at the same time each get their own message."""
    got: list[int] = []

    async def take() -> None:
        got.append((await probe.expect("a", timeout=None)).payload)

    with anyio.fail_after(100 * unit):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            tasks.start_soon(take)
            await settle()
            await probe.receive(message("a", 1))
            await settle()
            await probe.receive(message("a", 2))
    assert sorted(got) == [1, 2]


async def test_it_waits_again_after_a_wait(probe: Probe, unit: float):
    """After a wait that a message ended, `expect()` can wait again, and the clock goes on."""
    with anyio.move_on_after(unit) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(probe.expect, "a")
            await settle()
            await probe.receive(message("a"))
        await probe.expect("b", timeout=None)
    assert scope.cancelled_caught


async def test_expect_no_message(probe: Probe, unit: float):
    """If no message comes, `expect_no_message()` returns after its time."""
    began = anyio.current_time()
    await probe.expect_no_message(within=unit)
    assert anyio.current_time() - began >= 0.9 * unit


async def test_expect_no_message_ignores_expected_messages(probe: Probe):
    """A message that was expected does not count."""
    await probe.receive(message("a"))
    await probe.expect("a")
    await probe.expect_no_message(within=0)


async def test_expect_no_message_sees_what_came_before(probe: Probe):
    """A message that came earlier and was not expected counts, and is named."""
    await probe.receive(message("a", 1))
    with pytest.raises(AssertionError, match="not one of type 'a' with payload 1"):
        await probe.expect_no_message(within=0)


async def test_expect_no_message_sees_what_comes(probe: Probe, unit: float):
    """A message that comes meanwhile fails `expect_no_message()` at once."""
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probe.receive, message("a"))
        with pytest.raises(AssertionError, match="expected no message within"):
            await probe.expect_no_message(within=1000 * unit)
    assert anyio.current_time() - began < 500 * unit


async def test_the_reply_is_none(probe: Probe):
    """By default, a probe replies `None`."""
    assert await probe.receive(message("a")) is None


async def double(message: Message) -> Any:
    return message.payload * 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(42, 42), (lambda message: message.payload + 1, 22), (double, 42), ([], [])],
    ids=["value", "function", "coroutine function", "empty"],
)
async def test_reply_with(probe: Probe, reply: object, expected: object):
    """A probe replies with a value, or with the result of a function, async or not."""
    probe.reply_with("a", reply)
    assert await probe.receive(message("a", 21)) == expected


async def test_reply_with_is_for_one_type(probe: Probe):
    """Messages of other types keep their reply."""
    probe.reply_with("a", 1)
    assert await probe.receive(message("b")) is None


@pytest.mark.parametrize("reply", [ValueError("oh"), ValueError], ids=["instance", "class"])
async def test_reply_with_an_exception(probe: Probe, reply: object):
    """An exception is raised, after the message was recorded."""
    probe.reply_with("a", reply)
    with pytest.raises(ValueError, match=r"^(oh)?$"):
        await probe.receive(message("a"))
    assert (await probe.expect("a")).type == "a"


async def test_repr_of_a_probe(probe: Probe):
    """The `repr` shows the address, and how many messages came and were not expected yet."""
    await probe.receive(message("a"))
    await probe.receive(message("b"))
    await probe.expect("a")
    assert repr(probe) == "<Probe @(probe): 2 messages, 1 not expected yet>"
    assert repr(Probe()) == "<Probe unregistered: 0 messages, 0 not expected yet>"


# assert_nothing_left


async def test_nothing_is_left():
    """A router without a live stream passes: before it is entered, inside, and after."""
    router = MessageRouter()
    assert_nothing_left(router)
    async with router:
        router.register_actor("a", CountTo())
        async with router.stream_async("a", "go") as stream:
            await anext(aiter(stream))
        assert_nothing_left(router)
    assert_nothing_left(router)


async def test_a_live_stream_is_left(router):
    """A live stream is reported, with its router."""
    router.register_actor("a", CountTo())
    async with router.stream_async("a", "go"):
        with pytest.raises(AssertionError) as caught:
            assert_nothing_left(router)
    assert str(caught.value).startswith("left in <MessageRouter open: ")
    assert str(caught.value).endswith(">: 1 live stream")


def test_all_that_is_left_is_listed():
    """Every kind of leftover is listed with its number."""

    @attrs.frozen
    class Statistics:
        active_streams: int = 2
        subscriptions: int = 1
        queued_messages: int = 3
        tasks: int = 0

    class Router:
        def statistics(self) -> Statistics:
            return Statistics()

    with pytest.raises(AssertionError, match=": 2 live streams, 1 subscription, 3 queued messages"):
        assert_nothing_left(cast("MessageRouter", Router()))


def test_the_public_names():
    """The module offers the names in its `__all__`, each with a docstring."""
    names = actorstream.testing.__all__
    assert names == sorted(names)
    assert all(getattr(actorstream.testing, name).__doc__ for name in names)
