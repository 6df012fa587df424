"""Every kind of bad input raises the right error, which names the culprit and the fix."""

import gc
import math
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorError,
    ActorNotFoundError,
    AsyncStreamMessage,
    ChildSpec,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAsyncOptions,
    StreamConsumedError,
    StreamError,
    StreamingNotSupportedError,
    Supervisor,
    address,
)
from actorstream.testing import Probe, settle
from tests.support import ActorOf, CountTo, NeverYields, Referable, serving


class Mute(Actor):
    """Has no way to stream."""


async def pull_bare(stream: Stream[Any]) -> None:
    async for _ in stream:
        pass


async def enter(stream: Stream[Any]) -> None:
    async with stream:
        pytest.fail("the block was entered")


async def pull_payloads(stream: Stream[Any]) -> None:
    await anext(stream.payloads())


USES: list[Callable[[Stream[Any]], Awaitable[Any]]] = [
    pull_bare,
    enter,
    pull_payloads,
    Stream.collect,
]


# An unknown actor


@pytest.mark.parametrize("use", USES)
async def test_unknown_actor(router, use):
    """Using a stream of an unknown actor raises an error that lists the known ones."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("b", "query")
    with pytest.raises(ActorNotFoundError, match=r"as @\(b\); .*register_actor"):
        await use(stream)


async def test_unknown_actor_of_stream_ask(router):
    """`stream_ask()` raises it, too, and never calls `on_chunk`."""
    router.register_actor("a", CountTo())
    with pytest.raises(ActorNotFoundError, match=r"@\(b\)"):
        await router.stream_ask("b", "query", on_chunk=pytest.fail)


async def test_unknown_actor_is_a_lookup_error(router):
    """The error is a `LookupError`."""
    router.register_actor("a", CountTo())
    with pytest.raises(LookupError):
        await router.stream_async("b", "query").collect()


@pytest.mark.parametrize("method", ["get_actor", "unregister_actor"])
async def test_unknown_actor_elsewhere(router, method):
    """The router's other methods that take an id raise it, too."""
    router.register_actor("a", CountTo())
    with pytest.raises(ActorNotFoundError, match=r"registered as @\(b\);"):
        await getattr(router, method)("b")


async def test_unknown_actor_leaves_nothing_behind(router):
    """A stream that failed to start leaves no callback at its signal, and no timer."""
    payload = Referable()
    ref = weakref.ref(payload)
    controller = AbortController()
    router.register_actor("a", CountTo())
    with pytest.raises(ActorNotFoundError):
        await router.stream_async("b", "query", payload, signal=controller.signal).collect()
    del payload
    await settle()
    gc.collect()
    assert ref() is None


async def test_stream_that_failed_to_start(router):
    """An iterator that failed to start has ended, and does not try again."""
    router.register_actor("a", CountTo())
    iterator = aiter(router.stream_async("b", "query", 1))
    with pytest.raises(ActorNotFoundError):
        await anext(iterator)
    router.register_actor("b", CountTo())
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


# An actor without streaming


@pytest.mark.parametrize("use", USES)
async def test_actor_without_streaming(router, use):
    """An actor that cannot stream raises an error with its class and what to write."""
    router.register_actor("a", Mute())
    with pytest.raises(
        StreamingNotSupportedError,
        match=r"@\(a\) does not support async streaming: Mute .*async def stream_async",
    ):
        await use(router.stream_async("a", "query"))


async def test_actor_without_streaming_is_a_type_error(router):
    """The error is a `TypeError`."""
    router.register_actor("a", Mute())
    with pytest.raises(TypeError):
        await router.stream_async("a", "query").collect()


async def test_base_class_does_not_stream(router):
    """A bare `Actor` cannot stream."""
    router.register_actor("a", Actor())
    with pytest.raises(StreamingNotSupportedError, match="Actor has neither"):
        await router.stream_async("a", "query").collect()


async def test_attribute_that_is_not_a_method(router):
    """A `stream_async` that is not callable does not count as streaming."""

    class Odd(Actor):
        stream_async = None
        stream = "a stream of words"

    router.register_actor("a", Odd())
    with pytest.raises(StreamingNotSupportedError, match="Odd has neither"):
        await router.stream_async("a", "query").collect()


async def test_callback_form_that_is_not_a_coroutine_function(router):
    """A `stream` that is not a coroutine function raises an error that names the fix."""

    class Plain(Actor):
        def stream(self, payload, on_chunk):
            return None

    router.register_actor("a", Plain())
    with pytest.raises(StreamingNotSupportedError) as caught:
        await router.stream_async("a", "query").collect()
    assert "write `async def stream(self, payload, on_chunk)`" in str(caught.value)


# Bad options

BAD_OPTIONS: list[tuple[str, Any, type[Exception]]] = [
    ("buffer_size", 0, ValueError),
    ("buffer_size", -1, ValueError),
    ("buffer_size", 1.5, TypeError),
    ("buffer_size", True, TypeError),
    ("buffer_size", "100", TypeError),
    ("buffer_size", None, TypeError),
    ("buffer_size", math.inf, TypeError),
    ("buffer_size", math.nan, TypeError),
    ("timeout", -1, ValueError),
    ("timeout", math.nan, ValueError),
    ("timeout", "60", TypeError),
    ("timeout", True, TypeError),
    ("first_timeout", -0.5, ValueError),
    ("first_timeout", "soon", TypeError),
    ("idle_timeout", -1, ValueError),
    ("idle_timeout", [], TypeError),
    ("stall_timeout", -math.inf, ValueError),
    ("stall_timeout", object(), TypeError),
    ("overflow", "drop", ValueError),
    ("overflow", None, TypeError),
    ("signal", "abort", TypeError),
    ("signal", AbortController(), TypeError),
]


@pytest.mark.parametrize(
    ("option", "value", "error"), BAD_OPTIONS, ids=lambda value: getattr(value, "__name__", None)
)
async def test_bad_option(router, option, value, error):
    """A bad option raises at the call, and the message begins with the option's name."""
    bad: dict[str, Any] = {option: value}
    router.register_actor("a", CountTo())
    with pytest.raises(error, match=rf"^{option} (is|takes) ") as caught:
        router.stream_async("a", "query", **bad)
    assert type(caught.value) is error


@pytest.mark.parametrize(("option", "value", "error"), BAD_OPTIONS[:3])
async def test_bad_option_of_stream_ask(router, option, value, error):
    """`stream_ask()` refuses a bad option, too, before it calls the actor."""
    bad: dict[str, Any] = {option: value}
    router.register_actor("a", CountTo())
    with pytest.raises(error, match=option):
        await router.stream_ask("a", "query", 3, on_chunk=pytest.fail, **bad)


async def test_controller_as_a_signal(router):
    """Passing a controller raises an error that says to pass its signal."""
    router.register_actor("a", CountTo())
    controller: Any = AbortController()
    with pytest.raises(TypeError, match=r"write signal=controller\.signal"):
        router.stream_async("a", "query", signal=controller)


async def test_unknown_option(router):
    """An unknown option raises an error that lists the known ones."""
    bad: dict[str, Any] = {"bufferSize": 10}
    router.register_actor("a", CountTo())
    with pytest.raises(TypeError, match=r"bufferSize is not an option.*buffer_size"):
        router.stream_async("a", "query", **bad)


async def test_options_of_another_kind(router):
    """`options` of another type are refused, with what to write."""
    options: Any = {"buffer_size": 10}
    router.register_actor("a", CountTo())
    with pytest.raises(TypeError, match=r"options=StreamAsyncOptions\(buffer_size"):
        router.stream_async("a", "query", options=options)


async def test_bad_override_of_good_options(router):
    """A bad override of valid options is refused."""
    router.register_actor("a", CountTo())
    with pytest.raises(ValueError, match="buffer_size"):
        router.stream_async("a", "query", options=StreamAsyncOptions(), buffer_size=0)


async def test_bad_type_of_a_request(router):
    """A request type that is not a string is refused at the call."""
    router.register_actor("a", CountTo())
    payload: Any = {"query": "world"}
    with pytest.raises(TypeError, match=r"type is a str such as .*not \{'query'"):
        router.stream_async("a", payload)


async def test_on_chunk_that_cannot_be_called(router):
    """An `on_chunk` that is not callable is refused before the actor is called."""
    router.register_actor("a", CountTo())
    chunks: Any = []
    with pytest.raises(TypeError, match=r"on_chunk is a function of one chunk, not \[\]"):
        await router.stream_ask("a", "query", 3, on_chunk=chunks)


async def test_on_chunk_that_yields(router):
    """An `on_chunk` whose body would never run is refused before the actor is called."""

    async def on_chunk(chunk):
        yield chunk

    router.register_actor("a", CountTo())
    with pytest.raises(TypeError, match="on_chunk yields"):
        await router.stream_ask("a", "query", 3, on_chunk=on_chunk)


# Bad addresses

BAD_ADDRESSES: list[tuple[Any, type[Exception]]] = [
    ("", ValueError),
    ("  ", ValueError),
    ("@()", ValueError),
    (None, TypeError),
    (7, TypeError),
    (b"a", TypeError),
    (["a"], TypeError),
]


def call_address(_: MessageRouter, to: Any) -> None:
    address(to)


def call_register(router: MessageRouter, to: Any) -> None:
    router.register_actor(to, CountTo())


def call_get(router: MessageRouter, to: Any) -> None:
    router.get_actor(to)


def call_stream(router: MessageRouter, to: Any) -> None:
    router.stream_async(to, "query")


@pytest.mark.parametrize("call", [call_address, call_register, call_get, call_stream])
@pytest.mark.parametrize(("to", "error"), BAD_ADDRESSES, ids=repr)
def test_bad_address(call, to, error):
    """A bad address raises at the call; the message shows it, and what to write."""
    with pytest.raises(error, match=r'write address\("actor-id"\)') as caught:
        call(MessageRouter(), to)
    assert repr(to) in str(caught.value)


def test_bad_address_registers_nothing():
    """An actor whose registration failed is not registered."""
    router = MessageRouter()
    with pytest.raises(ValueError, match="empty"):
        router.register_actor("", CountTo())
    assert router.list_actors() == []


def test_something_else_than_an_actor():
    """Registering the class instead of an instance raises an error that says what to write."""
    kind: Any = CountTo
    with pytest.raises(TypeError, match=r"not <class .*CountTo'>; write .*MyActor\(\)"):
        MessageRouter().register_actor("a", kind)


# The same id twice


@pytest.mark.parametrize("again", ["a", "@(a)", address("a")], ids=repr)
def test_same_id_twice(again):
    """Registering an id twice, in either spelling, is refused; the first actor stays."""
    router, first = MessageRouter(), CountTo()
    router.register_actor("a", first)
    with pytest.raises(ValueError, match=r"@\(a\) is taken by .*CountTo.*unregister_actor\('a'\)"):
        router.register_actor(again, CountTo())
    assert router.get_actor("a") is first


def test_refused_actor_is_free():
    """An actor that was refused under one id may be registered under another."""
    router, actor = MessageRouter(), CountTo()
    router.register_actor("a", CountTo())
    with pytest.raises(ValueError, match="taken"):
        router.register_actor("a", actor)
    router.register_actor("b", actor)
    assert actor.address == address("b")


def test_same_actor_twice():
    """Registering one actor under two ids is refused."""
    router, actor = MessageRouter(), CountTo()
    router.register_actor("a", actor)
    with pytest.raises(ValueError, match=r"registered as @\(a\) already.*an actor for each id"):
        router.register_actor("b", actor)
    assert router.list_actors() == ["a"]


# A stream iterated twice


async def test_second_iteration(router):
    """A second iteration is refused with the fix; the first one goes on."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 3)
    iterator = aiter(stream)
    assert (await anext(iterator)).payload == 0
    with pytest.raises(StreamConsumedError, match=r"'query' from @\(a\).*stream_async\(\)"):
        aiter(stream)
    assert [event.payload async for event in iterator] == [1, 2, None]


@pytest.mark.parametrize("again", [*USES, Stream.__aenter__])
async def test_second_use(router, again):
    """A finished stream is refused in every form."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 1)
    await stream.collect()
    with pytest.raises(StreamConsumedError, match=r"call stream_async\(\) again"):
        await again(stream)


async def test_entered_twice(router):
    """Entering a stream twice is refused; the first block goes on."""
    router.register_actor("a", CountTo())
    async with router.stream_async("a", "query", 2) as stream:
        with pytest.raises(StreamConsumedError, match=r"in use already; call stream_async\(\)"):
            await enter(stream)
        assert await stream.collect() == [0, 1]


async def test_second_iteration_after_break(router):
    """After a `break`, a second loop cannot resume the first."""
    router.register_actor("a", CountTo())
    async with router.stream_async("a", "query", 9) as stream:
        async for _ in stream:
            break
        with pytest.raises(StreamConsumedError):
            await pull_bare(stream)


async def test_ten_iterations_at_once(router):
    """Of ten tasks that iterate one stream, one gets all items, and nine are refused."""
    results = []

    async def read():
        try:
            results.append(await stream.collect())
        except StreamConsumedError:
            results.append([])

    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 3)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(read)
    assert sorted(results) == [[]] * 9 + [[0, 1, 2]]


def test_consumed_is_a_runtime_error():
    """`StreamConsumedError` is a `RuntimeError`."""
    assert issubclass(StreamConsumedError, RuntimeError)


# Two tasks on one iterator


async def test_two_tasks_on_one_iterator(router):
    """The second of two tasks on one iterator is refused; the first gets its item."""
    received, send = [], anyio.Event()

    async def one_item(_):
        await send.wait()
        yield "item"

    router.register_actor("a", ActorOf(one_item))
    iterator = router.stream_async("a", "query").payloads()

    async def read() -> None:
        received.append(await anext(iterator))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await settle()
        with pytest.raises(StreamConsumedError, match=r"two tasks.*stream_async\(\) once"):
            await anext(iterator)
        send.set()
    assert received == ["item"]


async def test_iterator_is_free_again(router):
    """Once the first task has its item, another task may read."""
    router.register_actor("a", CountTo())
    iterator = router.stream_async("a", "query", 4).payloads()
    received = []

    async def read() -> None:
        received.append(await anext(iterator))

    for _ in range(4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
    assert received == [0, 1, 2, 3]


# A router that is not open


async def test_router_not_entered():
    """Using a stream before its router is entered raises an error with the fix."""
    router = MessageRouter()
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 3)
    with pytest.raises(RouterClosedError, match=r"is not entered; .*async with MessageRouter"):
        await stream.collect()
    assert router.statistics().active_streams == 0


@pytest.mark.parametrize("use", USES)
async def test_router_exited(use):
    """Using a stream after its router has exited raises an error, too."""
    async with serving(CountTo()) as router:
        stream = router.stream_async("a", "query", 3)
    with pytest.raises(RouterClosedError, match=r"is closed; .*async with MessageRouter"):
        await use(stream)


async def test_router_entered_twice():
    """Entering a router twice is refused."""
    async with MessageRouter() as router:
        with pytest.raises(RouterClosedError, match=r"is open; enter a router once.*MessageRouter"):
            await router.__aenter__()
    with pytest.raises(RouterClosedError, match="is closed"):
        await router.__aenter__()


@pytest.mark.real_clock
async def test_router_of_another_loop(router):
    """Using a router in another thread's loop is refused, and nothing runs there."""
    router.register_actor("a", CountTo())
    stream = router.stream_async("a", "query", 3)
    with pytest.raises(RouterClosedError, match=r"another event loop.*from_thread\.run"):
        await anyio.to_thread.run_sync(anyio.run, stream.collect)


def test_router_closed_is_a_runtime_error():
    """`RouterClosedError` is a `RuntimeError`."""
    assert issubclass(RouterClosedError, RuntimeError)


# A stream_async that does not return an iterable


def returns_none(payload):
    return None


def returns_list(payload):
    return [1, 2, 3]


async def awaits_to_list(payload):
    return [1, 2, 3]


def is_sync_generator(payload):
    yield 1


@pytest.mark.parametrize(
    "stream_async", [returns_none, returns_list, awaits_to_list, is_sync_generator]
)
async def test_no_async_iterable(router, stream_async):
    """Returning anything but an async iterable fails the stream, with the fix."""
    router.register_actor("a", ActorOf(stream_async))
    iterator = aiter(router.stream_async("a", "query"))
    event = await anext(iterator)
    with pytest.raises(StreamingNotSupportedError) as caught:
        await anext(iterator)
    cause = str(caught.value)
    assert (event.type, event.error) == ("error", cause)
    assert cause.startswith("@(a) does not support async streaming: its stream_async() returned ")
    assert cause.endswith("write `yield` in it, or `return self.create_async_stream(items)`")


def test_helper_without_an_iterable():
    """The helpers refuse anything but an iterable at the call."""
    nothing: Any = 7
    actor = CountTo()
    for helper in (
        actor.create_async_stream,
        actor.create_async_stream_with_backpressure,
        actor.create_thread_stream,
    ):
        with pytest.raises(TypeError, match=r"7 \(int\) cannot be streamed; pass an iterable"):
            helper(nothing)


@pytest.mark.parametrize(("interval", "error"), [(0, ValueError), (1.5, TypeError)])
def test_bad_check_interval(interval, error):
    """A bad `check_interval` is refused and named at the call of the helper."""
    with pytest.raises(error, match=r"^check_interval is"):
        CountTo().create_async_stream_with_backpressure([], check_interval=interval)


def test_bad_on_backpressure():
    """An `on_backpressure` that is not callable is refused and named."""
    callback: Any = True
    with pytest.raises(TypeError, match="on_backpressure is a function of one bool, not True"):
        CountTo().create_async_stream_with_backpressure([], on_backpressure=callback)


# An item after the end


async def item_after_end(_):
    """Yield an item after the end event."""
    yield 1
    yield AsyncStreamMessage("end")
    yield 2


async def test_item_after_end(router):
    """An item after `end` fails the stream with the fix, and does not arrive."""
    router.register_actor("a", ActorOf(item_after_end))
    events: list[Any] = []
    with pytest.raises(StreamError) as caught:
        await append_events(router.stream_async("a", "query"), events)
    assert [(event.type, event.payload) for event in events] == [("data", 1), ("error", None)]
    assert type(caught.value.__cause__) is RuntimeError
    assert str(caught.value.__cause__) == events[-1].error
    assert "@(a) yielded 2 after its 'end' event; yield nothing after it" in events[-1].error


async def append_events(stream: Stream[Any], events: list[Any]) -> None:
    async with stream:
        iterator = aiter(stream)
        while True:
            events.append(await anext(iterator))


async def test_item_after_error(router):
    """An item after an `error` event fails the stream, too."""

    async def item_after_error(_):
        yield AsyncStreamMessage("error", error="broken")
        yield 2

    router.register_actor("a", ActorOf(item_after_error))
    with pytest.raises(StreamError, match="yielded 2 after its 'error' event"):
        await router.stream_async("a", "query").collect()


async def test_item_after_end_raises_in_the_generator(router):
    """The error is raised in the generator, at the `yield` of that item."""
    caught = []

    async def catch(_):
        yield AsyncStreamMessage("end")
        try:
            yield 2
        except RuntimeError as exc:
            caught.append(str(exc))

    router.register_actor("a", ActorOf(catch))
    assert await router.stream_async("a", "query").collect() == []
    assert len(caught) == 1


async def test_item_after_end_again_and_again(router):
    """An actor that keeps yielding despite the error does not hold up the event loop."""
    tries = 0

    async def deaf(_):
        nonlocal tries
        yield AsyncStreamMessage("end")
        while tries < 10_000:
            try:
                yield 2
            except RuntimeError:
                tries += 1

    router.register_actor("a", ActorOf(deaf))
    async with router.stream_async("a", "query"):
        await settle(3)
    assert tries < 10_000


async def test_chunk_after_end(router):
    """A callback actor's chunk after its end event raises where it is pushed."""

    class Late(Actor):
        async def stream(self, payload, on_chunk):
            await on_chunk(AsyncStreamMessage("end"))
            with pytest.raises(RuntimeError, match="yielded 2 after its 'end' event"):
                await on_chunk(2)

    router.register_actor("a", Late())
    assert await router.stream_async("a", "query").collect() == []


def test_bad_event_type():
    """An event of an unknown type cannot be made."""
    kind: Any = "token"
    with pytest.raises(ValueError, match=r'type is one of "data", .*, not .token.'):
        AsyncStreamMessage(kind)


# Messages


async def send(router: MessageRouter, way: str, to: Any = "a", type: Any = "x", **more: Any) -> Any:
    result = getattr(router, way)(to, type, **more)
    return result if way == "tell_nowait" else await result


WAYS = ["tell", "tell_nowait", "ask"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("to", [1, None, b"a"])
async def test_message_to_no_address(router, way, to):
    """A message goes only to a `str` or an `Address`."""
    router.register_actor("a", NeverYields())
    with pytest.raises(TypeError, match=r"an address is a str or an Address, not .*address\("):
        await send(router, way, to)


@pytest.mark.parametrize("way", WAYS)
async def test_message_to_an_empty_address(router, way):
    """A message to an empty address is refused."""
    router.register_actor("a", NeverYields())
    with pytest.raises(ValueError, match="id is empty"):
        await send(router, way, " ")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("type", [1, None, b"x"])
async def test_message_type(router, way, type):
    """A message type that is not a `str` is refused, and the actor never sees it."""
    router.register_actor("a", NeverYields())
    with pytest.raises(TypeError, match='type is a str such as "query", not'):
        await send(router, way, type=type)
    assert router.statistics().dead_letters == 0


@pytest.mark.parametrize(
    ("timeout", "error"),
    [("1", TypeError), (True, TypeError), (-1, ValueError), (math.nan, ValueError)],
)
async def test_timeout_of_an_ask(router, timeout, error):
    """The timeout of an ask is `None` or at least 0 seconds."""
    router.register_actor("a", NeverYields())
    with pytest.raises(error, match="timeout is"):
        await send(router, "ask", timeout=timeout)


@pytest.mark.parametrize("signal", [AbortController(), "signal", 1])
async def test_signal_of_an_ask(router, signal):
    """The signal of an ask is an `AbortSignal`; passing a controller is refused with the fix."""
    router.register_actor("a", NeverYields())
    with pytest.raises(TypeError, match=r"write signal=.*signal"):
        await send(router, "ask", signal=signal)


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
async def test_mailbox_size(router, size, error):
    """A mailbox size is a whole number of at least 1; otherwise the actor is not registered."""
    router.register_actor("a", NeverYields())
    with pytest.raises(error, match="mailbox_size is"):
        router.register_actor("b", NeverYields(), mailbox_size=size)
    assert router.list_actors() == ["a"]


@pytest.mark.real_clock
@pytest.mark.parametrize("way", WAYS)
async def test_message_from_another_loop(router, way, anyio_backend_name):
    """Sending a message in another event loop is refused."""
    router.register_actor("a", NeverYields())
    start: Any = anyio.run
    run: Any = partial(start, send, router, way, backend=anyio_backend_name)
    with pytest.raises(RouterClosedError, match="another event loop"):
        await anyio.to_thread.run_sync(run)


@pytest.mark.parametrize("way", WAYS)
async def test_bad_message_in_a_handler(router, way):
    """A bad message that an actor sends is that actor's failure, and the actor lives on."""

    class Sends(Actor):
        async def receive(self, message):
            result = getattr(self, way)(1, "x")
            await result

    router.register_actor("a", Sends())
    for _ in range(2):
        with pytest.raises(ActorError) as caught:
            await router.ask("a", "x")
        assert isinstance(caught.value.__cause__, TypeError)


# Errors without side effects


async def test_silent_actor_of_a_refused_stream(router):
    """A refused second use leaves the first stream's producer running."""
    router.register_actor("a", NeverYields())
    async with router.stream_async("a", "query") as stream:
        with pytest.raises(StreamConsumedError):
            await enter(stream)
        await settle()
        assert router.statistics().active_streams == 1


# Integers beyond all floats, in time limits

BEYOND = 10**400


class Prompt(Actor):
    """Answers and streams at once."""

    async def receive(self, message: Any) -> Any:
        if message.type == "fail":
            raise OSError("failed")
        return "answer"

    async def stream_async(self, payload: object) -> Any:
        yield 1
        yield 2


async def stop_with(router: MessageRouter, seconds: float) -> None:
    await router.stop_actor("a", timeout=seconds)
    router.register_actor("a", Prompt())


async def expect(router: MessageRouter, seconds: float) -> None:
    probe = Probe()
    router.register_actor("probe", probe)
    await router.tell("probe", "x")
    await probe.expect("x", timeout=seconds)


async def expect_none(router: MessageRouter, seconds: float) -> None:
    probe = Probe()
    router.register_actor("probe", probe)
    with anyio.move_on_after(0.01):
        await probe.expect_no_message(within=seconds)


async def use_signal(router: MessageRouter, seconds: float) -> None:
    signal = AbortSignal.any([AbortSignal.timeout(seconds)])
    await router.ask("a", "x", signal=signal)
    await router.stream_async("a", "x", signal=signal).collect()
    with signal.cancel_scope():
        await anyio.lowlevel.checkpoint()


async def supervise(router: MessageRouter, child: dict[str, Any], **options: Any) -> None:
    router.register_actor("s", Supervisor([ChildSpec("a", Prompt, **child)], **options))
    await router.ask("s/a", "x")
    await router.tell("s/a", "fail")
    assert await router.ask("s/a", "x") == "answer"


LIMITS: dict[str, Callable[[MessageRouter, float], Any]] = {
    "ask": lambda router, seconds: router.ask("a", "x", timeout=seconds),
    "signal": use_signal,
    "stop_actor": stop_with,
    "expect": expect,
    "expect_no_message": expect_none,
    "within": lambda router, seconds: supervise(router, {}, within=seconds),
    "ChildSpec.start": lambda router, seconds: supervise(router, {"start_timeout": seconds}),
    "ChildSpec.stop": lambda router, seconds: supervise(router, {"stop_timeout": seconds}),
} | {
    option: lambda router, seconds, option=option: router.stream_async(
        "a", "x", buffer_size=1, **{option: seconds}
    ).collect()
    for option in ("timeout", "first_timeout", "idle_timeout", "stall_timeout")
}


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_time_limit_beyond_all_floats_is_no_limit(
    router: MessageRouter, limit: str
) -> None:
    router.register_actor("a", Prompt())
    await LIMITS[limit](router, BEYOND)


@pytest.mark.parametrize("option", ["start_timeout", "stop_timeout"])
async def test_a_limit_of_an_actor_beyond_all_floats_is_no_limit(
    router: MessageRouter, option: str
) -> None:
    limits: dict[str, Any] = {option: BEYOND}
    router.register_actor("a", Prompt(), **limits)
    assert await router.ask("a", "x") == "answer"
    await router.stop_actor("a")


@pytest.mark.parametrize("seconds", [-BEYOND, -(10**5000)], ids=["beyond", "far beyond"])
@pytest.mark.parametrize("limit", LIMITS)
async def test_a_negative_time_limit_beyond_all_floats(
    router: MessageRouter, limit: str, seconds: int
) -> None:
    router.register_actor("a", Prompt())
    with pytest.raises(ValueError, match=r"(is 0 seconds or more|is 0 or more|more than 0)"):
        await LIMITS[limit](router, seconds)


@pytest.mark.parametrize(
    "seconds", [BEYOND, 10**5000, -BEYOND], ids=["large", "larger", "negative"]
)
def test_a_backoff_beyond_all_floats(seconds: int) -> None:
    """A backoff is no limit but a wait: it has to end."""
    with pytest.raises(ValueError, match="a finite number of seconds, 0 or more"):
        Supervisor([], backoff=seconds)
