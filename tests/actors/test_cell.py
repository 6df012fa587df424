"""The life of an actor: its two hooks, its stop, its failure, and how each affects its callers."""

import math
from functools import partial
from typing import Any

import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
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
    StartTimeoutError,
    current_message,
)
from actorstream.testing import assert_nothing_left, settle
from tests.support import FailsToStop, QuitProgram, Registers, failures


class Diary(Actor):
    """Records what happens to it. A message's type says what to do."""

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
    """Takes one unit of time to start."""

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


# Starting


async def test_on_start_before_the_first_message(unit):
    """`on_start()` has finished before the first message is handled."""
    actor = SlowStart()
    actor.unit = unit
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        await router.ask("a", "hello")
    assert actor.diary == ["starting", "start", "hello", "shutdown"]


async def test_on_start_before_the_first_stream(unit):
    """`on_start()` has finished before a stream that was opened meanwhile begins."""
    actor = SlowStart()
    actor.unit = unit
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        async with router.stream_async("a", "query") as stream:
            assert (await anext(aiter(stream))).payload == 1
    assert actor.diary == ["starting", "start", "stream", "stream ended", "shutdown"]


async def test_on_start_waits_for_the_router_to_be_entered(unit):
    """An actor that was registered earlier starts when the router is entered."""
    actor = SlowStart()
    actor.unit = unit
    router = MessageRouter()
    router.register_actor("a", actor)
    assert actor.diary == []
    async with router:
        assert await router.ask("a", "hello", 1) == 1
    assert actor.diary == ["starting", "start", "hello", "shutdown"]


async def test_failure_in_on_start():
    """An exception in `on_start()` is the actor's failure, and is passed to `on_stop()`."""

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


class LateStart(Diary):
    """Does something when its start is cancelled."""

    def __init__(self, when_cancelled: str = "") -> None:
        super().__init__()
        self.when_cancelled = when_cancelled

    async def on_start(self) -> None:
        try:
            await sleep_forever()
        except get_cancelled_exc_class():
            self.diary.append("cancelled")
            if self.when_cancelled == "swallow":
                return
            if self.when_cancelled == "fail":
                raise ConnectionError("no answer") from None
            raise


@pytest.mark.parametrize("when_cancelled", ["", "swallow", "fail"])
async def test_a_start_that_takes_too_long_is_a_failure(when_cancelled, unit, caplog):
    """After `start_timeout` seconds `on_start()` is cancelled, and the actor fails."""
    actor = LateStart(when_cancelled)
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", actor, start_timeout=unit)
            router.tell_nowait("a", "hello")
            with fail_after(3 * unit):
                await sleep_forever()
    (error,) = errors
    assert isinstance(error, StartTimeoutError)
    assert isinstance(error, TimeoutError)
    assert str(error).startswith("@(a) did not start: its on_start() did not return within")
    assert actor.diary == ["cancelled", error]
    assert ("@(a) also failed in its on_start()" in caplog.text) is (when_cancelled == "fail")


async def test_a_start_is_bounded_by_30_seconds(router, virtual_time):
    """`start_timeout` is 30 s by default, `None` and an unreachable number are no limit."""
    if not virtual_time:
        pytest.skip("sleeps for a minute")
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", LateStart())
        for id, seconds in (("b", None), ("c", math.inf), ("d", 10**400)):
            router.register_actor(id, LateStart(), start_timeout=seconds)
        await sleep(29.9)
        assert router.list_actors() == ["a", "b", "c", "d"]
        await sleep(0.2)
        assert router.list_actors() == ["b", "c", "d"]
        await sleep(1000)
        assert router.list_actors() == ["b", "c", "d"]


async def test_a_start_in_time_is_not_cancelled_later(router, unit):
    """The limit of a start does not touch the messages after it."""
    actor = SlowStart()
    actor.unit = unit
    router.register_actor("a", actor, start_timeout=2 * unit)
    async with create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "wait")
        await sleep(4 * unit)
        actor.go_on.set()
    assert actor.diary == ["starting", "start", "wait"]


@pytest.mark.parametrize("name", ["on_start", "on_stop"])
async def test_hook_that_is_a_plain_function(name):
    """The error names the method."""
    plain = type("Plain", (Actor,), {name: lambda *args: None})
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", plain())
            await router.stop_actor("a")
    assert [str(error) for error in errors] == [
        f"Plain.{name}() returned None, which cannot be awaited; write `async def {name}`"
    ]


async def test_failure_in_on_start_answers_waiting_callers(unit):
    """An ask and a stream that wait for `on_start()` get an error when it fails."""

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
    """An actor that a handler registers does not inherit the handler's current message."""

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


# Stopping


@pytest.mark.parametrize(("drain", "reason"), [(True, "normal"), (False, "shutdown")])
async def test_reason_of_a_stop(router, drain, reason):
    """The reason passed to `on_stop()` tells whether the mailbox was drained."""
    router.register_actor("a", actor := Diary())
    await router.stop_actor("a", drain=drain)
    assert actor.diary == ["start", reason]
    assert_nothing_left(router)


async def test_drain_finishes_what_is_queued(router):
    """A drained actor handles the queued messages, accepts no new ones, and then stops."""
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


async def test_stop_without_drain_answers_waiting_askers(router):
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
    """Without `drain`, queued tells become dead letters."""
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
    """An actor that stops itself does not wait for itself, and still drains its mailbox."""
    router.register_actor("a", actor := Diary())
    router.tell_nowait("a", "stop", drain)
    router.tell_nowait("a", "second")
    with fail_after(5):
        await router.wait_stopped("a")
    rest = ["second", "normal"] if drain else ["shutdown"]
    assert actor.diary == ["start", "stop", *rest]


async def test_stop_by_its_own_stream(router):
    """A stream that stops its actor does not wait for itself."""

    class Quitter(Diary):
        async def stream_async(self, payload):
            await self.router.stop_actor(self.address)
            yield 1

    router.register_actor("a", actor := Quitter())
    with pytest.raises(ActorStoppedError):
        await router.stream_async("a", "query").collect()
    await router.wait_stopped("a")
    assert actor.diary == ["start", "normal"]


async def test_stop_by_the_actor_it_asks(router, unit):
    """A handler that stops the actor that asks it does not wait for that stop."""

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


async def test_stop_by_a_stream_of_the_actor_it_asks(router):
    """An actor that a stream is stopping may still ask the stream's actor."""

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
    """Two tasks that stop the same actor both wait until it has stopped."""
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
    """A stop without `drain` ends an actor that a draining stop is still waiting for."""
    router.register_actor("a", actor := Diary())
    await router.tell("a", "wait")
    with move_on_after(unit):
        await router.stop_actor("a")
    await router.stop_actor("a", drain=False)
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_stop_of_a_starting_actor(router, unit):
    """A drain during `on_start()` lets it finish, and then handles the queued messages."""
    actor = SlowStart()
    actor.unit = unit
    router.register_actor("a", actor)
    await settle()
    await router.tell("a", "hello")
    await router.stop_actor("a")
    assert actor.diary == ["starting", "start", "hello", "normal"]


async def test_stop_without_drain_of_a_starting_actor(router):
    """A stop without `drain` cancels `on_start()`, and `on_stop()` runs."""
    actor = SlowStart()
    router.register_actor("a", actor)
    await settle()
    await router.stop_actor("a", drain=False)
    assert actor.diary == ["starting", "shutdown"]


LIMITS: list[tuple[float | None, dict[str, Any], float | None]] = [
    (1, {}, 1),
    (1, {"timeout": 2}, 2),
    (None, {"timeout": 2}, 2),
    (1, {"timeout": None}, None),
    (1, {"timeout": math.inf}, None),
    (1, {"timeout": 10**400}, None),
    (None, {}, None),
]


@pytest.mark.parametrize(("stop_timeout", "options", "limit"), LIMITS)
async def test_a_drain_is_bounded(router, caplog, virtual_time, stop_timeout, options, limit):
    """A drain takes `stop_timeout` or its own `timeout` at most; then the actor is stopped."""
    if not virtual_time:
        pytest.skip("measures seconds")
    router.register_actor("a", actor := Diary(), stop_timeout=stop_timeout)
    await router.tell("a", "wait")
    before = current_time()
    with move_on_after(20) as scope:
        await router.stop_actor("a", **options)
    if limit is None:
        assert scope.cancelled_caught
        actor.go_on.set()
        await router.wait_stopped("a")
        assert actor.diary == ["start", "wait", "normal"]
        assert caplog.text == ""
    else:
        assert current_time() - before == limit
        assert actor.diary == ["start", "wait", "shutdown"]
        assert f"@(a) did not drain within {limit} s" in caplog.text


async def test_the_shorter_limit_of_two_drains_counts(router, unit):
    """A second draining stop may only shorten the time of the first."""
    router.register_actor("a", actor := Diary(), stop_timeout=None)
    await router.tell("a", "wait")
    with fail_after(3 * unit):
        async with create_task_group() as tasks:
            for timeout in (100 * unit, unit, 200 * unit, None):
                tasks.start_soon(partial(router.stop_actor, "a", timeout=timeout))
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_a_drain_that_takes_too_long_answers_every_asker(router, unit):
    """When the time of a drain is up, the running and the queued ask get `ActorStoppedError`."""
    answers: list[type] = []

    async def ask() -> None:
        with pytest.raises(ActorStoppedError) as caught:
            await router.ask("a", "wait", timeout=None)
        answers.append(caught.type)

    router.register_actor("a", Diary(), stop_timeout=unit)
    async with create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)
        await settle()
        await router.stop_actor("a")
    assert answers == [ActorStoppedError] * 2


async def test_a_drain_is_bounded_although_no_one_waits_for_it(router, unit):
    """The time of a drain also passes if the wait for the stop is cancelled."""
    router.register_actor("a", actor := Diary(), stop_timeout=2 * unit)
    await router.tell("a", "wait")
    with move_on_after(unit):
        await router.stop_actor("a")
    with fail_after(3 * unit):
        await router.wait_stopped("a")
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_a_drain_during_a_start_that_hangs(router, unit):
    """The time of a drain passes during `on_start()`, too."""
    actor = SlowStart()
    actor.unit = 100 * unit
    router.register_actor("a", actor, stop_timeout=unit)
    await settle()
    with fail_after(3 * unit):
        await router.stop_actor("a")
    assert actor.diary == ["starting", "shutdown"]


@pytest.mark.parametrize("wrong", ["1", True, -1, math.nan])
async def test_bad_timeout_of_a_stop(router, wrong):
    """A bad timeout is refused before anything is stopped."""
    router.register_actor("a", Diary())
    with pytest.raises((TypeError, ValueError), match="timeout is"):
        await router.stop_actor("a", timeout=wrong)
    assert await router.ask("a", "hello", 1) == 1


async def test_id_of_an_actor_that_drains_is_free(router):
    """A new actor may take the id while the old one drains its mailbox."""
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
    """An actor that is stopped before it started may be registered again."""
    router = MessageRouter()
    router.register_actor("a", actor := Diary())
    await router.stop_actor("a")
    router.register_actor("b", actor)
    async with router:
        assert await router.ask("b", "hello", 1) == 1
    assert actor.diary == ["start", "hello", "shutdown"]


async def test_stop_of_an_unknown_actor(router):
    """Stopping an unknown actor is an error; waiting until it has stopped is not."""
    with pytest.raises(ActorNotFoundError):
        await router.stop_actor("a")
    await router.wait_stopped("a")


async def test_producers_are_gone_before_on_stop(router):
    """When `on_stop()` runs, the actor's streams have ended and cleaned up."""
    router.register_actor("a", actor := Diary())
    async with router.stream_async("a", "query") as stream:
        events = aiter(stream)
        await anext(events)
        await router.stop_actor("a")
        with pytest.raises(ActorStoppedError):
            await anext(events)
    assert actor.diary == ["start", "stream", "stream ended", "normal"]


async def test_on_stop_that_asks_the_actor_that_stops_it(router, unit):
    """In `on_stop()`, an ask of the actor that waits for the stop raises at once."""
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


# stop_timeout and cancellation


async def test_on_stop_is_shielded(unit):
    """`on_stop()` finishes even if the router is cancelled from outside."""

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
    """A cancellation during `on_stop()` takes effect after it."""

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
    """After `stop_timeout` seconds `on_stop()` is cancelled, and a warning is logged."""
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
    """`on_stop()` runs even if a stream's clean-up takes too long."""

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


# Failing


async def test_failure_leaves_the_router():
    """The failure of an actor without a supervisor leaves the router in an exception group."""
    error, actor = ValueError("no"), Diary()
    with failures() as errors:
        await fail(error, actor)
    assert errors == [error]
    assert actor.diary == ["start", "fail", error]


async def test_failure_that_is_only_logged(caplog):
    """With `on_failure="stop"` the failure is only logged, and other actors live on."""
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
    """An exception in `on_stop()` is the actor's failure."""
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
    """If an actor fails twice, the first failure leaves the router, and the second is logged."""

    class Broken(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            raise KeyError("second")

    error = ValueError("first")
    with failures() as errors:
        await fail(error, Broken())
    assert errors == [error]
    assert "KeyError: 'second'" in caplog.text


async def test_a_failed_ask_is_not_a_failure_of_the_actor():
    """An actor lives on if its handler fails on an ask."""
    async with MessageRouter() as router:
        router.register_actor("a", actor := Diary())
        with pytest.raises(Exception, match="no"):
            await router.ask("a", "fail", ValueError("no"))
        assert await router.ask("a", "hello", 1) == 1
    assert actor.diary == ["start", "fail", "hello", "shutdown"]


@pytest.mark.parametrize("kind", ["tell", "ask"])
async def test_base_exception_in_a_handler(kind):
    """A `BaseException` in a handler leaves the router, and no caller is left waiting."""
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
    """A `BaseException` leaves the router even if `on_stop()` fails, which is logged."""

    class Broken(Diary):
        async def on_stop(self, reason: str | BaseException) -> None:
            raise ValueError("on_stop")

    with failures() as errors:
        await fail(QuitProgram(), Broken())
    assert [type(error) for error in errors] == [QuitProgram]
    assert "ValueError: on_stop" in caplog.text


async def test_base_exception_in_on_stop():
    """A `BaseException` in `on_stop()` leaves the router, and the actor is stopped."""
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", FailsToStop(QuitProgram()))
            await router.stop_actor("a")
    assert [type(error) for error in errors] == [QuitProgram]
    assert router.list_actors() == []


# The router's exit


async def test_router_exit():
    """The router's exit ends streams, cancels handlers, answers askers, and keeps dead letters."""
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
    """An exception of the block leaves the router unchanged, and `on_stop()` runs."""
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
    """If actors fail as well, a group of all exceptions leaves the router."""
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("a", FailsToStop(KeyError("actor")))
            raise ValueError("block")
    assert [type(error) for error in errors] == [ValueError, KeyError]


async def test_router_exit_at_once():
    """A router may exit right after an actor was registered."""
    async with MessageRouter() as router:
        router.register_actor("a", actor := Diary())
    assert actor.diary[-1] == "shutdown"
    assert_nothing_left(router)


async def test_register_during_the_routers_exit():
    """An actor that is registered during the router's exit, or after it, is refused."""

    class Parent(Actor):
        async def on_stop(self, reason: str | BaseException) -> None:
            with pytest.raises(RouterClosedError, match="a router that is closing"):
                self.router.register_actor("b", Diary())

    async with MessageRouter() as router:
        router.register_actor("a", Parent())
    assert router.list_actors() == []
    with pytest.raises(RouterClosedError, match="a router that is closed"):
        router.register_actor("c", Diary())


@pytest.mark.real_clock
async def test_registered_in_a_thread_right_before_the_exit():
    """An actor registered in a thread, and not started yet, does not delay the exit."""
    async with MessageRouter() as router:
        await to_thread.run_sync(router.register_actor, "a", Diary())
    assert router.list_actors() == []
    assert_nothing_left(router)


async def test_router_exit_while_an_actor_drains():
    """The router's exit stops a draining actor, and its queued messages are lost."""
    async with create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("a", actor := Diary())
        await router.tell("a", "wait")
        await router.tell("a", "queued")
        await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
    assert actor.diary == ["start", "wait", "shutdown"]


async def test_the_old_name_of_stop(router):
    """`unregister_actor()` is like `stop_actor()`: it drains the mailbox."""
    router.register_actor("a", actor := Diary())
    await router.tell("a", "hello")
    await router.unregister_actor("a")
    assert actor.diary == ["start", "hello", "normal"]
