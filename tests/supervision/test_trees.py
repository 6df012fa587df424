"""Supervisors of supervisors: what stays when an inner one is restarted, at every depth."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actorstream import (
    Actor,
    ActorNotFoundError,
    ActorRestartedError,
    ActorStoppedError,
    AskTimeoutError,
    ChildSpec,
    MessageRouter,
    Supervisor,
    handles,
)
from actorstream.testing import assert_nothing_left, settle


class Worker(Actor):
    """Answers with what it is asked, and keeps what its place has handled."""

    def __init__(self, handled: list[Any]) -> None:
        self.handled = handled
        self.news = self.create_port("news")

    @handles("work")
    async def work(self, payload: Any) -> Any:
        self.handled.append(payload)
        return payload

    @handles("hold")
    async def hold(self, payload: object) -> None:
        await anyio.sleep_forever()

    @handles("publish")
    async def publish(self, payload: object) -> None:
        await self.news.publish(payload)

    @handles("crash")
    async def crash(self, payload: object) -> None:
        raise ValueError("crashed")

    async def stream_async(self, payload: object) -> Any:
        yield "item"


def nest(make: Callable[[], Actor], depth: int, **spec: Any) -> Supervisor:
    """Make a supervisor of supervisors, down to one actor; the outermost waits before it restarts.

    The inner ones fail with the first failure of their children.
    """

    def inner() -> Actor:
        return Supervisor([ChildSpec("w", make, **spec)], max_restarts=0)

    for _ in range(depth - 1):
        inner = _wrapped(inner)
    return Supervisor([ChildSpec("in", inner, stop_timeout=None)], backoff=1.0)


def _wrapped(make: Callable[[], Actor]) -> Callable[[], Actor]:
    return lambda: Supervisor([ChildSpec("in", make, stop_timeout=None)], max_restarts=0)


def path_of(depth: int) -> str:
    return "site/" + "in/" * depth + "w"


async def in_the_backoff(router: MessageRouter, id: str) -> None:
    """Wait until the actor has failed, and its supervisors with it."""
    await settle(50)
    assert router.tree().actors[0].children[0].state == "restarting", id


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_queued_messages_outlive_their_supervisor(router: MessageRouter, depth: int) -> None:
    """What was sent before the restart and during it is handled, in the order of sending."""
    handled: list[Any] = []
    id = path_of(depth)
    router.register_actor("site", nest(lambda: Worker(handled), depth))
    await router.ask(id, "work", 0)
    await router.tell(id, "crash")
    await router.tell(id, "work", 1)
    await in_the_backoff(router, id)
    await router.tell(id, "work", 2)
    assert await router.ask(id, "work", 3) == 3
    assert handled == [0, 1, 2, 3]


async def test_senders_that_wait_for_room_outlive_a_supervisor(router: MessageRouter) -> None:
    """A full mailbox holds its senders up until the fresh actor takes their messages."""
    handled: list[Any] = []
    router.register_actor("site", nest(lambda: Worker(handled), 1, mailbox_size=1))
    await router.ask("site/in/w", "work", 0)
    await router.tell("site/in/w", "crash")
    async with anyio.create_task_group() as tasks:
        for number in range(1, 5):
            tasks.start_soon(router.tell, "site/in/w", "work", number)
            await settle()
    await router.ask("site/in/w", "work", 5)
    assert handled == [0, 1, 2, 3, 4, 5]


async def test_the_address_stays(router: MessageRouter) -> None:
    """While a supervisor restarts, its children are listed, and their ids are taken."""
    router.register_actor("site", nest(lambda: Worker([]), 1))
    await router.ask("site/in/w", "work", 0)
    await router.tell("site/in/w", "crash")
    await in_the_backoff(router, "site/in/w")
    assert router.list_actors() == ["site", "site/in", "site/in/w"]
    with pytest.raises(ValueError, match="taken"):
        router.register_actor("site/in/w", Worker([]))


async def test_what_is_opened_during_the_restart(router: MessageRouter) -> None:
    """A stream and a subscription that are opened in the backoff wait for the fresh actor."""
    router.register_actor("site", nest(lambda: Worker([]), 2))
    await router.ask("site/in/in/w", "work", 0)
    await router.tell("site/in/in/w", "crash")
    await in_the_backoff(router, "site/in/in/w")
    assert await router.stream_async("site/in/in/w", "x").collect() == ["item"]
    async with router.subscribe("site/in/in/w", "news") as news:
        await router.tell("site/in/in/w", "publish", 1)
        assert await anext(news) == 1


async def test_an_ask_in_hand_when_the_supervisor_fails(router: MessageRouter) -> None:
    """The asker learns that it was a restart, so that another try may succeed."""
    handled: list[Any] = []

    def inner() -> Actor:
        return Supervisor(
            [ChildSpec(id, lambda: Worker(handled)) for id in ("a", "b")], max_restarts=0
        )

    router.register_actor("site", Supervisor([ChildSpec("in", inner, stop_timeout=None)]))
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(ActorRestartedError):
                await router.ask("site/in/b", "hold")

        tasks.start_soon(ask)
        await settle()
        await router.tell("site/in/a", "crash")
    assert await router.ask("site/in/b", "work", 1) == 1


async def test_a_restart_by_the_strategy_keeps_the_queues_below(router: MessageRouter) -> None:
    """A supervisor that is restarted with its sibling keeps the mailboxes of its children."""
    handled: list[Any] = []

    def inner() -> Actor:
        return Supervisor([ChildSpec("w", lambda: Worker(handled))])

    specs = [ChildSpec("a", lambda: Worker(handled)), ChildSpec("in", inner, stop_timeout=None)]
    router.register_actor("site", Supervisor(specs, strategy="one_for_all"))
    with pytest.raises(AskTimeoutError):
        await router.ask("site/in/w", "hold", timeout=0.01)
    await router.tell("site/in/w", "hold")
    await router.tell("site/in/w", "work", 1)
    await settle()
    await router.tell("site/a", "crash")
    assert await router.ask("site/in/w", "work", 2) == 2
    assert handled == [1, 2]


async def test_queues_outlive_a_fresh_supervisor_that_cannot_start() -> None:
    """While the outer supervisor has restarts left, a start that fails below it loses nothing."""
    handled: list[Any] = []
    failures = iter([False, True, True, False])

    class Moody(Worker):
        async def on_start(self) -> None:
            if next(failures):
                raise ConnectionError("not yet")

    async with MessageRouter() as router:
        router.register_actor("site", nest(lambda: Moody(handled), 1))
        await router.ask("site/in/w", "work", 0)
        await router.tell("site/in/w", "crash")
        await router.tell("site/in/w", "work", 1)
        assert await router.ask("site/in/w", "work", 2) == 2
        assert handled == [0, 1, 2]
    assert_nothing_left(router)


async def test_a_child_that_the_fresh_supervisor_does_not_have(router: MessageRouter) -> None:
    """Its address is free, its asker is told, and its messages are dead letters."""
    names = iter(["old", "new"])

    def inner() -> Actor:
        specs = [ChildSpec("w", lambda: Worker([])), ChildSpec(next(names), lambda: Worker([]))]
        return Supervisor(specs, max_restarts=0)

    router.register_actor("site", Supervisor([ChildSpec("in", inner)], backoff=1.0))
    await router.ask("site/in/old", "work", 0)
    async with router.dead_letters.subscribe() as letters, anyio.create_task_group() as tasks:
        await router.tell("site/in/w", "crash")
        await in_the_backoff(router, "site/in/w")
        await router.tell("site/in/old", "work", 1)

        async def ask() -> None:
            with pytest.raises(ActorStoppedError) as caught:
                await router.ask("site/in/old", "work", 2)
            assert not isinstance(caught.value, ActorRestartedError)

        tasks.start_soon(ask)
        await router.ask("site/in/new", "work", 3)
        assert (await anext(letters)).payload == 1
    assert router.list_actors() == ["site", "site/in", "site/in/w", "site/in/new"]


@pytest.mark.parametrize("stopped", ["site", "site/in"])
async def test_kept_children_end_with_a_supervisor_that_is_stopped(
    router: MessageRouter, stopped: str
) -> None:
    """If a supervisor is stopped for good in its backoff, those who wait below it are told."""
    make = nest(lambda: Worker([]), 2)._actorstream_options.children[0].factory
    specs = [ChildSpec("in", make, restart="transient", stop_timeout=None)]
    router.register_actor("site", Supervisor(specs, backoff=1.0))
    await router.ask("site/in/in/w", "work", 0)
    await router.tell("site/in/in/w", "crash")
    await in_the_backoff(router, "site/in/in/w")
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("site/in/in/w", "work", 1)

        tasks.start_soon(ask)
        await settle()
        await router.stop_actor(stopped)
    assert router.list_actors() == ["site"][: stopped != "site"]


async def test_kept_children_end_with_supervisors_that_give_up() -> None:
    """When the outermost supervisor gives up, too, nothing waits any more."""
    top = Supervisor([ChildSpec("in", lambda: nest(lambda: Worker([]), 1))], max_restarts=0)
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("site", top)
        for _ in range(4):
            await router.ask("site/in/in/w", "work", 0)
            await router.tell("site/in/in/w", "crash")
        with pytest.raises(ActorStoppedError):
            await router.ask("site/in/in/w", "work", 1)
        await router.wait_stopped("site")
        assert router.list_actors() == []
    assert_nothing_left(router)


async def test_leaving_the_router_during_a_restart() -> None:
    """Those who wait for a kept child are told."""
    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("site", nest(lambda: Worker([]), 2))
        await router.ask("site/in/in/w", "work", 0)
        await router.tell("site/in/in/w", "crash")
        await in_the_backoff(router, "site/in/in/w")

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("site/in/in/w", "work", 1)

        tasks.start_soon(ask)
        await settle()
    assert_nothing_left(router)


async def test_restarts_below_are_counted(router: MessageRouter) -> None:
    """An actor that comes back with its supervisor has been restarted."""
    router.register_actor("site", nest(lambda: Worker([]), 1))
    await router.ask("site/in/w", "work", 0)
    await router.tell("site/in/w", "crash")
    await router.ask("site/in/w", "work", 1)
    assert router.tree().actors[0].children[0].children[0].restarts == 1
    assert router.statistics().restarts == 2


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_a_fresh_supervisor_starts_all_of_its_children(
    router: MessageRouter, restart: Any
) -> None:
    """A child keeps its mailbox whatever its policy, which is about its own end."""
    handled: list[Any] = []

    def inner() -> Actor:
        specs = [
            ChildSpec("other", lambda: Worker([])),
            ChildSpec("w", lambda: Worker(handled), restart=restart),
        ]
        return Supervisor(specs, max_restarts=0)

    router.register_actor("site", Supervisor([ChildSpec("in", inner)], backoff=1.0))
    await router.ask("site/in/w", "work", 0)
    await router.tell("site/in/other", "crash")
    await in_the_backoff(router, "site/in/w")
    await router.tell("site/in/w", "work", 1)
    await router.ask("site/in/w", "work", 2)
    assert handled == [0, 1, 2]


# Addresses below what has not started


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_addresses_work_at_once_at_any_depth(router: MessageRouter, depth: int) -> None:
    """Right after `register_actor`, the address of an actor far below is waited for."""
    handled: list[Any] = []
    id = path_of(depth)
    router.register_actor("site", nest(lambda: Worker(handled), depth))
    router.tell_nowait(id, "work", 1)
    await router.tell(id, "work", 2)
    assert await router.ask(id, "work", 3) == 3
    assert handled == [1, 2, 3]


async def test_a_stream_and_a_subscription_at_once(router: MessageRouter) -> None:
    """Both wait for an actor two supervisors below."""
    router.register_actor("site", nest(lambda: Worker([]), 2))
    async with router.subscribe("site/in/in/w", "news") as news:
        await router.tell("site/in/in/w", "publish", 1)
        assert await anext(news) == 1
    router.register_actor("again", nest(lambda: Worker([]), 2))
    assert await router.stream_async("again/in/in/w", "x").collect() == ["item"]


async def test_an_address_that_does_not_come(router: MessageRouter) -> None:
    """Once the supervisor above has started, an unknown address is unknown."""
    for id in ("asked", "streamed", "told", "subscribed"):
        router.register_actor(id, nest(lambda: Worker([]), 1))
    with pytest.raises(ActorNotFoundError, match="asked/in/x"):
        await router.ask("asked/in/x", "work")
    with pytest.raises(ActorNotFoundError, match="streamed/in/x"):
        await router.stream_async("streamed/in/x", "x").collect()
    with pytest.raises(ActorNotFoundError, match="subscribed/in/x"):
        await anext(router.subscribe("subscribed/in/x", "news"))


async def test_messages_to_an_address_that_does_not_come(router: MessageRouter) -> None:
    """They are dead letters once the supervisor above has started."""
    router.register_actor("site", nest(lambda: Worker([]), 1))
    async with router.dead_letters.subscribe() as letters:
        await router.tell("site/in/x", "work", 1)
        assert router.statistics().dead_letters == 0
        assert (await anext(letters)).payload == 1


async def test_an_address_that_may_come_is_not_an_actor(router: MessageRouter) -> None:
    """It is not listed, and its id is not taken: another actor may get what waits for it."""
    handled: list[Any] = []
    router.register_actor("site", nest(lambda: Worker([]), 1))
    await router.tell("site/in/x", "work", 1)
    assert router.list_actors() == ["site", "site/in"]
    assert "site/in/x" not in str(router.tree())
    with pytest.raises(ActorNotFoundError):
        router.get_actor("site/in/x")
    router.register_actor("site/in/x", Worker(handled))
    await router.ask("site/in/x", "work", 2)
    assert handled == [1, 2]


async def test_leaving_the_router_while_an_address_may_come() -> None:
    """Those who wait for it are told."""

    class Slow(Actor):
        async def on_start(self) -> None:
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("site", Supervisor([ChildSpec("in", Slow)]))

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("site/in/w", "work", 1)

        tasks.start_soon(ask)
        await settle()
    assert_nothing_left(router)


async def test_giving_up_while_an_address_may_come(router: MessageRouter) -> None:
    """An ask for it has its timeout as any other."""

    class Slow(Actor):
        async def on_start(self) -> None:
            await anyio.sleep(10)

    router.register_actor("site", Supervisor([ChildSpec("in", Slow)]))
    with pytest.raises(AskTimeoutError):
        await router.ask("site/in/w", "work", 1, timeout=0.01)
    await router.stop_actor("site", drain=False)


async def test_an_actor_asks_below_itself_while_it_starts(router: MessageRouter) -> None:
    """It knows what it has registered: it does not wait for its own start."""

    class Asks(Actor):
        async def on_start(self) -> None:
            with pytest.raises(ActorNotFoundError):
                await self.ask("a/helper", "x")

        async def receive(self, message: object) -> str:
            return "started"

    router.register_actor("a", Asks())
    assert await router.ask("a", "x") == "started"
