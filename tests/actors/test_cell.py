"""The life of an actor: its two hooks, its stop, and what each end does to those around it."""

from typing import Any

import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    sleep_forever,
    to_thread,
)
from anyio.lowlevel import checkpoint

from actorstream import (
    Actor,
    ActorNotFoundError,
    ActorStoppedError,
    AskCycleError,
    Message,
    MessageRouter,
    RouterClosedError,
    current_message,
)
from actorstream.testing import assert_nothing_left, settle
from tests.support import FailsToStop, QuitProgram, Registers, failures


class Diary(Actor):
    """Writes down what happens to it. A message's type is what it is to do."""

    def __init__(self, diary: list[Any] | None = None) -> None:
        self.diary: list[Any] = [] if diary is None else diary
        self.go_on = Event()

    async def on_start(self) -> None:
        self.diary.append("start")

    async def on_stop(self, reason: str | BaseException) -> None:
        self.diary.append(reason)

    async def receive(self, message: Message) -> Any:
        self.diary.append(message.type)
        if message.type == "fail":
            raise message.payload
        if message.type == "wait":
            await self.go_on.wait()
        if message.type == "stop":
            await self.router.stop_actor(self.address, drain=message.payload)
        return message.payload

    async def stream_async(self, payload):
        self.diary.append("stream")
        try:
            yield 1
            await sleep_forever()
        finally:
            self.diary.append("stream ended")


class SlowStart(Diary):
    """Takes a second to begin."""

    async def on_start(self) -> None:
        self.diary.append("starting")
        await sleep(self.unit)
        await super().on_start()

    unit = 1.0


async def fail(exception: BaseException, actor: Actor, **options: Any) -> None:
    """Run a router with one actor, which fails with an exception."""
    async with MessageRouter(**options) as router:
        router.register_actor("a", actor)
        await router.tell("a", "fail", exception)
        await sleep_forever()


# Its beginning


async def test_on_start_before_the_first_message(unit):
    """`on_start()` has finished before the first message is handled."""
    actor = SlowStart()
    actor.unit = unit
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        await router.ask("a", "hello")
    assert actor.diary == ["starting", "start", "hello", "shutdown"]


async def test_on_start_before_the_first_stream(unit):
    """`on_start()` has finished before a stream that is opened at once begins."""
    actor = SlowStart()
    actor.unit = unit
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        async with router.stream_async("a", "query") as stream:
            assert (await anext(aiter(stream))).payload == 1
    assert actor.diary == ["starting", "start", "stream", "stream ended", "shutdown"]


async def test_on_start_of_those_registered_before_the_router_is_entered(unit):
    """An actor that was there before the router begins when the router is entered."""
    actor = SlowStart()
    actor.unit = unit
    router = MessageRouter()
    router.register_actor("a", actor)
    assert actor.diary == []
    async with router:
        assert await router.ask("a", "hello", 1) == 1
    assert actor.diary == ["starting", "start", "hello", "shutdown"]


async def test_failure_in_on_start():
    """What `on_start()` raises is the actor's failure, and `on_stop()` is told of it."""

    class Broken(Diary):
        async def on_start(self) -> None:
            raise error

    error, actor = ValueError("no"), Broken()
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", actor)
            await sleep_forever()
    assert errors == [error]
    assert actor.diary == [error]


async def test_failure_in_on_start_answers_those_who_wait(unit):
    """An ask and a stream that wait for `on_start()` are told when it fails."""

    class Broken(Diary):
        async def on_start(self) -> None:
            await sleep(unit)
            raise ValueError("no")

    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", Broken())
        stream = router.stream_async("a", "query")
        async with stream, create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(ActorStoppedError) as caught:
                    await anext(aiter(stream))
                assert isinstance(caught.value.__cause__, ValueError)

            tasks.start_soon(read)
            with pytest.raises(ActorStoppedError):
                await router.ask("a", "hello")
        assert_nothing_left(router)


async def test_an_actor_lives_in_the_routers_context():
    """An actor that is registered by a handler does not inherit what that handler serves."""

    class Child(Diary):
        async def on_start(self) -> None:
            with pytest.raises(LookupError):
                current_message()
            await super().on_start()

    child = Child()
    async with MessageRouter() as router:
        router.register_actor("a", Registers("child", child))
        await router.ask("a", "go")
        await router.ask("child", "hello")
    assert child.diary == ["start", "hello", "shutdown"]


# Its end


@pytest.mark.parametrize(("drain", "reason"), [(True, "normal"), (False, "shutdown")])
async def test_reason_of_a_stop(router, drain, reason):
    """`on_stop()` is told whether the mailbox was drained."""
    router.register_actor("a", actor := Diary())
    await router.stop_actor("a", drain=drain)
    assert actor.diary == ["start", reason]
    assert_nothing_left(router)


async def test_drain_finishes_what_is_queued(router):
    """A drained actor handles what is queued, takes nothing new, and then stops."""
    async with create_task_group() as tasks:
        router.register_actor("a", actor := Diary())
        await router.tell("a", "wait")
        await router.tell("a", "second")
        await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
        with pytest.raises(ActorNotFoundError):
            await router.ask("a", "late")
        actor.go_on.set()
        await router.wait_stopped("a")
        assert actor.diary == ["start", "wait", "second", "normal"]


async def test_stop_without_drain_answers_those_who_wait(router):
    """Without `drain`, the running and the queued ask get `ActorStoppedError`."""
    answers: list[str] = []

    async def ask(type: str) -> None:
        with pytest.raises(ActorStoppedError):
            await router.ask("a", type)
        answers.append(type)

    async with create_task_group() as tasks:
        router.register_actor("a", actor := Diary())
        tasks.start_soon(ask, "wait")
        await settle()
        tasks.start_soon(ask, "queued")
        await settle()
        await router.stop_actor("a", drain=False)
        await settle()
        assert sorted(answers) == ["queued", "wait"]
        assert actor.diary == ["start", "wait", "shutdown"]


async def test_stop_without_drain_turns_told_messages_into_dead_letters(router, caplog):
    """Without `drain`, what was told and not handled becomes dead letters."""
    async with router.dead_letters.subscribe() as lost:
        router.register_actor("a", Diary())
        await router.tell("a", "wait")
        await router.tell("a", "queued", 7)
        await settle()
        await router.stop_actor("a", drain=False)
        letter = await anext(aiter(lost))
    assert (letter.type, letter.payload) == ("queued", 7)


@pytest.mark.parametrize("drain", [True, False])
async def test_stop_by_its_own_handler(router, drain, caplog):
    """An actor may stop itself: it does not wait for itself, and handles what it has to."""
    router.register_actor("a", actor := Diary())
    router.tell_nowait("a", "stop", drain)
    router.tell_nowait("a", "second")
    with fail_after(5):
        await router.wait_stopped("a")
    rest = ["second", "normal"] if drain else ["shutdown"]
    assert actor.diary == ["start", "stop", *rest]


async def test_stop_by_its_own_stream(router):
    """A stream may stop its actor: it does not wait for itself."""

    class Quitter(Diary):
        async def stream_async(self, payload):
            await self.router.stop_actor(self.address)
            yield 1

    router.register_actor("a", actor := Quitter())
    with pytest.raises(ActorStoppedError):
        await router.stream_async("a", "query").collect()
    await router.wait_stopped("a")
    assert actor.diary == ["start", "normal"]


async def test_stop_by_whom_it_asks(router, unit):
    """A handler that is awaited by the actor that it stops does not wait for that one."""

    class Killer(Actor):
        async def receive(self, message: Message) -> str:
            await self.router.stop_actor("a")
            return "done"

    class Victim(Diary):
        async def receive(self, message: Message) -> Any:
            return await self.ask("b", "kill", timeout=5 * unit)

    router.register_actor("a", victim := Victim())
    router.register_actor("b", Killer())
    assert await router.ask("a", "go") == "done"
    await router.wait_stopped("a")
    assert victim.diary == ["start", "normal"]


async def test_stop_by_a_stream_of_whom_it_asks(router):
    """While a stream stops an actor, that one may still ask the stream's actor."""

    class Killer(Actor):
        async def receive(self, message: Message) -> str:
            return "alive"

        async def stream_async(self, payload):
            await self.router.stop_actor("a")
            yield list(answers)

    class Victim(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            answers.append(await self.ask("b", "hello"))

    answers: list[str] = []
    router.register_actor("a", Victim())
    router.register_actor("b", Killer())
    assert await router.stream_async("b", "kill").collect() == [["alive"]]


async def test_two_stops_at_once(router):
    """Two tasks that stop the same actor both wait for its end."""
    ended: list[list[Any]] = []

    async def stop() -> None:
        await router.stop_actor("a")
        ended.append(list(actor.diary))

    router.register_actor("a", actor := Diary())
    await router.tell("a", "wait")
    await settle()
    async with create_task_group() as tasks:
        tasks.start_soon(stop)
        tasks.start_soon(stop)
        await settle()
        assert ended == []
        actor.go_on.set()
    assert ended == [["start", "wait", "normal"]] * 2


async def test_a_stop_may_become_impatient(router, unit):
    """After a stop that drains in vain, one without `drain` ends the actor at once."""
    router.register_actor("a", actor := Diary())
    await router.tell("a", "wait")
    with move_on_after(unit):
        await router.stop_actor("a")
    await router.stop_actor("a", drain=False)
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_stop_of_a_starting_actor(router, unit):
    """A drain while `on_start()` runs waits for it, and for what is queued."""
    actor = SlowStart()
    actor.unit = unit
    router.register_actor("a", actor)
    await settle()
    await router.tell("a", "hello")
    await router.stop_actor("a")
    assert actor.diary == ["starting", "start", "hello", "normal"]


async def test_halt_of_a_starting_actor(router):
    """A stop without `drain` cancels `on_start()`, and `on_stop()` runs."""
    actor = SlowStart()
    router.register_actor("a", actor)
    await settle()
    await router.stop_actor("a", drain=False)
    assert actor.diary == ["starting", "shutdown"]


async def test_id_of_an_actor_that_drains_is_free(router):
    """A new actor may take the id while the old one handles what it has."""
    async with create_task_group() as tasks:
        router.register_actor("a", old := Diary())
        await router.tell("a", "wait")
        await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
        router.register_actor("a", new := Diary())
        assert await router.ask("a", "hello", 1) == 1
        old.go_on.set()
        await settle()
        assert old.diary == ["start", "wait", "normal"]
        assert router.get_actor("a") is new


async def test_stop_before_the_router_is_entered():
    """An actor that is stopped before it began is free for another registration."""
    router = MessageRouter()
    router.register_actor("a", actor := Diary())
    await router.stop_actor("a")
    router.register_actor("b", actor)
    async with router:
        assert await router.ask("b", "hello", 1) == 1
    assert actor.diary == ["start", "hello", "shutdown"]


async def test_stop_of_nobody(router):
    """To stop somebody who is not there is an error; to wait for their stop is not."""
    with pytest.raises(ActorNotFoundError):
        await router.stop_actor("a")
    await router.wait_stopped("a")


async def test_producers_are_gone_before_on_stop(router):
    """When `on_stop()` runs, the actor's streams have ended, clean-up included."""
    router.register_actor("a", actor := Diary())
    async with router.stream_async("a", "query") as stream:
        events = aiter(stream)
        await anext(events)
        await router.stop_actor("a")
        with pytest.raises(ActorStoppedError):
            await anext(events)
    assert actor.diary == ["start", "stream", "stream ended", "normal"]


async def test_on_stop_that_asks_whoever_stops_it(router, unit):
    """An ask in `on_stop()` of the actor that waits for the stop is an error at once."""
    told: list[type] = []

    class Killer(Actor):
        async def receive(self, message: Message) -> None:
            await self.router.stop_actor("a")

    class Victim(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            try:
                await self.ask("b", "why")
            except AskCycleError as exc:
                told.append(type(exc))

    router.register_actor("a", Victim())
    router.register_actor("b", Killer())
    await router.ask("b", "kill")
    assert told == [AskCycleError]


# The time that it is given


async def test_on_stop_is_shielded(unit):
    """`on_stop()` finishes although the router is cancelled from outside."""

    class Slow(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            await sleep(unit)
            await super().on_stop(reason)

    with CancelScope() as scope:
        async with MessageRouter() as router:
            router.register_actor("a", actor := Slow())
            await settle()
            scope.cancel()
    assert scope.cancelled_caught
    assert actor.diary == ["start", "shutdown"]
    assert_nothing_left(router)
    assert router.list_actors() == []


async def test_cancellation_while_on_stop_runs(unit):
    """A cancellation that comes while `on_stop()` runs waits for it."""

    class Slow(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            await sleep(2 * unit)
            await super().on_stop(reason)

    with move_on_after(unit) as scope:
        async with MessageRouter() as router:
            router.register_actor("a", actor := Slow())
            await router.stop_actor("a")
    assert scope.cancelled_caught
    assert actor.diary == ["start", "normal"]
    assert router.list_actors() == []


async def test_on_stop_is_cancelled_after_stop_timeout(unit, caplog):
    """After `stop_timeout` seconds `on_stop()` is cancelled, and the log says so."""
    told = []

    class Stuck(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            try:
                await sleep_forever()
            except get_cancelled_exc_class():
                told.append("cancelled")
                raise

    async with MessageRouter() as router:
        router.register_actor("a", Stuck(), stop_timeout=unit)
        with fail_after(3 * unit):
            await router.stop_actor("a")
    assert told == ["cancelled"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"@(a) did not stop within {unit:g} s" in caplog.text


async def test_on_stop_runs_although_a_stream_does_not_end(router, unit, caplog):
    """A stream's clean-up that takes too long does not keep `on_stop()` from running."""

    class Clinging(Diary):
        async def stream_async(self, payload):
            try:
                yield 1
            finally:
                with CancelScope(shield=True):
                    await sleep(3 * unit)

    router.register_actor("a", actor := Clinging(), stop_timeout=unit)
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
        await router.stop_actor("a")
        assert actor.diary == ["start", "normal"]
        assert router.statistics().active_streams == 0
    assert "did not end within" in caplog.text


# Its failure


async def test_failure_leaves_the_router():
    """The failure of an actor without a supervisor leaves the router in a group."""
    error, actor = ValueError("no"), Diary()
    with failures() as errors:
        await fail(error, actor)
    assert errors == [error]
    assert actor.diary == ["start", "fail", error]


async def test_failure_that_is_only_logged(caplog):
    """With `on_failure="stop"` the failure is logged, and everything else lives on."""
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", Diary())
        router.register_actor("b", Diary())
        await router.tell("a", "fail", ValueError("no"))
        await router.wait_stopped("a")
        assert router.list_actors() == ["b"]
        assert await router.ask("b", "hello", 1) == 1
        assert_nothing_left(router)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "@(a) failed" in caplog.text
    assert "ValueError: no" in caplog.text


async def test_failure_in_on_stop():
    """What `on_stop()` raises is the actor's failure."""
    error = ValueError("no")
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", FailsToStop(error))
            await router.stop_actor("a")
    assert errors == [error]


async def test_failure_in_on_stop_while_the_router_is_cancelled():
    """A failure in `on_stop()` is not lost when the router is cancelled from outside."""

    class Broken(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            await checkpoint()
            raise error

    error = ValueError("no")
    with failures() as errors, CancelScope() as scope:
        async with MessageRouter() as router:
            router.register_actor("a", Broken())
            await settle()
            scope.cancel()
    assert errors == [error]


async def test_failure_in_on_stop_after_another(caplog):
    """If an actor fails twice, the first failure leaves the router; the second is logged."""

    class Broken(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            raise KeyError("second")

    error = ValueError("first")
    with failures() as errors:
        await fail(error, Broken())
    assert errors == [error]
    assert "KeyError: 'second'" in caplog.text


async def test_failure_of_an_ask_is_no_failure_of_the_actor():
    """An actor whose handling of an ask fails lives on."""
    async with MessageRouter() as router:
        router.register_actor("a", actor := Diary())
        with pytest.raises(Exception, match="no"):
            await router.ask("a", "fail", ValueError("no"))
        assert await router.ask("a", "hello", 1) == 1
    assert actor.diary == ["start", "fail", "hello", "shutdown"]


@pytest.mark.parametrize("kind", ["tell", "ask"])
async def test_base_exception_in_a_handler(kind):
    """What is no `Exception` leaves the router, and nobody is left waiting."""
    actor = Diary()
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", actor)
            await getattr(router, kind)("a", "fail", QuitProgram())
            await sleep_forever()
    assert QuitProgram in map(type, errors)
    assert actor.diary == ["start", "fail", "shutdown"]
    assert_nothing_left(router)


async def test_base_exception_before_a_failure_in_on_stop(caplog):
    """What is no `Exception` leaves the router although `on_stop()` fails, which is logged."""

    class Broken(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            raise ValueError("on_stop")

    with failures() as errors:
        await fail(QuitProgram(), Broken())
    assert [type(error) for error in errors] == [QuitProgram]
    assert "ValueError: on_stop" in caplog.text


async def test_base_exception_in_on_stop():
    """What is no `Exception` in `on_stop()` leaves the router, and the actor is stopped."""
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", FailsToStop(QuitProgram()))
            await router.stop_actor("a")
    assert [type(error) for error in errors] == [QuitProgram]
    assert router.list_actors() == []


# The router's end


async def test_router_exit():
    """Leaving the router ends streams, cancels handlers, answers askers, keeps dead letters."""
    outcomes: list[Any] = []

    async def ask(type: str) -> None:
        try:
            await router.ask("a", type)
        except ActorStoppedError as exc:
            outcomes.append(type if type in str(exc) else "ask")

    async def read() -> None:
        try:
            await router.stream_async("a", "query").collect()
        except RouterClosedError:
            outcomes.append("stream")

    async def listen() -> None:
        async with router.dead_letters.subscribe() as lost:
            outcomes.extend([letter.type async for letter in lost])

    async with create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("a", actor := Diary())
        tasks.start_soon(ask, "wait")
        await settle()
        for job in (read, listen):
            tasks.start_soon(job)
        await settle()
        tasks.start_soon(ask, "queued")
        await settle()
        await router.tell("a", "letter")
    assert sorted(outcomes) == ["ask", "ask", "letter", "stream"]
    assert actor.diary == ["start", "wait", "stream", "stream ended", "shutdown"]
    assert_nothing_left(router)


async def test_router_exit_with_an_exception_of_its_block():
    """An exception of the block leaves the router as itself; `on_stop()` runs."""
    error, actor = ValueError("mine"), Diary()

    async def leave() -> None:
        async with MessageRouter() as router:
            router.register_actor("a", actor)
            await settle()
            raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await leave()
    assert caught.value is error
    assert actor.diary == ["start", "shutdown"]


async def test_router_exit_with_an_exception_of_its_block_and_a_failure():
    """With failures of actors besides, a group of both leaves the router."""
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", FailsToStop(KeyError("actor")))
            raise ValueError("block")
    assert [type(error) for error in errors] == [ValueError, KeyError]


async def test_router_exit_at_once():
    """A router may be left right after an actor was registered."""
    async with MessageRouter() as router:
        router.register_actor("a", actor := Diary())
    assert actor.diary[-1] == "shutdown"
    assert_nothing_left(router)


async def test_register_while_the_router_is_left():
    """An actor that is registered by an `on_stop()` at the router's exit is refused."""

    class Parent(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            with pytest.raises(RouterClosedError, match="while the router is being left"):
                self.router.register_actor("b", Diary())

    async with MessageRouter() as router:
        router.register_actor("a", Parent())
    assert router.list_actors() == []


@pytest.mark.real_clock
async def test_registered_in_a_thread_right_before_the_exit():
    """An actor that was registered in a thread and has not begun does not hold the exit up."""
    async with MessageRouter() as router:
        await to_thread.run_sync(router.register_actor, "a", Diary())
    assert router.list_actors() == []
    assert_nothing_left(router)


async def test_router_exit_while_an_actor_drains():
    """Leaving the router halts an actor that drains, and what it had left is lost."""
    async with create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("a", actor := Diary())
        await router.tell("a", "wait")
        await router.tell("a", "queued")
        await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_the_old_name_of_stop(router):
    """`unregister_actor()` does as `stop_actor()`: it lets what is queued finish."""
    router.register_actor("a", actor := Diary())
    await router.tell("a", "hello")
    await router.unregister_actor("a")
    assert actor.diary == ["start", "hello", "normal"]
