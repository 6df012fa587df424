"""Nothing waits for the garbage collector: what has ended is freed at once, however it ended.

A reference cycle would keep an actor's locals, payloads and buffers alive until the collector's
next full run. Each test turns the collector off, lets something end, and then looks for what is
still alive.
"""

import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from functools import partial
from threading import Thread
from types import FrameType
from typing import Any
from weakref import ref

import anyio
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorStoppedError,
    ActorStreamError,
    ChildSpec,
    Message,
    MessageRouter,
    PortClosedError,
    Stream,
    StreamAbortedError,
    StreamOverflowError,
    StreamTimeoutError,
    Subscription,
    Supervisor,
)
from actorstream._streams.watchdog import Watchdog
from actorstream.testing import settle

from .support import Referable


class Keeper:
    """Knows which objects are alive, and what only the collector would free."""

    def __init__(self) -> None:
        self._refs: list[ref[Any]] = []

    def track(self, thing: Any) -> Any:
        self._refs.append(ref(thing))
        return thing

    def hold(self) -> Referable:
        """Return a new object; it stands for what the code that holds it has in memory."""
        held: Referable = self.track(Referable())
        return held

    async def check(self) -> None:
        """Check that something was held, and that all of it is gone."""
        await settle(30)
        assert self._refs, "nothing was held"
        alive = [found for found in (it() for it in self._refs) if found is not None]
        assert not alive, _explain(alive)
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [_name(thing) for thing in gc.garbage if _is_ours(thing)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        assert left == []


def _is_ours(thing: object) -> bool:
    if isinstance(thing, FrameType):
        return "/actorstream/" in thing.f_code.co_filename
    return type(thing).__module__.startswith("actorstream")


def _name(thing: object) -> str:
    return thing.f_code.co_qualname if isinstance(thing, FrameType) else type(thing).__name__


def _explain(alive: list[Any]) -> str:
    return f"{len(alive)} objects are alive"


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """Turn the collector off, and yield what checks that it is not needed."""
    # pytest keeps what is logged, and with it each exception.
    monkeypatch.setattr(logging.getLogger("actorstream"), "disabled", True)
    gc.collect()
    gc.freeze()  # what earlier tests have left is not looked at
    gc.disable()
    yield Keeper()
    gc.enable()


# Streams


class Streams(Actor):
    """Streams without end, in each of the ways that there are."""

    def __init__(self, keeper: Keeper, unit: float) -> None:
        self.keeper = keeper
        self.unit = unit

    async def _numbers(self) -> AsyncGenerator[int]:
        held = self.keeper.hold()
        for number in range(10**9):
            yield number
            if number % 10 == 3:
                await anyio.sleep(3 * self.unit)
        del held

    def _plain_numbers(self) -> Iterator[int]:
        held = self.keeper.hold()
        yield from range(10**9)
        del held

    def stream_async(self, source: str) -> Any:
        return getattr(self, source)()

    def generator(self) -> AsyncIterator[int]:
        return self._numbers()

    async def coroutine(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        await anyio.lowlevel.checkpoint()
        del held
        return self._numbers()

    def iterable(self) -> Any:
        return self.create_async_stream(self._plain_numbers())

    def events(self) -> Any:
        return self.create_async_stream(self._numbers())

    def watched(self) -> Any:
        return self.create_async_stream_with_backpressure(
            self._plain_numbers(), check_interval=1, on_backpressure=lambda _: None
        )

    async def by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream(self._numbers()):
            yield event

    async def watched_by_hand(self) -> AsyncIterator[Any]:
        async for event in self.create_async_stream_with_backpressure(self._numbers()):
            yield event

    async def in_a_scope(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        with anyio.CancelScope():
            async with aclosing(self._numbers()) as numbers:
                async for number in numbers:
                    yield number
        del held

    async def forwarded(self) -> AsyncIterator[int]:
        held = self.keeper.hold()
        async for item in self.router.stream_async(self.address, "q", "generator").payloads():
            yield item
        del held

    async def forwarded_events(self) -> AsyncIterator[Any]:
        held = self.keeper.hold()
        async with self.router.stream_async(self.address, "q", "iterable") as stream:
            async for event in stream:
                yield event
        del held

    def pushed(self) -> Any:
        held = self.keeper.hold()

        def register(push: Any) -> Callable[[], object]:
            for number in range(200):
                push(number)
            return lambda: held

        return self.create_callback_stream(register)

    async def pushed_by_hand(self) -> AsyncIterator[Any]:
        async for event in self.pushed():
            yield event


class Chunks(Actor):
    """Streams without end in the callback form."""

    def __init__(self, keeper: Keeper, unit: float) -> None:
        self.keeper = keeper
        self.unit = unit

    async def stream(self, payload: object, on_chunk: Any) -> None:
        held = self.keeper.hold()
        for number in range(10**9):
            await on_chunk(number)
            if number % 10 == 3:
                await anyio.sleep(3 * self.unit)
        del held


SOURCES = [
    "coroutine",
    "iterable",
    "events",
    "watched",
    "by_hand",
    "watched_by_hand",
    "in_a_scope",
    "forwarded",
    "forwarded_events",
    "pushed",
    "pushed_by_hand",
]


class Opener:
    """Opens a stream of the actor `a`, as a test wants it."""

    def __init__(self, router: MessageRouter, source: str, unit: float) -> None:
        self.router = router
        self.source = source
        self.unit = unit

    def __call__(self, *, buffer_size: int = 2, **options: Any) -> Stream[Any]:
        return self.router.stream_async(
            "a", "q", self.source, buffer_size=buffer_size, timeout=None, **options
        )


async def left(open: Opener) -> None:
    async for _ in open():
        break


async def left_before_its_limits(open: Opener) -> None:
    signal = AbortSignal.timeout(1000)
    limits = {"first_timeout": 1000, "idle_timeout": 1000, "stall_timeout": 1000}
    async for _ in open(signal=signal, **limits):
        await anyio.sleep(open.unit)
        break


async def left_payloads(open: Opener) -> None:
    async for _ in open().payloads():
        break


async def left_by_an_error(open: Opener) -> None:
    with suppress(KeyError):
        async for _ in open():
            raise KeyError


async def block_left(open: Opener) -> None:
    async with open() as stream:
        async for _ in stream:
            break


async def block_left_unread(open: Opener) -> None:
    async with open():
        await settle()


async def block_left_by_an_error(open: Opener) -> None:
    with suppress(KeyError):
        async with open() as stream:
            async for _ in stream:
                raise KeyError


async def dropped_in_a_thread(open: Opener) -> None:
    iterators = [aiter(open())]
    await anext(iterators[0])
    thread = Thread(target=iterators.clear)
    thread.start()
    thread.join()


async def closed(open: Opener) -> None:
    stream = open()
    async for _ in stream:
        await stream.aclose()


async def cancelled(open: Opener) -> None:
    stream = open()
    with suppress(StreamAbortedError):
        async for _ in stream:
            stream.cancel()


async def cancelled_unread(open: Opener) -> None:
    stream = open()
    async for _ in stream:
        stream.cancel()
        break


async def aborted(open: Opener) -> None:
    controller = AbortController()
    with suppress(StreamAbortedError):
        async for _ in open(signal=controller.signal):
            controller.abort()


async def aborted_through_any(open: Opener) -> None:
    controller = AbortController()
    signal = AbortSignal.any([AbortController().signal, controller.signal])
    with suppress(StreamAbortedError):
        async for _ in open(signal=signal):
            controller.abort()


async def aborted_by_time(open: Opener) -> None:
    with suppress(StreamAbortedError):
        async for _ in open(signal=AbortSignal.timeout(open.unit)):
            await anyio.sleep(0.7 * open.unit)


async def timed_out(open: Opener) -> None:
    stream = open.router.stream_async("a", "q", open.source, timeout=open.unit, buffer_size=2)
    with suppress(StreamTimeoutError):
        async for _ in stream:
            await anyio.sleep(0.7 * open.unit)


async def idle(open: Opener) -> None:
    with suppress(StreamTimeoutError):
        async for _ in open(idle_timeout=open.unit):
            pass


async def stalled(open: Opener) -> None:
    with suppress(StreamTimeoutError):
        async for _ in open(stall_timeout=open.unit):
            await anyio.sleep(2 * open.unit)


async def overflowed(open: Opener) -> None:
    with suppress(StreamOverflowError):
        async for _ in open(overflow="fail"):
            await anyio.sleep(open.unit)


async def reader_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        async for _ in open():
            await anyio.sleep(0.7 * open.unit)


async def block_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        async with open() as stream:
            async for _ in stream:
                await anyio.sleep(0.7 * open.unit)


async def collecting_cancelled(open: Opener) -> None:
    with anyio.move_on_after(open.unit):
        await open().collect()


async def actor_stopped(open: Opener) -> None:
    stream = open()
    with suppress(ActorStoppedError):
        async for _ in stream:
            if "a" in open.router.list_actors():
                await open.router.stop_actor("a")


ENDS = [
    left,
    left_before_its_limits,
    left_payloads,
    left_by_an_error,
    block_left,
    block_left_unread,
    block_left_by_an_error,
    dropped_in_a_thread,
    closed,
    cancelled,
    cancelled_unread,
    aborted,
    aborted_through_any,
    aborted_by_time,
    timed_out,
    idle,
    stalled,
    overflowed,
    reader_cancelled,
    block_cancelled,
    collecting_cancelled,
    actor_stopped,
]

End = Callable[[Opener], Awaitable[None]]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("make", [Streams, Chunks])
async def test_a_stream_frees_all_at_once_however_it_ends(
    router: MessageRouter, keeper: Keeper, unit: float, make: Any, end: End
) -> None:
    router.register_actor("a", make(keeper, unit))
    await end(Opener(router, "generator", unit))
    await keeper.check()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("end", [left, cancelled, block_left])
async def test_each_kind_of_source_is_freed_at_once(
    router: MessageRouter, keeper: Keeper, unit: float, source: str, end: End
) -> None:
    router.register_actor("a", Streams(keeper, unit))
    await end(Opener(router, source, unit))
    await keeper.check()


async def test_no_timer_keeps_what_watched_a_stream_that_has_ended(
    router: MessageRouter, keeper: Keeper, unit: float
) -> None:
    router.register_actor("a", Streams(keeper, unit))
    await left_before_its_limits(Opener(router, "generator", unit))
    await settle(30)
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Watchdog)]


# Asks, actors, subscriptions and ports


class HandlerError(Exception):
    """Unlike a built-in exception, it can be weakly referenced."""


class Plain(Actor):
    """Answers, fails, stops or never answers, and has a port."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.port = self.create_port("p", buffer_size=1)

    async def receive(self, message: Message) -> Any:
        held = self.keeper.hold()
        self.keeper.track(message)
        if message.type == "fail":
            raise self._failure()
        if message.type == "wait":
            await anyio.Event().wait()
        if message.type == "stop":
            await self.router.stop_actor(self.address)
        if message.type == "publish":
            await self.port.publish(message.payload)
        del held
        return self.keeper.hold()

    def _failure(self) -> Exception:
        failure = HandlerError()
        self.keeper.track(failure)
        return failure


class Scene:
    """A router with an actor, the asks of which hold their payload alone."""

    def __init__(self, router: MessageRouter, keeper: Keeper, unit: float, id: str = "a") -> None:
        self.router = router
        self.keeper = keeper
        self.unit = unit
        self.id = id

    async def ask(self, type: str, **options: Any) -> None:
        try:
            await self.router.ask(self.id, type, self.keeper.hold(), **options)
        except ActorStreamError as error:
            self.keeper.track(error)

    async def tell(self, type: str) -> None:
        await self.router.tell(self.id, type, self.keeper.hold())
        await settle()

    async def stop(self, **options: Any) -> None:
        await self.router.stop_actor(self.id, **options)

    async def ask_twice_and(self, act: Callable[[], Awaitable[object]]) -> None:
        """Act while one ask is handled, and another one waits in the mailbox."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.ask, "wait")
            tasks.start_soon(self.ask, "wait")
            await settle()
            await act()

    async def publish(self, number: int = 1) -> None:
        """Publish more than the actor's port buffers, one value after the other."""
        for _ in range(number):
            await self.tell("publish")

    def subscribe(self, **options: Any) -> Subscription[Any]:
        values: Subscription[Any] = self.router.subscribe(self.id, "p", **options)
        self.keeper.track(values)
        return values


def _aborted(reason: object) -> AbortSignal:
    controller = AbortController()
    controller.abort(reason)
    return controller.signal


async def answered(scene: Scene) -> None:
    await scene.ask("quick")


async def ask_failed(scene: Scene) -> None:
    await scene.ask("fail")


async def ask_timed_out(scene: Scene) -> None:
    await scene.ask("wait", timeout=scene.unit)


async def ask_without_time(scene: Scene) -> None:
    await scene.ask("wait", timeout=0)


async def ask_aborted(scene: Scene) -> None:
    controller = AbortController()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(scene.ask, "wait", signal=controller.signal))
        await settle()
        controller.abort(scene.keeper.hold())


async def ask_aborted_before(scene: Scene) -> None:
    await scene.ask("wait", signal=_aborted(scene.keeper.hold()))


async def ask_aborted_by_an_error(scene: Scene) -> None:
    await scene.ask("wait", signal=_aborted(scene.keeper.track(HandlerError())))


async def ask_aborted_by_time(scene: Scene) -> None:
    await scene.ask("wait", signal=AbortSignal.timeout(scene.unit))


async def ask_cancelled(scene: Scene) -> None:
    with anyio.move_on_after(scene.unit):
        await scene.ask("wait")


async def ask_cancelled_in_the_mailbox(scene: Scene) -> None:
    # A task group that is cancelled would leave a cycle of its own on asyncio.
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(scene.ask, "wait", timeout=2 * scene.unit))
        await settle()
        with anyio.move_on_after(scene.unit):
            await scene.ask("wait")


async def tell_cancelled(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(scene.ask, "wait", timeout=2 * scene.unit))
        await settle()
        with anyio.move_on_after(scene.unit):
            for _ in range(3):
                await scene.tell("quick")


async def wait_for_the_end_cancelled(scene: Scene) -> None:
    with anyio.move_on_after(scene.unit):
        await scene.router.wait_stopped(scene.id)
    scene.keeper.hold()


ASK_ENDS = [
    answered,
    ask_failed,
    ask_timed_out,
    ask_without_time,
    ask_aborted,
    ask_aborted_before,
    ask_aborted_by_an_error,
    ask_aborted_by_time,
    ask_cancelled,
    ask_cancelled_in_the_mailbox,
    tell_cancelled,
    wait_for_the_end_cancelled,
]


async def actor_drained(scene: Scene) -> None:
    await scene.tell("quick")
    await scene.stop()


async def actor_stopped_while_asked(scene: Scene) -> None:
    await scene.ask_twice_and(partial(scene.stop, drain=False))


async def actor_stopped_while_told(scene: Scene) -> None:
    await scene.tell("wait")
    await scene.tell("wait")
    await scene.stop(drain=False)


async def drain_cut_short(scene: Scene) -> None:
    await scene.ask_twice_and(partial(scene.stop, timeout=scene.unit))


async def actor_stopped_by_its_handler(scene: Scene) -> None:
    await scene.ask("stop")


async def actor_failed(scene: Scene) -> None:
    await scene.tell("fail")


async def actor_failed_while_asked(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        await scene.tell("fail")
        tasks.start_soon(scene.ask, "quick")


async def actor_stopped_while_subscribed(scene: Scene) -> None:
    values = scene.subscribe()
    await scene.publish(3)
    await scene.stop(drain=False)
    with suppress(ActorStoppedError):
        async for _ in values:
            pass


ACTOR_ENDS = [
    actor_drained,
    actor_stopped_while_asked,
    actor_stopped_while_told,
    drain_cut_short,
    actor_stopped_by_its_handler,
    actor_failed,
    actor_failed_while_asked,
    actor_stopped_while_subscribed,
]


async def values_left(scene: Scene) -> None:
    values = scene.subscribe()
    await scene.publish(3)
    async for _ in values:
        break


async def values_dropped(scene: Scene) -> None:
    scene.subscribe()
    await scene.publish(3)


async def values_dropped_in_a_thread(scene: Scene) -> None:
    held = [scene.subscribe()]
    await scene.publish(3)
    thread = Thread(target=held.clear)
    thread.start()
    thread.join()


async def values_left_by_an_error(scene: Scene) -> None:
    values = scene.subscribe()
    await scene.publish(3)
    with suppress(KeyError):
        async for _ in values:
            raise KeyError


async def scope_left(scene: Scene) -> None:
    async with scene.subscribe() as values:
        await scene.publish(3)
        async for _ in values:
            break


async def scope_left_by_an_error(scene: Scene) -> None:
    with suppress(KeyError):
        async with scene.subscribe():
            await scene.publish(3)
            raise KeyError


async def values_cancelled(scene: Scene) -> None:
    values = scene.subscribe()
    await scene.publish(3)
    with suppress(StreamAbortedError):
        async for _ in values:
            values.cancel(scene.keeper.hold())


async def values_aborted(scene: Scene) -> None:
    controller = AbortController()
    with suppress(StreamAbortedError):
        async with scene.subscribe(signal=controller.signal) as values:
            await scene.publish(3)
            controller.abort(scene.keeper.hold())
            await anext(values)


async def values_aborted_by_time(scene: Scene) -> None:
    with suppress(StreamAbortedError):
        await scene.subscribe(signal=AbortSignal.timeout(scene.unit)).collect()


async def values_overflowed(scene: Scene) -> None:
    values = scene.subscribe(overflow="fail")
    await scene.publish(3)
    with suppress(StreamOverflowError):
        await values.collect()


async def read_cancelled(scene: Scene) -> None:
    with anyio.move_on_after(scene.unit):
        await anext(scene.subscribe())


async def collect_cancelled(scene: Scene) -> None:
    values = scene.subscribe()
    await scene.publish(3)
    with anyio.move_on_after(scene.unit):
        await values.collect()


async def port_closed(scene: Scene) -> None:
    actor: Any = scene.router.get_actor(scene.id)
    port = scene.keeper.track(actor.create_port("q"))
    values = scene.keeper.track(scene.router.subscribe(scene.id, "q"))
    await port.publish(scene.keeper.hold())
    port.close()
    await values.collect()


async def port_closed_while_it_publishes(scene: Scene) -> None:
    actor: Any = scene.router.get_actor(scene.id)
    port = scene.keeper.track(actor.create_port("q", buffer_size=1))
    values = scene.keeper.track(scene.router.subscribe(scene.id, "q"))

    async def publish() -> None:
        with suppress(PortClosedError):
            for _ in range(3):
                await port.publish(scene.keeper.hold())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        await settle()
        port.close()
    await values.collect()


async def publish_cancelled(scene: Scene) -> None:
    actor: Any = scene.router.get_actor(scene.id)
    values = scene.subscribe()
    with anyio.move_on_after(scene.unit):
        for _ in range(3):
            await actor.port.publish(scene.keeper.hold())
    await anext(values)


async def wait_for_subscribers_cancelled(scene: Scene) -> None:
    actor: Any = scene.router.get_actor(scene.id)
    port = scene.keeper.track(actor.create_port("q"))
    with anyio.move_on_after(scene.unit):
        await port.wait_subscribers(1)
    port.close()


SUBSCRIPTION_ENDS = [
    values_left,
    values_dropped,
    values_dropped_in_a_thread,
    values_left_by_an_error,
    scope_left,
    scope_left_by_an_error,
    values_cancelled,
    values_aborted,
    values_aborted_by_time,
    values_overflowed,
    read_cancelled,
    collect_cancelled,
    port_closed,
    port_closed_while_it_publishes,
    publish_cancelled,
    wait_for_subscribers_cancelled,
]

SceneEnd = Callable[[Scene], Awaitable[None]]


@pytest.mark.parametrize("end", ASK_ENDS + SUBSCRIPTION_ENDS)
async def test_an_ask_or_a_subscription_frees_all_at_once_however_it_ends(
    router: MessageRouter, keeper: Keeper, unit: float, end: SceneEnd
) -> None:
    router.register_actor("a", Plain(keeper), mailbox_size=2)
    await end(Scene(router, keeper, unit))
    await keeper.check()


@pytest.mark.parametrize("end", ACTOR_ENDS)
async def test_an_actor_is_freed_at_once_however_it_ends(
    keeper: Keeper, unit: float, end: SceneEnd
) -> None:
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", keeper.track(Plain(keeper)))
        await end(Scene(router, keeper, unit))
        await keeper.check()


@pytest.mark.parametrize("end", ACTOR_ENDS)
async def test_an_actor_is_freed_at_once_when_its_supervisor_restarts_it(
    router: MessageRouter, keeper: Keeper, unit: float, end: SceneEnd
) -> None:
    first = [Plain(keeper)]
    keeper.track(first[0])
    pool = Supervisor([ChildSpec("a", lambda: first.pop() if first else Actor())])
    router.register_actor("pool", pool)
    await settle()
    await end(Scene(router, keeper, unit, "pool/a"))
    await keeper.check()


class FailsInHook(Plain):
    """Fails, or waits until it is stopped, in its `on_start()` or its `on_stop()`."""

    def __init__(self, keeper: Keeper, hook: str) -> None:
        super().__init__(keeper)
        self.hook = hook

    async def on_start(self) -> None:
        held = self.keeper.hold()
        if self.hook == "on_start() fails":
            raise self._failure()
        if self.hook == "on_start() hangs":
            await anyio.Event().wait()
        del held

    async def on_stop(self, reason: object) -> None:
        held = self.keeper.hold()
        if self.hook == "on_stop() fails":
            raise self._failure()
        if self.hook == "on_stop() hangs":
            await anyio.Event().wait()
        del held


HOOKS = ["on_start() fails", "on_start() hangs", "on_stop() fails", "on_stop() hangs"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("type", ["quick", "fail"])
async def test_an_actor_is_freed_at_once_whose_hook_fails_or_hangs(
    keeper: Keeper, unit: float, hook: str, type: str
) -> None:
    async with MessageRouter(on_failure="stop") as router:
        actor = keeper.track(FailsInHook(keeper, hook))
        router.register_actor("a", actor, start_timeout=unit, stop_timeout=unit)
        del actor
        async with anyio.create_task_group() as tasks:
            scene = Scene(router, keeper, unit)
            tasks.start_soon(scene.ask, "quick")
            await settle()
            with suppress(ActorStreamError):
                await scene.tell(type)
            await anyio.sleep(2 * unit)
            with suppress(ActorStreamError):
                await scene.stop()
        await keeper.check()


@pytest.mark.parametrize("type", ["quick", "wait"])
async def test_a_supervisor_is_freed_at_once_with_its_children(
    router: MessageRouter, keeper: Keeper, unit: float, type: str
) -> None:
    pool = Supervisor([ChildSpec("a", lambda: keeper.track(Plain(keeper)))])
    router.register_actor("pool", keeper.track(pool))
    del pool
    await Scene(router, keeper, unit, "pool/a").tell(type)
    await router.stop_actor("pool", drain=False)
    await keeper.check()


@pytest.mark.parametrize("restart", ["permanent", "temporary"])
async def test_a_supervisor_that_gives_up_is_freed_at_once(
    keeper: Keeper, unit: float, restart: Any
) -> None:
    async with MessageRouter(on_failure="stop") as router:
        child = ChildSpec("a", lambda: keeper.track(Plain(keeper)), restart=restart)
        router.register_actor("pool", keeper.track(Supervisor([child], max_restarts=0)))
        await Scene(router, keeper, unit, "pool/a").tell("fail")
        await router.stop_actor("pool") if restart == "temporary" else await settle()
        await keeper.check()


@pytest.mark.parametrize("type", ["quick", "wait", "publish"])
async def test_all_is_freed_at_once_when_the_router_is_left(
    keeper: Keeper, unit: float, type: str
) -> None:
    async with anyio.create_task_group() as tasks:
        async with MessageRouter() as router:
            router.register_actor("a", keeper.track(Plain(keeper)))
            scene = Scene(keeper.track(router), keeper, unit)
            values = scene.subscribe()
            for _ in range(3):
                tasks.start_soon(scene.ask, type)
            await settle()
        with suppress(ActorStreamError):
            await values.collect()
    del router, scene, values
    await keeper.check()
