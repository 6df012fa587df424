"""A supervisor: how its children start, stop and restart, and how it escalates a failure."""

import gc
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import pytest
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
    sleep_forever,
)

from actorstream import (
    Actor,
    ActorNotFoundError,
    ActorRestartedError,
    ActorStoppedError,
    AskCycleError,
    ChildSpec,
    Message,
    MessageRouter,
    RestartLimitError,
    RouterClosedError,
    StartTimeoutError,
    Supervisor,
)
from actorstream.testing import assert_nothing_left, settle
from tests.supervision.test_policy import NINE_CASES
from tests.support import FrozenError, failures

Log = list[Any]


class Worker(Actor):
    """Logs its starts and stops. A message's type says what to do."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.count = 0
        self.go_on = Event()

    async def on_start(self) -> None:
        self.log.append(f"+{self.name}")

    async def on_stop(self, reason: str | BaseException) -> None:
        self.log.append(f"-{self.name}")

    async def receive(self, message: Message) -> Any:
        self.count += 1
        if message.type == "fail":
            raise message.payload or ValueError(self.name)
        if message.type == "wait":
            await self.go_on.wait()
        return self.count

    async def stream_async(self, payload):
        yield self.count
        await sleep_forever()


class SlowToStart(Worker):
    """Sleeps before it starts."""

    def __init__(self, name: str, log: Log, seconds: float) -> None:
        super().__init__(name, log)
        self.seconds = seconds

    async def on_start(self) -> None:
        await sleep(self.seconds)
        await super().on_start()


def child(name: str, log: Log, restart: Any = "permanent", **options: Any) -> ChildSpec:
    return ChildSpec(name, lambda: Worker(name, log), restart=restart, **options)


def trio_of_workers(log: Log, **options: Any) -> Supervisor:
    return Supervisor([child(name, log) for name in "abc"], **options)


async def wait_until(condition: Callable[[], object], turns: int = 1000) -> None:
    """Give other tasks turns until a condition holds."""
    for _ in range(turns):
        if condition():
            return
        await settle(1)
    raise AssertionError("it did not come to hold")


# Start and stop


async def test_start_in_order_stop_in_reverse():
    """Children start in order, each after the one before it, and stop in reverse."""
    log: Log = []

    class Slow(Worker):
        async def on_start(self) -> None:
            await settle()
            await super().on_start()

        async def on_stop(self, reason: str | BaseException) -> None:
            await settle()
            await super().on_stop(reason)

    specs = [ChildSpec(name, partial(Slow, name, log)) for name in "abc"]
    async with MessageRouter() as router:
        router.register_actor("s", Supervisor(specs))
        await router.ask("s/c", "hello")
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert_nothing_left(router)
    assert router.list_actors() == []


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_stop_in_reverse_when_the_router_ends_by_force(how):
    """Children also stop in reverse when the router is cancelled or another actor fails."""
    log: Log = []
    with CancelScope() as scope:
        try:
            async with MessageRouter() as router:
                router.register_actor("s", trio_of_workers(log))
                router.register_actor("other", Worker("other", []))
                await router.ask("s/c", "hello")
                if how == "cancelled":
                    scope.cancel()
                else:
                    await router.tell("other", "fail")
                await sleep_forever()
        except* ValueError:
            assert how == "failed"
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert_nothing_left(router)
    assert router.list_actors() == []


@pytest.mark.parametrize("way_out", ["leave", "cancel"])
async def test_streams_of_children_when_the_router_ends(way_out, unit):
    """A child's stream ends with `RouterClosedError`, however the router ends."""

    class Tidy(Worker):
        async def stream_async(self, payload):
            try:
                yield 1
                await sleep_forever()
            finally:
                with CancelScope(shield=True):
                    await sleep(unit)

    async def read() -> None:
        with pytest.raises(RouterClosedError):
            await stream.collect()

    async with create_task_group() as tasks:
        with CancelScope() as scope:
            async with MessageRouter() as router:
                router.register_actor("s", Supervisor([ChildSpec("a", lambda: Tidy("a", []))]))
                stream = router.stream_async("s/a", "query")
                tasks.start_soon(read)
                await settle(20)
                if way_out == "cancel":
                    scope.cancel()
                    await sleep_forever()
    assert_nothing_left(router)


async def test_port_of_a_child_that_has_not_started(router):
    """A subscription to a child's port waits until the child has started."""

    class Publisher(Actor):
        async def on_start(self) -> None:
            self.news = self.create_port("news")

        async def receive(self, message: Message) -> None:
            await self.news.publish(message.payload)

    router.register_actor("s", Supervisor([ChildSpec("a", Publisher)]))
    async with router.subscribe("s/a", "news") as news:
        await router.tell("s/a", "publish", 1)
        assert await anext(aiter(news)) == 1


async def test_children_can_be_addressed_at_once(unit):
    """Once a supervisor is registered, messages and streams to its children wait for them."""
    log: Log = []
    router = MessageRouter()
    slow = ChildSpec("a", lambda: SlowToStart("a", log, unit))
    router.register_actor("s", Supervisor([slow, child("b", log)]))
    assert router.list_actors() == ["s", "s/a", "s/b"]
    with pytest.raises(ActorNotFoundError, match="no actor yet"):
        router.get_actor("s/b")
    async with router:
        async with router.stream_async("s/b", "query") as stream:
            assert (await anext(aiter(stream))).payload == 0
        await router.tell("s/b", "hello")
        assert await router.ask("s/b", "hello") == 2
    assert log == ["+a", "+b", "-b", "-a"]


async def test_a_supervisor_that_never_starts():
    """A supervisor that is stopped before the router is entered frees all its ids."""
    router = MessageRouter()
    supervisor = trio_of_workers([])
    router.register_actor("s", supervisor)
    await router.stop_actor("s")
    assert router.list_actors() == []
    router.register_actor("again", supervisor)
    assert router.list_actors() == ["again", "again/a", "again/b", "again/c"]
    async with router:
        assert await router.ask("again/a", "hello") == 1
    assert_nothing_left(router)


async def test_child_stopped_before_the_router_is_entered():
    """A child that is stopped before its supervisor starts is not started."""
    log: Log = []
    router = MessageRouter()
    router.register_actor("s", trio_of_workers(log))
    await router.stop_actor("s/b")
    async with router:
        await router.ask("s/c", "hello")
        assert router.list_actors() == ["s", "s/a", "s/c"]
    assert log == ["+a", "+c", "-c", "-a"]


async def test_first_start_fails(caplog):
    """If a child's first start fails, the earlier children stop, and the supervisor fails."""
    log: Log = []
    error = ValueError("no")

    class Broken(Worker):
        async def on_start(self) -> None:
            raise error

    specs = [child("a", log), ChildSpec("b", lambda: Broken("b", log)), child("c", log)]
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", Supervisor(specs))
            with pytest.raises(ActorStoppedError) as caught:
                await router.stream_async("s/b", "query").collect()
            assert not isinstance(caught.value, ActorRestartedError)
            await sleep_forever()
    assert errors == [error]
    assert log == ["+a", "-b", "-a"]
    assert caplog.records == []


async def test_failure_of_a_first_start_that_is_cancelled(caplog):
    """If a first start is cancelled and the child's clean-up fails, the failure is logged."""

    class Broken(Actor):
        async def on_start(self) -> None:
            await sleep_forever()

        async def on_stop(self, reason: str | BaseException) -> None:
            raise ValueError("on_stop")

    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([ChildSpec("a", Broken)]))
        await settle(20)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_first_factory_fails():
    """If a factory fails at first, the supervisor fails with its exception."""
    log: Log = []

    def broken() -> Actor:
        raise error

    error = ValueError("no")
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", Supervisor([child("a", log), ChildSpec("b", broken)]))
            await sleep_forever()
    assert errors == [error]
    assert error.__notes__ == ["It was made by the factory of ChildSpec('b', ...)"]
    assert log == ["+a", "-a"]


async def test_first_factory_fails_with_an_exception_that_takes_no_note():
    """The supervisor fails with it all the same."""

    def broken() -> Actor:
        raise FrozenError

    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", Supervisor([ChildSpec("b", broken)]))
            await sleep_forever()
    assert errors == [FrozenError()]


async def test_factory_of_something_else():
    """A factory that does not return an actor fails the supervisor; the error names the child."""
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", Supervisor([ChildSpec("a", dict)]))
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, TypeError)
    assert "'a'" in error.__notes__[0]


async def test_id_of_a_child_is_taken():
    """A supervisor fails if a child's id is taken; the actor that has the id lives on."""
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("s/b", Worker("other", []))
        router.register_actor("s", trio_of_workers([]))
        await router.wait_stopped("s")
        assert router.list_actors() == ["s/b"]
        assert await router.ask("s/b", "hello") == 1


async def test_failure_while_a_later_sibling_starts(unit):
    """A child that fails during a later sibling's first start is restarted."""
    log: Log = []
    async with MessageRouter() as router:
        slow = ChildSpec("b", lambda: SlowToStart("b", log, unit))
        router.register_actor("s", Supervisor([child("a", log), slow]))
        await router.tell("s/a", "fail")
        assert await router.ask("s/a", "hello") == 1
    assert log == ["+a", "-a", "+b", "+a", "-b", "-a"]


async def test_subclass():
    """A subclass may have hooks and handlers; the hooks run before and after its children."""
    log: Log = []

    class Boss(Supervisor):
        async def on_start(self) -> None:
            log.append("+boss")

        async def on_stop(self, reason: str | BaseException) -> None:
            log.append("-boss")

        async def receive(self, message: Message) -> Any:
            return await self.ask("s/a", "hello")

    async with MessageRouter() as router:
        router.register_actor("s", Boss([child("a", log)]))
        assert await router.ask("s", "go") == 1
    assert log == ["+boss", "+a", "-a", "-boss"]


async def test_failure_of_the_supervisors_own_handler():
    """A supervisor whose own handler fails stops its children first."""
    log: Log = []

    class Boss(Supervisor):
        async def receive(self, message: Message) -> Any:
            raise ValueError("boss")

        async def on_stop(self, reason: str | BaseException) -> None:
            log.append(str(reason))

    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("s", Boss([child("a", log)]))
        await router.tell("s", "go")
        await router.wait_stopped("s")
        assert router.list_actors() == []
    assert log == ["+a", "-a", "boss"]


async def test_grace_period_of_a_child(router, unit, caplog):
    """A child is cancelled after its `stop_timeout`, and the next one stops."""
    log: Log = []

    class Stuck(Worker):
        async def on_stop(self, reason: str | BaseException) -> None:
            await sleep_forever()

    specs = [child("a", log), ChildSpec("b", lambda: Stuck("b", log), stop_timeout=unit)]
    router.register_actor("s", Supervisor(specs))
    await router.ask("s/b", "hello")
    with fail_after(3 * unit):
        await router.stop_actor("s")
    assert log == ["+a", "+b", "-a"]
    assert "@(s/b) did not stop within" in caplog.text


async def test_child_that_asks_its_supervisor_while_it_starts(router):
    """A child that asks its supervisor in `on_start()` gets `AskCycleError` at once."""
    asked = []

    class Curious(Actor):
        async def on_start(self) -> None:
            with pytest.raises(AskCycleError):
                await self.ask("s", "hello")
            asked.append(True)

    router.register_actor("s", Supervisor([ChildSpec("a", Curious)]))
    await wait_until(lambda: asked)


# Which children restart: the nine cases of OTP


async def end_child(router: MessageRouter, ending: str) -> None:
    if ending == "abnormal":
        await router.tell("s/a", "fail")
        await settle(20)
    else:
        await router.stop_actor("s/a", drain=ending == "normal")


@pytest.mark.parametrize(("restart", "ending", "again"), NINE_CASES)
async def test_nine_outcomes(router, restart, ending, again, caplog):
    """Whether a child is restarted depends on its restart type and its reason, as in OTP."""
    log: Log = []
    router.register_actor("s", Supervisor([child("a", log, restart), child("b", log)]))
    await router.ask("s/b", "hello")
    await end_child(router, ending)
    if again:
        assert await router.ask("s/a", "hello") == 1
    else:
        with pytest.raises(ActorNotFoundError):
            await router.ask("s/a", "hello")
    assert log == ["+a", "+b", "-a", *(["+a"] if again else [])]
    assert await router.ask("s/b", "hello") == 2


@pytest.mark.parametrize("restart", ["transient", "temporary"])
async def test_id_of_a_child_that_has_ended_is_free(router, restart):
    """Another actor may use the id of a child that is not restarted."""
    log: Log = []
    router.register_actor("s", Supervisor([child("a", [], restart)]))
    await router.stop_actor("s/a")
    router.register_actor("s/a", Worker("new", log))
    assert await router.ask("s/a", "hello") == 1
    await router.stop_actor("s")
    assert log == ["+new"]


async def test_failure_of_a_temporary_child_is_logged(caplog):
    """The failure of a child that is not restarted is logged as an error."""
    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([child("a", [], "temporary")]))
        await router.tell("s/a", "fail", ValueError("gone"))
        await router.wait_stopped("s/a")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "ValueError: gone" in caplog.text


async def test_failure_of_a_restarted_child_is_a_warning(caplog):
    """The failure of a child that is restarted is logged as a warning, with its traceback."""
    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([child("a", [])]))
        await router.tell("s/a", "fail", ValueError("gone"))
        await router.ask("s/a", "hello")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "ValueError: gone" in caplog.text


async def test_transient_child_that_fails_in_on_stop():
    """A transient child that is stopped stays stopped, even if its `on_stop()` fails."""
    log: Log = []

    class Broken(Worker):
        async def on_stop(self, reason: str | BaseException) -> None:
            await super().on_stop(reason)
            raise ValueError("on_stop")

    async with MessageRouter() as router:
        spec = ChildSpec("a", lambda: Broken("a", log), restart="transient")
        router.register_actor("s", Supervisor([spec]))
        await router.ask("s/a", "hello")
        await router.stop_actor("s/a")
        with pytest.raises(ActorNotFoundError):
            await router.ask("s/a", "hello")
    assert log == ["+a", "-a"]


@pytest.mark.parametrize(("restart", "starts"), [("transient", 2), ("permanent", 3)])
async def test_stop_of_a_child_whose_start_then_fails(router, restart, starts, unit):
    """A stop during a start counts, even if that start fails afterwards."""
    log: Log = []

    class FailingLater(Worker):
        async def on_start(self) -> None:
            await super().on_start()
            if log.count("+a") == 2:
                await sleep(unit)
                raise ConnectionError("no answer")

    spec = ChildSpec("a", lambda: FailingLater("a", log), restart=restart)
    router.register_actor("s", Supervisor([spec]))
    await router.ask("s/a", "hello")
    await router.tell("s/a", "fail")
    await settle(20)
    await router.stop_actor("s/a")
    await sleep(2 * unit)
    assert log.count("+a") == starts
    assert ("s/a" in router.list_actors()) is (restart == "permanent")


async def test_failure_in_on_stop_that_its_supervisor_ordered(caplog):
    """A child that fails in `on_stop()` while its supervisor stops is logged."""

    class Broken(Worker):
        async def on_stop(self, reason: str | BaseException) -> None:
            raise ValueError("on_stop")

    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([ChildSpec("a", lambda: Broken("a", []))]))
        await router.ask("s/a", "hello")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "ValueError: on_stop" in caplog.text


# Restarts


async def test_restart_keeps_the_mailbox(router):
    """A restarted actor handles the queued messages, but not the message that failed."""
    seen: Log = []

    class Recorder(Actor):
        async def receive(self, message: Message) -> None:
            seen.append((id(self), message.payload))
            if message.payload == 1:
                raise ValueError("one")

    made: list[Actor] = []

    def make() -> Actor:
        made.append(Recorder())
        return made[-1]

    router.register_actor("s", Supervisor([ChildSpec("a", make)]))
    for number in range(4):
        router.tell_nowait("s/a", "go", number)
    await wait_until(lambda: len(seen) == 4)
    first, fresh = map(id, made)
    assert seen == [(first, 0), (first, 1), (fresh, 2), (fresh, 3)]


async def test_ask_that_is_queued_survives_a_restart(router):
    """The restarted actor answers an ask that was queued behind the message that failed."""
    router.register_actor("s", Supervisor([child("a", [])]))
    router.tell_nowait("s/a", "fail")
    assert await router.ask("s/a", "hello") == 1


async def test_ask_while_it_is_restarted(router):
    """An ask whose handler is interrupted by a restart gets `ActorRestartedError`."""
    async with create_task_group() as tasks:
        router.register_actor("s", trio_of_workers([], strategy="one_for_all"))

        async def ask() -> None:
            with pytest.raises(ActorRestartedError):
                await router.ask("s/b", "wait")

        tasks.start_soon(ask)
        await settle(20)
        await router.tell("s/a", "fail")


async def test_one_failure_counts_once_whatever_the_streams(router):
    """One failure ends all the child's streams with `ActorRestartedError`, and counts once."""
    async with create_task_group() as tasks:
        router.register_actor("s", Supervisor([child("a", [])], max_restarts=1))
        error = ValueError("once")

        async def read() -> None:
            with pytest.raises(ActorRestartedError) as caught:
                await router.stream_async("s/a", "query").collect()
            assert caught.value.__cause__ is error

        for _ in range(10):
            tasks.start_soon(read)
        await settle(20)
        await router.tell("s/a", "fail", error)
        assert await router.ask("s/a", "hello") == 1
        assert router.statistics().restarts == 1
        assert_nothing_left(router)


@pytest.mark.parametrize(
    ("strategy", "rest"),
    [
        ("one_for_one", ["-b", "+b"]),
        ("rest_for_one", ["-b", "-c", "+b", "+c"]),
        ("one_for_all", ["-b", "-c", "-a", "+a", "+b", "+c"]),
    ],
)
async def test_strategies(router, strategy, rest):
    """The strategy selects the children to restart; they stop in reverse and start in order."""
    log: Log = []
    router.register_actor("s", trio_of_workers(log, strategy=strategy))
    await router.ask("s/c", "hello")
    await router.tell("s/b", "fail")
    for name in "abc":
        await router.ask(f"s/{name}", "hello")
    assert log == ["+a", "+b", "+c", *rest]


async def test_siblings_that_are_restarted_keep_their_mailboxes(router):
    """A sibling that is restarted along with a failed child handles its queued messages."""
    async with create_task_group() as tasks:
        router.register_actor("s", trio_of_workers([], strategy="one_for_all"))
        await router.tell("s/b", "wait")
        await settle(20)
        answers = []

        async def ask() -> None:
            answers.append(await router.ask("s/b", "hello"))

        tasks.start_soon(ask)
        await settle()
        await router.tell("s/a", "fail")
        await wait_until(lambda: answers)
        assert answers == [1]


async def test_temporary_sibling_is_not_restarted(router):
    """A temporary sibling is stopped along with the others, and not restarted."""
    log: Log = []
    specs = [child("a", log), child("b", log, "temporary"), child("c", log)]
    router.register_actor("s", Supervisor(specs, strategy="one_for_all"))
    await router.ask("s/c", "hello")
    await router.tell("s/a", "fail")
    await settle(50)
    await router.ask("s/c", "hello")
    assert router.list_actors() == ["s", "s/a", "s/c"]
    assert log == ["+a", "+b", "+c", "-a", "-c", "-b", "+a", "+c"]


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
async def test_simultaneous_failures(router, strategy):
    """Two children that fail at the same time are both restarted."""
    log: Log = []
    router.register_actor("s", trio_of_workers(log, strategy=strategy))
    await router.ask("s/c", "hello")
    router.tell_nowait("s/b", "fail")
    router.tell_nowait("s/a", "fail")
    await settle(50)
    for name in "abc":
        await router.ask(f"s/{name}", "hello")
    assert_nothing_left(router)
    if strategy != "one_for_one":
        assert [entry for entry in log if entry[0] == "+"] == ["+a", "+b", "+c"] * 2


async def test_simultaneous_failures_share_one_restart(caplog):
    """Simultaneous failures that one restart repairs count once, and each is logged."""
    async with MessageRouter() as router:
        router.register_actor("s", trio_of_workers([], strategy="one_for_all", max_restarts=1))
        await router.ask("s/c", "hello")
        router.tell_nowait("s/b", "fail")
        router.tell_nowait("s/a", "fail")
        await settle(50)
        assert await router.ask("s/c", "hello") == 1
    assert sorted(str(record.exc_info[1]) for record in caplog.records) == ["a", "b"]


async def test_child_that_is_stopped_during_its_restart(router, unit):
    """Siblings that wait for a child's restart still start if that child is stopped."""
    log: Log = []

    class Slow(Worker):
        async def on_start(self) -> None:
            if "+a" in log:
                await sleep(unit)
            await super().on_start()

    specs = [ChildSpec("a", lambda: Slow("a", log), restart="transient"), child("b", log)]
    router.register_actor("s", Supervisor(specs, strategy="one_for_all"))
    await router.ask("s/b", "hello")
    await router.tell("s/a", "fail")
    await wait_until(lambda: "-b" in log)
    await settle()
    await router.stop_actor("s/a", drain=False)
    assert await router.ask("s/b", "hello") == 1
    assert router.list_actors() == ["s", "s/b"]


async def test_a_drain_ends_one_incarnation_only(unit):
    """A drain ends with the failed start of its child; the restarted child stays."""
    log: Log = []

    class Second(Worker):
        async def on_start(self) -> None:
            await super().on_start()
            if log.count("+a") == 2:
                await sleep(unit)
                raise ValueError("second")

    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([ChildSpec("a", lambda: Second("a", log))]))
        await router.tell("s/a", "fail")
        await wait_until(lambda: log.count("+a") == 2)
        await router.stop_actor("s/a")
        assert await router.ask("s/a", "hello") == 1
        assert await router.ask("s/a", "hello") == 2
    assert log == ["+a", "-a"] * 3


async def test_an_old_instance_is_free_during_a_backoff(router):
    """During a backoff the actor that failed may be registered elsewhere."""
    made: list[Worker] = []

    def make() -> Actor:
        made.append(Worker("a", []))
        return made[-1]

    router.register_actor("s", Supervisor([ChildSpec("a", make)], backoff=3600.0))
    await router.tell("s/a", "fail")
    await settle(20)
    to = router.register_actor("other", made[0])
    await router.stop_actor("s/a")
    assert made[0].address == to


@pytest.mark.parametrize(
    ("restart", "error"), [("permanent", ActorRestartedError), ("transient", ActorStoppedError)]
)
async def test_stream_of_a_child_that_drains(router, restart, error):
    """A stream opened while its actor drains ends with an error, not as if complete."""
    async with create_task_group() as tasks:
        router.register_actor("s", Supervisor([child("a", [], restart)]))
        await router.tell("s/a", "wait")
        await settle(20)
        worker = router.get_actor("s/a")
        assert isinstance(worker, Worker)
        tasks.start_soon(router.stop_actor, "s/a")
        await settle()
        with pytest.raises(error):
            await router.stream_async("s/a", "query").collect()
        worker.go_on.set()


# Restart limits


async def test_too_many_restarts():
    """If a failure exceeds the limit, the children stop and the supervisor fails."""
    log: Log = []
    with failures() as errors:
        async with MessageRouter() as router:
            supervisor = Supervisor([child("a", log), child("b", log)], max_restarts=2)
            router.register_actor("s", supervisor)
            await router.ask("s/b", "hello")
            for number in range(3):
                await router.tell("s/a", "fail", ValueError(number))
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.args == (2,)
    assert log == ["+a", "+b", "-a", "+a", "-a", "+a", "-a", "-b"]


async def test_the_window_slides(router, unit):
    """Restarts older than the window do not count, because the window slides."""
    supervisor = Supervisor([child("a", [])], max_restarts=2, within=10 * unit)
    router.register_actor("s", supervisor)
    for _ in range(5):
        await router.tell("s/a", "fail")
        assert await router.ask("s/a", "hello") == 1
        await sleep(6 * unit)
    assert router.statistics().restarts == 5


async def test_failing_in_on_start_again_and_again():
    """A child that keeps failing in `on_start()` reaches the limit."""
    starts = []

    class Once(Worker):
        async def on_start(self) -> None:
            starts.append(True)
            if len(starts) > 1:
                raise KeyError(len(starts))

    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", Supervisor([ChildSpec("a", lambda: Once("a", []))]))
            await router.tell("s/a", "fail")
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.args == (4,)
    assert len(starts) == 4


@pytest.mark.parametrize("second", ["fails", "makes none", "gives the same", "gives a registered"])
async def test_factory_that_fails_at_a_restart(second):
    """Each time a factory does not make a new actor, this counts as a failed restart."""
    calls = []
    actor, other = Worker("a", []), Worker("other", [])

    def make() -> Any:
        calls.append(True)
        if len(calls) == 1:
            return actor
        if second == "fails":
            raise KeyError("factory")
        return {"makes none": None, "gives the same": actor}.get(second, other)

    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("other", other)
            router.register_actor("s", Supervisor([ChildSpec("a", make)]))
            await router.tell("s/a", "fail")
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, (KeyError, TypeError, ValueError))
    assert len(calls) == 4


async def test_factory_that_recovers(router):
    """A factory that fails once during a restart is called again."""
    calls = []

    def make() -> Actor:
        calls.append(True)
        if len(calls) == 2:
            raise KeyError("factory")
        return Worker("a", [])

    router.register_actor("s", Supervisor([ChildSpec("a", make), child("b", [])]))
    await router.tell("s/a", "fail")
    assert await router.ask("s/a", "hello") == 1
    assert await router.ask("s/b", "hello") == 1


# Backoff


async def test_backoff_of_a_number(router, unit):
    """A number delays a restart by that many seconds; messages are queued meanwhile."""
    router.register_actor("s", Supervisor([child("a", [])], backoff=3 * unit))
    await router.ask("s/a", "hello")
    await router.tell("s/a", "fail")
    await settle(20)
    before = current_time()
    async with router.stream_async("s/a", "query") as stream:
        assert (await anext(aiter(stream))).payload == 0
    assert current_time() - before > 2.9 * unit
    assert await router.ask("s/a", "hello") == 1


async def test_backoff_of_a_function(router: MessageRouter, unit: float):
    """A function gets the number of consecutive restarts, which a long run resets."""
    asked = []

    def backoff(attempt: int) -> float:
        asked.append(attempt)
        return 0.1 * unit * attempt

    supervisor = Supervisor([child("a", [])], backoff=backoff, within=5 * unit)
    router.register_actor("s", supervisor)
    for pause in (0, 0, 10, 0):
        await sleep(pause * unit)
        await router.tell("s/a", "fail")
        await settle(20)
        await router.ask("s/a", "hello")
    assert asked == [1, 2, 1, 2]


@pytest.mark.parametrize("slow", ["start", "stop", "failing start", "factory"])
async def test_a_slow_start_or_stop_is_no_long_run(router, slow, unit):
    """Only the time that a child has run makes the number of restarts in a row start anew."""
    asked: list[int] = []

    class Slow(Worker):
        async def on_start(self) -> None:
            if slow.endswith("start") and asked:
                await sleep(10 * unit)
            if slow == "failing start" and 0 < len(asked) < 3:
                raise ConnectionError("no answer")

        async def on_stop(self, reason: str | BaseException) -> None:
            if slow == "stop":
                await sleep(10 * unit)

    def make() -> Actor:
        if slow == "factory" and 0 < len(asked) < 3:
            raise ConnectionError("no answer")
        return Slow("a", [])

    def backoff(attempt: int) -> float:
        asked.append(attempt)
        return 0.1

    spec = ChildSpec("a", make, stop_timeout=None)
    supervisor = Supervisor([spec], backoff=backoff, max_restarts=100, within=5 * unit)
    router.register_actor("s", supervisor)
    await router.ask("s/a", "hello")
    await sleep(6 * unit)
    while len(asked) < 3:
        await router.tell("s/a", "fail")
        await router.ask("s/a", "hello", timeout=None)
    assert asked[:3] == [1, 2, 3]


async def test_backoff_that_fails():
    """A backoff function that raises or returns a bad value fails the supervisor."""
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("s", Supervisor([child("a", [])], backoff=lambda _: -1.0))
        await router.tell("s/a", "fail")
        await router.wait_stopped("s")
        assert router.list_actors() == []


async def test_stop_during_a_backoff(router, unit):
    """A supervisor may be stopped during a child's backoff; waiting asks are answered."""
    log: Log = []
    async with create_task_group() as tasks:
        router.register_actor("s", Supervisor([child("a", log)], backoff=3600.0))
        await router.ask("s/a", "hello")
        await router.tell("s/a", "fail")
        await settle(20)

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("s/a", "hello", timeout=None)

        tasks.start_soon(ask)
        await settle()
        await router.stop_actor("s")
        assert router.list_actors() == []
        assert log == ["+a", "-a"]
        assert_nothing_left(router)


async def test_a_backoff_does_not_keep_a_stopped_supervisor(router):
    """The timer of a restart does not keep its supervisor alive."""
    supervisor = Supervisor([child("a", [])], backoff=3600.0)
    kept = ref(supervisor)
    router.register_actor("s", supervisor)
    del supervisor
    await router.ask("s/a", "hello")
    await router.stop_actor("s/a")
    await settle(20)
    await router.stop_actor("s")
    await settle()
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("restart", ["transient", "permanent"])
async def test_stop_of_a_child_during_its_backoff(router, restart, drain, unit):
    """A stop has the same effect during a child's backoff as while the child runs."""
    log: Log = []
    spec = ChildSpec("a", lambda: Worker("a", log), restart=restart)
    router.register_actor("s", Supervisor([spec], backoff=unit))
    await router.ask("s/a", "hello")
    await router.tell("s/a", "fail")
    await settle(20)
    await router.stop_actor("s/a", drain=drain)
    assert ("s/a" in router.list_actors()) is (restart == "permanent")
    await sleep(2 * unit)
    assert log == (["+a", "-a"] if restart == "transient" else ["+a", "-a", "+a"])


async def test_stop_of_a_permanent_child_ends_the_streams_that_wait_for_it(router, unit):
    """A stream that waits for a restart ends with the stop, which need not wait for the restart."""
    router.register_actor("s", Supervisor([child("a", [])], backoff=3600 * unit))
    await router.ask("s/a", "hello")
    await router.tell("s/a", "fail")
    await settle(20)
    async with router.stream_async("s/a", "query", timeout=None) as stream:
        with fail_after(unit):
            await router.stop_actor("s/a")
        with pytest.raises(ActorRestartedError):
            await anext(stream.payloads())


async def test_a_stop_during_a_batch_does_not_cut_its_backoff_short(router, unit):
    """Two siblings fail; one is stopped meanwhile; the others still wait for their backoff."""
    log: Log = []

    class Slow(Worker):
        async def on_stop(self, reason: str | BaseException) -> None:
            await sleep(unit)

    specs = [
        ChildSpec("a", lambda: Worker("a", log), "transient"),
        child("b", log),
        ChildSpec("c", lambda: Slow("c", log)),
    ]
    router.register_actor("s", Supervisor(specs, strategy="one_for_all", backoff=20 * unit))
    await router.ask("s/c", "hello")
    router.tell_nowait("s/b", "fail")
    router.tell_nowait("s/a", "fail")
    await sleep(0.5 * unit)
    await router.stop_actor("s/a")
    await sleep(5 * unit)
    assert log.count("+b") == 1


async def test_a_drain_during_a_first_start_that_fails():
    """The supervisor fails, and its child does not come back: a stream is told so."""
    starting, go_on = Event(), Event()

    class FailsToStart(Worker):
        async def on_start(self) -> None:
            starting.set()
            await go_on.wait()
            raise ValueError("start")

    with failures():
        async with MessageRouter() as router, create_task_group() as tasks:
            supervisor = Supervisor([ChildSpec("a", lambda: FailsToStart("a", []))])
            router.register_actor("s", supervisor)
            await starting.wait()
            async with router.stream_async("s/a", "query") as stream:
                tasks.start_soon(router.stop_actor, "s/a")
                await settle()
                go_on.set()
                with pytest.raises(ActorStoppedError) as caught:
                    await anext(stream.payloads())
    assert caught.type is ActorStoppedError


class FailsToRestart(Worker):
    """Starts once; each later start hangs, or fails after some time."""

    def __init__(self, log: Log, seconds: float) -> None:
        super().__init__("a", log)
        self.seconds = seconds

    async def on_start(self) -> None:
        await super().on_start()
        if self.log.count("+a") > 1:
            await sleep(self.seconds)
            raise ConnectionError("no answer")


@pytest.mark.parametrize("seconds", [2, math.inf])
@pytest.mark.parametrize("moment", [1, 2, 5])
async def test_a_supervisor_that_is_to_stop_restarts_no_child(router, moment, seconds, unit):
    """A stop of a supervisor ends the restart of its child at once, even if it drains."""
    log: Log = []
    spec = ChildSpec("a", lambda: FailsToRestart(log, seconds * unit), start_timeout=None)
    router.register_actor("s", Supervisor([spec], max_restarts=1000), stop_timeout=None)
    await router.tell("s/a", "fail")
    await sleep(moment * unit)
    starts = log.count("+a")
    with fail_after(unit):
        await router.stop_actor("s")
    assert log == ["+a", "-a"] * starts
    assert_nothing_left(router)


async def test_a_child_that_fails_while_its_supervisor_drains(router):
    """It is not restarted, and the supervisor's handler that asks it is told so."""
    log: Log = []
    told: list[type] = []
    go_on = Event()

    class Boss(Supervisor):
        async def receive(self, message: Message) -> None:
            await go_on.wait()
            with pytest.raises(ActorNotFoundError) as caught:
                await self.ask("s/a", "hello", timeout=None)
            told.append(caught.type)

    router.register_actor("s", Boss([child("a", log)]))
    await router.tell("s", "go")
    async with create_task_group() as tasks:
        tasks.start_soon(router.stop_actor, "s")
        await settle()
        await router.tell("s/a", "fail")
        await settle(20)
        go_on.set()
    assert told == [ActorNotFoundError]
    assert log == ["+a", "-a"]


async def test_a_drain_of_a_supervisor_whose_child_hangs_in_its_first_start(router, unit):
    """The limit of the drain ends the start."""
    supervisor = Supervisor([ChildSpec("a", lambda: SlowToStart("a", [], math.inf))])
    router.register_actor("s", supervisor, stop_timeout=unit)
    await settle()
    with fail_after(3 * unit):
        await router.stop_actor("s")
    assert_nothing_left(router)


@pytest.mark.parametrize("restart", ["permanent", "transient"])
async def test_the_limit_of_a_drain_is_for_one_incarnation(router, restart, unit):
    """A child that was drained in time and restarted is not stopped later."""
    log: Log = []
    router.register_actor("s", Supervisor([child("a", log, restart, stop_timeout=unit)]))
    await router.ask("s/a", "hello")
    await router.stop_actor("s/a")
    await sleep(3 * unit)
    assert log == (["+a", "-a", "+a"] if restart == "permanent" else ["+a", "-a"])


async def test_a_drain_that_takes_too_long_is_final_for_a_transient_child(router, unit):
    """A child that is cut short comes back only if it is permanent."""
    log: Log = []
    kinds = ("permanent", "transient", "temporary")
    specs = [child(kind, log, kind, stop_timeout=unit) for kind in kinds]
    router.register_actor("s", Supervisor(specs))
    for kind in kinds:
        await router.tell(f"s/{kind}", "wait")
        await settle(20)
        await router.stop_actor(f"s/{kind}")
    await settle(20)
    assert router.list_actors() == ["s", "s/permanent"]


async def test_a_start_that_takes_too_long_is_a_failure_of_the_child():
    """It counts like an exception in `on_start()`."""
    log: Log = []

    def make() -> Actor:
        return FailsToRestart(log, math.inf)

    with failures() as errors:
        async with MessageRouter() as router:
            spec = ChildSpec("a", make, start_timeout=0.02)
            router.register_actor("s", Supervisor([spec], max_restarts=2))
            await router.tell("s/a", "fail")
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, StartTimeoutError)
    assert log == ["+a", "-a"] * 3


async def test_the_start_of_a_supervisor_does_not_count_its_children(router, unit):
    """`start_timeout` bounds the supervisor's own `on_start()`; each child has its own limit."""
    log: Log = []
    children = [ChildSpec(name, partial(SlowToStart, name, log, unit)) for name in "abc"]
    router.register_actor("s", Supervisor(children), start_timeout=2 * unit)
    await router.ask("s/c", "hello")
    assert log == ["+a", "+b", "+c"]


async def test_router_exit_during_a_backoff():
    """The router's exit does not wait for a restart, and answers the asks that do."""
    async with create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("s", Supervisor([child("a", [])], backoff=3600.0))
        await router.ask("s/a", "hello")
        await router.tell("s/a", "fail")
        await settle(20)

        async def ask() -> None:
            with pytest.raises(ActorStoppedError):
                await router.ask("s/a", "hello", timeout=None)

        tasks.start_soon(ask)
        await settle()
        before = current_time()
    assert current_time() - before < 1
    assert_nothing_left(router)


async def test_router_exit_during_a_start():
    """The router's exit cancels the restart of a child."""
    log: Log = []

    class Stuck(Worker):
        async def on_start(self) -> None:
            await super().on_start()
            if len(log) > 1:
                await sleep_forever()

    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([ChildSpec("a", lambda: Stuck("a", log))]))
        await router.tell("s/a", "fail")
        await wait_until(lambda: len(log) == 3)
    assert log == ["+a", "-a", "+a", "-a"]
    assert_nothing_left(router)


async def test_a_restart_during_a_backoff_of_a_later_sibling(router, unit):
    """With `rest_for_one`, a child in its backoff waits for an earlier sibling's restart."""
    log: Log = []
    waits = iter([unit, 3 * unit])
    supervisor = trio_of_workers(log, strategy="rest_for_one", backoff=lambda _: next(waits))
    router.register_actor("s", supervisor)
    await router.ask("s/c", "hello")
    await router.tell("s/b", "fail")
    await settle(20)
    await router.tell("s/a", "fail")
    await router.ask("s/c", "hello")
    assert log[:9] == ["+a", "+b", "+c", "-b", "-c", "-a", "+a", "+b", "+c"]


# Nested supervisors


def nested(log: Log, **options: Any) -> Supervisor:
    inner = ChildSpec("in", lambda: Supervisor([child("x", log)], max_restarts=1))
    return Supervisor([inner, child("y", log)], **options)


async def test_escalation_to_the_supervisor_above():
    """A supervisor that fails is restarted by its own supervisor, with new children."""
    log: Log = []
    async with MessageRouter() as router:
        router.register_actor("s", nested(log))
        await router.ask("s/y", "hello")
        for _ in range(2):
            await router.tell("s/in/x", "fail")
            await settle(50)
        assert await router.ask("s/in/x", "hello") == 1
        assert await router.ask("s/y", "hello") == 2
        assert log == ["+x", "+y", "-x", "+x", "-x", "+x"]
        assert_nothing_left(router)
    assert router.list_actors() == []


async def test_escalation_through_two_levels():
    """A failure rises through all supervisors and leaves the router as a chain of causes."""
    log: Log = []
    with failures() as errors:
        async with MessageRouter() as router:
            router.register_actor("s", nested(log, max_restarts=0))
            await router.ask("s/y", "hello")
            for _ in range(2):
                await router.tell("s/in/x", "fail", ValueError("deep"))
                await settle(50)
            await sleep_forever()
    (error,) = errors
    assert isinstance(error, RestartLimitError)
    assert isinstance(error.__cause__, RestartLimitError)
    assert isinstance(error.__cause__.__cause__, ValueError)
    assert log == ["+x", "+y", "-x", "+x", "-x", "-y"]
    assert_nothing_left(router)


async def test_stop_by_an_actor_below(router):
    """A handler or stream deep in the tree may stop the top supervisor: it does not wait."""

    class Rebel(Actor):
        async def receive(self, message: Message) -> None:
            await self.router.stop_actor("s", drain=False)

        async def stream_async(self, payload):
            await self.router.stop_actor("s")
            await sleep_forever()
            yield 1

    def tree() -> Supervisor:
        return Supervisor([ChildSpec("in", lambda: Supervisor([ChildSpec("x", Rebel)]))])

    router.register_actor("s", tree())
    await settle(20)
    await router.tell("s/in/x", "go")
    with fail_after(5):
        await router.wait_stopped("s")
    router.register_actor("s", tree())
    await settle(20)
    with pytest.raises(ActorStoppedError):
        await router.stream_async("s/in/x", "query").collect()
    with fail_after(5):
        await router.wait_stopped("s")
    assert router.list_actors() == []
    assert_nothing_left(router)


async def test_stop_of_a_child_that_is_a_supervisor(router):
    """A permanent supervisor that is stopped is restarted, with its children."""
    log: Log = []
    router.register_actor("s", nested(log))
    await router.ask("s/y", "hello")
    await router.stop_actor("s/in")
    await settle(20)
    assert await router.ask("s/in/x", "hello") == 1
    assert log == ["+x", "+y", "-x", "+x"]


async def test_cancelled_stop_of_a_supervisor(router, unit):
    """A supervisor stops even if the wait for its stop is cancelled."""
    log: Log = []

    class Slow(Worker):
        async def on_stop(self, reason: str | BaseException) -> None:
            await sleep(unit)
            await super().on_stop(reason)

    router.register_actor("s", Supervisor([ChildSpec("a", lambda: Slow("a", log))]))
    await router.ask("s/a", "hello")
    with move_on_after(0.5 * unit) as scope:
        await router.stop_actor("s")
    assert scope.cancelled_caught
    await router.wait_stopped("s")
    assert log == ["+a", "-a"]
    assert router.list_actors() == []


async def test_supervisor_without_children():
    """A supervisor may have no children."""
    async with MessageRouter() as router:
        router.register_actor("s", Supervisor([]))
        await router.stop_actor("s")
    assert_nothing_left(router)
