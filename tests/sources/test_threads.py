"""Streams of blocking iterables, each read in its own thread."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from actorstream import Actor, StreamError
from actorstream.testing import settle
from tests.support import (
    ActorOf,
    HelperActor,
    NumberSource,
    collect,
    read_on,
    serving,
)


@pytest.mark.real_clock
async def test_iterable_runs_in_worker_threads():
    """The iterable is opened, iterated and closed in worker threads, never in the loop's thread."""
    threads: list[int] = []

    class Blocking:
        def __iter__(self):
            try:
                while True:
                    threads.append(threading.get_ident())
                    yield
            finally:
                threads.append(threading.get_ident())

    async with serving(HelperActor(lambda actor: actor.create_thread_stream(Blocking()))) as router:
        async for _ in router.stream_async("a", "query", buffer_size=1):
            break
    assert len(threads) >= 2
    assert threading.get_ident() not in threads


class Gate:
    """An iterable that blocks its thread before its second item, until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.closed = threading.Event()

    def __iter__(self):
        try:
            yield "first"
            self.entered.set()
            assert self.let_go.wait(60)
            yield "second"
        finally:
            self.closed.set()

    async def wait_entered(self) -> None:
        while not self.entered.is_set():
            await anyio.sleep(0)


@pytest.mark.real_clock
async def test_thread_that_the_system_refuses(router, monkeypatch):
    """The stream fails with the system's error; the router goes on."""

    async def refuse(*args, **kwargs):
        raise error

    error = RuntimeError("can't start new thread")
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream([1])))
    with monkeypatch.context() as patch:
        patch.setattr(anyio.to_thread, "run_sync", refuse)
        with pytest.raises(StreamError) as caught:
            await router.stream_async("a", "query").collect()
    assert caught.value.__cause__ is error
    assert await router.stream_async("a", "query").collect() == [1]


@pytest.mark.real_clock
async def test_loop_goes_on(router):
    """While the iterable blocks, the loop goes on; then its next item arrives."""
    gate = Gate()
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(gate)))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == "first"
    await gate.wait_entered()
    await settle(20)
    gate.let_go.set()
    assert [payload async for payload in payloads] == ["second"]


@pytest.mark.real_clock
async def test_abort_during_a_blocking_fetch(router):
    """An abort reaches the consumer at once; the producer ends when the fetch has returned."""
    gate = Gate()
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(gate)))
    stream = router.stream_async("a", "query")
    payloads = stream.payloads()
    await anext(payloads)
    await gate.wait_entered()
    stream.cancel("enough")
    with pytest.raises(StreamError, match="enough"):
        await anext(payloads)
    assert router.statistics().active_streams == 1
    gate.let_go.set()
    await stream.aclose()
    assert gate.closed.is_set()
    assert router.statistics().active_streams == 0


@pytest.mark.real_clock
async def test_timeout_during_a_blocking_fetch(router):
    """A time limit reaches the consumer in the middle of a fetch."""
    gate = Gate()
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(gate)))
    payloads = router.stream_async("a", "query", timeout=0.01).payloads()
    with pytest.raises(TimeoutError):
        await drain(payloads)
    assert not gate.closed.is_set()
    gate.let_go.set()


async def drain(payloads: AsyncIterator[Any]) -> None:
    async for _ in payloads:
        pass


@pytest.mark.real_clock
async def test_break_during_a_blocking_fetch(router):
    """A `break` does not wait for the fetch; the generator is closed when it has returned."""
    gate = Gate()
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(gate)))
    async for _ in router.stream_async("a", "query"):
        await gate.wait_entered()
        break
    assert not gate.closed.is_set()
    gate.let_go.set()
    while router.statistics().active_streams:
        await anyio.sleep(0)
    assert gate.closed.is_set()


@pytest.mark.real_clock
async def test_iterable_that_cannot_be_opened():
    """An iterable that fails to open, in the thread, gives an error event."""

    class Closed:
        def __iter__(self):
            raise PermissionError("no access")

    with pytest.raises(StreamError, match="no access") as caught:
        await collect(lambda actor: actor.create_thread_stream(Closed()))
    assert type(caught.value.__cause__) is PermissionError


@pytest.mark.real_clock
async def test_unread_thread_stream():
    """A thread stream that is closed before its first item never opens its iterable."""
    gate = Gate()
    source = Actor().create_thread_stream(gate)
    await source.aclose()
    assert not gate.closed.is_set()
    with pytest.raises(StopAsyncIteration):
        await anext(source)


class Rows(Actor):
    """Streams the rows of a database whose connection must stay in its thread."""

    def rows(self):
        connection = sqlite3.connect(":memory:")
        for number in range(20):
            yield connection.execute("select ?", (number,)).fetchone()[0]
        connection.close()

    def stream_async(self, payload) -> Any:
        return self.create_thread_stream(self.rows())


class RowsOneByOne(Rows):
    """Streams the same rows, read in a generator of the actor."""

    async def stream_async(self, payload):
        async for event in self.create_thread_stream(self.rows()):
            yield event


@pytest.mark.real_clock
@pytest.mark.parametrize("actor", [Rows, RowsOneByOne])
async def test_a_source_stays_in_one_thread(router, actor):
    """However many streams run at once, each blocking source is read in its own thread."""
    results = []

    async def read(router):
        results.append(await router.stream_async("rows", "query").collect())

    router.register_actor("rows", actor())
    async with anyio.create_task_group() as tasks:
        for _ in range(50):  # more than AnyIO's threads
            tasks.start_soon(read, router)
    assert results == [list(range(20))] * 50


@pytest.mark.real_clock
async def test_thread_stream_begun_outside_of_a_producer(router):
    """A source read first by hand, then in part by a producer, leaves no thread behind."""
    source = Actor().create_thread_stream(itertools.count())
    assert (await anext(source)).payload == 0
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        assert (await anext(stream.payloads())) == 1
    assert (await anext(source)).type == "data"


@pytest.mark.real_clock
async def test_thread_stream_that_goes_from_one_producer_to_another(router):
    """A source that a second producer continues outlives the first, and leaves no thread."""
    source = Actor().create_thread_stream(itertools.count())
    await anext(source)
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    for _ in range(2):
        async with router.stream_async("a", "query", buffer_size=1) as stream:
            payloads = stream.payloads()
            first = await anext(payloads)
            assert await anext(payloads) == first + 1
    await source.aclose()


@pytest.mark.real_clock
async def test_closing_after_the_thread_has_ended(router):
    """A generator whose thread ended with its producer is closed in another thread."""
    numbers = NumberSource()
    source = Actor().create_thread_stream(numbers.give())
    await anext(source)
    router.register_actor("a", ActorOf(lambda _: read_on(source)))
    async with router.stream_async("a", "query", buffer_size=1) as stream:
        await anext(stream.payloads())
    assert numbers.closed == 0
    await source.aclose()
    assert numbers.closed == 1


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancellation_by_asyncio_loses_no_fetched_item(router):
    """An item fetched for a reader that asyncio cancels goes to the next reader."""

    async def stream_async():
        gate = Gate()
        source = Actor().create_thread_stream(gate)
        yield await anext(source)
        reading = asyncio.ensure_future(anext(source))
        await gate.wait_entered()
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        gate.let_go.set()
        yield await anext(source)

    router.register_actor("a", ActorOf(lambda _: stream_async()))
    payloads = await router.stream_async("a", "query").collect()
    assert payloads == ["first", "second"]


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_closing_after_a_cancellation_by_asyncio(router):
    """A source that is closed during a fetch is closed after the fetch has returned."""
    gate = Gate()

    async def stream_async():
        source = Actor().create_thread_stream(gate)
        yield await anext(source)
        reading = asyncio.ensure_future(anext(source))
        await gate.wait_entered()
        reading.cancel()
        await asyncio.wait([reading])
        closing = asyncio.ensure_future(source.aclose())
        await settle()
        assert not gate.closed.is_set()
        gate.let_go.set()
        await closing

    router.register_actor("a", ActorOf(lambda _: stream_async()))
    await router.stream_async("a", "query").collect()
    assert gate.closed.is_set()


async def test_router_cancelled_before_the_thread_starts(caplog):
    """A producer that is cancelled before its thread starts has not failed."""

    async def stream_async():
        yield 0
        scope.cancel()
        async for event in Actor().create_thread_stream([1]):
            yield event

    with anyio.CancelScope() as scope:
        async with serving(ActorOf(lambda _: stream_async())) as router:
            await router.stream_async("a", "query").collect()
    assert not caplog.records


@pytest.mark.real_clock
async def test_cancelled_scope_around_a_thread_stream(router):
    """A cancelled scope of the actor is left before the next fetch."""
    numbers = NumberSource()

    async def read_until_cancelled():
        with anyio.CancelScope() as scope:
            async for event in Actor().create_thread_stream(numbers.give()):
                if event.payload == 2:
                    scope.cancel()
                yield event

    router.register_actor("a", ActorOf(lambda _: read_until_cancelled()))
    assert await router.stream_async("a", "query").collect() == [1, 2]
    assert (numbers.made, numbers.closed) == (2, 1)
