"""The producer's task: how it drives an actor's source, closes it and reports its failures."""

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint

from actorstream import (
    Actor,
    AsyncStreamMessage,
    StreamClosedError,
    StreamError,
    StreamingNotSupportedError,
)
from actorstream.testing import settle
from tests.support import ActorOf, CallbackActorOf, QuitProgram, serving


class Source:
    """An async iterator that is not a generator; it counts how often it was closed."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.number = 0
        self.fail_at = fail_at
        self.closed = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.number += 1
        if self.number == self.fail_at:
            raise ValueError("no more pages")
        return self.number

    async def aclose(self):
        self.closed += 1


# Closing the source


async def test_iterator_is_closed(router):
    """An iterator with an `aclose()` is closed when its stream is left early."""
    source = Source()
    router.register_actor("a", ActorOf(lambda _: source))
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
    assert source.closed == 1


async def test_failed_iterator_is_closed(router):
    """An iterator that failed is closed too; its failure is the stream's."""
    source = Source(fail_at=2)
    router.register_actor("a", ActorOf(lambda _: source))
    with pytest.raises(StreamError, match="no more pages"):
        await router.stream_async("a", "query").collect()
    assert source.closed == 1


async def test_iterable_with_an_iterator_of_its_own(router):
    """An async iterable may make a new iterator in `__aiter__`."""

    class Iterable:
        async def __aiter__(self):
            yield 1
            yield 2

    router.register_actor("a", ActorOf(lambda _: Iterable()))
    assert await router.stream_async("a", "query").collect() == [1, 2]


async def test_awaitable_iterable(router):
    """An async iterable is not awaited, even if it is awaitable."""

    class Both:
        async def __aiter__(self):
            yield 1

        def __await__(self):
            pytest.fail("it was awaited")

    router.register_actor("a", ActorOf(lambda _: Both()))
    assert await router.stream_async("a", "query").collect() == [1]


async def test_coroutine_that_returns_a_helper(router):
    """A coroutine function may work first, then return a helper's stream."""

    async def stream_async(payload):
        await checkpoint()
        return actor.create_async_stream(range(payload))

    actor = ActorOf(stream_async)
    router.register_actor("a", actor)
    assert await router.stream_async("a", "query", 3).collect() == [0, 1, 2]


async def test_coroutine_is_cancelled(router):
    """A coroutine function that is still at work when its consumer leaves is cancelled."""
    steps = []

    async def stream_async(_):
        try:
            await anyio.sleep_forever()
        finally:
            steps.append("cancelled")

    router.register_actor("a", ActorOf(stream_async))
    async with router.stream_async("a", "query"):
        await settle()
    assert steps == ["cancelled"]


async def test_clean_up_sees_a_cancellation(router):
    """At its `yield` a generator sees the backend's cancellation, not a `GeneratorExit`."""
    caught: list[BaseException] = []

    async def watch(_):
        try:
            while True:
                yield 1
        except BaseException as exc:
            caught.append(exc)
            raise

    router.register_actor("a", ActorOf(watch))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        await anext(aiter(stream))
        await settle()
    [exc] = caught
    assert isinstance(exc, anyio.get_cancelled_exc_class())


async def test_generator_that_ends_when_thrown_into(router):
    """A generator that returns when cancelled has ended; nothing is logged."""

    async def polite(_):
        try:
            while True:
                yield 1
        except anyio.get_cancelled_exc_class():
            return

    router.register_actor("a", ActorOf(polite))
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
        await settle()
    assert router.statistics().active_streams == 0


async def test_generator_that_yields_when_thrown_into(router):
    """An item that a generator yields in its clean-up is dropped without harm."""

    async def talkative(_):
        try:
            while True:
                yield 1
        finally:
            yield "goodbye"

    router.register_actor("a", ActorOf(talkative))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        await anext(aiter(stream))
        await settle()
    assert router.statistics().active_streams == 0


async def test_error_of_a_handover_in_the_generator(router, unit):
    """An error during the handover of an item is raised at the `yield` of that item."""
    reached, expired = 0, anyio.Event()

    async def limited(_):
        nonlocal reached
        with anyio.move_on_after(unit) as scope:
            while True:
                reached += 1
                yield reached
        assert scope.cancelled_caught
        expired.set()

    router.register_actor("a", ActorOf(limited))
    async with router.stream_async("a", "query", buffer_size=4) as stream:
        await expired.wait()
        assert await stream.collect() == [1, 2, 3, 4]
    assert reached == 5


# Items after the end


class Generates(Actor):
    """Makes items in a thread, and puts each in with a given function."""

    def __init__(self, make_put: Callable[[Any], Callable[[int], object]]) -> None:
        self.make_put = make_put
        self.made = 0
        self.ended = threading.Event()

    async def stream(self, payload: Any, on_chunk: Any) -> None:
        put = self.make_put(on_chunk)
        loop_calls = to_thread.run_sync if payload is None else payload
        await loop_calls(self.work, put)

    def work(self, put: Callable[[int], object]) -> None:
        try:
            for number in range(10_000):
                put(number)
                self.made = number
        finally:
            self.ended.set()


async def in_executor(function: Callable[..., object], *args: object) -> None:
    await asyncio.get_running_loop().run_in_executor(None, function, *args)


@pytest.mark.real_clock
@pytest.mark.parametrize("read", [3, 1], ids=["thread busy", "thread waiting"])
async def test_thread_is_told_of_the_end(router, read):
    """A thread that calls `on_chunk` through AnyIO ends with its stream, without a failure."""
    actor = Generates(lambda on_chunk: partial(from_thread.run, on_chunk))
    router.register_actor("a", actor)
    async with router.stream_async("a", "query", buffer_size=2) as stream:
        payloads = stream.payloads()
        for _ in range(read):
            await anext(payloads)
        while read == 1 and not stream.statistics().producer_waiting:
            await anyio.sleep(0)
    assert actor.ended.is_set()
    assert actor.made < 100


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_thread_of_an_executor_is_told_of_the_end(router):
    """So does a thread of asyncio's, whose caller does not wait for it."""
    loop = asyncio.get_running_loop()
    actor = Generates(
        lambda on_chunk: (
            lambda item: asyncio.run_coroutine_threadsafe(on_chunk(item), loop).result()
        )
    )
    router.register_actor("a", actor)
    async with router.stream_async("a", "query", in_executor, buffer_size=2) as stream:
        await anext(stream.payloads())
    await to_thread.run_sync(actor.ended.wait, 60)
    assert actor.made < 100


@pytest.mark.parametrize("leave", ["break", "end"])
async def test_item_that_comes_too_late(router, leave):
    """A task that goes on after the end of the stream is told so with each item."""
    late: list[Any] = []

    async def keep(on_chunk):
        late.append(on_chunk)
        await on_chunk(1)

    router.register_actor("a", CallbackActorOf(keep))
    async with router.stream_async("a", "query") as stream:
        async for _ in stream.payloads():
            if leave == "break":
                break
    for _ in range(2):
        with pytest.raises(StreamClosedError, match="is over, and takes no more items"):
            await late[0](2)


@pytest.mark.parametrize("grouped", [False, True])
async def test_shielded_item_that_comes_too_late(router, grouped):
    """The error is no failure of the actor's: it only says that the stream is over."""
    told: list[StreamClosedError] = []

    async def put(on_chunk):
        try:
            await on_chunk(2)
        except StreamClosedError as error:
            told.append(error)
            raise

    async def go_on(on_chunk):
        try:
            await on_chunk(1)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                if not grouped:
                    await put(on_chunk)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(put, on_chunk)

    router.register_actor("a", CallbackActorOf(go_on))
    async with router.stream_async("a", "query") as stream:
        await anext(stream.payloads())
    assert told


@pytest.mark.parametrize("buffer_size", [1, 100], ids=["waiting for room", "busy"])
async def test_generator_that_yields_under_a_shield_is_stopped(router, buffer_size):
    """No cancellation reaches it there, so it is told at its `yield`."""
    ended: list[bool] = []

    async def endless(_: Any) -> AsyncIterator[int]:
        try:
            with anyio.CancelScope(shield=True):
                for number in itertools.count():
                    yield number
        finally:
            ended.append(True)

    router.register_actor("a", ActorOf(endless))
    async with router.stream_async("a", "query", buffer_size=buffer_size) as stream:
        await anext(stream.payloads())
    assert ended


async def test_cancellation_comes_before_the_error(router):
    """The producer's own task is cancelled, so that it ends even if it catches every error."""
    errors: list[Exception] = []

    async def insist(on_chunk):
        while True:
            try:
                await on_chunk("item")
            except Exception as error:
                errors.append(error)

    router.register_actor("a", CallbackActorOf(insist))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        await anext(stream.payloads())
    assert not errors


# Failures of every kind


async def test_group_of_failures(router):
    """An exception group fails the stream as a group."""

    async def stream_async(_):
        yield 1
        raise ExceptionGroup("two", [ValueError("a"), OSError("b")])

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


async def test_failure_during_a_cancellation(router, caplog):
    """A failure in the actor's task group during its cancellation is a clean-up failure."""

    async def fail_when_cancelled():
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("cannot flush")

    async def stream_async(_):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_when_cancelled)
            await checkpoint()
            while True:
                yield 1

    router.register_actor("a", ActorOf(stream_async))
    async for _ in router.stream_async("a", "query"):
        break
    await settle(10)
    assert router.statistics().active_streams == 0
    assert "cannot flush" in caplog.text


async def test_failing_while_the_router_closes(caplog):
    """A clean-up that fails while the router closes is logged; the router closes normally."""

    async def stream_async(_):
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            raise OSError("cannot flush")

    async with serving(ActorOf(stream_async)) as router:
        iterator = aiter(router.stream_async("a", "query"))
        await anext(iterator)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cannot flush" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_future(router):
    """On asyncio, an actor that awaits something cancelled elsewhere has failed."""

    async def stream_async(_):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        yield await future

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    assert type(caught.value.__cause__) is asyncio.CancelledError
    assert router.statistics().active_streams == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("others", [[], [ValueError("mine")]], ids=["alone", "with a failure"])
async def test_group_of_cancelled_futures(others, caplog):
    """A group of cancellations that did not target this task is the actor's failure, as a group."""
    strays = BaseExceptionGroup("inner", [asyncio.CancelledError(), GeneratorExit()])
    group = BaseExceptionGroup("outer", [asyncio.CancelledError(), strays, *others])

    async def stream_async(_):
        raise group
        yield

    async with serving(ActorOf(stream_async)) as router:
        with pytest.raises(StreamError) as caught:
            await router.stream_async("a", "query").collect()
        assert caught.value.__cause__ is group
        assert router.statistics().active_streams == 0
    assert not caplog.records


async def test_base_exception_among_cancellations():
    """A `BaseException` in a group with cancellations still reaches the program."""

    async def stream_async(_):
        raise BaseExceptionGroup("both", [asyncio.CancelledError(), QuitProgram()])
        yield

    with pytest.raises(BaseExceptionGroup) as caught:
        async with serving(ActorOf(stream_async)) as router, router.stream_async("a", "query"):
            await settle()
    assert caught.group_contains(QuitProgram)


async def test_actor_that_consumes_what_cannot_stream(router):
    """An actor fails if it does not catch that another actor cannot stream."""

    async def relay(_):
        async for event in router.stream_async("mute", "query"):
            yield event

    router.register_actor("a", ActorOf(relay))
    router.register_actor("mute", Actor())
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    cause = caught.value.__cause__
    assert isinstance(cause, StreamingNotSupportedError)
    assert "@(mute)" in str(cause)


async def test_base_exception():
    """A `BaseException` reaches the program, and its consumer gets an error."""

    async def stream_async(_):
        raise QuitProgram
        yield

    async def run() -> None:
        async with serving(ActorOf(stream_async)) as router:
            iterator = aiter(router.stream_async("a", "query"))
            try:
                await anext(iterator)
            finally:
                iterators.append(iterator)

    iterators: list[Any] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(QuitProgram)
    iterators.clear()


async def test_own_error_event_and_a_cause(router):
    """An error event that an actor makes itself has no cause."""

    async def stream_async(_):
        yield AsyncStreamMessage("error", error="out of paper")

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError, match="out of paper") as caught:
        await router.stream_async("a", "query").collect()
    assert caught.value.__cause__ is None


async def test_error_event_without_text(router):
    """An error event without a text is still an error."""

    async def stream_async(_):
        yield AsyncStreamMessage("error")

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError):
        await router.stream_async("a", "query").collect()


async def test_cancelled_scope_of_the_consumer(router, unit):
    """A producer outlives the scope of its consumer's first pull: it belongs to the router.

    The consumer polls; its scope is gone before the first item comes.
    """

    async def slow(_):
        await anyio.sleep(2 * unit)
        yield "late"

    router.register_actor("a", ActorOf(slow))
    payloads = router.stream_async("a", "query").payloads()
    with anyio.move_on_after(unit) as scope:
        await anext(payloads)
    assert scope.cancelled_caught
    assert await anext(payloads) == "late"


async def test_swallowing_the_cancellation_again_and_again(router, caplog):
    """The log names the actor and its stream at the 10th time, the 100th, and so on."""

    async def stubborn(_):
        for number in range(200):
            try:
                yield number
            except BaseException:  # noqa: ASYNC103 - what this is about
                continue

    router.register_actor("a", ActorOf(stubborn))
    async with router.stream_async("a", "query") as stream:
        await anext(stream.payloads())
    lines = [line for line in caplog.messages if "swallowed" in line]
    assert [line.split(" cancellations")[0] for line in lines] == [
        "@(a) has swallowed 10",
        "@(a) has swallowed 100",
    ]
    assert all("'query'" in line for line in lines)


async def test_scopes_of_an_actor_whose_reader_is_slow(router, caplog, unit):
    """That they expire while the actor waits for its reader is no swallowed cancellation."""

    async def patient(_):
        for number in range(30):
            with anyio.move_on_after(unit / 10):
                yield number

    router.register_actor("a", ActorOf(patient))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        payloads = stream.payloads()
        await anext(payloads)
        await anyio.sleep(2 * unit)
        assert [number async for number in payloads][-1] == 29
    assert "swallowed" not in caplog.text


@pytest.mark.parametrize("leaves_early", [False, True])
async def test_a_long_chain_of_actors_that_forward_a_stream(router, leaves_early):
    """Each has a task of its own, so the chain may be longer than the stack is deep."""

    def forward(to):
        async def stream_async(_):
            async for item in router.stream_async(to, "query").payloads():
                yield item

        return stream_async

    async def count(_):
        for number in range(3):
            yield number

    length = 300
    router.register_actor(str(length), ActorOf(count))
    for place in range(length):
        router.register_actor(str(place), ActorOf(forward(str(place + 1))))
    stream = router.stream_async("0", "query")
    if leaves_early:
        async with stream:
            await anext(stream.payloads())
        await settle(length)
    else:
        assert await stream.collect() == [0, 1, 2]
