"""One stream from both sides: handing over, overflow, statistics, end."""

import gc
import logging
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    AsyncStreamMessage,
    Message,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAbortedError,
    StreamAsyncOptions,
    StreamConsumedError,
    StreamError,
    StreamOverflowError,
    address,
)
from actorstream._loop.timers import Timers
from actorstream._streams.channel import Channel
from actorstream.testing import settle
from tests.support import ActorOf, CallbackCountTo, CountTo, HelperActor, HelperCountTo

Backend = tuple[str, dict[str, Any]]
MANY = 3000  # items, more than one side handles in a turn


Counting = CountTo | CallbackCountTo | HelperCountTo


@pytest.fixture(params=[CountTo, CallbackCountTo, HelperCountTo])
def counter(request: pytest.FixtureRequest, router: MessageRouter) -> Counting:
    counter: Counting = request.param()
    router.register_actor("counter", counter)
    return counter


def open_to(router: MessageRouter, make: Callable[[], AsyncIterator[Any]], **options: Any) -> Any:
    router.register_actor("actor", ActorOf(lambda _: make()))
    return router.stream_async("actor", "go", **options)


async def numbers(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def failing(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item
    raise ValueError("no more")


# Handing over


@pytest.mark.parametrize("buffer_size", [1, 2, 7, 499, 500, 501, 10_000])
async def test_all_items_arrive_once_in_order_for_every_buffer_size(
    router: MessageRouter, counter: Counting, buffer_size: int
) -> None:
    stream = router.stream_async("counter", "go", MANY, buffer_size=buffer_size)
    assert await stream.collect() == list(range(MANY))


@pytest.mark.parametrize("buffer_size", [1, 2, 7, 600])
async def test_the_producer_is_at_most_the_buffer_and_one_item_ahead(
    router: MessageRouter, counter: Counting, buffer_size: int
) -> None:
    reader = router.stream_async("counter", "go", MANY, buffer_size=buffer_size).payloads()
    for consumed in range(1, 5):
        await anext(reader)
        await settle(20)
        assert counter.made == consumed + buffer_size + 1


async def test_falsy_objects_and_exceptions_are_ordinary_items(router: MessageRouter) -> None:
    items: list[object] = [None, 0, "", b"", False, [], ValueError("an item"), StopAsyncIteration()]
    assert await open_to(router, lambda: numbers(*items)).collect() == items


async def test_a_poll_loses_nothing(router: MessageRouter, counter: Counting) -> None:
    reader = router.stream_async("counter", "go", 200, buffer_size=3).payloads()
    items: list[int] = []
    while len(items) < 200:
        with anyio.move_on_after(0):
            items.append(await anext(reader))
        await settle(1)
    assert items == list(range(200))


async def test_neither_side_keeps_other_tasks_from_running(
    router: MessageRouter, counter: Counting
) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await settle(1)
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await router.stream_async("counter", "go", 20_000, buffer_size=20_000).collect()
        tasks.cancel_scope.cancel()
    assert turns >= 20


async def test_a_consumer_of_a_full_buffer_notices_a_cancellation(
    router: MessageRouter, counter: Counting
) -> None:
    count = 0
    async with router.stream_async("counter", "go", MANY, buffer_size=MANY) as stream:
        await settle(20)
        with anyio.CancelScope() as scope:
            scope.cancel()
            async for _ in stream:
                count += 1
    assert count <= 1000


# Overflow


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [17, 18, 19]), ("drop_newest", [0, 1, 2])]
)
async def test_a_full_buffer_keeps_what_its_policy_names(
    router: MessageRouter, counter: Counting, overflow: Any, kept: list[int]
) -> None:
    stream = router.stream_async("counter", "go", 20, buffer_size=3, overflow=overflow)
    async with stream:
        await settle(20)
        assert await stream.collect() == kept


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_dropped_items_are_counted(
    router: MessageRouter, counter: Counting, overflow: Any
) -> None:
    stream = router.stream_async("counter", "go", MANY, buffer_size=3, overflow=overflow)
    async with stream:
        await settle(20)
        delivered = len(await stream.collect())
        statistics = stream.statistics()
    assert (statistics.delivered, statistics.dropped) == (delivered, MANY - delivered)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_a_producer_whose_items_are_dropped_lets_other_tasks_run(
    router: MessageRouter, counter: Counting, overflow: Any
) -> None:
    options: dict[str, Any] = {"buffer_size": 1, "overflow": overflow}
    async with router.stream_async("counter", "go", 10**9, **options):
        await settle(20)
        assert 0 < counter.made < 50_000


async def test_nothing_is_dropped_for_a_consumer_that_keeps_up(
    router: MessageRouter, counter: Counting
) -> None:
    stream = router.stream_async("counter", "go", 3, buffer_size=3, overflow="fail")
    assert await stream.collect() == [0, 1, 2]


async def test_an_overflow_that_fails_delivers_the_buffered_items_first(
    router: MessageRouter, counter: Counting
) -> None:
    stream = router.stream_async("counter", "go", 20, buffer_size=3, overflow="fail")
    items: list[int] = []
    async with stream:
        await settle(20)
        with pytest.raises(StreamOverflowError):  # noqa: PT012
            async for item in stream.payloads():
                items.append(item)  # noqa: PERF401 - what came before the error counts
    assert items == [0, 1, 2]
    assert counter.closed == 1


# Statistics


async def test_before_the_start_statistics_show_only_the_buffer_size(
    router: MessageRouter, counter: Counting
) -> None:
    statistics = router.stream_async("counter", "go", 9, buffer_size=4).statistics()
    assert statistics.buffer_size == 4
    assert (statistics.buffered, statistics.delivered, statistics.dropped) == (0, 0, 0)
    assert not statistics.producer_waiting
    assert not statistics.consumer_waiting


async def test_statistics_show_a_full_buffer_and_a_blocked_producer(
    router: MessageRouter, counter: Counting
) -> None:
    async with router.stream_async("counter", "go", 9, buffer_size=4) as stream:
        await settle(20)
        assert stream.statistics().buffered == 4
        assert stream.statistics().producer_waiting


async def test_statistics_count_each_item_taken(router: MessageRouter, counter: Counting) -> None:
    stream = router.stream_async("counter", "go", 9, buffer_size=4)
    reader = aiter(stream)
    for count in range(1, 6):
        await anext(reader)
        assert stream.statistics().delivered == count


async def test_statistics_show_a_waiting_consumer(router: MessageRouter) -> None:
    async def silent() -> AsyncIterator[int]:
        await anyio.sleep_forever()
        yield 0

    stream = open_to(router, silent)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.collect)
        await settle()
        assert stream.statistics().consumer_waiting
        tasks.cancel_scope.cancel()


# Two readers, and items after the end


async def test_a_second_task_on_an_iterator_is_refused_and_the_first_goes_on(
    router: MessageRouter,
) -> None:
    go = anyio.Event()

    async def later() -> AsyncIterator[int]:
        await go.wait()
        yield 1

    reader = open_to(router, later).payloads()
    seen: list[Any] = []

    async def read() -> None:
        try:
            seen.append(await anext(reader))
        except StreamConsumedError as error:
            seen.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await settle()
        tasks.start_soon(read)
        await settle()
        go.set()
    assert isinstance(seen[0], StreamConsumedError)
    assert "two tasks" in str(seen[0])
    assert seen[1:] == [1]


@pytest.mark.parametrize("more", [1, AsyncStreamMessage("data", 1), AsyncStreamMessage("end")])
@pytest.mark.parametrize("closing", ["end", "error"])
async def test_an_item_after_the_end_is_the_actors_error(
    router: MessageRouter, closing: Any, more: object
) -> None:
    stream = open_to(router, lambda: numbers(0, AsyncStreamMessage(closing), more))
    with pytest.raises(StreamError, match=f"after its '{closing}' event") as caught:
        await stream.collect()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_an_endless_producer_that_ignores_the_refusal_blocks_no_other_task(
    router: MessageRouter,
) -> None:
    async def stubborn() -> AsyncIterator[Any]:
        while True:
            try:
                yield AsyncStreamMessage("end")
            except RuntimeError:
                continue

    async with open_to(router, stubborn):
        await settle(20)
    assert router.statistics().active_streams == 0


async def test_the_end_event_is_held_back_until_the_actor_is_done(router: MessageRouter) -> None:
    go = anyio.Event()

    async def slow_to_leave() -> AsyncIterator[Any]:
        yield AsyncStreamMessage("end")
        await go.wait()

    reader = aiter(open_to(router, slow_to_leave))
    with anyio.move_on_after(0):
        await anext(reader)
    await settle(20)
    with anyio.move_on_after(0) as scope:
        await anext(reader)
    assert scope.cancelled_caught
    go.set()
    assert (await anext(reader)).type == "end"


# Errors that could go unnoticed


async def test_an_error_that_an_abort_hides_is_logged(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_to(router, lambda: failing(1)) as stream:
        await settle(20)
        stream.cancel()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.WARNING)
    assert "the consumer never saw the error" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_an_error_that_was_read_is_not_logged(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StreamError):
        await open_to(router, lambda: failing(1)).collect()
    assert caplog.records == []


async def test_an_error_event_that_was_read_is_not_logged(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    async for event in open_to(router, lambda: failing(1)):
        if event.type == "error":
            break
    await settle(20)
    assert caplog.records == []


async def failing_clean_up() -> AsyncIterator[int]:
    try:
        yield 1
        await anyio.sleep_forever()
    finally:
        raise ValueError("in the clean-up")


async def test_the_bare_form_logs_a_failing_clean_up(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    async for _ in open_to(router, failing_clean_up):
        break
    await settle(20)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.ERROR)
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "in the clean-up"


async def test_the_scoped_form_raises_a_failing_clean_up_and_logs_nothing(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="in the clean-up"):
        async with open_to(router, failing_clean_up) as stream:
            await anext(aiter(stream))
    assert caplog.records == []


async def test_aclose_raises_a_failing_clean_up_once(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    stream = open_to(router, failing_clean_up)
    await anext(aiter(stream))
    with pytest.raises(ValueError, match="in the clean-up"):
        await stream.aclose()
    await stream.aclose()
    assert caplog.records == []


async def test_the_bodys_error_is_raised_and_the_clean_ups_is_logged(
    router: MessageRouter, caplog: pytest.LogCaptureFixture
) -> None:
    mine = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012
        async with open_to(router, failing_clean_up) as stream:
            await anext(aiter(stream))
            raise mine
    assert caught.value is mine
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


# The same for helpers


def helped(items: Callable[[], Any]) -> Actor:
    return HelperActor(lambda actor: actor.create_async_stream(items()))


async def test_a_helpers_failing_clean_up_is_raised_too(router: MessageRouter) -> None:
    router.register_actor("helped", helped(failing_clean_up))
    with pytest.raises(ValueError, match="in the clean-up"):
        async with router.stream_async("helped", "go") as stream:
            await anext(aiter(stream))


async def test_a_helper_forwards_another_actors_stream_end_and_all(router: MessageRouter) -> None:
    router.register_actor("source", ActorOf(lambda _: numbers(1, 2)))
    router.register_actor("relay", helped(lambda: router.stream_async("source", "go")))
    events = [event async for event in router.stream_async("relay", "go")]
    assert [event.payload for event in events] == [1, 2, None]
    assert [event.type for event in events] == ["data", "data", "end"]


async def test_a_helper_forwards_another_actors_failure(router: MessageRouter) -> None:
    router.register_actor("source", ActorOf(lambda _: failing(1)))
    router.register_actor("relay", helped(lambda: router.stream_async("source", "go")))
    seen: list[str] = []
    with pytest.raises(StreamError, match="no more"):  # noqa: PT012
        async for event in router.stream_async("relay", "go"):
            seen.append(event.type)  # noqa: PERF401 - what came before the error counts
    assert seen == ["data", "error"]


# Dropping a stream in any thread


@pytest.mark.real_clock
async def test_the_last_reference_may_be_dropped_in_another_thread(
    router: MessageRouter, counter: Counting
) -> None:
    readers = [aiter(router.stream_async("counter", "go", 10**9))]
    await anext(readers[0])
    thread = threading.Thread(target=readers.clear)
    thread.start()
    thread.join()
    with anyio.fail_after(60):
        while router.statistics().active_streams:
            await settle()
    assert counter.closed == 1


ENDS: dict[str, Callable[[Stream[Any]], object]] = {
    "finished": lambda _: None,
    "cancelled": lambda stream: stream.cancel(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_last_reference_may_be_dropped_after_the_loop_is_gone(
    anyio_backend: Backend, end: Callable[[Stream[Any]], object]
) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async with MessageRouter() as router:
            router.register_actor("counter", CountTo())
            stream = router.stream_async("counter", "go", 3)
            reader = aiter(stream)
            await anext(reader)
            await settle(20)
            end(stream)
            kept.append(reader)

    name, options = anyio_backend
    anyio.run(main, backend=name, backend_options=options)
    kept.clear()
    gc.collect()


def test_a_live_stream_may_be_dropped_after_the_loop_is_gone(
    anyio_backend: Backend,
) -> None:
    kept: list[Any] = []

    async def main() -> None:
        async with MessageRouter() as router:
            router.register_actor("counter", CountTo())
            kept.append(aiter(router.stream_async("counter", "go", 10**9)))
            await anext(kept[0])

    name, options = anyio_backend
    anyio.run(main, backend=name, backend_options=options)
    kept.clear()
    gc.collect()


@pytest.mark.real_clock
async def test_dropping_a_finished_stream_elsewhere_leaves_the_timers_to_the_loop(
    router: MessageRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.register_actor("counter", CountTo())
    signal = AbortSignal.timeout(1000)
    readers = [aiter(router.stream_async("counter", "go", 3, signal=signal, timeout=None))]
    await anext(readers[0])
    await settle(20)
    touched_by: list[int] = []
    monkeypatch.setattr(Timers, "forget_one", lambda _: touched_by.append(threading.get_ident()))
    thread = threading.Thread(target=readers.clear)
    thread.start()
    thread.join()
    with anyio.fail_after(60):
        while not touched_by:
            await settle()
    assert touched_by == [threading.get_ident()]


def test_a_signal_frees_a_stream_dropped_after_the_loop_is_gone(
    anyio_backend: Backend,
) -> None:
    signal = AbortController().signal
    kept: list[Any] = []

    class Payload:
        """Referenced by the stream's request."""

        def __index__(self) -> int:
            return 3

    async def main() -> weakref.ref[Payload]:
        async with MessageRouter() as router:
            router.register_actor("counter", CountTo())
            payload = Payload()
            kept.append(aiter(router.stream_async("counter", "go", payload, signal=signal)))
            await anext(kept[0])
            await settle(20)
            return weakref.ref(payload)

    name, options = anyio_backend
    payload = anyio.run(main, backend=name, backend_options=options)
    assert payload() is not None
    kept.clear()
    gc.collect()
    assert payload() is None


async def test_a_channel_without_a_producer_closes_at_once() -> None:
    channel = Channel(Message(to=address("a"), type="query"), StreamAsyncOptions())
    channel.abandon()
    assert channel.state == "ended"


# An abort


@pytest.mark.parametrize("buffer_size", [1, 100, 100_000])
@pytest.mark.parametrize("actor", [CountTo, CallbackCountTo, HelperCountTo])
async def test_an_actor_that_aborts_its_own_stream_makes_no_more_items(
    router: MessageRouter, actor: type[Counting], buffer_size: int
) -> None:
    controller = AbortController()

    class Quitter(actor):  # type: ignore[misc,valid-type]
        async def numbers(self, count: int) -> AsyncGenerator[int, None]:
            async with aclosing(super().numbers(count)) as numbers:
                async for number in numbers:
                    if number == 3:
                        controller.abort("enough")
                    yield number

    router.register_actor("quitter", quitter := Quitter())
    options: dict[str, Any] = {"buffer_size": buffer_size, "signal": controller.signal}
    with pytest.raises(StreamError, match="enough"):
        await router.stream_async("quitter", "go", MANY, **options).collect()
    await settle()
    assert quitter.made == 4


# After aclose()


async def last_of(reader: AsyncIterator[Any]) -> Any:
    """Read once, and return the item or the exception."""
    try:
        return await anext(reader)
    except (StopAsyncIteration, StreamError) as error:
        return error


@pytest.mark.parametrize("before", [Stream.cancel, lambda _: None], ids=["cancelled", "open"])
@pytest.mark.parametrize("started", [True, False])
async def test_after_aclose_an_iterator_is_at_its_end(
    router: MessageRouter, counter: Counting, started: bool, before: Callable[[Stream[Any]], object]
) -> None:
    stream = router.stream_async("counter", "go", 9)
    reader = aiter(stream)
    if started:
        await anext(reader)
    before(stream)
    await stream.aclose()
    for _ in range(2):
        assert isinstance(await last_of(reader), StopAsyncIteration)


async def test_after_aclose_the_error_behind_an_error_event_is_not_raised(
    router: MessageRouter,
) -> None:
    stream = open_to(router, failing)
    reader = aiter(stream)
    assert (await anext(reader)).type == "error"
    await stream.aclose()
    assert isinstance(await last_of(reader), StopAsyncIteration)


async def test_after_aclose_a_new_iteration_is_refused(
    router: MessageRouter, counter: Counting
) -> None:
    stream = router.stream_async("counter", "go", 9)
    await stream.aclose()
    with pytest.raises(StreamConsumedError):
        aiter(stream)
    with pytest.raises(StreamConsumedError):
        stream.payloads()


async def test_two_tasks_that_close_a_stream_both_wait_for_its_producer(
    router: MessageRouter,
) -> None:
    go, closed = anyio.Event(), 0

    async def slow_to_leave() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()

    stream = open_to(router, slow_to_leave)
    await anext(aiter(stream))

    async def close() -> None:
        nonlocal closed
        await stream.aclose()
        closed += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        tasks.start_soon(close)
        await settle()
        assert closed == 0
        go.set()
    assert closed == 2


# When the router is cancelled


async def swallowing() -> AsyncIterator[int]:
    yield 1
    try:
        await anyio.sleep_forever()
    except BaseException:
        return


async def replacing() -> AsyncIterator[int]:
    yield 1
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("in the clean-up")


@pytest.mark.parametrize("make", [swallowing, replacing])
async def test_a_producer_that_swallows_the_cancellation_does_not_hide_the_closed_router(
    make: Callable[[], AsyncIterator[int]], caplog: pytest.LogCaptureFixture
) -> None:
    router, around = MessageRouter(), anyio.CancelScope()
    reader = open_to(router, make).payloads()
    reading = anyio.Event()

    async def host() -> None:
        with around:
            async with router:
                with anyio.CancelScope(shield=True):  # so that the producer is cancelled first
                    assert await anext(reader) == 1
                    reading.set()
                    await settle(20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host)
        await reading.wait()
        around.cancel()
    with pytest.raises(RouterClosedError):
        await anext(reader)
    assert len(caplog.records) == (make is replacing)


# repr


async def test_a_channels_repr_shows_the_request() -> None:
    channel = Channel(Message(to=address("actor"), type="go"), StreamAsyncOptions())
    assert repr(channel) == "<Channel 'go' from @(actor)>"


async def test_a_streams_repr_shows_its_state(router: MessageRouter) -> None:
    go = anyio.Event()

    async def one_by_one() -> AsyncIterator[int]:
        yield 1
        await go.wait()

    stream = open_to(router, one_by_one)
    shown: list[str] = [repr(stream)]
    reader = aiter(stream)
    await anext(reader)
    shown.append(repr(stream))
    go.set()
    await settle(20)
    shown.append(repr(stream))
    shown += [repr(stream) async for _ in reader]
    states = [text.removeprefix("<Stream 'go' from @(actor): ").removesuffix(">") for text in shown]
    assert states == ["not started", "open", "ending", "ended"]


async def test_a_streams_repr_shows_a_producer_that_is_cleaning_up(router: MessageRouter) -> None:
    go = anyio.Event()

    async def slow_to_leave() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            with anyio.CancelScope(shield=True):
                await go.wait()

    stream = open_to(router, slow_to_leave, buffer_size=1)
    reader = aiter(stream)
    await anext(reader)
    del reader
    await settle(20)
    assert "ended, producer cleaning up" in repr(stream)
    go.set()
    await settle(20)
    assert "ended>" in repr(stream)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("size", [1, 2, 1000])
async def test_an_eager_reader_gets_items_whatever_is_dropped(
    router: MessageRouter, overflow: str, size: int
) -> None:
    """A producer that never waits leaves an item for the reader whenever it rests."""

    async def endless() -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    stream = open_to(router, endless, buffer_size=size, overflow=overflow, timeout=None)
    async with stream:
        payloads = stream.payloads()
        for _ in range(20):
            await anext(payloads)


class TextlessError(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]


async def test_a_failure_without_a_text_ends_its_stream(router: MessageRouter) -> None:
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise TextlessError

    with pytest.raises(StreamError, match="TextlessError") as caught:
        await open_to(router, fail).collect()
    assert isinstance(caught.value.__cause__, TextlessError)


async def test_a_reason_without_a_text_ends_its_stream(router: MessageRouter) -> None:
    stream = open_to(router, failing_clean_up)
    stream.cancel(TextlessError())
    with pytest.raises(StreamAbortedError) as caught:
        await stream.collect()
    assert "TextlessError" in str(caught.value)
