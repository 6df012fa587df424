"""A router belongs to one event loop and one task: what works elsewhere, and what is refused."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextvars import Context
from functools import partial
from importlib.util import find_spec
from typing import Any, cast

import anyio
import anyio.to_thread
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    MessageRouter,
    RouterClosedError,
    StreamAbortedError,
)
from actorstream.testing import assert_nothing_left, settle

ELSEWHERE = "the router runs in another event loop"


class Service(Actor):
    """Counts its messages, streams numbers, and has a port."""

    def __init__(self) -> None:
        self.port = self.create_port("port")
        self.told = 0

    async def receive(self, message: object) -> int:
        self.told += 1
        return self.told

    async def stream_async(self, payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number


class Place:
    """A router with one actor, an open stream and a subscription, both with unread items."""

    def __init__(self, router: MessageRouter) -> None:
        self.router = router
        self.service = Service()
        self.port = self.service.port
        router.register_actor("service", self.service)

    async def prepare(self) -> None:
        """Open the stream and the subscription, and read an item of each."""
        self.scoped = self.router.stream_async("service", "x", 3)
        self.stream = await self.scoped.__aenter__()
        self.items = self.stream.payloads()
        self.values = self.router.subscribe("service", "port")
        for number in range(3):
            self.port.publish_nowait(number)
        assert (await anext(self.items), await anext(self.values)) == (0, 0)
        await settle()

    async def finish(self) -> None:
        """Read what is left, and leave."""
        assert [item async for item in self.items] == [1, 2]
        self.port.close()
        assert [value async for value in self.values] == [1, 2]
        await self.scoped.__aexit__(None, None, None)


@pytest.fixture
async def place(router: MessageRouter) -> Place:
    """Make a router with an actor and what reads from it."""
    place = Place(router)
    await place.prepare()
    return place


# Callbacks of the loop, where no task runs

Loops = [
    asyncio.new_event_loop,
    pytest.param("uvloop", marks=pytest.mark.skipif(not find_spec("uvloop"), reason="no uvloop")),
]


@pytest.fixture(params=Loops, ids=["asyncio", "uvloop"])
def run_plain(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], None]]:
    """Return a function like `asyncio.run()`: the context does not say which library runs."""
    make = request.param
    if make == "uvloop":
        import uvloop

        make = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        yield lambda main: Context().run(runner.run, main)


async def in_callback(function: Callable[[], Any]) -> Any:
    """Call a function in a callback of the loop, outside of every task."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def call() -> None:
        assert asyncio.current_task() is None
        try:
            future.set_result(function())
        except Exception as exc:
            future.set_exception(exc)

    loop.call_soon(call, context=Context())
    return await future


def test_register_in_a_callback(run_plain):
    """The actor starts, and the router can be left."""

    async def main() -> None:
        async with MessageRouter() as router:
            await in_callback(lambda: router.register_actor("service", Service()))
            assert await router.ask("service", "x", timeout=1) == 1
        assert_nothing_left(router)

    run_plain(main())


def test_register_in_a_thread(run_plain):
    """So it does if another thread registers it."""

    async def main() -> None:
        async with MessageRouter() as router:
            await asyncio.to_thread(router.register_actor, "service", Service())
            assert await router.ask("service", "x", timeout=1) == 1

    run_plain(main())


def test_the_context_of_an_actor_registered_in_a_callback(run_plain):
    """What it starts and asks can use AnyIO, and the callback of another actor as well."""

    class Uses(Actor):
        async def on_start(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 0)

        async def receive(self, message: object) -> object:
            return await self.ask("service", "x", timeout=1)

    async def main() -> None:
        async with MessageRouter() as router:
            await in_callback(lambda: router.register_actor("uses", Uses()))
            await in_callback(lambda: router.register_actor("service", Service()))
            await in_callback(lambda: router.tell_nowait("uses", "x"))
            assert await router.ask("uses", "x", timeout=1) == 2

    run_plain(main())


def test_subscribe_and_publish_in_a_callback(run_plain):
    """Values arrive, with a time limit and a signal."""

    async def main() -> None:
        async with MessageRouter() as router:
            service = Service()
            router.register_actor("service", service)
            signal = AbortController().signal
            values = await in_callback(lambda: router.subscribe("service", "port", signal=signal))
            await in_callback(lambda: service.port.publish_nowait("value"))
            assert await anext(values) == "value"
            await in_callback(service.port.close)
            assert [value async for value in values] == []

    run_plain(main())


def test_stream_in_a_callback(run_plain):
    """A stream can be made in one callback, and cancelled in another."""

    async def main() -> None:
        async with MessageRouter() as router:
            router.register_actor("service", Service())
            stream = await in_callback(lambda: router.stream_async("service", "x", 500))
            items = stream.payloads()
            assert await anext(items) == 0
            assert len((await in_callback(router.tree)).actors[0].streams) == 1
            await in_callback(lambda: stream.cancel("enough"))
            with pytest.raises(StreamAbortedError):
                await anext(items)

    run_plain(main())


def test_dead_letter_in_a_callback(run_plain, caplog):
    """It is logged like others, and counted for the next line."""

    async def main() -> None:
        async with MessageRouter() as router:
            for _ in range(2):
                await in_callback(lambda: router.tell_nowait("nobody", "x"))

    run_plain(main())
    assert len(caplog.messages) == 2


def test_signal_with_a_timeout_in_a_callback(run_plain):
    """It is due by the clock of the loop."""

    async def main() -> None:
        signal = await in_callback(lambda: AbortSignal.timeout(0.001))
        await signal.wait()
        assert await in_callback(lambda: signal.aborted)

    run_plain(main())


def test_abort_in_a_callback_has_a_time(run_plain):
    """So an abort before a deadline wins, though nobody looks until later."""

    async def main() -> None:
        controller, timeout = AbortController(), AbortSignal.timeout(0.001)
        both = AbortSignal.any([timeout, controller.signal])
        await in_callback(lambda: controller.abort("callback"))
        await asyncio.sleep(0.01)
        assert both.reason == "callback"

    run_plain(main())


# Other threads and loops

Call = Callable[[Place], Any]

SYNC_CALLS: dict[str, Call] = {
    "tell_nowait": lambda place: place.router.tell_nowait("service", "x"),
    "subscribe": lambda place: place.router.subscribe("service", "port"),
    "port.subscribe": lambda place: place.port.subscribe(),
    "publish_nowait": lambda place: place.port.publish_nowait("other"),
    "port.close": lambda place: place.port.close(),
    "stream.cancel": lambda place: place.stream.cancel(),
    "subscription.cancel": lambda place: place.values.cancel(),
    "aiter": lambda place: aiter(place.items),
}
ASYNC_CALLS: dict[str, Callable[[Place], Awaitable[Any]]] = {
    "ask": lambda place: place.router.ask("service", "x"),
    "tell": lambda place: place.router.tell("service", "x"),
    "stop_actor": lambda place: place.router.stop_actor("service"),
    "wait_stopped": lambda place: place.router.wait_stopped("service"),
    "collect": lambda place: place.router.stream_async("service", "x", 1).collect(),
    "item": lambda place: anext(place.items),
    "stream.aclose": lambda place: place.stream.aclose(),
    "items.aclose": lambda place: cast("AsyncGenerator[int]", place.items).aclose(),
    "stream.__aexit__": lambda place: place.stream.__aexit__(None, None, None),
    "value": lambda place: anext(place.values),
    "values.collect": lambda place: place.values.collect(),
    "values.aclose": lambda place: place.values.aclose(),
    "values.__aenter__": lambda place: place.values.__aenter__(),
    "publish": lambda place: place.port.publish("other"),
    "wait_subscribers": lambda place: place.port.wait_subscribers(1),
    "router.__aexit__": lambda place: place.router.__aexit__(None, None, None),
}


async def call_here(name: str, place: Place) -> None:
    """Make a call in this task."""
    if name in SYNC_CALLS:
        SYNC_CALLS[name](place)
    else:
        await ASYNC_CALLS[name](place)


async def in_thread(function: Callable[[], Any]) -> None:
    """Call a function in a thread that AnyIO knows nothing of; its result does not count."""
    thread = threading.Thread(target=function)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)


@pytest.mark.real_clock
@pytest.mark.parametrize("name", SYNC_CALLS)
async def test_a_call_from_another_thread(place, name):
    """It is refused before anything has happened."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            SYNC_CALLS[name](place)
        except RouterClosedError as exc:
            errors.append(exc)

    await in_thread(call)
    [error] = errors
    assert ELSEWHERE in str(error)
    assert place.service.told == 0
    assert await place.router.ask("service", "x") == 1
    await place.finish()


@pytest.mark.real_clock
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", [*SYNC_CALLS, *ASYNC_CALLS])
async def test_a_call_from_another_loop(place, name, backend):
    """So it is from another loop, of whatever kind; and nobody waits there."""
    errors: list[BaseException] = []

    async def call() -> None:
        try:
            with anyio.fail_after(5):
                await call_here(name, place)
        except RouterClosedError as exc:
            errors.append(exc)

    await in_thread(partial(anyio.run, call, backend=backend))
    [error] = errors
    assert ELSEWHERE in str(error)
    assert place.service.told == 0
    await place.finish()


@pytest.mark.real_clock
async def test_a_scoped_stream_left_in_another_loop_keeps_the_error_of_its_block(place):
    """The exception of the block is the one to see."""
    errors: list[BaseException] = []

    async def leave() -> None:
        for scoped in (place.stream, place.values):
            assert not await scoped.__aexit__(OSError, OSError(), None)
        errors.append(OSError())

    await in_thread(partial(anyio.run, leave))
    assert errors
    await place.finish()


@pytest.mark.parametrize("name", [*SYNC_CALLS, *ASYNC_CALLS])
def test_a_call_from_another_loop_of_the_same_thread(name):
    """As with a fixture in one loop and a test in another."""

    async def main() -> None:
        async with MessageRouter() as router:
            place = Place(router)
            await place.prepare()
            opened.set_result(place)
            await closed.wait()
            await place.finish()

    with asyncio.Runner() as home, asyncio.Runner() as other:
        opened, closed = home.get_loop().create_future(), asyncio.Event()
        task = home.get_loop().create_task(main())
        place = home.get_loop().run_until_complete(opened)
        with pytest.raises(RouterClosedError, match=ELSEWHERE):
            other.run(call_here(name, place))
        closed.set()
        home.get_loop().run_until_complete(task)


async def test_a_port_without_a_router_works_anywhere():
    """Nobody reads there, so a value is lost, and the port may be closed."""
    port = Service().port
    await in_thread(lambda: port.publish_nowait(1))
    await in_thread(lambda: anyio.run(port.publish, 2))
    await in_thread(port.close)
    assert port.statistics().published == 2


@pytest.mark.real_clock
async def test_a_signal_with_a_timeout_needs_a_loop():
    """A thread has no clock, so it is told at once."""
    errors = []

    def make() -> None:
        try:
            AbortSignal.timeout(1)
        except RuntimeError as exc:
            errors.append(exc)

    await in_thread(make)
    assert len(errors) == 1


# trio as a guest of another loop


def run_as_guest(guest: Callable[[], Awaitable[None]], host: Callable[[], Awaitable[None]]) -> None:
    """Run trio inside of asyncio, both in one thread."""
    trio = pytest.importorskip("trio")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        await host()
        (await done).unwrap()

    asyncio.run(main())


async def call_in_callback(name: str, place: Place) -> None:
    """Make a call where no task runs."""
    await in_callback(lambda: SYNC_CALLS[name](place))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        *((call_here, name) for name in [*SYNC_CALLS, *ASYNC_CALLS]),
        *((call_in_callback, name) for name in SYNC_CALLS),
    ],
)
def test_a_call_from_the_host_of_a_guest(call, name):
    """The host shares the thread with trio, and yet it is another loop."""
    ready = asyncio.Event()
    done: list[bool] = []
    places: list[Place] = []

    async def guest() -> None:
        async with MessageRouter() as router:
            place = Place(router)
            await place.prepare()
            places.append(place)
            ready.set()
            while not done:
                await anyio.sleep(0.001)
            await place.finish()

    async def host() -> None:
        await ready.wait()
        try:
            with pytest.raises(RouterClosedError, match=ELSEWHERE):
                await call(name, places[0])
        finally:
            done.append(True)

    run_as_guest(guest, host)


def test_the_host_may_register_an_actor():
    """Like a thread: the actor starts in the loop of the guest."""
    ready, answers = asyncio.Event(), []
    routers: list[MessageRouter] = []

    async def guest() -> None:
        async with MessageRouter() as router:
            routers.append(router)
            ready.set()
            with anyio.fail_after(5):
                while not router.list_actors():
                    await anyio.sleep(0.001)
                answers.append(await router.ask("service", "x"))

    async def host() -> None:
        await ready.wait()
        routers[0].register_actor("service", Service())

    run_as_guest(guest, host)
    assert answers == [1]


def test_a_call_from_a_guest():
    """A router of the host is not there for trio's tasks."""
    errors: list[BaseException] = []
    routers: list[MessageRouter] = []

    async def guest() -> None:
        while not routers:
            await anyio.sleep(0.001)
        try:
            await routers[0].ask("service", "x")
        except RouterClosedError as exc:
            errors.append(exc)

    async def host() -> None:
        async with MessageRouter() as router:
            router.register_actor("service", Service())
            routers.append(router)
            while not errors:
                await asyncio.sleep(0.001)
            assert await router.ask("service", "x") == 1

    run_as_guest(guest, host)
    assert ELSEWHERE in str(errors[0])


# The task that owns the router


async def test_a_router_left_in_another_task():
    """It is refused, names both tasks, and says what to write; the router goes on."""

    async def leave() -> None:
        with pytest.raises(RouterClosedError, match=r"leave it in one task: .* `async with ro"):
            await router.__aexit__(None, None, None)

    async with MessageRouter() as router:
        router.register_actor("service", Service())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave, name="the other task")
        assert await router.ask("service", "x") == 1
    assert_nothing_left(router)


def test_a_router_left_in_a_task_that_began_after_the_end_of_the_first():
    """Though the second task may have the identity of the first."""
    router = MessageRouter()

    async def use() -> None:
        router.register_actor("service", Service())
        assert await router.ask("service", "x") == 1

    with asyncio.Runner() as runner:
        runner.run(router.__aenter__())
        runner.run(use())
        for _ in range(5):
            with pytest.raises(RouterClosedError, match="'Task-"):
                runner.run(router.__aexit__(None, None, None))
        runner.run(router.stop_actor("service"))


async def test_a_router_that_was_not_entered_cannot_be_left():
    """Nor can one that has been left."""
    router = MessageRouter()
    with pytest.raises(RouterClosedError, match="is not entered"):
        await router.__aexit__(None, None, None)
    async with router:
        pass
    with pytest.raises(RouterClosedError, match="is closed"):
        await router.__aexit__(None, None, None)
