"""The consumer's stream object: its repr, its states, and iterators dropped in any thread."""

import asyncio
import gc
import logging
import threading
import weakref
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from actorstream import Actor, Stream, StreamAbortedError
from actorstream.testing import settle
from tests.support import CountTo, NeverYields, Referable, YieldsOnceAndCleansUp, serving

# repr


async def test_repr_of_a_stream(router):
    """The `repr` shows the request, the actor and the state of the stream."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 3)
    assert repr(stream) == "<Stream 'query' from @(a): not started>"
    async with stream:
        assert repr(stream) == "<Stream 'query' from @(a): open>"
        await settle()
        assert repr(stream) == "<Stream 'query' from @(a): ending>"
        await stream.collect()
        assert repr(stream) == "<Stream 'query' from @(a): ended>"


async def test_repr_of_a_stream_whose_producer_cleans_up(unit):
    """The `repr` of a closed stream shows that its producer is still cleaning up."""
    async with serving(YieldsOnceAndCleansUp(lambda: anyio.sleep(unit))) as router:
        stream = router.stream_async("a", "query")
        async for _ in stream:
            break
        await settle()
        assert repr(stream) == "<Stream 'query' from @(a): ended, producer cleaning up>"


# Iterators


async def test_iterator_iterates_itself(router):
    """An iterator is its own iterator, so that a second loop can resume it."""
    router.register_actor("a", CountTo())
    iterator = aiter(router.stream_async("a", "query", 4))
    async for event in iterator:
        if event.payload == 1:
            break
    assert [event.payload async for event in iterator] == [2, 3, None]


async def test_aclosing_an_iterator(router):
    """An iterator can be closed, as `contextlib.aclosing` does; the producer is gone then."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    events: Any = aiter(router.stream_async("a", "query"))
    async with aclosing(events):
        await anext(events)
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


async def test_iterator_in_a_cycle(router):
    """An iterator in a reference cycle closes its stream when the cycle is collected."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    cycle: list[Any] = [aiter(router.stream_async("a", "query"))]
    cycle.append(cycle)
    await anext(cycle[0])
    del cycle
    gc.collect()
    await settle()
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


@pytest.mark.real_clock
async def test_iterator_dropped_in_another_thread(router):
    """An iterator dropped in another thread still closes its stream."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    holder = [aiter(router.stream_async("a", "query"))]
    await anext(holder[0])
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    with anyio.fail_after(60):
        while router.statistics().active_streams:
            await anyio.sleep(0)
    assert numbers.closed == 1


def test_iterator_dropped_after_the_loop_is_gone():
    """An iterator that outlives its event loop is dropped without a warning."""
    kept = []

    async def main():
        async with serving(CountTo()) as router:
            kept.append(aiter(router.stream_async("a", "query")))
            await anext(kept[0])

    anyio.run(main)
    kept.clear()
    gc.collect()


async def test_iterator_dropped_after_the_router():
    """An iterator that outlives its router is dropped without a warning."""
    async with serving(CountTo()) as router:
        iterator = aiter(router.stream_async("a", "query"))
        await anext(iterator)
    del iterator
    gc.collect()


async def test_caught_exception_keeps_no_stream_open(router):
    """Keeping the traceback of a consumer's exception does not keep the producer running."""
    numbers = CountTo()

    async def fail(stream: Stream[Any]) -> None:
        async for _ in stream:
            raise KeyError

    router.register_actor("a", numbers)
    with pytest.raises(KeyError) as kept:
        await fail(router.stream_async("a", "query"))
    await settle()
    assert kept.tb is not None
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


async def test_caught_cancellation_keeps_no_stream_open(router, unit):
    """Keeping the exception of a cancelled read does not keep the producer running."""
    kept: list[BaseException] = []

    router.register_actor("a", NeverYields())
    with anyio.move_on_after(unit):
        try:
            async for _ in router.stream_async("a", "query"):
                pass
        except BaseException as exc:
            kept.append(exc)
            raise
    await settle()
    assert len(kept) == 1
    assert router.statistics().active_streams == 0
    kept.clear()


async def test_iterator_keeps_the_stream_running(router):
    """A stream goes on while its iterator is held, even without the stream object."""
    router.register_actor("a", CountTo())
    payloads = router.stream_async("a", "query", 3, buffer_size=1).payloads()
    gc.collect()
    await settle()
    assert [number async for number in payloads] == [0, 1, 2]


# Statistics, correlation id


async def test_statistics_after_a_break(router):
    """A closed stream has an empty buffer and still counts what it delivered."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", buffer_size=5)
    async for event in stream:
        if event.payload == 2:
            break
    await settle()
    statistics = stream.statistics()
    assert (statistics.buffered, statistics.delivered) == (0, 3)
    assert not statistics.producer_waiting


async def test_statistics_are_a_snapshot(router):
    """What `statistics()` returned does not change later."""
    router.register_actor("a", CountTo())
    async with router.stream_async("a", "query", 5) as stream:
        before = stream.statistics()
        await stream.collect()
    assert (before.delivered, stream.statistics().delivered) == (0, 5)


# cancel() and the scoped form


async def test_cancelled_block(router):
    """A block whose stream was cancelled ends without an error if it does not read on."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
        stream.cancel("enough")
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


async def test_cancel_before_entering(router):
    """A stream cancelled before it is entered raises at the first read."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    stream = router.stream_async("a", "query")
    stream.cancel({"code": 7})
    async with stream:
        with pytest.raises(StreamAbortedError) as caught:
            await stream.collect()
    assert caught.value.reason == {"code": 7}
    assert numbers.closed == 0


async def test_cancel_with_an_exception(router):
    """An exception given as the reason is also the cause."""
    reason = OSError("the client is gone")
    router.register_actor("a", CountTo())
    async with router.stream_async("a", "query") as stream:
        stream.cancel(reason)
        with pytest.raises(StreamAbortedError) as caught:
            await stream.collect()
    assert caught.value.reason is reason
    assert caught.value.__cause__ is reason


async def test_payloads_in_an_unread_block(router):
    """A block that reads nothing ends at once, and so does its producer."""
    numbers = CountTo()
    router.register_actor("a", numbers)
    async with router.stream_async("a", "query"):
        await settle()
    assert (numbers.closed, router.statistics().active_streams) == (1, 0)


async def cancel_during_the_close(task: "asyncio.Task[None]", let_go: anyio.Event) -> None:
    """Cancel a task through asyncio, then release the clean-up that it waits for."""
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    let_go.set()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_clean_up_error_where_asyncio_cancels(caplog):
    """A clean-up error replaced by asyncio's own cancellation is logged once."""
    let_go = anyio.Event()

    class Failing(Actor):
        async def stream_async(self, payload):
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await let_go.wait()
                raise OSError("cannot flush")

    async def consume() -> None:
        async with router.stream_async("a", "query") as stream:
            await anext(aiter(stream))

    async with serving(Failing()) as router:
        await cancel_during_the_close(asyncio.create_task(consume()), let_go)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cannot flush" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancellation_by_asyncio_leaves_no_cycle(router):
    """A cancellation by asyncio leaves no reference cycle."""
    let_go = anyio.Event()
    held: list[weakref.ref[Any]] = []

    async def consume() -> None:
        thing = Referable()
        held.append(weakref.ref(thing))
        async with router.stream_async("a", "query") as stream:
            await anext(aiter(stream))

    router.register_actor("a", YieldsOnceAndCleansUp(let_go.wait))
    gc.disable()
    try:
        await cancel_during_the_close(asyncio.create_task(consume()), let_go)
        await settle()
        assert held[0]() is None
    finally:
        gc.enable()
