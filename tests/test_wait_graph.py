"""The wait-for graph: every wait that would never end is refused at once, and no other."""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest

from actorstream import (
    Actor,
    ActorError,
    ActorStoppedError,
    AskCycleError,
    ChildSpec,
    MailboxFullError,
    Message,
    MessageRouter,
    Supervisor,
)
from actorstream.testing import settle
from tests.support import serving

Told = list[Any]
Do = Callable[[Actor], Awaitable[Any]]


class Does(Actor):
    """Calls functions: one at its start, one for each message; what they return or raise is told.

    A message without a function is answered with its type.
    """

    def __init__(self, told: Told, start: Do | None = None, **handlers: Do) -> None:
        self.told = told
        self.start = start
        self.handlers = handlers

    async def on_start(self) -> None:
        if self.start is not None:
            await tell_of(self.told, self.start, self)

    async def receive(self, message: Message) -> Any:
        if message.type == "crash":
            raise ValueError("crashed")
        if message.type in self.handlers:
            return await tell_of(self.told, self.handlers[message.type], self)
        return message.type


class DoesAsSupervisor(Supervisor):
    """Does the same for messages, as a supervisor."""

    def __init__(self, children: list[ChildSpec], told: Told, go: Do, **options: Any) -> None:
        super().__init__(children, **options)
        self.told = told
        self.go = go

    async def receive(self, message: Message) -> Any:
        return await tell_of(self.told, self.go, self)


async def tell_of(told: Told, do: Do, actor: Actor) -> Any:
    try:
        result = await do(actor)
    except Exception as exc:
        told.append(type(exc))
        raise
    told.append(result)
    return result


def asks(to: str, type: str = "hello") -> Do:
    """Make a function that asks, for as long as it takes."""
    return lambda actor: actor.ask(to, type, timeout=None)


async def wait_told(told: Told, count: int = 1) -> None:
    with anyio.fail_after(1):
        while len(told) < count:
            await settle(1)


# Starts


def pool(told: Told, to: str, **options: Any) -> Supervisor:
    """Make a supervisor of `a`, which asks another actor at its start, and of `b`, after it."""
    children = [
        ChildSpec("a", lambda: Does(told, asks(to)), "transient"),
        ChildSpec("b", lambda: Does([])),
    ]
    return Supervisor(children, **options)


@pytest.mark.parametrize("to", ["s/b", "s", "s/a", "other"])
async def test_a_start_that_asks_what_comes_after_it(to):
    """A start that waits for a later sibling, its supervisor or itself raises at once."""
    told: Told = []
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("other", Does([], hello=asks("s/b")))
        router.register_actor("s", pool(told, to))
        await wait_told(told)
    assert told == [ActorError if to == "other" else AskCycleError]


async def test_a_start_that_asks_what_a_supervisor_above_starts_later():
    """The same goes for a sibling of its supervisor, at any depth."""
    told: Told = []
    inner = partial(Supervisor, [ChildSpec("x", lambda: Does(told, asks("s/later")))])
    specs = [ChildSpec("inner", inner), ChildSpec("later", lambda: Does([]))]
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("s", Supervisor(specs))
        await wait_told(told)
    assert told == [AskCycleError]


async def test_a_restart_that_asks_a_sibling_that_is_restarted_after_it():
    """With `one_for_all`, the sibling waits for the start that asks it."""
    told: Told = []
    starts: Told = []

    async def start(actor: Actor) -> Any:
        starts.append(True)
        if len(starts) == 2:
            with pytest.raises(AskCycleError, match="s/a -> s/b -> s -> s/a"):
                await actor.ask("s/b", "hello", timeout=None)

    specs = [ChildSpec("a", lambda: Does(told, start)), ChildSpec("b", lambda: Does([]))]
    async with MessageRouter() as router:
        router.register_actor("s", Supervisor(specs, strategy="one_for_all"))
        await router.ask("s/b", "hello")
        await router.tell("s/a", "crash")
        await wait_told(told, 2)
        assert await router.ask("s/b", "hello") == "hello"
    assert told == [None, None]


async def test_a_start_that_asks_an_earlier_sibling(router):
    """An earlier sibling runs already, so this is no cycle."""
    told: Told = []
    specs = [ChildSpec("a", lambda: Does([])), ChildSpec("b", lambda: Does(told, asks("s/a")))]
    router.register_actor("s", Supervisor(specs))
    await wait_told(told)
    assert told == ["hello"]


# Restarts


async def test_a_supervisor_that_asks_its_child_which_it_has_to_restart(router):
    """The child's failure closes the cycle: the ask that waits already raises at once."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        actor.tell_nowait("s/a", "crash")
        return await actor.ask("s/a", "hello", timeout=None)

    specs = [ChildSpec("a", lambda: Does([]))]
    router.register_actor("s", DoesAsSupervisor(specs, told, go))
    with anyio.fail_after(1), pytest.raises(ActorError, match="deadlock: s -> s/a -> s;"):
        await router.ask("s", "go", timeout=None)
    assert told == [AskCycleError]
    assert await router.ask("s/a", "hello") == "hello"


async def test_a_supervisor_that_asks_another_which_asks_its_child(router):
    """The ask that waits for the child raises, whoever made it."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        actor.tell_nowait("s/a", "crash")
        return await actor.ask("helper", "go", timeout=None)

    router.register_actor("helper", Does(told, go=asks("s/a")))
    router.register_actor("s", DoesAsSupervisor([ChildSpec("a", lambda: Does([]))], told, go))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("s", "go", timeout=None)
    assert told == [AskCycleError, ActorError]


async def test_a_supervisor_that_asks_below_another_which_it_has_to_restart():
    """The failure of a supervisor in between closes the cycle, too."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        actor.tell_nowait("s/inner/x", "crash")
        return await actor.ask("s/inner/x", "hello", timeout=None)

    inner = partial(Supervisor, [ChildSpec("x", lambda: Does([]))], max_restarts=0)
    async with MessageRouter() as router:
        router.register_actor("s", DoesAsSupervisor([ChildSpec("inner", inner)], told, go))
        with anyio.fail_after(1), pytest.raises(ActorError):
            await router.ask("s", "go", timeout=None)
        assert told == [AskCycleError]
        assert await router.ask("s/inner/x", "hello") == "hello"


@pytest.mark.parametrize("state", ["stops", "waits for its restart"])
async def test_a_supervisor_that_asks_a_child_that_is_about_to_be_restarted(router, state, unit):
    """The child waits for its supervisor from the moment on when it is to be restarted."""
    told: Told = []

    class SlowToStop(Does):
        async def on_stop(self, reason: str | BaseException) -> None:
            if state == "stops":
                await anyio.sleep(unit)

    specs = [ChildSpec("a", lambda: SlowToStop([]))]
    supervisor = DoesAsSupervisor(specs, told, asks("s/a"), backoff=100 * unit)
    router.register_actor("s", supervisor)
    await router.ask("s/a", "hello")
    await router.tell("s/a", "crash")
    await settle()
    with anyio.fail_after(0.5 * unit), pytest.raises(ActorError):
        await router.ask("s", "go", timeout=None)
    assert told == [AskCycleError]


async def test_a_supervisor_that_tells_its_child_which_it_has_to_restart(router):
    """A tell that waits for room in the child's mailbox raises when the child fails."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        actor.tell_nowait("s/a", "crash")
        for _ in range(3):
            await actor.tell("s/a", "hello")

    specs = [ChildSpec("a", lambda: Does([]), mailbox_size=1)]
    router.register_actor("s", DoesAsSupervisor(specs, told, go))
    with anyio.fail_after(1), pytest.raises(ActorError, match="tell would deadlock"):
        await router.ask("s", "go", timeout=None)
    assert told == [MailboxFullError]


async def test_a_supervisor_that_asks_its_child(router):
    """A child that runs needs no supervisor, so this is no cycle."""
    told: Told = []
    specs = [ChildSpec("a", lambda: Does([]))]
    router.register_actor("s", DoesAsSupervisor(specs, told, asks("s/a")))
    await router.ask("s", "go")
    assert told == ["hello"]


async def test_asks_of_others_wait_for_a_restart(router, unit):
    """An actor that the supervisor does not wait for may ask a child that waits for its restart."""
    told: Told = []
    router.register_actor("s", Supervisor([ChildSpec("a", lambda: Does([]))], backoff=unit))
    router.register_actor("other", Does(told, go=asks("s/a")))
    await router.ask("s/a", "hello")
    await router.tell("s/a", "crash")
    await settle()
    assert await router.ask("other", "go") == "hello"


async def test_a_failure_refuses_no_ask_of_another_actor(router):
    """An ask of a child that fails first waits for the fresh one, unless it is in a cycle."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        actor.tell_nowait("s/a", "crash")
        return await actor.ask("s/a", "hello")

    router.register_actor("s", Supervisor([ChildSpec("a", lambda: Does([]))]))
    router.register_actor("other", Does(told, go=go))
    assert await router.ask("other", "go") == "hello"


# wait_stopped()


def waits_for(id: str) -> Do:
    return lambda actor: actor.router.wait_stopped(id)


async def test_waiting_for_the_own_end(router):
    """A handler that waits until its own actor has stopped raises at once."""
    router.register_actor("a", Does([], go=waits_for("a")))
    with anyio.fail_after(1), pytest.raises(ActorError, match=r"@\(a\) cannot end before"):
        await router.ask("a", "go", timeout=None)


async def test_waiting_for_the_own_end_after_a_stop(router):
    """The same goes for an actor that has just stopped itself."""
    told: Told = []

    async def go(actor: Actor) -> None:
        await actor.router.stop_actor("a")
        await actor.router.wait_stopped("a")

    router.register_actor("a", Does(told, go=go))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("a", "go", timeout=None)
    assert told == [AskCycleError]


async def test_waiting_for_the_end_of_the_supervisor(router):
    """A supervisor cannot end before its child does."""
    told: Told = []
    specs = [ChildSpec("a", lambda: Does(told, go=waits_for("s")))]
    router.register_actor("s", Supervisor(specs))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("s/a", "go", timeout=None)
    assert told == [AskCycleError]


async def test_waiting_for_the_end_of_the_asker(router):
    """An actor cannot end before its handler has got the answer."""
    told: Told = []
    router.register_actor("a", Does([], go=asks("b", "go")))
    router.register_actor("b", Does(told, go=waits_for("a")))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("a", "go", timeout=None)
    assert told == [AskCycleError]


async def test_waiting_for_the_end_of_the_actor_of_a_stream(router):
    """An actor cannot end before its streams do."""

    class Streams(Actor):
        async def stream_async(self, payload: object) -> Any:
            with pytest.raises(AskCycleError):
                await self.router.wait_stopped("a")
            yield "raised"

    router.register_actor("a", Streams())
    with anyio.fail_after(1):
        assert await router.stream_async("a", "go").collect() == ["raised"]


async def test_an_ask_of_an_actor_that_waits_for_the_end_of_the_asker(router):
    """What waits for an actor's end cannot answer that actor."""
    told: Told = []
    router.register_actor("a", Does([], go=waits_for("b")))
    router.register_actor("b", Does(told, go=asks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "go", None)
        await settle()
        with anyio.fail_after(1), pytest.raises(ActorError):
            await router.ask("b", "go", timeout=None)
        assert told == [AskCycleError]
        await router.stop_actor("b")


async def test_waiting_for_the_end_of_another_actor(router):
    """A handler may wait for the end of an actor that does not depend on it."""
    told: Told = []
    router.register_actor("a", Does(told, go=waits_for("b")))
    router.register_actor("b", Does([]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "go")
        await settle()
        await router.ask("b", "hello")
        await router.stop_actor("b")
    assert told == [None]


async def test_a_job_may_wait_for_the_end_of_its_actor():
    """A task outside of the actor, which its handler has started, may wait for the actor's end."""
    told: Told = []
    async with anyio.create_task_group() as tasks, MessageRouter() as router:

        async def job(how: str) -> None:
            await (router.wait_stopped("a") if how == "wait" else router.stop_actor("a"))
            told.append(how)

        async def go(_: Actor) -> None:
            tasks.start_soon(job, "wait")
            tasks.start_soon(job, "stop")
            await settle()

        router.register_actor("a", Does([], go=go))
        await router.ask("a", "go")
        await settle(20)
        assert sorted(told) == ["stop", "wait"]


# Streams


class Streams(Does):
    """Streams what a function returns, after an item, and cleans up with another function."""

    def __init__(self, told: Told, produce: Do, clean_up: Do | None = None) -> None:
        super().__init__([])
        self.told = told
        self.produce = produce
        self.clean_up = clean_up

    async def stream_async(self, payload: object) -> Any:
        try:
            yield "begun"
            yield await tell_of(self.told, self.produce, self)
        finally:
            if self.clean_up is not None:
                with anyio.CancelScope(shield=True):
                    await tell_of(self.told, self.clean_up, self)


def reads(id: str) -> Do:
    return lambda actor: actor.router.stream_async(id, "go", timeout=None).collect()


@pytest.mark.parametrize("id", ["a", "b"])
async def test_a_stream_that_asks_the_handler_that_reads_it(router, id):
    """Whichever waits last raises at once: the ask of the stream, or the read."""
    told: Told = []
    streamed: Told = []

    class Both(Streams):
        async def receive(self, message: Message) -> Any:
            return await tell_of(told, reads(id), self)

    router.register_actor("a", Both(streamed, asks("a")))
    router.register_actor("b", Streams(streamed, asks("a")))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("a", "go", timeout=None)
    assert AskCycleError in [*told, *streamed]


async def test_a_handler_that_reads_a_stream_that_waits_for_it(router):
    """The stream asked first, so the read raises."""
    told: Told = []

    async def go(actor: Actor) -> None:
        async with actor.router.stream_async("b", "go", timeout=None) as stream:
            items = stream.payloads()
            await anext(items)
            await settle(5)  # now b asks
            await anext(items)

    router.register_actor("a", Does(told, go=go))
    router.register_actor("b", Streams([], asks("a")))
    with anyio.fail_after(1), pytest.raises(ActorError, match="a -> a stream of b -> a;"):
        await router.ask("a", "go", timeout=None)
    assert told == [AskCycleError]


async def test_a_stream_that_asks_through_another_stream(router):
    """A cycle may go through any number of streams and actors."""
    told: Told = []
    router.register_actor("a", Does(told, go=reads("b")))
    router.register_actor("b", Streams(told, reads("c")))
    router.register_actor("c", Streams(told, asks("d", "go")))
    router.register_actor("d", Does(told, go=asks("a")))
    with anyio.fail_after(1), pytest.raises(ActorError, match="would deadlock"):
        await router.ask("a", "go", timeout=None)
    await settle(20)
    assert AskCycleError in told


async def test_a_start_that_reads_its_own_stream(router):
    """The stream waits for the start, and the start for the stream."""
    told: Told = []

    class Selfish(Streams):
        async def on_start(self) -> None:
            with pytest.raises(AskCycleError, match="this read would deadlock"):
                await self.router.stream_async("a", "go", timeout=None).collect()
            told.append("raised")

    router.register_actor("a", Selfish([], asks("a")))
    await wait_told(told)


async def test_a_start_that_subscribes_to_itself(router):
    """A port that is not there yet is looked for when the start is over."""
    told: Told = []

    async def start(actor: Actor) -> None:
        with pytest.raises(AskCycleError, match="this subscription would deadlock"):
            await anext(actor.router.subscribe("a", "nothing"))

    router.register_actor("a", Does(told, start))
    await wait_told(told)


async def test_a_supervisor_that_reads_a_child_which_it_has_to_restart(router, unit):
    """The stream waits for the child, and the child for its supervisor."""
    told: Told = []
    specs = [ChildSpec("a", lambda: Streams([], asks("other")))]
    supervisor = DoesAsSupervisor(specs, told, reads("s/a"), backoff=100 * unit)
    router.register_actor("s", supervisor)
    await router.ask("s/a", "hello")
    await router.tell("s/a", "crash")
    await settle()
    with anyio.fail_after(0.5 * unit), pytest.raises(ActorError, match="this read would deadlock"):
        await router.ask("s", "go", timeout=None)
    assert told == [AskCycleError]


async def test_a_clean_up_that_asks_the_handler_that_waits_for_it(router):
    """The end of a scoped stream waits for its clean-up, whose ask then raises."""
    told: Told = []

    async def go(actor: Actor) -> str:
        async with actor.router.stream_async("b", "go", timeout=None) as stream:
            await anext(stream.payloads())
        return "closed"

    router.register_actor("a", Does([], go=go))
    router.register_actor("b", Streams(told, lambda _: anyio.sleep_forever(), asks("a")))
    with anyio.fail_after(1), pytest.raises(ActorError):
        await router.ask("a", "go", timeout=None)
    assert told == [AskCycleError]


async def test_a_handler_that_reads_a_stream_that_asks_others(router):
    """A stream may ask its own actor and others, whoever reads it."""
    told: Told = []
    router.register_actor("a", Does(told, go=reads("b")))
    router.register_actor("b", Streams([], asks("b")))
    router.register_actor("c", Streams([], asks("a")))
    assert await router.ask("a", "go") == ["begun", "hello"]
    assert await router.stream_async("c", "go").collect() == ["begun", "hello"]


async def test_a_handler_that_has_left_a_stream_is_not_waited_for(router):
    """After `break`, the handler no longer waits for the stream, nor the stream for it."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        async for _ in actor.router.stream_async("b", "go"):
            break
        return await actor.ask("b", "hello")

    router.register_actor("a", Does(told, go=go))
    router.register_actor("b", Streams([], lambda _: anyio.sleep_forever()))
    assert await router.ask("a", "go") == "hello"


# publish()


class Publisher(Does):
    """Publishes ten values when it is told to, to subscribers with room for one."""

    def __init__(self, told: Told) -> None:
        super().__init__(told, go=self.publish)
        self.port = self.create_port("values", buffer_size=1)

    async def publish(self, _: Actor) -> None:
        for number in range(10):
            await self.port.publish(number)


async def subscribe_and_ask(actor: Actor) -> Any:
    async with actor.router.subscribe("p", "values"):
        return await actor.ask("p", "go", timeout=None)


async def read_and_ask(actor: Actor) -> Any:
    async with actor.router.subscribe("p", "values") as values:
        async for _ in values:
            await actor.ask("p", "hello", timeout=None)


async def test_a_publish_to_a_subscriber_that_waits_for_the_publisher(router):
    """A handler that subscribes and then asks the publisher cannot read what that publishes."""
    told: Told = []
    router.register_actor("p", Publisher([]))
    router.register_actor("reader", Does(told, go=subscribe_and_ask))
    match = "would deadlock: reader -> p -> a subscriber -> reader;"
    with anyio.fail_after(1), pytest.raises(ActorError, match=match):
        await router.ask("reader", "go", timeout=None)
    assert told == [AskCycleError]


async def test_a_publish_to_a_subscriber_that_waits_for_the_end_of_the_publisher():
    """That wait was there first, so the publish raises."""
    told: Told = []

    async def go(actor: Actor) -> None:
        async with actor.router.subscribe("p", "values"):
            await actor.router.wait_stopped("p")

    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("p", Publisher(told))
        router.register_actor("reader", Does([], go=go))
        await router.tell("reader", "go")
        await settle()
        await router.tell("p", "go")
        await wait_told(told)
    assert told == [AskCycleError]


async def test_an_ask_of_a_publisher_that_waits_for_the_asker_to_read():
    """A handler that reads, and asks the publisher meanwhile, raises at once."""
    told: Told = []
    published: Told = []
    async with MessageRouter() as router:
        router.register_actor("p", publisher := Publisher(published))
        router.register_actor("reader", Does(told, go=read_and_ask))
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(ActorError):
                    await router.ask("reader", "go", timeout=None)

            tasks.start_soon(ask)
            await publisher.port.wait_subscribers(1)
            await router.tell("p", "go")
            await wait_told(told)
        await wait_told(published)
    assert told == [AskCycleError]
    assert published == [None]  # the reader is gone, and nothing holds the publisher up


async def test_a_publish_to_a_job_that_a_handler_leaves_running(router):
    """A handler may ask the publisher if a task of its own reads, or is about to."""
    told: Told = []
    read: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def read_all(values: Any) -> None:
            async for value in values:
                read.append(value)
                if value == 9:
                    break

        async def go(actor: Actor) -> Any:
            tasks.start_soon(read_all, actor.router.subscribe("p", "values"))
            return await actor.ask("p", "go", timeout=None)

        router.register_actor("p", Publisher([]))
        router.register_actor("reader", Does(told, go=go))
        with anyio.fail_after(1):
            await router.ask("reader", "go", timeout=None)
    assert told == [None]
    assert read == [*range(10)]


async def test_a_publish_to_a_handler_that_waits_for_another_actor(router):
    """A publisher waits for a handler that is busy elsewhere, and reads later."""
    told: Told = []

    async def go(actor: Actor) -> list[int]:
        read = []
        async for value in actor.router.subscribe("p", "values"):
            read.append(value)
            await actor.ask("other", "hello", timeout=None)
            if value == 9:
                break
        return read

    router.register_actor("other", Does([]))
    router.register_actor("p", publisher := Publisher([]))
    router.register_actor("reader", Does(told, go=go))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "reader", "go")
        await publisher.port.wait_subscribers(1)
        await router.ask("p", "go")
    assert told == [[*range(10)]]


async def test_a_refused_publish_reaches_those_with_room():
    """As if it were cancelled, a subscriber with room has the value, and the full one has not."""

    async def go(actor: Actor) -> None:
        async with actor.router.subscribe("p", "values"):
            await actor.router.wait_stopped("p")

    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("p", Publisher([]))
        router.register_actor("reader", Does([], go=go))
        async with router.subscribe("p", "values", buffer_size=10) as values:
            await router.tell("reader", "go")
            await settle()
            await router.tell("p", "go")
            assert [await anext(values), await anext(values)] == [0, 1]
            with pytest.raises(ActorStoppedError):
                await anext(values)


async def test_a_stop_by_the_reader_of_a_publisher(router):
    """Who reads a port may stop its actor, whose publish() waits for this very reader."""
    published: Told = []
    router.register_actor("p", Publisher(published), stop_timeout=None)
    values = router.subscribe("p", "values")
    await router.tell("p", "go")
    assert await anext(values) == 0
    with anyio.fail_after(1):
        await router.stop_actor("p")
    assert published == [None]
    with pytest.raises(ActorStoppedError):
        assert [await anext(values), await anext(values)]


async def test_a_stop_by_a_handler_that_reads(router):
    """The same goes for a handler, and the subscription of another reader goes on."""
    told: Told = []

    async def go(actor: Actor) -> None:
        async for _ in actor.router.subscribe("p", "values"):
            await actor.router.stop_actor("p")
            break

    router.register_actor("p", publisher := Publisher([]), stop_timeout=None)
    router.register_actor("reader", Does(told, go=go))
    async with (
        router.subscribe("p", "values", buffer_size=10) as values,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(router.ask, "reader", "go")
        await publisher.port.wait_subscribers(2)
        with anyio.fail_after(1):
            await router.tell("p", "go")
            await wait_told(told)
        assert [await anext(values) for _ in range(10)] == [*range(10)]


async def test_a_reader_that_gives_a_stop_up_reads_on(router):
    """A stop that is cancelled leaves the subscription as it was, as long as it has room."""
    told: Told = []
    go_on = anyio.Event()

    class Waits(Publisher):
        async def publish(self, _: Actor) -> None:
            await self.port.publish(0)
            await go_on.wait()
            await super().publish(self)

    router.register_actor("p", Waits(told), stop_timeout=None)
    values = router.subscribe("p", "values")
    await router.tell("p", "go")
    assert await anext(values) == 0
    with anyio.move_on_after(0.1):
        await router.stop_actor("p")
    go_on.set()
    assert [await anext(values) for _ in range(10)] == [*range(10)]
    await router.wait_stopped("p")
    assert told == [None]


async def test_a_stop_from_another_task_than_the_readers(router, unit):
    """Where the reader waits for another task that stops the actor, the drain's limit ends it."""
    router.register_actor("p", Publisher([]), stop_timeout=unit)
    values = router.subscribe("p", "values")
    await router.tell("p", "go")
    assert await anext(values) == 0
    with anyio.fail_after(3 * unit):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(router.stop_actor, "p")


# What is part of a handler


class Service(Actor):
    """Starts a job somewhere, and goes on for a while; the job asks, or tells several times."""

    def __init__(self, told: Told, start_job: Callable[..., object]) -> None:
        self.told = told
        self.start_job = start_job

    async def receive(self, message: Message) -> str:
        if message.type == "again":
            return "again"
        self.start_job(self.job, message.payload, message.sender or self.address)
        await settle(30)
        return "accepted"

    async def job(self, how: str, to: Any) -> None:
        try:
            if how == "ask":
                self.told.append(await self.ask(to, "again"))
            else:
                for _ in range(3):
                    await self.tell(to, "again")
                self.told.append("again")
        except Exception as exc:
            self.told.append(exc)


class Client(Actor):
    """Passes what it is asked on to the service."""

    async def receive(self, message: Message) -> Any:
        if message.type == "again":
            return "again"
        return await self.ask("a", message.type, message.payload)


@pytest.mark.parametrize("how", ["ask", "tell"])
@pytest.mark.parametrize("by", ["ask", "tell", "client"])
async def test_a_job_that_a_handler_leaves_running_is_not_the_handler(how, by):
    """The job waits until the handler is done; the handler does not wait for the job."""
    told: Told = []
    async with (
        anyio.create_task_group() as tasks,
        serving(Service(told, tasks.start_soon)) as router,
    ):
        router.register_actor("client", Client(), mailbox_size=1)
        if by == "client":
            assert await router.ask("client", "go", how) == "accepted"
        elif by == "ask":
            assert await router.ask("a", "go", how) == "accepted"
        else:
            await router.tell("a", "go", how)
        await settle(60)
    assert told == ["again"]


async def test_a_job_of_a_start_is_not_the_start():
    """A task that `on_start()` leaves running may ask the actor, which then is still starting."""
    told: Told = []
    async with anyio.create_task_group() as tasks:

        async def start(actor: Actor) -> None:
            tasks.start_soon(tell_of, told, asks("a"), actor)
            await settle(10)

        async with serving(Does([], start)):
            await settle(30)
    assert told == ["hello"]


class HoldsAGroup(Service):
    """Holds a task group open from its start to its stop, for the jobs."""

    def __init__(self, told: Told) -> None:
        super().__init__(told, lambda *args: self.tasks.start_soon(*args))

    async def on_start(self) -> None:
        self.tasks = anyio.create_task_group()
        await self.tasks.__aenter__()

    async def on_stop(self, reason: str | BaseException) -> None:
        await self.tasks.__aexit__(None, None, None)


@pytest.mark.parametrize("how", ["ask", "tell"])
async def test_a_job_in_a_group_that_the_actor_holds_open_is_not_the_handler(router, how):
    """The handler does not wait for a task group that was open before."""
    told: Told = []
    router.register_actor("a", HoldsAGroup(told), mailbox_size=1)
    assert await router.ask("a", "go", how) == "accepted"
    await settle(60)
    assert told == ["again"]
    await router.stop_actor("a")


async def in_a_group(function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function, *args)


async def in_a_group_of_a_group(
    function: Callable[..., Coroutine[Any, Any, None]], *args: Any
) -> None:
    await in_a_group(in_a_group, function, *args)


async def in_a_shield(function: Callable[..., Awaitable[Any]], *args: Any) -> None:
    with anyio.CancelScope(shield=True):
        await function(*args)


async def in_a_time_limit(function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    with anyio.fail_after(100):
        await in_a_group(function, *args)


@pytest.mark.parametrize("moment", ["on_start", "ask", "tell", "on_stop"])
@pytest.mark.parametrize("where", [in_a_group, in_a_group_of_a_group, in_a_shield, in_a_time_limit])
async def test_what_a_handler_waits_for_is_the_handler(router, where, moment):
    """Code in a task group of a handler or hook asks on its behalf, however deep it is."""
    told: Told = []

    async def ask(actor: Actor) -> None:
        with pytest.raises(AskCycleError):
            await actor.ask("s/a", "hello", timeout=None)
        told.append("raised")

    class Nests(Actor):
        async def on_start(self) -> None:
            if moment == "on_start" and not told:
                await where(ask, self)

        async def on_stop(self, reason: str | BaseException) -> None:
            if moment == "on_stop" and not told:
                await where(ask, self)

        async def receive(self, message: Message) -> None:
            if message.type == "go":
                await where(ask, self)

    router.register_actor("s", Supervisor([ChildSpec("a", Nests)]))
    if moment == "ask":
        await router.ask("s/a", "go", timeout=None)
    elif moment == "tell":
        await router.tell("s/a", "go")
    elif moment == "on_stop":  # the child is restarted, and takes messages meanwhile
        await router.ask("s/a", "hello")
        await router.stop_actor("s/a")
    await wait_told(told)
    await router.ask("s/a", "hello")


async def test_an_answer_after_a_refused_ask(router):
    """A handler that catches the error may go on, and the actors are as usable as before."""

    async def go(actor: Actor) -> str:
        with pytest.raises(AskCycleError):
            await actor.ask("a", "hello")
        return "went on"

    router.register_actor("a", Does([], go=go))
    assert await router.ask("a", "go") == "went on"
    assert await router.ask("a", "hello") == "hello"


async def test_a_stop_still_answers_what_waits(router):
    """A supervisor that is stopped ends the asks of its handler, without any cycle."""
    told: Told = []

    async def go(actor: Actor) -> Any:
        return await actor.ask("slow", "wait", timeout=None)

    router.register_actor("slow", Does([], wait=lambda _: anyio.sleep_forever()))
    router.register_actor("s", DoesAsSupervisor([ChildSpec("a", lambda: Does([]))], told, go))
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("s", "go", timeout=None)

        tasks.start_soon(ask)
        await settle()
        await router.stop_actor("s", drain=False)
    await router.stop_actor("slow", drain=False)
