"""Streams of blocking iterables, each read in its own thread."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio import from_thread

from actorstream import Actor, AskTimeoutError, Message, MessageRouter, StreamError
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


# Read by hand, in a handler


class Reads(Actor):
    """Handles a message by calling it with the actor."""

    async def receive(self, message: Message) -> Any:
        return await message.payload(self)


async def payloads_of(source: AsyncIterator[Any]) -> list[Any]:
    return [event.payload async for event in source if event.type == "data"]


span: ContextVar[str] = ContextVar("span")


def traced() -> Iterator[str]:
    """Yield inside a context variable's token, as a tracing library does."""
    token = span.set("query")
    yield span.get()
    span.reset(token)


@pytest.mark.real_clock
@pytest.mark.parametrize("where", ["handler", "stream"])
async def test_generator_read_by_hand_stays_in_one_thread_and_context(router, where):
    """So do all that are read at the same time."""

    class ReadsRows(Rows):
        async def receive(self, message):
            rows = await payloads_of(self.create_thread_stream(self.rows()))
            return rows, await payloads_of(self.create_thread_stream(traced()))

        async def stream_async(self, payload):
            yield await self.receive(payload)

    answers = []

    async def read(name):
        if where == "handler":
            answers.append(await router.ask(name, "read"))
        else:
            answers.extend(await router.stream_async(name, "read").collect())

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            router.register_actor(f"a{number}", ReadsRows())
            tasks.start_soon(read, f"a{number}")
    assert answers == [(list(range(20)), ["query"])] * 5


@pytest.mark.real_clock
async def test_generator_read_outside_of_a_router_stays_in_one_context():
    """Without an owner for a thread, the context at least is the same for each fetch."""
    assert await payloads_of(Actor().create_thread_stream(traced())) == ["query"]


@pytest.mark.real_clock
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("where", ["handler", "outside"])
async def test_timeout_of_asyncio_in_a_fetch_by_hand(router, where):
    """The fetch goes on; the source is closed after it, and its item is not lost till then."""
    gate = Gate()

    async def read(actor):
        async with aclosing(actor.create_thread_stream(gate)) as source:
            first = await anext(source)
            reading = asyncio.ensure_future(anext(source))
            await gate.wait_entered()
            reading.cancel()
            await asyncio.wait([reading])
            gate.let_go.set()
            return first.payload, (await anext(source)).payload

    router.register_actor("a", Reads())
    got = await (router.ask("a", "read", read) if where == "handler" else read(Actor()))
    assert got == ("first", "second")
    assert gate.closed.is_set()


@pytest.mark.real_clock
async def test_own_timeout_of_a_reader_loses_nothing(router):
    """A read that times out returns at once; the next one gets the item."""
    gate = Gate()

    async def read(actor):
        source = actor.create_thread_stream(gate)
        await anext(source)
        with anyio.move_on_after(0) as scope:
            await anext(source)
        with anyio.move_on_after(0.001):
            await anext(source)
        assert scope.cancelled_caught
        gate.let_go.set()
        return (await anext(source)).payload

    router.register_actor("a", Reads())
    assert await router.ask("a", "read", read) == "second"


@pytest.mark.real_clock
@pytest.mark.parametrize("stop", ["actor", "router"])
async def test_source_that_an_actor_keeps_ends_with_it(stop):
    """A source that several handlers read keeps its thread until the actor stops."""
    numbers = NumberSource()
    threads = []

    def items():
        for number in numbers.give():
            threads.append(threading.get_ident())
            yield number

    class Keeps(Actor):
        source: Any = None

        async def receive(self, message):
            self.source = self.source or self.create_thread_stream(items())
            return (await anext(self.source)).payload

    actor = Keeps()
    async with serving(actor) as router:
        assert [await router.ask("a", "next") for _ in range(3)] == [1, 2, 3]
        if stop == "actor":
            await router.stop_actor("a")
            assert numbers.closed == 1
    assert numbers.closed == 1
    assert len(set(threads)) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(actor.source)


# What the thread sees of the end


def polling(log: list[Any]) -> Iterator[str]:
    """Ask AnyIO for a cancellation while the second item takes its time."""
    try:
        yield "first"
        log.append("entered")
        while True:
            from_thread.check_cancelled()
            threading.Event().wait(0.001)
    except BaseException as error:
        log.append(error)
        raise


def sleeping(log: list[Any]) -> Iterator[str]:
    """Sleep in the event loop while the second item takes its time."""
    try:
        yield "first"
        log.append("entered")
        from_thread.run(anyio.sleep_forever)
    except BaseException as error:
        log.append(error)
        raise


async def leave_block(router, stream, payloads):
    """Do nothing: the caller leaves the block."""


async def cancel_stream(router, stream, payloads):
    stream.cancel("enough")


async def stop_the_actor(router, stream, payloads):
    await router.stop_actor("a")


async def time_out(router, stream, payloads):
    with pytest.raises(TimeoutError):
        await anext(payloads)


@pytest.mark.real_clock
@pytest.mark.parametrize("items", [polling, sleeping])
@pytest.mark.parametrize("form", ["returned", "iterated"])
@pytest.mark.parametrize("leave", [leave_block, cancel_stream, stop_the_actor, time_out])
async def test_thread_is_told_of_the_end(router, items, form, leave, caplog):
    """Code that asks AnyIO, or is in a call of AnyIO's, is cancelled when its stream ends."""
    log: list[Any] = []

    async def iterate(actor):
        async for event in actor.create_thread_stream(items(log)):
            yield event

    def make(actor):
        source = actor.create_thread_stream(items(log))
        return source if form == "returned" else iterate(actor)

    router.register_actor("a", HelperActor(make))
    timeout = 0.1 if leave is time_out else None
    with anyio.fail_after(10):
        async with router.stream_async("a", "query", timeout=timeout) as stream:
            payloads = stream.payloads()
            await anext(payloads)
            while not log:
                await anyio.sleep(0.001)
            await leave(router, stream, payloads)
    assert len(log) == 2
    assert isinstance(log[1], anyio.get_cancelled_exc_class())
    assert not caplog.records


@pytest.mark.real_clock
@pytest.mark.parametrize("items", [polling, sleeping])
@pytest.mark.parametrize("leave", ["ask times out", "own timeout"])
async def test_thread_of_a_handler_is_told_of_the_end(router, items, leave):
    """A source that a handler drops is cancelled, too."""
    log: list[Any] = []

    async def read(actor):
        with anyio.move_on_after(0.05 if leave == "own timeout" else None):
            async for _ in actor.create_thread_stream(items(log)):
                pass
        return "left"

    router.register_actor("a", Reads())
    if leave == "own timeout":
        assert await router.ask("a", "read", read) == "left"
    else:
        with pytest.raises(AskTimeoutError):
            await router.ask("a", "read", read, timeout=0.05)
    with anyio.fail_after(10):
        while len(log) < 2:
            await anyio.sleep(0.001)


@pytest.mark.real_clock
async def test_clean_up_in_the_thread_is_not_cancelled(router):
    """A generator that is closed may still call into the event loop."""
    gate = Gate()
    log = []

    def items():
        try:
            yield from gate
        finally:
            from_thread.run(anyio.sleep, 0)
            log.append("closed")

    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(items())))
    async with router.stream_async("a", "query") as stream:
        await anext(stream.payloads())
        await gate.wait_entered()
        stream.cancel()
        await settle()
        gate.let_go.set()
    assert log == ["closed"]


@pytest.mark.real_clock
async def test_failure_of_a_fetch_that_is_left(router):
    """An exception of the fetch that no task waits for is one of the clean-up."""
    gate = Gate()

    def failing():
        yield from itertools.islice(gate, 1)
        gate.entered.set()
        gate.let_go.wait(60)
        raise OSError("the connection is gone")

    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(failing())))
    stream = router.stream_async("a", "query")
    await anext(stream.payloads())
    await gate.wait_entered()
    stream.cancel()
    gate.let_go.set()
    with pytest.raises(OSError, match="the connection is gone"):
        await stream.aclose()


# A loop inside of a thread


class Nested(Actor):
    """Answers, and streams, with every helper."""

    async def receive(self, message: Message) -> Any:
        return message.payload

    async def stream_async(self, payload: Any) -> Any:
        def register(push):
            push(3)
            push.end()

        helpers = [
            self.create_async_stream([1]),
            self.create_thread_stream([2]),
            self.create_callback_stream(register),
        ]
        for helper in helpers:
            yield await payloads_of(helper)


async def use_a_router() -> list[Any]:
    async with MessageRouter() as router:
        router.register_actor("inner", Nested())
        answer = await router.ask("inner", "echo", 0)
        by_hand = await payloads_of(Actor().create_thread_stream([4]))
        return [answer, *await router.stream_async("inner", "go").collect(), by_hand]


@pytest.mark.real_clock
@pytest.mark.parametrize("inner", ["asyncio", "trio"])
@pytest.mark.parametrize("where", ["returned", "iterated", "handler"])
async def test_loop_in_a_thread(router, inner, where):
    """A thread source may run an event loop, and a router in it."""

    def items():
        for _ in range(2):
            yield anyio.run(use_a_router, backend=inner)

    class Outer(Actor):
        async def receive(self, message):
            return await payloads_of(self.create_thread_stream(items()))

        def stream_async(self, payload):
            source = self.create_thread_stream(items())
            return source if where == "returned" else read_on(source)

    router.register_actor("a", Outer())
    if where == "handler":
        got = await router.ask("a", "read")
    else:
        got = await router.stream_async("a", "read").collect()
    assert got == [[0, [1], [2], [3], [4]]] * 2


# Sources with a close of their own


class Response:
    """The response of a client: iterating it makes a generator, which does not close it."""

    def __init__(self) -> None:
        self.closed: list[int] = []

    def __iter__(self) -> Iterator[int]:
        yield from itertools.count()

    def close(self) -> None:
        self.closed.append(threading.get_ident())


@pytest.mark.real_clock
@pytest.mark.parametrize("where", ["returned", "iterated", "handler", "by hand"])
async def test_source_with_its_own_close(router, where):
    """It is closed in its thread when it is left early."""
    response = Response()

    class Streams(Actor):
        async def receive(self, message):
            async for _ in self.create_thread_stream(response):
                return

        def stream_async(self, payload):
            source = self.create_thread_stream(response)
            return source if where == "returned" else read_on(source)

    router.register_actor("a", Streams())
    if where == "handler":
        await router.ask("a", "read")
    elif where == "by hand":
        async with aclosing(Actor().create_thread_stream(response)) as source:
            await anext(source)
    else:
        async with router.stream_async("a", "read") as stream:
            await anext(stream.payloads())
    with anyio.fail_after(10):
        while not response.closed:
            await anyio.sleep(0.001)
    assert len(response.closed) == 1
    assert response.closed[0] != threading.get_ident()


@pytest.mark.real_clock
@pytest.mark.parametrize("where", ["returned", "iterated"])
async def test_failed_source_with_its_own_close(router, where):
    """It is closed when it fails, too, and its thread ends."""

    class Broken(Response):
        def __iter__(self):
            yield 1
            raise OSError("the connection is gone")

    response = Broken()

    def make(actor):
        source = actor.create_thread_stream(response)
        return source if where == "returned" else read_on(source)

    router.register_actor("a", HelperActor(make))
    with pytest.raises(StreamError, match="the connection is gone"):
        await router.stream_async("a", "read").collect()
    assert len(response.closed) == 1


@pytest.mark.real_clock
async def test_source_with_its_own_close_that_is_read_to_its_end(router):
    """It is not closed: it has ended."""

    class Short(Response):
        def __iter__(self):
            yield 1

    response = Short()
    router.register_actor("a", HelperActor(lambda actor: actor.create_thread_stream(response)))
    assert await router.stream_async("a", "read").collect() == [1]
    assert not response.closed
