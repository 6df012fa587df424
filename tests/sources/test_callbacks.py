"""Another library's callbacks as a source: hooked in, bounded, and unhooked at every end."""

import gc
import logging
import signal
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread

from actorstream import (
    AbortController,
    Actor,
    AsyncStreamMessage,
    MessageRouter,
    Stream,
    StreamAbortedError,
    StreamError,
    StreamOverflowError,
    StreamTimeoutError,
)
from actorstream.testing import settle
from tests.support import Referable, read_on, serving

FORMS = ["returned", "iterated"]


class Library:
    """A library that calls back; it records each hooking and unhooking, and the thread."""

    def __init__(self, first: tuple[Any, ...] = ()) -> None:
        self.push: Any = None
        self.first = first
        self.hooked = 0
        self.unhooked: list[int] = []

    def register(self, push: Any) -> Callable[[], None]:
        self.push = push
        self.hooked += 1
        for item in self.first:
            push(item)
        return self.unhook

    def unhook(self) -> None:
        self.unhooked.append(threading.get_ident())

    def push_all(self, items: Any) -> None:
        for item in items:
            self.push(item)


class Returning(Actor):
    """Returns a callback stream."""

    def __init__(self, register: Any, **options: Any) -> None:
        self.register = register
        self.options = options

    def stream_async(self, payload: Any) -> Any:
        return self.create_callback_stream(self.register, **self.options)


class Iterating(Returning):
    """Forwards the items of a callback stream."""

    async def stream_async(self, payload: Any) -> Any:
        async for event in self.create_callback_stream(self.register, **self.options):
            yield event


def actor_of(form: str, register: Any, **options: Any) -> Actor:
    return (Returning if form == "returned" else Iterating)(register, **options)


async def hooked(stream: Stream[Any]) -> AsyncIterator[Any]:
    """Start a stream, and return its payload iterator once the callback is hooked in."""
    payloads = stream.payloads()
    with anyio.move_on_after(0):
        await anext(payloads)
    await settle()
    return payloads


async def rest_of(payloads: AsyncIterator[Any]) -> list[Any]:
    return [payload async for payload in payloads]


# The items


@pytest.mark.parametrize("form", FORMS)
async def test_items(router, form):
    """Pushed items arrive once, in order; `None` and the like are ordinary items."""
    library = Library()
    router.register_actor("a", actor_of(form, library.register))
    payloads = await hooked(router.stream_async("a", "query"))
    library.push_all([None, 0, "", KeyError("an item"), 5])
    library.push.end()
    items = await rest_of(payloads)
    assert items[:3] + items[4:] == [None, 0, "", 5]
    assert type(items[3]) is KeyError


@pytest.mark.parametrize("form", FORMS)
async def test_pushed_while_registering(router, form):
    """`push` already works inside `register`."""

    def register(push):
        push(1)
        push.end()

    router.register_actor("a", actor_of(form, register))
    assert await router.stream_async("a", "query").collect() == [1]


@pytest.mark.parametrize("form", FORMS)
async def test_events(router, form):
    """The stream gives data events and an end event, with the given correlation id."""
    library = Library(first=(1, AsyncStreamMessage("data", 2), AsyncStreamMessage("end")))
    actor = actor_of(form, library.register, correlation_id="c-1")
    router.register_actor("a", actor)
    events = [event async for event in router.stream_async("a", "query")]
    assert [(event.type, event.payload) for event in events] == [
        ("data", 1),
        ("data", 2),
        ("end", None),
    ]
    assert {event.correlation_id for event in events} == {"c-1"}


@pytest.mark.parametrize("form", FORMS)
async def test_error_event(router, form):
    """A pushed error event fails the stream after the earlier items."""
    library = Library(first=(1, AsyncStreamMessage("error", error="line lost")))
    router.register_actor("a", actor_of(form, library.register))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == 1
    with pytest.raises(StreamError, match="line lost"):
        await anext(payloads)


async def test_lazy():
    """Nothing is hooked in before the stream is read."""
    library = Library()
    Actor().create_callback_stream(library.register)
    assert library.hooked == 0


async def test_coroutine_functions(router):
    """`register` and the function that unhooks may be coroutine functions."""
    log = []

    async def unhook():
        await settle()
        log.append("unhooked")

    async def register(push):
        await settle()
        push(1)
        push.end()
        return unhook

    router.register_actor("a", Returning(register))
    assert await router.stream_async("a", "query").collect() == [1]
    assert log == ["unhooked"]


async def test_read_while_register_waits(router):
    """Items pushed while a coroutine function `register` still waits arrive at once."""
    go_on = anyio.Event()

    async def register(push):
        push(1)
        await go_on.wait()
        push.end()

    router.register_actor("a", Returning(register))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == 1
    go_on.set()
    assert await rest_of(payloads) == []


async def test_by_hand():
    """A stream read by hand, outside a router, keeps 100 unread items."""
    library = Library(first=tuple(range(150)))
    async with aclosing(Actor().create_callback_stream(library.register)) as source:
        assert [(await anext(source)).payload for _ in range(100)] == list(range(50, 150))
        library.push.end()
        assert [event.type async for event in source] == ["end"]
    assert len(library.unhooked) == 1


async def test_polling_loses_nothing():
    """A cancelled read by hand loses no item, and hooks nothing in twice."""
    library = Library(first=(0,))
    async with aclosing(Actor().create_callback_stream(library.register)) as source:
        await anext(source)
        for item in range(3):
            with anyio.move_on_after(0):
                await anext(source)
            library.push(item)
            assert (await anext(source)).payload == item
    assert library.hooked == 1


async def test_polling_while_register_waits():
    """After a read is cancelled while `register` waits, the next one calls it again."""
    library = Library(first=(0,))
    calls = 0

    async def register(push):
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep_forever()
        return library.register(push)

    async with aclosing(Actor().create_callback_stream(register)) as source:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, source)
            await settle()
            tasks.cancel_scope.cancel()
        assert (await anext(source)).payload == 0


# While a coroutine function `register` waits


def pushing(*steps: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Return a `register` that does some steps with `push`, and then waits for ever."""

    async def register(push: Any) -> None:
        for step in steps:
            step(push)
        await anyio.sleep_forever()

    return register


def push_one(push: Any) -> None:
    push("item")


def end_it(push: Any) -> None:
    push.end()


def end_it_with_an_event(push: Any) -> None:
    push(AsyncStreamMessage("end"))


def fail_it(push: Any) -> None:
    push.fail(OSError("refused"))


def overflow_it(push: Any) -> None:
    for number in range(150):
        push(number)


ENDINGS = [
    (end_it, None),
    (end_it_with_an_event, None),
    (fail_it, StreamError),
    (overflow_it, StreamOverflowError),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("end", "error"), ENDINGS)
async def test_end_while_register_waits(router, form, end, error):
    """Every end counts at once, after the items that were pushed."""
    register = pushing(push_one, end)
    router.register_actor("a", actor_of(form, register, overflow="fail"))
    payloads = router.stream_async("a", "query", buffer_size=3, timeout=None).payloads()
    assert await anext(payloads) == "item"
    if error is None:
        assert await rest_of(payloads) == []
    else:
        with pytest.raises(error):
            await rest_of(payloads)


@pytest.mark.parametrize("where", ["handler", "outside"])
@pytest.mark.parametrize(("end", "error"), ENDINGS)
async def test_end_while_register_waits_by_hand(router, where, end, error):
    """So it does for a handler; outside of a router, too."""

    class Reads(Actor):
        async def receive(self, message: Any) -> list[str]:
            source = self.create_callback_stream(pushing(push_one, end), overflow="fail")
            events = []
            async with aclosing(source):
                async for event in source:
                    events.append(event)
                    if event.type == "error":
                        break
            return [event.type for event in events]

    router.register_actor("a", Reads())
    seen = await (router.ask("a", "read") if where == "handler" else Reads().receive(None))
    assert seen[0] == "data"
    assert seen[-1] == ("end" if error is None else "error")


@pytest.mark.parametrize("where", ["returned", "iterated", "handler"])
async def test_item_while_register_waits(router, where):
    """An item is read at once, wherever a router is the owner."""

    class Reads(Actor):
        async def receive(self, message: Any) -> Any:
            async with aclosing(self.create_callback_stream(pushing(push_one))) as source:
                return (await anext(source)).payload

        def stream_async(self, payload: Any) -> Any:
            source = self.create_callback_stream(pushing(push_one))
            return source if where == "returned" else read_on(source)

    router.register_actor("a", Reads())
    if where == "handler":
        assert await router.ask("a", "read") == "item"
    else:
        async with router.stream_async("a", "read", timeout=None) as stream:
            assert await anext(stream.payloads()) == "item"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["first", "idle"])
async def test_timeout_while_register_waits(router, form, kind, unit):
    """The items that are pushed meanwhile count for the time limits."""

    async def register(push):
        for _ in range(3):
            await anyio.sleep(unit)
            push("item")
        await anyio.sleep_forever()

    router.register_actor("a", actor_of(form, register if kind == "idle" else pushing()))
    stream = router.stream_async("a", "query", first_timeout=2 * unit, idle_timeout=2 * unit)
    payloads = stream.payloads()
    for _ in range(3 if kind == "idle" else 0):
        assert await anext(payloads) == "item"
    with pytest.raises(StreamTimeoutError) as caught:
        await anext(payloads)
    assert caught.value.kind == kind


@pytest.mark.parametrize("form", FORMS)
async def test_coroutine_register_that_raises(router, form):
    """Its exception comes after the items that it has pushed."""

    async def register(push):
        push("item")
        await settle()
        raise OSError("refused")

    router.register_actor("a", actor_of(form, register))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == "item"
    with pytest.raises(StreamError, match="refused") as caught:
        await anext(payloads)
    assert type(caught.value.__cause__) is OSError


@pytest.mark.parametrize("form", FORMS)
async def test_scope_from_register_to_unhook(router, form):
    """One task runs both, so a client may hold a task group open between them."""
    log = []

    async def register(push):
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        tasks.start_soon(anyio.sleep_forever)
        push("item")

        async def unhook():
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
            log.append("unhooked")

        return unhook

    router.register_actor("a", actor_of(form, register))
    for _ in range(2):
        async with router.stream_async("a", "query") as stream:
            assert await anext(stream.payloads()) == "item"
            await settle()
    assert log == ["unhooked"] * 2


async def test_scope_that_register_leaves_open():
    """It is an error of that stream; the router goes on."""

    async def register(push):
        await anyio.create_task_group().__aenter__()
        push("item")

    async with MessageRouter() as router:
        router.register_actor("a", Returning(register))
        for _ in range(2):
            stream = router.stream_async("a", "query")
            assert await anext(stream.payloads()) == "item"
            await settle()
            with pytest.raises(RuntimeError):
                await stream.aclose()


@pytest.mark.parametrize("form", FORMS)
async def test_register_is_cancelled_with_its_stream(router, form):
    """One that hooks in all the same is unhooked; the stream's end waits for that."""
    library = Library()

    async def register(push):
        push("item")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settle()
            return library.unhook  # noqa: B012

    router.register_actor("a", actor_of(form, register))
    async with router.stream_async("a", "query") as stream:
        await anext(stream.payloads())
    assert len(library.unhooked) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_register_that_fails_when_it_is_cancelled(router, form):
    """Its exception is one of the clean-up."""

    async def register(push):
        push("item")
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("cannot disconnect")

    router.register_actor("a", actor_of(form, register))
    with pytest.raises(OSError, match="cannot disconnect"):
        async with router.stream_async("a", "query") as stream:
            await anext(stream.payloads())


async def test_closed_before_register_begins(router):
    """A coroutine `register` that has had no turn yet is not run, and warns of nothing."""
    library = Library()

    async def register(push):
        return library.register(push)

    class Reads(Actor):
        async def receive(self, message: Any) -> None:
            with anyio.CancelScope() as scope:
                source = self.create_callback_stream(register)
                scope.cancel()
                await anext(source)
            await source.aclose()

    router.register_actor("a", Reads())
    await router.ask("a", "read")
    assert library.hooked == len(library.unhooked) == 0


# Ends


@pytest.mark.parametrize("form", FORMS)
async def test_failure(router, form):
    """`push.fail()` fails the stream with that exception, after the pushed items."""
    library = Library(first=(1,))
    router.register_actor("a", actor_of(form, library.register))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == 1
    library.push(2)
    library.push.fail(OSError("line lost"))
    assert await anext(payloads) == 2
    with pytest.raises(StreamError, match="line lost") as caught:
        await anext(payloads)
    assert type(caught.value.__cause__) is OSError
    assert len(library.unhooked) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_first_end_counts(router, form):
    """After `push.end()`, further calls do nothing and raise nothing."""
    library = Library(first=(1,))
    router.register_actor("a", actor_of(form, library.register))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == 1
    library.push.end()
    library.push(2)
    library.push.fail(OSError("too late"))
    assert await rest_of(payloads) == []
    library.push(3)
    library.push.end()


async def close(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    await stream.aclose()


async def cancel(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    stream.cancel()


async def unregister(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    await router.unregister_actor("a")


async def end(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    library.push.end()


async def fail(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    library.push.fail(OSError("line lost"))


async def leave(router: MessageRouter, stream: Stream[Any], library: Library) -> None:
    """Do nothing: the caller leaves the router."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("finish", [close, cancel, unregister, end, fail, leave])
async def test_unhooked_once(form, finish):
    """However the stream ends, the callback is unhooked once, in the event loop's thread."""
    library = Library(first=(1,))
    async with serving(actor_of(form, library.register)) as router:
        stream = router.stream_async("a", "query")
        payloads = stream.payloads()
        assert await anext(payloads) == 1
        assert library.unhooked == []
        await finish(router, stream, library)
        await settle(20)
    assert library.unhooked == [threading.get_ident()]
    library.push(2)


@pytest.mark.parametrize("form", FORMS)
async def test_unhooked_after_break(router, form):
    """After `break` the callback is unhooked within a few turns of the loop."""
    library = Library(first=(1, 2))
    router.register_actor("a", actor_of(form, library.register))
    async for _ in router.stream_async("a", "query"):
        break
    await settle(20)
    assert (len(library.unhooked), router.statistics().active_streams) == (1, 0)


async def fail_in_the_body(stream: Stream[Any]) -> None:
    async with stream:
        async for _ in stream:
            raise KeyError


@pytest.mark.parametrize("form", FORMS)
async def test_unhooked_after_the_bodys_error(router, form):
    """An exception in the loop's body unhooks, and leaves the scoped form unwrapped."""
    library = Library(first=(1, 2))
    router.register_actor("a", actor_of(form, library.register))
    with pytest.raises(KeyError):
        await fail_in_the_body(router.stream_async("a", "query"))
    assert len(library.unhooked) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_abort(router, form):
    """An abort ends the stream at once, unhooks, and discards unread items."""
    library = Library(first=(1, 2))
    controller = AbortController()
    router.register_actor("a", actor_of(form, library.register))
    async with router.stream_async("a", "query", signal=controller.signal) as stream:
        payloads = stream.payloads()
        assert await anext(payloads) == 1
        controller.abort("enough")
        with pytest.raises(StreamAbortedError, match="enough"):
            await anext(payloads)
    assert len(library.unhooked) == 1


async def test_unhooked_when_dropped():
    """A stream read by hand and dropped half-read is unhooked soon after."""
    library = Library(first=(1, 2))
    async for _ in Actor().create_callback_stream(library.register):
        break
    await settle(20)
    assert library.unhooked == [threading.get_ident()]


@pytest.mark.parametrize(("wait", "said"), [(False, "dropped half-read"), (True, "not awaited")])
async def test_late_unhooking_that_goes_wrong(wait, said, caplog):
    """A late unhooking that fails, or has to wait, is logged."""

    def broken():
        raise OSError("no such callback")

    async def patient():
        raise AssertionError("never run")

    def register(push):
        push(1)
        return patient if wait else broken

    async for _ in Actor().create_callback_stream(register):
        break
    await settle(20)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("actorstream", logging.ERROR)
    assert said in record.getMessage()


async def test_unhooking_is_shielded(router):
    """An unhooking that waits runs to its end, although the producer has been cancelled."""
    log = []

    async def unhook():
        await settle()
        log.append("unhooked")

    def register(push):
        push(1)
        return unhook

    router.register_actor("a", Returning(register))
    async with router.stream_async("a", "query") as stream:
        async for _ in stream:
            break
    assert log == ["unhooked"]


@pytest.mark.parametrize("form", FORMS)
async def test_register_that_raises(router, form):
    """An exception in `register` fails the stream, after the items already pushed."""

    def register(push):
        push(1)
        raise OSError("no such library")

    router.register_actor("a", actor_of(form, register))
    iterator = aiter(router.stream_async("a", "query"))
    events = [await anext(iterator) for _ in range(2 if form == "returned" else 1)]
    assert events[-1].error == "no such library"
    with pytest.raises(StreamError, match="no such library"):
        await anext(iterator)


@pytest.mark.parametrize("form", FORMS)
async def test_stop_async_iteration(router, form):
    """A `StopAsyncIteration` from `register` is an error, not the end of the items."""

    def register(push):
        raise StopAsyncIteration

    router.register_actor("a", actor_of(form, register))
    with pytest.raises(StreamError, match="StopAsyncIteration"):
        await router.stream_async("a", "query").collect()


@pytest.mark.parametrize("form", FORMS)
async def test_register_that_returns_something_else(router, form):
    """If `register` returns neither a function nor `None`, the error names the value."""
    router.register_actor("a", actor_of(form, lambda push: 7))
    with pytest.raises(StreamError, match="register returned 7; return a function") as caught:
        await router.stream_async("a", "query").collect()
    assert type(caught.value.__cause__) is TypeError


async def test_closed_while_register_waits():
    """A stream closed while `register` waits calls the function that `register` returns."""
    library = Library()
    entered, go_on = anyio.Event(), anyio.Event()

    async def register(push):
        push(1)
        entered.set()
        await go_on.wait()
        return library.unhook

    source = Actor().create_callback_stream(register)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, source)
        await entered.wait()
        await source.aclose()
        go_on.set()
    assert len(library.unhooked) == 1


async def test_nothing_is_kept(router):
    """A library that keeps `push` does not keep a stream that has ended."""
    library = Library(first=(1, Referable()))
    left = weakref.ref(library.first[1])
    async for _ in Actor().create_callback_stream(library.register):
        break
    router.register_actor("a", Returning(library.register))
    async for _ in router.stream_async("a", "query"):
        break
    await settle(20)
    library.first = ()
    gc.collect()
    assert left() is None


# The bound and the overflow policies


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_oldest", [15, 16, 17, 18, 19]), ("drop_newest", [0, 1, 2, 3, 4]), ("latest", [19])],
)
async def test_overflow(router, form, overflow, kept):
    """Beyond `buffer_size` unread items, the policy decides what is kept; the rest is counted."""
    library = Library(first=("first",))
    router.register_actor("a", actor_of(form, library.register, overflow=overflow))
    stream = router.stream_async("a", "query", buffer_size=5)
    payloads = stream.payloads()
    assert await anext(payloads) == "first"
    library.push_all(range(20))
    assert stream.statistics().dropped == 20 - len(kept)
    library.push.end()
    assert await rest_of(payloads) == kept
    assert stream.statistics().dropped == 20 - len(kept)


@pytest.mark.parametrize("overflow", ["drop_oldest", "latest"])
async def test_slow_consumer_sees_what_is_newest(router, overflow):
    """Between two reads, however far apart, the policy applies to all unread items."""
    library = Library(first=(0,))
    router.register_actor("a", Returning(library.register, overflow=overflow))
    stream = router.stream_async("a", "query", buffer_size=2)
    payloads = stream.payloads()
    assert await anext(payloads) == 0
    for item in range(1, 5):
        library.push(item)
        await settle()
    kept = [4] if overflow == "latest" else [3, 4]
    assert stream.statistics().buffered == len(kept)
    assert [await anext(payloads) for _ in kept] == kept


@pytest.mark.parametrize("form", FORMS)
async def test_overflow_that_fails(router, form):
    """With `overflow="fail"`, the buffered items are delivered before `StreamOverflowError`."""
    library = Library()
    router.register_actor("a", actor_of(form, library.register, overflow="fail"))
    payloads = await hooked(router.stream_async("a", "query", buffer_size=2))
    library.push_all(range(9))
    assert [await anext(payloads), await anext(payloads)] == [0, 1]
    with pytest.raises(StreamOverflowError, match="more than 2 items were waiting"):
        await anext(payloads)
    await settle(20)
    assert (len(library.unhooked), router.statistics().active_streams) == (1, 0)


async def test_overflow_that_fails_by_hand():
    """Read by hand, the error event carries the `StreamOverflowError`."""
    library = Library(first=tuple(range(101)))
    source = Actor().create_callback_stream(library.register, overflow="fail")
    events = [event async for event in source]
    assert len(events) == 101
    assert type(events[-1].exception) is StreamOverflowError


@pytest.mark.parametrize("form", FORMS)
async def test_the_consumers_own_policy(router, form):
    """A consumer's own overflow policy, other than "wait", replaces the stream's."""
    library = Library()
    router.register_actor("a", actor_of(form, library.register))
    stream = router.stream_async("a", "query", buffer_size=2, overflow="drop_newest")
    payloads = await hooked(stream)
    library.push_all(range(9))
    library.push.end()
    assert await rest_of(payloads) == [0, 1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
async def test_bound(router, form, overflow):
    """At most `buffer_size` plus one pushed items are kept unconsumed."""
    library = Library(first=(-1,))
    router.register_actor("a", actor_of(form, library.register, overflow=overflow))
    stream = router.stream_async("a", "query", buffer_size=3)
    payloads = stream.payloads()
    await anext(payloads)
    read = 1
    for pushed in range(1, 100):
        library.push(pushed)
        if pushed % 3 == 0:
            await settle()
        if pushed % 7 == 0:
            await anext(payloads)
            read += 1
        assert 1 + pushed - stream.statistics().dropped - read <= 3 + 1


async def test_any_buffer_size(router):
    """A huge buffer size costs nothing in advance."""
    library = Library(first=(1,))
    router.register_actor("a", Returning(library.register))
    async for event in router.stream_async("a", "query", buffer_size=2**70):
        assert event.payload == 1
        break


# Timeouts


@pytest.mark.parametrize("form", FORMS)
async def test_first_timeout(router, form, unit):
    """If nothing is pushed in time, the first timeout ends the stream."""
    library = Library()
    router.register_actor("a", actor_of(form, library.register))
    with pytest.raises(StreamTimeoutError) as caught:
        await router.stream_async("a", "query", first_timeout=unit).collect()
    assert caught.value.kind == "first"


@pytest.mark.parametrize("form", FORMS)
async def test_idle_timeout(router, form, unit):
    """Each push restarts the idle timeout; pushed items are read before it is raised."""
    library = Library(first=(0,))
    router.register_actor("a", actor_of(form, library.register))
    stream = router.stream_async("a", "query", first_timeout=unit, idle_timeout=2 * unit)
    payloads = stream.payloads()
    assert await anext(payloads) == 0
    for item in range(1, 5):
        await anyio.sleep(unit)
        library.push(item)
        assert await anext(payloads) == item
    with pytest.raises(StreamTimeoutError) as caught:
        await anext(payloads)
    assert caught.value.kind == "idle"


async def test_timeout_keeps_what_was_pushed(router, unit):
    """Items pushed before a timeout are still delivered."""
    library = Library(first=(0,))
    router.register_actor("a", Returning(library.register))
    payloads = router.stream_async("a", "query", timeout=2 * unit).payloads()
    assert await anext(payloads) == 0
    library.push_all([1, 2, 3])
    await anyio.sleep(3 * unit)
    library.push(4)
    assert [await anext(payloads) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(StreamTimeoutError):
        await anext(payloads)


async def test_unread_items_are_no_idle_time(router, unit):
    """In an actor that iterates, a slow consumer's time does not count as idle."""
    library = Library(first=(0, 1, 2, 3))
    router.register_actor("a", Iterating(library.register))
    payloads = router.stream_async("a", "query", idle_timeout=unit).payloads()
    for item in range(4):
        assert await anext(payloads) == item
        await anyio.sleep(unit * 2 if item < 2 else 0)


# Threads and signal handlers


@pytest.mark.real_clock
@pytest.mark.parametrize("form", FORMS)
async def test_pushed_in_a_thread(router, form):
    """Items pushed in a thread wake a waiting consumer, and arrive in order."""
    library = Library()

    def work():
        library.push_all(range(50))
        library.push.end()

    router.register_actor("a", actor_of(form, library.register))
    payloads = await hooked(router.stream_async("a", "query"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, work)
        assert await rest_of(payloads) == list(range(50))


@pytest.mark.real_clock
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest"])
async def test_many_threads(router, form, overflow):
    """Every item of many threads arrives or is counted; each thread's arrive in order."""
    library = Library()

    def work(thread):
        library.push_all((thread, number) for number in range(2_000))

    async def push():
        async with anyio.create_task_group() as tasks:
            for thread in range(4):
                tasks.start_soon(to_thread.run_sync, work, thread)
        library.push.end()

    router.register_actor("a", actor_of(form, library.register, overflow=overflow))
    stream = router.stream_async("a", "query", buffer_size=7)
    payloads = await hooked(stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(push)
        items = await rest_of(payloads)
    assert len(items) + stream.statistics().dropped == 4 * 2_000
    for thread in range(4):
        own = [item for item in items if item[0] == thread]
        assert own == sorted(own)


@pytest.mark.real_clock
@pytest.mark.parametrize("form", FORMS)
async def test_flood(router, form):
    """A thread that pushes as fast as it can starves no task, whatever the consumer does."""
    library = Library()
    stop, pushing = threading.Event(), anyio.Event()

    def work():
        library.push(0)
        from_thread.run_sync(pushing.set)
        while not stop.is_set():
            library.push(1)

    async def drain(payloads):
        async for _ in payloads:
            pass

    router.register_actor("a", actor_of(form, library.register))
    stream = router.stream_async("a", "query", buffer_size=10_000)
    payloads = await hooked(stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, work)
        await pushing.wait()
        tasks.start_soon(drain, payloads)
        try:
            for _ in range(20):
                before = stream.statistics().delivered
                await settle(1)
                assert stream.statistics().delivered - before <= 1_000
        finally:
            stop.set()
            tasks.cancel_scope.cancel()
    await stream.aclose()


class Turns:
    """Counts the turns of another task."""

    def __init__(self) -> None:
        self.seen = 0

    async def count(self) -> None:
        while True:
            await settle(1)
            self.seen += 1


async def test_turns_of_a_consumer(router):
    """A consumer that never has to wait lets other tasks run."""
    library, turns = Library(first=(-1,)), Turns()
    router.register_actor("a", Returning(library.register))
    payloads = router.stream_async("a", "query", buffer_size=10_000).payloads()
    await anext(payloads)
    library.push_all(range(5_000))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.count)
        for number in range(5_000):
            assert await anext(payloads) == number
        tasks.cancel_scope.cancel()
    assert turns.seen >= 5


async def test_turns_of_a_reader_by_hand():
    """A reader by hand that never has to wait lets other tasks run."""
    library, turns = Library(first=(-1,)), Turns()
    async with aclosing(Actor().create_callback_stream(library.register)) as source:
        await anext(source)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turns.count)
            for number in range(5_000):
                library.push(number)
                await anext(source)
            tasks.cancel_scope.cancel()
    assert turns.seen >= 5


@pytest.mark.real_clock
async def test_one_wake_up(router, monkeypatch):
    """Many pushes wake the event loop only once until it has run."""
    calls: list[Callable[[], object]] = []
    monkeypatch.setattr("actorstream._sources.callbacks.current_call_soon", lambda: calls.append)
    library = Library()
    router.register_actor("a", Returning(library.register))
    payloads = await hooked(router.stream_async("a", "query"))
    await to_thread.run_sync(library.push_all, range(1_000))
    library.push_all(range(1_000))
    assert len(calls) == 1
    calls.pop()()
    library.push(1)
    assert len(calls) == 1
    assert len([await anext(payloads) for _ in range(100)]) == 100


@pytest.mark.real_clock
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest"])
async def test_signal_handler(overflow):
    """`push` may be called in a signal handler, even one that interrupts `push` itself."""
    library = Library()
    previous = signal.signal(signal.SIGUSR1, lambda *_: library.push("signal"))
    try:
        async with serving(Returning(library.register, overflow=overflow)) as router:
            stream = router.stream_async("a", "query", buffer_size=2)
            payloads = await hooked(stream)
            main, over = threading.get_ident(), threading.Event()

            def work():
                while not over.is_set():
                    signal.pthread_kill(main, signal.SIGUSR1)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(to_thread.run_sync, work)
                await settle()
                library.push_all(range(2_000))
                over.set()
            library.push.end()
            assert stream.statistics().dropped >= 1_998
            assert len(await rest_of(payloads)) <= 2
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.real_clock
async def test_pushed_after_the_end():
    """After the stream has ended, a push in a thread does nothing."""
    library = Library(first=(1,))
    async with serving(Returning(library.register)) as router:
        async for _ in router.stream_async("a", "query"):
            break
    await to_thread.run_sync(library.push_all, range(1_000))
    assert repr(library.push) == "<Push ended: 0 of 100 items unread>"


# Mistakes


@pytest.mark.parametrize(
    ("overflow", "error", "said"),
    [
        ("wait", ValueError, "overflow is one of .*: a callback cannot wait"),
        ("block", ValueError, "overflow is one of drop_oldest, .*, not 'block'"),
        (None, TypeError, "overflow is one of drop_oldest, .*, not None"),
    ],
)
def test_bad_overflow(overflow, error, said):
    """A bad `overflow` raises at the call, by name."""
    with pytest.raises(error, match=said):
        Actor().create_callback_stream(Library().register, overflow=overflow)


def test_bad_register():
    """A `register` that cannot be called raises at the call, by name."""
    register: Any = Library()
    with pytest.raises(TypeError, match="register is a function that hooks a callback in"):
        Actor().create_callback_stream(register)


async def test_bad_failure():
    """`fail()` with a bad argument says what it takes."""
    library = Library(first=(1,))
    async for _ in Actor().create_callback_stream(library.register):
        with pytest.raises(TypeError, match=r"fail\(\) takes an exception, not 'line lost'"):
            library.push.fail("line lost")
        break


def test_repr():
    """The `repr` of a callback stream shows its `register` function."""
    assert repr(Actor().create_callback_stream(print)) == (
        "<EventIterator of <CallbackSource of <built-in function print>>>"
    )
