"""The task of an actor: scopes that the actor holds open, and cancellations not by AnyIO."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actorstream import (
    Actor,
    ActorError,
    ActorStoppedError,
    ChildSpec,
    Message,
    MessageRouter,
    StreamError,
    Supervisor,
)
from actorstream.testing import settle
from tests.support import ActorOf, QuitProgram, failures

KINDS = ["task group", "scope"]


class Holder(Actor):
    """Opens a task group or a scope in one method, and closes it in another."""

    def __init__(self, kind: str = "task group", *, on_start: bool = True) -> None:
        self.kind = kind
        self.opens_on_start = on_start
        self.closes_on_stop = True
        self.failing = anyio.Event()
        self.held: Any = None
        self.diary: list[str] = []
        self.reasons: list[object] = []

    async def open(self) -> None:
        if self.kind == "scope":
            self.held = anyio.CancelScope()
            self.held.__enter__()
        else:
            self.held = anyio.create_task_group()
            await self.held.__aenter__()
            self.held.start_soon(self.work)

    async def close(self) -> None:
        held, self.held = self.held, None
        if isinstance(held, anyio.CancelScope):
            held.__exit__(None, None, None)
        elif held is not None:
            held.cancel_scope.cancel()
            await held.__aexit__(None, None, None)

    async def work(self) -> None:
        try:
            await self.failing.wait()
            raise ConnectionError("the background work failed")
        finally:
            self.diary.append("worked")

    async def on_start(self) -> None:
        if self.opens_on_start:
            await self.open()

    async def receive(self, message: Message) -> str:
        if message.type in ("open", "close"):
            await getattr(self, message.type)()
        elif message.type == "wait":
            await anyio.sleep_forever()
        return "pong"

    async def on_stop(self, reason: str | BaseException) -> None:
        self.reasons.append(reason)
        if self.closes_on_stop:
            await self.close()
        self.diary.append("stopped")


@pytest.fixture
async def router():
    """Yield a router that logs the failure of an actor, and a bystander in it that must live on."""
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("bystander", Holder())
        yield router
        assert await router.ask("bystander", "ping") == "pong"


async def stop_by_name(router: MessageRouter, name: str) -> None:
    await router.stop_actor(name)


async def stop_now(router: MessageRouter, name: str) -> None:
    await router.stop_actor(name, drain=False)


# Scopes that an actor holds open


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [stop_by_name, stop_now])
async def test_scope_from_on_start_to_on_stop(router, caplog, kind, stop):
    """An actor may open a task group or a scope in `on_start()`, and close it in `on_stop()`."""
    router.register_actor("a", actor := Holder(kind))
    assert await router.ask("a", "ping") == "pong"
    await stop(router, "a")
    assert actor.diary[-1] == "stopped"
    assert isinstance(actor.reasons[0], str)
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
async def test_scope_of_a_child(router, caplog, kind):
    """A child may do so too, when its supervisor stops it."""
    actor = Holder(kind)
    router.register_actor("pool", Supervisor([ChildSpec("a", lambda: actor)]))
    assert await router.ask("pool/a", "ping") == "pong"
    await router.stop_actor("pool", drain=False)
    assert actor.diary[-1] == "stopped"
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
async def test_scope_until_the_routers_exit(caplog, kind):
    """The exit of the router closes it, by a cancellation or without one."""
    actors = [Holder(kind), Holder(kind)]
    for actor in actors:
        with anyio.move_on_after(1 if actor is actors[1] else None):
            async with MessageRouter() as router:
                router.register_actor("a", actor)
                assert await router.ask("a", "ping") == "pong"
                if actor is actors[1]:
                    await anyio.sleep_forever()
    assert [actor.reasons for actor in actors] == [["shutdown"], ["shutdown"]]
    assert not caplog.records


async def test_ask_in_a_held_scope_is_cancelled(router):
    """While an actor holds a scope of its `on_start()`, an abandoned ask is cancelled as ever."""
    router.register_actor("a", actor := Holder())
    with anyio.move_on_after(1):
        await router.ask("a", "wait")
    assert await router.ask("a", "ping") == "pong"
    assert actor.diary == []


@pytest.mark.parametrize("kind", KINDS)
async def test_scope_from_message_to_message(router, caplog, kind):
    """A scope may be opened by a tell and closed by another."""
    router.register_actor("a", actor := Holder(kind, on_start=False))
    await router.tell("a", "open")
    assert await router.ask("a", "ping") == "pong"
    await router.tell("a", "close")
    assert await router.ask("a", "ping") == "pong"
    await router.stop_actor("a")
    assert actor.reasons == ["normal"]
    assert not caplog.records


@pytest.mark.parametrize("close", ["tell", "ask"])
async def test_task_group_opened_by_an_ask(router, caplog, close):
    """A task group may be opened by an ask, and closed by another message."""
    router.register_actor("a", actor := Holder(on_start=False))
    assert await router.ask("a", "open") == "pong"
    assert await router.ask("a", "ping") == "pong"
    await getattr(router, close)("a", "close")
    with anyio.move_on_after(1):
        await router.ask("a", "wait")  # is cancelled, since nothing is held any more
    assert await router.ask("a", "ping") == "pong"
    await router.stop_actor("a")
    assert actor.reasons == ["normal"]
    assert not caplog.records


async def test_scope_opened_by_an_ask(router):
    """A bare scope that an ask leaves open works, or is the failure of that actor alone."""
    router.register_actor("a", Holder("scope", on_start=False))
    assert await router.ask("a", "open") == "pong"
    await settle()


async def test_scope_closed_by_an_ask(router):
    """An ask that closes a scope of `on_start()` may fail, and the actor with it, but no other."""
    router.register_actor("a", Holder())
    with pytest.raises(ActorError):
        await router.ask("a", "close")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [stop_by_name, stop_now])
async def test_scope_that_is_never_closed(router, caplog, kind, stop):
    """What an actor leaves open at its end is cancelled, and told in the log."""
    router.register_actor("a", actor := Holder(kind))
    actor.closes_on_stop = False
    assert await router.ask("a", "ping") == "pong"
    await stop(router, "a")
    await settle()
    assert sorted(actor.diary) == sorted(["stopped"] + ["worked"] * (kind == "task group"))
    assert "@(a) ended, but left a cancel scope or a task group open" in caplog.text


async def test_failure_of_an_actor_that_leaves_a_task_group_open():
    """The failure of such an actor leaves the router as itself."""
    actor = Holder()
    actor.closes_on_stop = False
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", actor)
            await router.ask("a", "ping")
            actor.held.cancel_scope.cancel()
            await anyio.sleep_forever()
    assert [type(error) for error in errors] == [ActorError]


async def test_background_work_that_fails(router):
    """The failure of work in a held task group is that of the actor, and a restart follows."""
    actors: list[Holder] = []

    def make() -> Holder:
        actors.append(Holder())
        return actors[-1]

    router.register_actor("pool", Supervisor([ChildSpec("a", make)]))
    assert await router.ask("pool/a", "ping") == "pong"
    actors[0].failing.set()
    await settle()
    assert await router.ask("pool/a", "ping") == "pong"
    (error,) = actors[0].reasons
    assert isinstance(error, ActorError)
    assert isinstance(error.__cause__, ExceptionGroup)
    assert error.__cause__.subgroup(ConnectionError)


async def test_background_work_that_fails_during_an_ask(router):
    """The asker gets an `ActorStoppedError` whose cause is that failure."""
    router.register_actor("a", actor := Holder())
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(ActorStoppedError) as caught:
                await router.ask("a", "wait")
            assert type(caught.value.__cause__) is ActorError

        tasks.start_soon(ask)
        await settle()
        actor.failing.set()


async def test_stream_that_leaves_a_task_group_open(router):
    """A stream that leaves a task group open has failed; what ran in the group is cancelled."""
    holder = Holder()

    async def stream_async(_):
        await holder.open()
        raise ValueError("mine")
        yield

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    await settle()
    assert isinstance(caught.value.__cause__, ValueError)
    assert holder.diary == ["worked"]


async def test_background_work_of_a_stream_that_fails(router):
    """Background work that fails in a group that a stream leaves open ends that stream alone."""
    holder = Holder()

    async def stream_async(_):
        await holder.open()
        holder.failing.set()
        await anyio.sleep_forever()
        yield

    router.register_actor("a", ActorOf(stream_async))
    with pytest.raises(StreamError, match="left a cancel scope or a task group open"):
        await router.stream_async("a", "query").collect()


# Cancellations by asyncio itself


def find_task(name: str) -> asyncio.Task[Any]:
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
    return task


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("type", ["ping", "wait"])
async def test_cancelled_task_of_an_actor(router, caplog, type):
    """`Task.cancel()` on the task of an actor stops that actor; it is no failure."""
    router.register_actor("a", actor := Holder())
    await router.tell("a", type)
    await settle()
    find_task("a").cancel()
    await settle()
    assert actor.reasons == ["shutdown"]
    assert "a" not in router.list_actors()
    assert not caplog.records


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_task_of_a_child(router, caplog):
    """A supervisor does not restart a child whose task was cancelled."""
    router.register_actor("pool", Supervisor([ChildSpec("a", Holder)]))
    assert await router.ask("pool/a", "ping") == "pong"
    find_task("pool/a").cancel()
    await settle()
    assert router.statistics().restarts == 0
    assert not caplog.records


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_task_of_a_supervisor(router, caplog):
    """A supervisor whose task is cancelled again and again still stops its children."""
    children = [Holder(), Holder()]
    specs = [ChildSpec(str(i), lambda i=i: children[i]) for i in range(2)]  # type: ignore[misc]
    router.register_actor("pool", Supervisor(specs))
    assert await router.ask("pool/1", "ping") == "pong"
    task = find_task("pool")
    while not task.done():
        task.cancel()
        await anyio.sleep(0)
    await settle()
    assert [child.reasons for child in children] == [["shutdown"], ["shutdown"]]
    assert router.list_actors() == ["bystander"]
    assert not caplog.records


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_task_of_a_producer(router, caplog):
    """`Task.cancel()` on the task of a producer ends its stream with `ActorStoppedError`."""

    tasks: list[Any] = []

    async def stream_async(_):
        tasks.append(asyncio.current_task())
        yield 1
        await anyio.sleep_forever()

    router.register_actor("a", ActorOf(stream_async))
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == 1
    tasks[0].cancel()
    with pytest.raises(ActorStoppedError):
        await anext(payloads)
    assert not caplog.records


# Exceptions that are not an `Exception`, while the actor is cancelled


@pytest.fixture
def strays() -> list[Callable[[], BaseException]]:
    return [asyncio.CancelledError, GeneratorExit, QuitProgram]


async def test_stray_cancellation_of_the_backend(router):
    """An old cancellation that an actor raises again is the failure of that stream."""
    old: list[BaseException] = []

    async def stream_async(_):
        if old:
            raise old[0]
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            old.append(exc)
            raise
        yield

    router.register_actor("a", ActorOf(stream_async))
    with anyio.move_on_after(1):
        await router.stream_async("a", "query").collect()
    with pytest.raises(StreamError) as caught:
        await router.stream_async("a", "query").collect()
    assert caught.value.__cause__ is old[0]


async def test_base_exception_in_the_clean_up_of_a_cancelled_stream(router, strays, caplog):
    """It is a clean-up error, as an `Exception` is."""
    for stray in strays:

        async def stream_async(_, stray=stray):
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                raise stray()

        router.register_actor("a", ActorOf(stream_async))
        async for _ in router.stream_async("a", "query"):
            break
        await settle()
        await router.stop_actor("a")
    assert "QuitProgram" in caplog.text


async def test_base_exception_in_a_handler_that_is_cancelled(router, strays):
    """It fails the ask that was given up, and the actor lives on."""

    class Raises(Holder):
        async def receive(self, message: Message) -> str:
            try:
                return await super().receive(message)
            finally:
                if message.type == "wait":
                    raise message.payload()

    router.register_actor("a", Raises())
    for stray in strays:
        with anyio.move_on_after(1):
            await router.ask("a", "wait", stray)
        assert await router.ask("a", "ping") == "pong"
