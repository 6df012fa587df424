"""The context of an actor's code: `current_message()`, and the context variables of others."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token

import anyio
import anyio.to_thread
import attrs
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after, sleep
from anyio.lowlevel import checkpoint

from actorstream import (
    Actor,
    ActorError,
    ChildSpec,
    Message,
    MessageRouter,
    Supervisor,
    address,
    current_message,
)
from actorstream._context import current_channel
from actorstream.testing import settle
from tests.support import ActorOf, serving


class Teller(Actor):
    """Yields the request that it serves."""

    async def stream_async(self, payload):
        yield current_message()


class CallbackTeller(Actor):
    """Does the same in the callback form."""

    async def stream(self, payload, on_chunk):
        await on_chunk(current_message())


class Forwarder(Actor):
    """Streams what another actor streams."""

    async def stream_async(self, payload):
        async for item in self.router.stream_async(payload, "forwarded").payloads():
            yield item
        yield current_message()


@pytest.mark.parametrize("actor", [Teller, CallbackTeller])
async def test_what_it_returns(router, actor):
    """It returns the request with its type, payload, address and correlation id, in either form."""
    router.register_actor("a", actor())
    stream = router.stream_async("a", "query", {"n": 1})
    [message] = await stream.collect()
    assert (message.to, message.type, message.payload) == (address("a"), "query", {"n": 1})
    assert message.correlation_id == stream.correlation_id
    assert message.id
    assert 0 <= time.time() - message.timestamp < 60


async def test_sender_outside_of_actors(router):
    """A request from outside an actor has no sender."""
    router.register_actor("a", Teller())
    [message] = await router.stream_async("a", "query").collect()
    assert message.sender is None


async def test_sender_inside_of_an_actor(router):
    """A request that a handler makes has the handler's actor as its sender."""
    router.register_actor("forwarder", Forwarder())
    router.register_actor("teller", Teller())
    inner, outer = await router.stream_async("forwarder", "query", "teller").collect()
    assert (inner.to, inner.sender) == (address("teller"), address("forwarder"))
    assert (outer.to, outer.sender) == (address("forwarder"), None)


async def test_outside_of_a_handler():
    """Outside a handler there is no current message; the error says where there is one."""
    with pytest.raises(LookupError, match=r"no current message here; .*stream_async\(\)"):
        current_message()


async def test_consumer_sees_none(router):
    """The consumer has no current message, even in the loop over a stream."""
    router.register_actor("a", Teller())
    async for _ in router.stream_async("a", "query"):
        with pytest.raises(LookupError):
            current_message()


async def test_in_tasks_of_the_handler(router):
    """Tasks that a handler starts see its message."""
    seen = []

    async def look():
        seen.append(current_message().type)

    async def busy(_):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
        yield

    router.register_actor("a", ActorOf(busy))
    await router.stream_async("a", "query").collect()
    assert seen == ["query"]


async def test_in_a_plain_method(router):
    """A plain method and the iterable it returns see the message, even during clean-up."""
    seen = []

    async def items():
        try:
            seen.append(current_message().type)
            yield
        finally:
            seen.append(current_message().type)

    def plain(_):
        seen.append(current_message().type)
        return items()

    router.register_actor("a", ActorOf(plain))
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
    assert seen == ["query"] * 3


async def test_concurrent_streams(router):
    """Concurrent streams each see their own message."""
    router.register_actor("a", Teller())
    streams = [router.stream_async("a", f"query {number}") for number in range(3)]
    types = [(await anext(stream.payloads())).type for stream in streams]
    assert types == ["query 0", "query 1", "query 2"]


async def test_message_is_frozen(router):
    """A request cannot be changed."""
    router.register_actor("a", Teller())
    [message] = await router.stream_async("a", "query").collect()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.type = "command"


# Context variables

user: ContextVar[str] = ContextVar("user", default="nobody")


class Handling(Actor):
    """Handles its messages with a function."""

    def __init__(self, handle: Callable[[Message], Awaitable[object]]) -> None:
        self.handle = handle

    async def receive(self, message: Message) -> object:
        return await self.handle(message)


class Service(Actor):
    """Sets the user to its payload, if it has one; returns and logs the users before and after."""

    def __init__(self) -> None:
        self.log: list[object] = []

    async def receive(self, message: Message) -> list[str]:
        seen = [user.get()]
        if message.payload is not None:
            user.set(message.payload)
        await checkpoint()
        seen.append(user.get())
        self.log.append(seen)
        return seen


async def test_a_handler_sees_its_askers_context(router):
    """Before and after an await."""
    router.register_actor("service", Service())
    user.set("asker")
    assert await router.ask("service", "x") == ["asker", "asker"]


@pytest.mark.parametrize("nowait", [True, False])
async def test_a_handler_sees_its_tellers_context(router, nowait):
    """As it was at the time of the tell, and although others have told since."""
    service = Service()
    router.register_actor("service", service)
    for name in ("alice", "bob"):
        user.set(name)
        if nowait:
            router.tell_nowait("service", "x")
        else:
            await router.tell("service", "x")
    user.set("later")
    await router.ask("service", "x")
    assert service.log[:2] == [["alice"] * 2, ["bob"] * 2]


async def test_a_handler_sees_the_context_of_a_tell_that_waited_for_room(router):
    """Its context is the teller's, whoever makes room."""
    service = Service()
    router.register_actor("service", service, mailbox_size=1)

    async def tell(name: str) -> None:
        user.set(name)
        await router.tell("service", "x")

    async with create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(tell, name)
    await router.ask("service", "x")
    assert sorted(map(str, service.log)) == sorted(str([name] * 2) for name in [*"abc", "nobody"])


async def test_nothing_that_a_handler_sets_leaks(router):
    """It stays to the end of the handler; neither its asker nor the next message sees it."""
    router.register_actor("service", Service())
    assert await router.ask("service", "x", "alice") == ["nobody", "alice"]
    assert user.get() == "nobody"
    assert await router.ask("service", "x") == ["nobody", "nobody"]


async def test_nothing_that_a_failed_handler_sets_leaks(router):
    """Also if it raises."""

    async def handle(message: Message) -> str:
        seen = user.get()
        user.set("alice")
        if message.type == "fail":
            raise OSError
        return seen

    router.register_actor("service", Handling(handle))
    with pytest.raises(ActorError):
        await router.ask("service", "fail")
    assert await router.ask("service", "x") == "nobody"


async def test_nothing_that_a_cancelled_handler_sets_leaks(router, unit):
    """Its own clean-up sees it, and the next message does not."""
    log = []

    async def handle(message: Message) -> str:
        seen = user.get()
        if message.type == "wait":
            user.set("alice")
            try:
                await anyio.sleep_forever()
            finally:
                log.append(user.get())
        return seen

    router.register_actor("service", Handling(handle))
    with move_on_after(unit):
        await router.ask("service", "wait")
    assert await router.ask("service", "x") == "nobody"
    assert log == ["alice"]


async def test_a_token_of_a_handler(router):
    """A handler can reset what it has set, also after an await."""

    async def handle(_: Message) -> str:
        token = user.set("alice")
        await checkpoint()
        user.reset(token)
        return user.get()

    router.register_actor("service", Handling(handle))
    assert await router.ask("service", "x") == "nobody"


async def test_a_chain_of_actors(router):
    """A context goes through a handler to what the handler asks and streams."""

    class Last(Service):
        async def stream_async(self, payload):
            yield user.get()

    async def handle(message: Message) -> object:
        user.set(f"{user.get()}'s friend")
        asked = await router.ask("last", "x")
        return [*asked, *await router.stream_async("last", "x").collect()]

    router.register_actor("first", Handling(handle))
    router.register_actor("last", Last())
    user.set("alice")
    assert await router.ask("first", "x") == ["alice's friend"] * 3


async def test_a_plain_handler(router):
    """A handler need not be a coroutine function."""

    class Plain(Actor):
        def receive(self, message):  # pyright: ignore[reportIncompatibleMethodOverride]
            return user.get()

    router.register_actor("plain", Plain())
    user.set("alice")
    assert await router.ask("plain", "x") == "alice"


@pytest.mark.real_clock
async def test_tasks_and_threads_of_a_handler(router):
    """They have a copy of the handler's context, and its current message."""

    def look() -> tuple[str, str]:
        return user.get(), current_message().type

    async def handle(_: Message) -> object:
        seen = []

        async def note() -> None:
            seen.append(look())

        user.set("alice")
        await checkpoint()
        async with create_task_group() as tasks:
            tasks.start_soon(note)
        seen.append(await anyio.to_thread.run_sync(look))
        return seen

    router.register_actor("service", Handling(handle))
    assert await router.ask("service", "query") == [("alice", "query")] * 2


async def test_a_task_that_a_handler_leaves_running(router):
    """It keeps its context while the actor handles the next message."""
    log = []

    async def note() -> None:
        await settle()
        log.append((user.get(), current_message().type))

    async with create_task_group() as tasks:

        async def handle(message: Message) -> None:
            if message.type == "first":
                tasks.start_soon(note)

        router.register_actor("service", Handling(handle))
        user.set("alice")
        await router.ask("service", "first")
        user.set("bob")
        await router.ask("service", "second")
    assert log == [("alice", "first")]


async def test_scopes_and_timeouts_in_a_handler(router, unit):
    """They belong to the actor's task, so they work although the context is another one."""

    async def handle(_: Message) -> object:
        user.set("alice")
        with move_on_after(unit) as scope:
            await anyio.sleep_forever()
        with pytest.raises(TimeoutError), fail_after(unit):
            await sleep(5 * unit)
        with CancelScope(shield=True):
            await checkpoint()
        async with create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.cancel_scope.cancel()
        return scope.cancelled_caught, user.get(), anyio.get_current_task().name

    router.register_actor("service", Handling(handle))
    assert await router.ask("service", "x") == (True, "alice", "service")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_asyncio_offers_in_a_handler(router):
    """asyncio's own timeouts, tasks and futures."""

    async def look() -> str:
        return user.get()

    async def handle(_: Message) -> object:
        user.set("alice")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        seen = await asyncio.gather(look(), asyncio.create_task(look()))
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: future.set_result(user.get()))
        return [*seen, await asyncio.wait_for(future, 1)], task is asyncio.current_task()

    router.register_actor("service", Handling(handle))
    assert await router.ask("service", "x") == (["alice"] * 3, True)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_trio_offers_in_a_handler(router):
    """trio's own scopes, nurseries and channels."""
    import trio

    async def handle(_: Message) -> object:
        user.set("alice")
        send, receive = trio.open_memory_channel[str](0)

        async def look() -> None:
            await send.send(user.get())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            seen = await receive.receive()
        with trio.move_on_after(1) as scope:
            await trio.sleep_forever()
        return seen, user.get(), scope.cancelled_caught

    router.register_actor("service", Handling(handle))
    assert await router.ask("service", "x") == ("alice", "alice", True)


async def test_the_hooks_share_a_context(router):
    """on_stop() sees what on_start() has set, on top of the context that the router began with."""
    log = []

    class Hooked(Service):
        token: Token[str]

        async def on_start(self) -> None:
            log.append(user.get())
            self.token = user.set("hook")

        async def on_stop(self, reason: object) -> None:
            log.append(user.get())
            user.reset(self.token)

    user.set("registers")
    router.register_actor("hooked", Hooked())
    assert await router.ask("hooked", "x", "alice") == ["registers", "alice"]
    await router.stop_actor("hooked")
    assert log == ["nobody", "hook"]


async def test_a_restart_begins_with_a_fresh_context(router):
    """Nothing of the last incarnation is left, nor of the message that ended it."""
    log = []

    class Fails(Actor):
        async def on_start(self) -> None:
            log.append(user.get())
            user.set("incarnation")

        async def receive(self, message: Message) -> None:
            user.set("alice")
            raise OSError

    router.register_actor("top", Supervisor([ChildSpec("child", Fails)]))
    user.set("teller")
    await router.tell("top/child", "x")
    await settle(20)
    assert log == ["nobody"] * 2


async def test_nothing_that_a_factory_sets_leaks(router):
    """Neither to the next call of a factory, nor to the actor."""
    log = []

    class Child(Actor):
        async def on_start(self) -> None:
            log.append(user.get())

    def make() -> Actor:
        log.append(user.get())
        user.set("factory")
        return Child()

    specs = [ChildSpec(name, make) for name in ("one", "two")]
    router.register_actor("top", Supervisor(specs))
    await settle(20)
    await router.stop_actor("top/one")
    await settle(20)
    assert log == ["nobody"] * 6


async def test_a_handler_is_not_part_of_the_stream_that_asked():
    """What a stream's producer asks does not put items into that stream."""

    async def handle(_: Message) -> object:
        return current_channel()

    class Streams(Actor):
        async def stream_async(self, payload):
            yield await self.ask("service", "x")

    async with serving(Streams()) as router:
        router.register_actor("service", Handling(handle))
        assert await router.stream_async("a", "x").collect() == [None]


async def test_a_router_that_a_producer_enters():
    """Its actors are not part of the outer stream."""

    class Inner(Actor):
        async def on_start(self) -> None:
            self.channel = current_channel()

    inner = Inner()

    class Outer(Actor):
        async def stream_async(self, payload):
            async with MessageRouter() as router:
                router.register_actor("inner", inner)
                await settle()
                yield "item"

    async with serving(Outer()) as router:
        assert await router.stream_async("a", "x").collect() == ["item"]
    assert inner.channel is None
