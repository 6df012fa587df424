"""Helpers: actors that an actor's code registers below its own address, and that end with it."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from actorstream import (
    Actor,
    ActorStoppedError,
    ChildSpec,
    MessageRouter,
    RouterClosedError,
    Supervisor,
    handles,
)
from actorstream.testing import assert_nothing_left, settle
from tests.support import failures


class Helper(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log

    async def on_stop(self, reason: object) -> None:
        self.log.append(f"{self.address.id} stops")

    @handles("hold")
    async def hold(self, payload: object) -> None:
        await anyio.sleep_forever()

    @handles("fail")
    async def fail(self, payload: object) -> None:
        raise OSError("the helper failed")

    async def receive(self, message: object) -> str:
        return "pong"

    async def stream_async(self, payload: object) -> AsyncIterator[int]:
        yield 1
        await anyio.sleep_forever()


class Maker(Actor):
    """Registers helpers when it starts, and others when it is told to."""

    def __init__(self, log: list[str] | None = None, *names: str) -> None:
        self.log = [] if log is None else log
        self.names = names or ("helper",)

    async def on_start(self) -> None:
        for name in self.names:
            self.register(f"{self.address.id}/{name}")

    async def on_stop(self, reason: object) -> None:
        self.log.append(f"{self.address.id} stops")

    @handles("register")
    def on_register(self, payload: str) -> None:
        self.register(payload)

    def register(self, id: str) -> None:
        self.router.register_actor(id, Helper(self.log))

    @handles("fail")
    async def fail(self, payload: object) -> None:
        raise ConnectionError("lost")

    @handles("ping")
    async def ping(self, payload: object) -> Any:
        return await self.ask(f"{self.address.id}/helper", "ping")

    @handles("stop")
    async def stop(self, payload: str) -> None:
        await self.router.stop_actor(payload)

    async def stream_async(self, payload: str) -> AsyncIterator[int]:
        self.register(payload)
        yield 1


@pytest.mark.parametrize("drain", [True, False])
async def test_helpers_stop_before_their_maker(router: MessageRouter, drain: bool) -> None:
    """The last one first, as a supervisor stops its children; then comes `on_stop()`."""
    log: list[str] = []
    router.register_actor("a", Maker(log, "x", "y"))
    await router.tell("a", "register", "a/z")
    await settle()
    await router.stop_actor("a", drain=drain)
    assert log == ["a/z stops", "a/y stops", "a/x stops", "a stops"]
    assert router.list_actors() == []


async def test_helpers_stop_before_their_maker_when_the_router_is_left() -> None:
    log: list[str] = []
    async with MessageRouter() as router:
        router.register_actor("a", Maker(log, "x", "y"))
        await settle()
    assert log == ["a/y stops", "a/x stops", "a stops"]
    assert_nothing_left(router)


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_helpers_stop_before_their_maker_when_the_router_ends_by_force(how: str) -> None:
    log: list[str] = []
    with anyio.CancelScope() as scope:
        try:
            async with MessageRouter() as router:
                router.register_actor("a", Maker(log, "x", "y"))
                await settle()
                if how == "failed":
                    raise KeyError("failed")
                scope.cancel()
                await anyio.sleep_forever()
        except KeyError:
            pass
    assert log == ["a/y stops", "a/x stops", "a stops"]


async def test_a_fresh_maker_registers_its_helpers_again(router: MessageRouter) -> None:
    """The id of a helper is free when its maker is restarted, however often."""
    router.register_actor("pool", Supervisor([ChildSpec("a", Maker)]))
    for _ in range(3):
        assert await router.ask("pool/a", "ping") == "pong"
        await router.tell("pool/a", "fail")
    assert await router.ask("pool/a", "ping") == "pong"
    assert router.list_actors() == ["pool", "pool/a", "pool/a/helper"]


async def test_a_maker_that_fails_to_start_leaves_no_helper(router: MessageRouter) -> None:
    tries: list[int] = []

    class Fails(Maker):
        async def on_start(self) -> None:
            await super().on_start()
            tries.append(1)
            if len(tries) == 2:
                raise OSError("not yet")

    router.register_actor("pool", Supervisor([ChildSpec("a", Fails)]))
    await router.ask("pool/a", "ping")
    await router.tell("pool/a", "fail")
    assert await router.ask("pool/a", "ping") == "pong"
    assert len(tries) == 3


async def test_who_waits_for_a_helper_when_its_maker_ends(router: MessageRouter) -> None:
    """An asker gets `ActorStoppedError`, and so does a stream's consumer."""
    router.register_actor("pool", Supervisor([ChildSpec("a", Maker)]))
    await router.ask("pool/a", "ping")
    stream = aiter(router.stream_async("pool/a/helper", "x").payloads())
    assert await anext(stream) == 1
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(ActorStoppedError, match="helper"):
                await router.ask("pool/a/helper", "hold")

        tasks.start_soon(ask)
        await settle()
        await router.tell("pool/a", "fail")
    with pytest.raises(ActorStoppedError):
        await anext(stream)


async def test_an_ask_during_the_restart_of_the_maker_waits_for_the_next_helper(
    router: MessageRouter,
) -> None:
    """An address below an actor that has not started is waited for."""
    router.register_actor("pool", Supervisor([ChildSpec("a", Maker)], backoff=1.0))
    await router.ask("pool/a", "ping")
    await router.tell("pool/a", "fail")
    await settle()
    assert await router.ask("pool/a/helper", "ping") == "pong"


async def test_a_helper_of_a_helper(router: MessageRouter) -> None:
    """A helper may have helpers of its own; those deepest below go first."""
    log: list[str] = []

    class Nested(Maker):
        def register(self, id: str) -> None:
            self.router.register_actor(id, Maker(self.log, "deep"))

    router.register_actor("a", Nested(log))
    await settle()
    assert "a/helper/deep" in router.list_actors()
    await router.stop_actor("a")
    assert log == ["a/helper/deep stops", "a/helper stops", "a stops"]


@pytest.mark.parametrize("code", ["handler", "stream", "task"])
async def test_any_code_of_the_actor_makes_helpers(router: MessageRouter, code: str) -> None:
    """A handler, a stream of the actor, and a task that it has started."""

    class Tasks(Maker):
        @handles("start")
        async def start(self, payload: str) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.later, payload)

        async def later(self, id: str) -> None:
            self.router.register_actor(id, Helper())

    router.register_actor("a", Tasks())
    if code == "handler":
        await router.tell("a", "register", "a/other")
    elif code == "stream":
        await router.stream_async("a", "x", "a/other").collect()
    else:
        await router.ask("a", "start", "a/other")
    await settle()
    assert "a/other" in router.list_actors()
    await router.stop_actor("a")
    assert router.list_actors() == []


async def test_a_helper_that_on_stop_registers_ends_as_well(router: MessageRouter) -> None:
    class Late(Maker):
        async def on_stop(self, reason: object) -> None:
            self.router.register_actor("a/late", Helper(self.log))
            await super().on_stop(reason)

    log: list[str] = []
    router.register_actor("a", Late(log))
    await router.stop_actor("a")
    assert log == ["a/helper stops", "a stops", "a/late stops"]
    assert router.list_actors() == []


@pytest.mark.parametrize("id", ["elsewhere", "ab/c", "pool/b"])
async def test_an_actor_elsewhere_is_on_its_own(router: MessageRouter, id: str) -> None:
    """What an actor registers at another path stays when the actor ends."""
    router.register_actor("pool/a", Maker())
    await router.tell("pool/a", "register", id)
    await settle()
    await router.stop_actor("pool/a")
    assert router.list_actors() == [id]


@pytest.mark.parametrize("first", [True, False])
async def test_an_actor_below_that_others_have_registered(
    router: MessageRouter, first: bool
) -> None:
    """It is on its own, whether it was registered before the actor above or after."""
    if first:
        router.register_actor("a/other", Helper())
    router.register_actor("a", Maker())
    if not first:
        router.register_actor("a/other", Helper())
    await settle()
    await router.stop_actor("a")
    assert router.list_actors() == ["a/other"]


async def test_an_actor_that_another_actor_registers_below(router: MessageRouter) -> None:
    """What counts is whose code is running."""
    router.register_actor("a", Maker())
    router.register_actor("b", Maker())
    await router.tell("b", "register", "a/other")
    await settle()
    await router.stop_actor("a")
    assert router.list_actors() == ["b", "b/helper", "a/other"]


async def test_a_helper_in_another_router(router: MessageRouter) -> None:
    """An actor of one router has no helpers in another one."""

    class Abroad(Maker):
        async def on_start(self) -> None:
            other.register_actor("a/helper", Helper())

    async with MessageRouter() as other:
        router.register_actor("a", Abroad())
        await settle()
        await router.stop_actor("a")
        assert other.list_actors() == ["a/helper"]


async def test_the_id_of_a_helper_that_is_stopped_is_free_at_once(router: MessageRouter) -> None:
    log: list[str] = []
    router.register_actor("a", Maker(log))
    await router.ask("a", "ping")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.stop_actor, "a/helper")
        await checkpoint()
        await router.ask("a", "register", "a/helper")
    assert await router.ask("a", "ping") == "pong"


async def test_a_maker_stops_its_helper(router: MessageRouter) -> None:
    router.register_actor("a", Maker())
    await router.ask("a", "stop", "a/helper")
    assert router.list_actors() == ["a"]


async def test_a_helper_stops_its_maker(router: MessageRouter) -> None:
    """The call does not wait: the maker waits for the helper."""

    class Stops(Helper):
        async def receive(self, message: object) -> str:
            await self.router.stop_actor("a")
            return "stopped it"

    class Makes(Maker):
        def register(self, id: str) -> None:
            self.router.register_actor(id, Stops())

    router.register_actor("a", Makes())
    assert await router.ask("a/helper", "x") == "stopped it"
    await router.wait_stopped("a")
    assert router.list_actors() == []


async def test_a_helper_that_fails() -> None:
    """It has no supervisor: its failure leaves the router."""
    with failures() as found:
        async with MessageRouter() as router:
            router.register_actor("a", Maker())
            await router.ask("a", "ping")
            await router.tell("a/helper", "fail")
            await anyio.sleep_forever()
    assert [str(failure) for failure in found] == ["the helper failed"]


async def test_a_helper_that_fails_does_not_harm_its_maker() -> None:
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", Maker())
        await router.ask("a", "ping")
        await router.tell("a/helper", "fail")
        await router.wait_stopped("a/helper")
        assert router.list_actors() == ["a"]


async def test_helpers_of_a_supervisor_stop_after_its_children(router: MessageRouter) -> None:
    """In the reverse order of their start: `on_start()` comes before the children."""
    log: list[str] = []

    class Pool(Supervisor):
        async def on_start(self) -> None:
            self.router.register_actor("pool/helper", Helper(log))

    router.register_actor("pool", Pool([ChildSpec("a", lambda: Helper(log))]))
    await router.ask("pool/a", "ping")
    await router.stop_actor("pool")
    assert log == ["pool/a stops", "pool/helper stops"]


async def test_the_tree_shows_helpers_under_their_maker(router: MessageRouter) -> None:
    router.register_actor("a", Maker())
    await settle()
    assert [child.id for child in router.tree().actors[0].children] == ["a/helper"]


async def test_streams_of_helpers_when_the_router_is_left() -> None:
    async with MessageRouter() as router:
        router.register_actor("a", Maker())
        await router.ask("a", "ping")
        stream = aiter(router.stream_async("a/helper", "x").payloads())
        await anext(stream)
    with pytest.raises(RouterClosedError):
        await anext(stream)
