"""Tell and ask: replies, senders, cycles, all ways to give up, errors, dead letters."""

import asyncio
import gc
import logging
import math
import threading
import weakref
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorError,
    ActorNotFoundError,
    ActorStoppedError,
    AskCycleError,
    AskTimeoutError,
    MailboxFullError,
    Message,
    MessageRouter,
    RouterClosedError,
    StreamAbortedError,
    address,
    current_message,
    handles,
)
from actorstream.testing import Probe, assert_nothing_left, settle
from tests.support import QuitProgram, Referable, Registers, serving


class Worker(Actor):
    """Does various things when asked; logs how each message was handled."""

    def __init__(self) -> None:
        self.going = anyio.Event()
        self.log: list[object] = []

    @handles("echo")
    async def echo(self, payload):
        self.log.append(payload)
        return payload

    @handles("wait")
    async def wait(self, payload):
        self.log.append("began")
        try:
            await self.going.wait()
        except BaseException:
            self.log.append("cancelled")
            raise
        self.log.append("done")

    @handles("fail")
    async def fail(self, payload):
        raise payload

    async def on_stop(self, reason):
        self.log.append(reason)


# Replies


@pytest.mark.parametrize("payload", [1, None, 0, "", ValueError("as a value")])
async def test_reply(router, payload):
    """The handler's return value is the reply, even `None` or an exception."""
    router.register_actor("a", Worker())
    assert await router.ask("a", "echo", payload) is payload


async def test_address_forms(router):
    """Tell and ask take an actor's id or its address."""
    router.register_actor("a", Worker())
    for to in ("a", "@(a)", address("a")):
        await router.tell(to, "echo", 1)
        router.tell_nowait(to, "echo", 1)
        assert await router.ask(to, "echo", 1) == 1


async def test_message(router):
    """A handler sees what was sent, to which actor, and when; ids sort in sending order."""
    probe = Probe()
    router.register_actor("a", probe)
    await router.tell("a", "x", 1)
    await router.ask("a", "y")
    first, second = probe.messages
    assert (first.to, first.type, first.payload, first.sender) == (address("a"), "x", 1, None)
    assert (second.type, second.payload) == ("y", None)
    assert first.id < second.id
    assert 0 < first.timestamp <= second.timestamp


@pytest.mark.real_clock
async def test_current_message(router):
    """`current_message()` is the message being handled, also in tasks and threads it starts."""
    seen = []

    class Sees(Actor):
        async def receive(self, message):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.look, message)
            await anyio.to_thread.run_sync(self.look_now, message)

        async def look(self, message):
            self.look_now(message)

        def look_now(self, message):
            seen.append(current_message() is message)

    router.register_actor("a", Sees())
    await router.ask("a", "x")
    await router.ask("a", "y")
    assert seen == [True] * 4


async def test_current_message_elsewhere():
    """The hooks have no current message, not even that of the actor that registers this one."""
    seen = []

    class Child(Actor):
        async def on_start(self):
            self.look()

        async def on_stop(self, reason):
            self.look()

        def look(self):
            with pytest.raises(LookupError, match="no current message"):
                current_message()
            seen.append(1)

    async with serving(Registers("child", Child())) as router:
        await router.ask("a", "x")
        await settle()
    assert seen == [1, 1]


# The sender


class Sender(Actor):
    """Passes its messages on, in the way that their type names."""

    async def receive(self, message):
        if message.type == "self.ask":
            await self.ask("probe", "x")
        elif message.type == "self.tell":
            await self.tell("probe", "x")
        elif message.type == "self.tell_nowait":
            self.tell_nowait("probe", "x")
        elif message.type == "router.ask":
            await self.router.ask("probe", "x")
        elif message.type == "router.tell":
            await self.router.tell("probe", "x")
        else:
            self.router.tell_nowait("probe", "x")

    async def stream_async(self, payload):
        await self.router.tell("probe", "x")
        yield 1


WAYS = ["self.ask", "self.tell", "self.tell_nowait"]


@pytest.mark.parametrize("way", [*WAYS, "router.ask", "router.tell", "router.tell_nowait"])
async def test_sender(router, way):
    """An actor is the sender of what its handler sends, even through its router."""
    router.register_actor("a", Sender())
    probe = Probe()
    router.register_actor("probe", probe)
    await router.ask("a", way)
    assert (await probe.expect("x")).sender == address("a")


async def test_sender_of_a_stream(router):
    """An actor is also the sender of what its streams send."""
    router.register_actor("a", Sender())
    probe = Probe()
    router.register_actor("probe", probe)
    await router.stream_async("a", "query").collect()
    assert (await probe.expect("x")).sender == address("a")


async def test_sender_in_the_hooks(router):
    """An actor is also the sender of what its hooks send, even if another actor registered it."""

    class Hooks(Actor):
        async def on_start(self):
            await self.router.tell("probe", "start")

        async def on_stop(self, reason):
            await self.router.tell("probe", "stop")

    router.register_actor("a", Registers("hooks", Hooks()))
    probe = Probe()
    router.register_actor("probe", probe)
    await router.ask("a", "x")
    await router.stop_actor("hooks")
    assert (await probe.expect("start")).sender == address("hooks")
    assert (await probe.expect("stop")).sender == address("hooks")


async def test_answering_by_tell(router):
    """An actor can answer a message by telling its sender."""

    class Back(Actor):
        async def receive(self, message):
            assert message.sender is not None
            await self.tell(message.sender, "back", message.payload)

    class Front(Probe):
        async def receive(self, message):
            if message.type == "go":
                await self.tell("a", "x", 1)
            return await super().receive(message)

    router.register_actor("a", Back())
    front = Front()
    router.register_actor("front", front)
    await router.tell("front", "go")
    await front.expect("go")
    assert (await front.expect("back")).payload == 1


# Cycles


class Asker(Actor):
    """Asks the next actor in the payload; the type names the way to ask."""

    async def receive(self, message):
        if not message.payload:
            return "end"
        to, *rest = message.payload
        if message.type == "tasks":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.ask, to, message.type, rest)
            return "end"
        if message.type == "thread":
            return await anyio.to_thread.run_sync(self.from_thread, to, rest)
        ask = self.ask if message.type == "self" else self.router.ask
        return await ask(to, message.type, rest)

    def from_thread(self, to, rest):
        return anyio.from_thread.run(self.ask, to, "thread", rest)

    async def stream_async(self, payload):
        yield await self.ask(self.address, "self", payload)


def register_three(router: MessageRouter) -> None:
    for id in "abc":
        router.register_actor(id, Asker())


def innermost(exc: BaseException) -> BaseException:
    """Return the root of an error, through causes and groups."""
    while True:
        if isinstance(exc, BaseExceptionGroup):
            (exc,) = exc.exceptions
        elif exc.__cause__ is not None:
            exc = exc.__cause__
        else:
            return exc


@pytest.mark.parametrize("type", ["self", "router", "tasks"])
@pytest.mark.parametrize("way", ["aa", "aba", "abca", "abb"])
async def test_cycle(router, way, type):
    """A cycle of asks of any length raises at once, also from a task of the handler."""
    register_three(router)
    with anyio.fail_after(0.5), pytest.raises(ActorError) as caught:
        await router.ask(way[0], type, list(way[1:]))
    cycle = innermost(caught.value)
    assert isinstance(cycle, AskCycleError)
    assert f"would deadlock: {' -> '.join(way[way.index(way[-1]) :])};" in rotated(str(cycle), way)
    assert await router.ask("a", type, ["b", "c"]) == "end"
    assert_nothing_left(router)


def rotated(text: str, way: str) -> str:
    """Return the text with the cycle rotated to begin with the actor that closes it."""
    shown = text.split("deadlock: ")[1].split(";")[0].split(" -> ")
    ring = shown[:-1]
    start = ring.index(way[-1])
    ring = ring[start:] + ring[:start]
    return f"would deadlock: {' -> '.join([*ring, ring[0]])};"


@pytest.mark.real_clock
async def test_cycle_through_a_thread(router):
    """A cycle through a worker thread raises as well."""
    register_three(router)
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "thread", ["b", "a"])
    assert isinstance(innermost(caught.value), AskCycleError)


async def test_cycle_in_the_hooks(router):
    """An actor that asks itself in `on_start()` closes a cycle, too."""

    class AsksAtStart(Actor):
        async def on_start(self):
            with pytest.raises(AskCycleError, match="a -> a"):
                await self.ask("a", "x")

        async def receive(self, message):
            return 1

    router.register_actor("a", AsksAtStart())
    assert await router.ask("a", "x") == 1


async def test_cycle_that_two_actors_close(router):
    """When two actors ask each other at the same time, the second ask closes the cycle."""
    outcomes = []

    async def ask(router, one, other):
        try:
            outcomes.append(await router.ask(one, "self", [other, one, other]))
        except ActorError as exc:
            outcomes.append(type(innermost(exc)))

    register_three(router)
    with anyio.fail_after(0.5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, router, "a", "b")
            tasks.start_soon(ask, router, "b", "a")
    assert AskCycleError in outcomes


async def test_no_cycle_from_a_stream(router):
    """A stream may ask its own actor, because it does not occupy the mailbox."""
    register_three(router)
    assert await router.stream_async("a", "query", ["b"]).collect() == ["end"]


async def test_no_cycle_from_a_stream_that_a_handler_reads(router):
    """A stream may ask its own actor, even if a handler of another actor reads the stream."""

    class Reads(Actor):
        async def receive(self, message):
            return await self.router.stream_async("a", "query").collect()

    register_three(router)
    router.register_actor("reads", Reads())
    assert await router.ask("reads", "x") == ["end"]


async def test_no_cycle_of_two_that_ask_a_third(router):
    """Two actors that ask a third do not form a cycle, even if each asks it twice at once."""
    replies = []

    async def ask(router, *args):
        replies.append(await router.ask(*args))

    register_three(router)
    async with anyio.create_task_group() as tasks:
        for one in "abab":
            tasks.start_soon(ask, router, one, "self", ["c"])
    assert replies == ["end"] * 4


async def test_no_cycle_of_a_diamond(router):
    """An actor that asks two actors, which both ask a fourth, does not form a cycle."""

    class Fork(Actor):
        async def receive(self, message):
            async with anyio.create_task_group() as tasks:
                for one in "ab":
                    tasks.start_soon(self.ask, one, "self", ["c"])
            return "joined"

    register_three(router)
    router.register_actor("fork", Fork())
    assert await router.ask("fork", "x") == "joined"


async def test_no_cycle_after_an_ask(router):
    """An actor may ask an actor whose earlier ask it has answered."""
    register_three(router)
    assert await router.ask("a", "self", ["b"]) == "end"
    assert await router.ask("b", "self", ["a"]) == "end"


async def test_no_cycle_by_a_tell(router):
    """An actor may tell itself, and may tell the actor that asks it."""

    class Tells(Actor):
        async def receive(self, message):
            if message.payload:
                await self.tell(message.sender or self.address, "x")

    router.register_actor("a", Tells())
    await router.ask("a", "x", 1)


async def test_no_cycle_with_what_a_handler_left_running():
    """A task that a handler started and left behind may ask the actor later."""
    done = []

    class Leaves(Actor):
        def __init__(self, tasks):
            self.tasks = tasks

        async def on_start(self):
            self.tasks.start_soon(self.later, "start")

        async def receive(self, message):
            if message.type == "begin":
                self.tasks.start_soon(self.later, "task")
            return message.type

        async def later(self, what):
            await settle(10)
            done.append(await self.ask(self.address, what))

    async with anyio.create_task_group() as tasks, serving(Leaves(tasks)) as router:
        await router.ask("a", "begin")
        await settle(30)
    assert sorted(done) == ["start", "task"]


async def test_no_cycle_while_another_message_is_in_hand():
    """Such a task may also ask while the actor handles another message, which will finish."""
    done = []

    class Leaves(Actor):
        def __init__(self, tasks):
            self.tasks = tasks

        async def receive(self, message):
            if message.type == "begin":
                self.tasks.start_soon(self.later)
            await settle(message.payload)

        async def later(self):
            await settle(10)
            await self.ask(self.address, "after", 0)
            done.append("after")

    async with anyio.create_task_group() as tasks, serving(Leaves(tasks)) as router:
        await router.ask("a", "begin", 0)
        await router.ask("a", "long", 30)
        await settle()
    assert done == ["after"]


async def test_what_a_handler_left_running_closes_no_cycle():
    """An ask by such a task does not count as the actor's own wait."""

    class Leaves(Actor):
        def __init__(self, tasks):
            self.tasks = tasks

        async def receive(self, message):
            if message.type == "begin":
                self.tasks.start_soon(self.ask, "b", "ask back")
                await settle()
            return message.type

    class AsksBack(Actor):
        async def receive(self, message):
            await settle(10)
            return await self.ask("a", "back")

    async with anyio.create_task_group() as tasks, serving(Leaves(tasks)) as router:
        router.register_actor("b", AsksBack())
        await router.ask("a", "begin")
        await settle(30)


# Tells that would deadlock on a full mailbox


class Fills(Actor):
    """Tells another actor until its mailbox is full, and then once more."""

    async def receive(self, message):
        if message.type == "fill":
            to, count = message.payload
            for _ in range(count):
                await self.tell(to, "more")


async def test_tell_to_itself_when_full(router):
    """An actor that overfills its own mailbox fails, because only it could make room."""
    router.register_actor("a", Fills(), mailbox_size=2)
    with pytest.raises(ActorError, match="this tell would deadlock") as caught:
        await router.ask("a", "fill", ("a", 3))
    assert isinstance(caught.value.__cause__, MailboxFullError)
    await router.ask("a", "more")


async def test_tell_in_a_cycle_when_full(router):
    """An actor that overfills the mailbox of its own asker fails, too."""

    class Asks(Actor):
        async def receive(self, message):
            if message.type == "go":
                await self.ask("b", "fill", ("a", 3))

    router.register_actor("a", Asks(), mailbox_size=2)
    router.register_actor("b", Fills())
    with anyio.fail_after(0.5), pytest.raises(ActorError) as caught:
        await router.ask("a", "go")
    assert isinstance(innermost(caught.value), MailboxFullError)


async def test_ask_of_an_actor_that_cannot_send(router):
    """An ask of an actor that waits for room in the asker's mailbox is a cycle."""

    class Asks(Actor):
        async def receive(self, message):
            if message.type == "go":
                await settle(20)
                await self.ask("b", "x")

    router.register_actor("a", Asks(), mailbox_size=2)
    router.register_actor("b", Fills())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "b", "fill", ("a", 5))
        with anyio.fail_after(0.5), pytest.raises(ActorError) as caught:
            await router.ask("a", "go")
        assert isinstance(innermost(caught.value), AskCycleError)


# Giving up


async def make_busy(router: MessageRouter, place: str) -> None:
    """Make the next ask run, be queued, or wait in line for room."""
    if place != "running":
        await router.tell("a", "wait")
        await settle()
    if place == "in line":
        await router.tell("a", "echo", "first")


PLACES = ["running", "queued", "in line"]


async def check_given_up(router: MessageRouter, worker: Worker, place: str) -> None:
    """Check that the handling was cancelled or never began, and that the actor lives on."""
    await settle()
    assert router.statistics().queued_messages == (place == "in line")
    assert worker.log == (["began", "cancelled"] if place == "running" else ["began"])
    worker.going.set()
    assert await router.ask("a", "echo", "alive") == "alive"
    assert_nothing_left(router)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_by_a_scope(router, place):
    """An ask that is cancelled from outside cancels its handling, wherever the message is."""
    worker = Worker()
    router.register_actor("a", worker, mailbox_size=1)
    await make_busy(router, place)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "wait")
        await settle()
        tasks.cancel_scope.cancel()
    await check_given_up(router, worker, place)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_by_timeout(router, place, unit):
    """An ask that times out does, too; the asker gets `AskTimeoutError`, a `TimeoutError`."""
    worker = Worker()
    router.register_actor("a", worker, mailbox_size=1)
    await make_busy(router, place)
    with pytest.raises(AskTimeoutError, match=r"@\(a\) did not answer 'wait' within") as caught:
        await router.ask("a", "wait", timeout=unit)
    assert isinstance(caught.value, TimeoutError)
    await check_given_up(router, worker, place)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_by_signal(router, place):
    """An aborted signal does, too; the asker gets the abort reason."""
    worker = Worker()
    controller = AbortController()

    async def abort_soon() -> None:
        await settle()
        controller.abort("enough")

    router.register_actor("a", worker, mailbox_size=1)
    await make_busy(router, place)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(abort_soon)
        with pytest.raises(StreamAbortedError, match="enough") as caught:
            await router.ask("a", "wait", signal=controller.signal)
    assert caught.value.reason == "enough"
    await check_given_up(router, worker, place)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_by_a_signals_deadline(router, place, unit):
    """A signal's own deadline does, too."""
    worker = Worker()
    router.register_actor("a", worker, mailbox_size=1)
    await make_busy(router, place)
    with pytest.raises(StreamAbortedError, match="timed out after"):
        await router.ask("a", "wait", signal=AbortSignal.timeout(unit))
    await check_given_up(router, worker, place)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.real_clock
async def test_cancelled_by_a_signal_from_a_thread(router, place):
    """An abort in another thread does, too."""
    worker = Worker()
    controller = AbortController()
    router.register_actor("a", worker, mailbox_size=1)
    await make_busy(router, place)
    timer = threading.Timer(0.02, controller.abort, ["from a thread"])
    timer.start()
    with pytest.raises(StreamAbortedError, match="from a thread"):
        await router.ask("a", "wait", signal=controller.signal)
    timer.join()
    await check_given_up(router, worker, place)


async def test_signal_aborted_already(router):
    """With a signal that is already aborted, the actor is never called."""
    worker, controller = Worker(), AbortController()
    controller.abort("too late")
    router.register_actor("a", worker)
    with pytest.raises(StreamAbortedError, match="too late"):
        await router.ask("a", "echo", 1, signal=controller.signal)
    with pytest.raises(StreamAbortedError):
        await router.ask("a", "echo", 1, signal=AbortSignal.timeout(0))
    await settle()
    assert worker.log == []


async def test_signal_of_any(router):
    """A combined signal works as well; after the answer, an abort does nothing."""
    one, other = AbortController(), AbortController()
    signal = AbortSignal.any([one.signal, other.signal, AbortSignal.timeout(1000)])
    router.register_actor("a", Worker())
    assert await router.ask("a", "echo", 1, signal=signal) == 1
    one.abort()
    await settle()
    assert await router.ask("a", "echo", 2) == 2


async def test_timeout_of_zero(router):
    """With a timeout of zero, the actor is never called."""
    worker = Worker()
    router.register_actor("a", worker)
    with pytest.raises(AskTimeoutError, match="within 0 s"):
        await router.ask("a", "echo", 1, timeout=0)
    await settle()
    assert worker.log == []


@pytest.mark.parametrize("timeout", [None, math.inf])
async def test_no_timeout(router, timeout, virtual_time):
    """`None` and `inf` mean no timeout; the default is 30 seconds."""
    worker = Worker()
    if not virtual_time:
        return
    router.register_actor("a", worker)
    with anyio.move_on_after(10_000) as scope:
        await router.ask("a", "wait", timeout=timeout)
    assert scope.cancelled_caught
    begin = anyio.current_time()
    with pytest.raises(AskTimeoutError):
        await router.ask("a", "wait")
    assert anyio.current_time() - begin == pytest.approx(30)


async def test_given_up_before_the_actor_comes_to_it(router):
    """A message given up just as its turn comes is either answered or never handled."""
    worker, controller = Worker(), AbortController()
    replies = []

    async def ask() -> None:
        with suppress(StreamAbortedError):
            replies.append(await router.ask("a", "echo", "x", signal=controller.signal))

    router.register_actor("a", worker)
    async with anyio.create_task_group() as tasks:
        await make_busy(router, "queued")
        tasks.start_soon(ask)
        await settle()
        controller.abort()
        worker.going.set()
        await settle(10)
        assert worker.log[2:] == replies


async def test_clean_up_of_a_cancelled_handling(router):
    """The next message waits for the clean-up of a handler that is cancelled."""
    log = []

    class CleansUp(Actor):
        async def receive(self, message):
            if message.type == "next":
                log.append("next")
                return
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await settle(10)
                log.append("cleaned up")

    router.register_actor("a", CleansUp())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "x")
        await settle()
        tasks.cancel_scope.cancel()
    await router.ask("a", "next")
    assert log == ["cleaned up", "next"]


async def test_failure_of_a_clean_up(caplog):
    """What a clean-up raises after its asker has left is logged, and the actor lives on."""

    class FailsToCleanUp(Actor):
        async def receive(self, message):
            if message.type == "next":
                return "alive"
            try:
                await anyio.sleep_forever()
            finally:
                raise RuntimeError("clean-up")

    async with serving(FailsToCleanUp()) as router:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(router.ask, "a", "x")
            await settle()
            tasks.cancel_scope.cancel()
        assert await router.ask("a", "next") == "alive"
    (record,) = caplog.records
    assert (
        "@(a) failed while it handled 'x', but the asker is no longer waiting"
        in record.getMessage()
    )
    assert "RuntimeError: clean-up" in caplog.text


async def test_handling_that_ignores_its_cancellation(router):
    """A handler that swallows its cancellation still ends, and the next message is handled."""

    class Stubborn(Actor):
        async def receive(self, message):
            if message.type == "x":
                with anyio.CancelScope(shield=True):
                    await settle(10)
            return message.type

    router.register_actor("a", Stubborn())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "a", "x")
        await settle()
        tasks.cancel_scope.cancel()
    assert await router.ask("a", "next") == "next"


async def test_a_chain_is_cancelled(router):
    """Cancelling an ask also cancels the asks that its handler waits for."""
    worker = Worker()
    register_three(router)
    router.register_actor("worker", worker)

    class Passes(Actor):
        async def receive(self, message):
            await self.ask("worker", "wait")

    router.register_actor("passes", Passes())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.ask, "passes", "x")
        await settle()
        tasks.cancel_scope.cancel()
    await settle()
    assert worker.log == ["began", "cancelled"]


async def test_scopes_of_a_handler(router):
    """A handler may use a timeout of its own."""

    class Limits(Actor):
        async def receive(self, message):
            with anyio.move_on_after(0):
                await anyio.sleep_forever()
            return "moved on"

    router.register_actor("a", Limits())
    assert await router.ask("a", "x") == "moved on"


# Errors


async def test_actor_error(router):
    """If the handler raises, the asker gets `ActorError` with the exception as its cause."""
    failure = ValueError("no such word")
    router.register_actor("a", Worker())
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "fail", failure)
    assert caught.value.__cause__ is failure
    assert str(caught.value) == "@(a) failed while it handled 'fail': ValueError: no such word"


async def test_actor_lives_on(router):
    """An ask whose handler raises affects neither the actor nor the messages behind it."""
    router.register_actor("a", Worker())
    for number in range(3):
        with pytest.raises(ActorError):
            await router.ask("a", "fail", ValueError())
        assert await router.ask("a", "echo", number) == number


async def test_timeout_error_of_the_handler(router):
    """A `TimeoutError` raised by the handler is its failure, not the ask's timeout."""
    router.register_actor("a", Worker())
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "fail", TimeoutError("its own"))
    assert not isinstance(caught.value, TimeoutError)


async def test_group_of_a_handler(router):
    """An exception group raised by the handler becomes the cause unchanged."""
    group = ExceptionGroup("two", [ValueError(), KeyError()])
    router.register_actor("a", Worker())
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "fail", group)
    assert caught.value.__cause__ is group


async def run_told(worker: Worker, failure: BaseException, way: str = "tell") -> None:
    """Run a router in which an actor fails, and wait."""
    async with serving(worker) as router:
        await getattr(router, way)("a", "fail", failure)
        await anyio.sleep_forever()


async def test_tell_whose_handler_raises():
    """A tell whose handler raises is the actor's failure, which leaves the router here."""
    worker = Worker()
    failure = ValueError("told")
    with pytest.raises(ExceptionGroup) as caught:
        await run_told(worker, failure)
    assert caught.value.exceptions == (failure,)
    assert worker.log == [failure]


@pytest.mark.parametrize("way", ["ask", "tell"])
async def test_base_exception(way):
    """An exception that quits the program leaves the router, after an ask as after a tell."""
    with pytest.raises(BaseExceptionGroup) as caught:
        await run_told(Worker(), QuitProgram(), way)
    quits, others = caught.value.split(QuitProgram)
    assert quits is not None
    assert others is None or [type(exc) for exc in others.exceptions] == [ActorStoppedError]


@pytest.mark.parametrize(
    "stray", [asyncio.CancelledError(), BaseExceptionGroup("", [asyncio.CancelledError()])]
)
async def test_stray_cancellation_in_an_ask(router, stray):
    """A handler that awaits something cancelled has failed an ask, and its actor lives on."""
    router.register_actor("a", Worker())
    with pytest.raises(ActorError) as caught:
        await router.ask("a", "fail", stray)
    assert caught.value.__cause__ is stray
    assert await router.ask("a", "echo", 1) == 1


async def test_stray_cancellation_in_a_tell():
    """After a tell it is the actor's failure, and is not mistaken for a cancellation."""
    with pytest.raises(ExceptionGroup) as caught:
        await run_told(Worker(), asyncio.CancelledError())
    (error,) = caught.value.exceptions
    assert isinstance(error, ActorError)
    assert isinstance(error.__cause__, asyncio.CancelledError)


# The end of an actor


async def start_three(router: MessageRouter, tasks, outcomes: list[object]) -> None:
    """Ask three times: one runs, one is queued, one waits in line for room."""

    async def ask(number: int) -> None:
        try:
            outcomes.append(await router.ask("a", "wait" if number == 0 else "echo", number))
        except ActorStoppedError as exc:
            outcomes.append(exc)

    for number in range(3):
        tasks.start_soon(ask, number)
        await settle()


async def test_stop_answers_every_asker(router):
    """An actor that stops at once answers every waiting asker with `ActorStoppedError`."""
    outcomes: list[object] = []
    router.register_actor("a", Worker(), mailbox_size=1)
    async with anyio.create_task_group() as tasks:
        await start_three(router, tasks, outcomes)
        await router.stop_actor("a", drain=False)
    assert [str(outcome) for outcome in outcomes] == ["@(a) was stopped before it answered"] * 3
    assert_nothing_left(router)


async def test_failure_answers_every_asker():
    """An actor that fails answers every asker, too; its failure is the cause."""
    outcomes: list[object] = []
    worker, failure = Worker(), ValueError()
    async with MessageRouter(on_failure="stop") as router:
        router.register_actor("a", worker, mailbox_size=1)
        async with anyio.create_task_group() as tasks:
            await router.tell("a", "wait")
            await settle()
            await router.tell("a", "fail", failure)
            await start_three(router, tasks, outcomes)
            worker.going.set()
        assert [(type(exc), getattr(exc, "__cause__", None)) for exc in outcomes] == [
            (ActorStoppedError, failure)
        ] * 3


async def test_exit_of_the_router_answers_every_asker():
    """The exit of the router answers every asker, even one outside the router's block."""
    outcomes: list[object] = []
    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        router.register_actor("a", Worker(), mailbox_size=1)
        await start_three(router, tasks, outcomes)
    assert [type(outcome) for outcome in outcomes] == [ActorStoppedError] * 3


async def test_tells_left_at_a_stop(router):
    """Tells that are still queued when an actor stops at once become dead letters."""
    router.register_actor("a", Worker())
    async with router.dead_letters.subscribe() as letters:
        await router.tell("a", "wait")
        await settle()
        for number in range(3):
            await router.tell("a", "echo", number)
        await router.stop_actor("a", drain=False)
        left = [(await anext(aiter(letters))).payload for _ in range(3)]
    assert left == [0, 1, 2]


async def test_messages_to_an_actor_that_drains(router):
    """An actor that drains its mailbox accepts no new messages."""
    worker = Worker()
    router.register_actor("a", worker)
    async with anyio.create_task_group() as tasks:
        await router.tell("a", "wait")
        tasks.start_soon(router.stop_actor, "a")
        await settle()
        with pytest.raises(ActorNotFoundError):
            await router.ask("a", "echo", "late")
        await router.tell("a", "echo", "late")
        worker.going.set()
    assert worker.log == ["began", "done", "normal"]
    assert router.statistics().dead_letters == 1


async def test_messages_from_on_stop():
    """While the router exits, actors may still send; late messages become dead letters."""
    outcomes = []

    class Says(Actor):
        async def on_stop(self, reason):
            await self.tell("gone", "bye")
            self.tell_nowait("gone", "bye")
            try:
                outcomes.append(await self.ask("b", "echo", 1))
            except (ActorStoppedError, ActorNotFoundError) as exc:
                outcomes.append(exc)

    async with serving(Says()) as router:
        router.register_actor("b", Worker())
    assert len(outcomes) == 1
    assert router.statistics().dead_letters == 2


# No such actor


async def test_ask_of_an_unknown_actor(router):
    """An ask of an unknown id raises `ActorNotFoundError`, which lists the known ids."""
    router.register_actor("a", Worker())
    with pytest.raises(ActorNotFoundError, match=r"registered as @\(b\);"):
        await router.ask("b", "x")
    assert router.statistics().dead_letters == 0


@pytest.mark.parametrize("way", ["tell", "tell_nowait"])
async def test_tell_to_an_unknown_actor(way, caplog):
    """An undeliverable tell becomes a dead letter, unchanged, and is logged."""
    async with serving(Worker()) as router, router.dead_letters.subscribe() as letters:
        result = getattr(router, way)("b", "x", 1)
        if way == "tell":
            await result
        letter = await anext(aiter(letters))
    assert isinstance(letter, Message)
    assert (letter.to, letter.type, letter.payload) == (address("b"), "x", 1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("actorstream.dead_letters", logging.WARNING)
    assert (
        record.getMessage() == "undeliverable message of type 'x' to @(b): there is no such actor"
    )


async def test_a_flood_of_dead_letters_is_counted(router, caplog):
    """The first one is logged, and then a line a second with the number of the others."""
    for flood in range(2):
        for number in range(100):
            router.tell_nowait("b", f"x{flood}", number)
        await anyio.sleep(0.8)
    await anyio.sleep(5)
    assert caplog.messages == [
        "undeliverable message of type 'x0' to @(b): there is no such actor",
        "199 more undeliverable messages, the last one of type 'x1' to @(b): "
        "there is no such actor",
    ]


async def test_dead_letters_of_the_last_second_are_counted_when_the_router_closes(caplog):
    """None of them is missing in the log."""
    async with MessageRouter() as router:
        for number in range(3):
            router.tell_nowait("b", "x", number)
    assert [line.split(",")[0] for line in caplog.messages[1:]] == ["2 more undeliverable messages"]


async def test_a_log_handler_that_raises_harms_nothing():
    """Neither the teller, nor the router and its exit."""

    class Refuse(logging.Filter):
        def filter(self, record):
            raise OSError("the disk is full")

    logger, refuse = logging.getLogger("actorstream.dead_letters"), Refuse()
    logger.addFilter(refuse)
    try:
        async with MessageRouter() as router:
            for _ in range(2):
                await router.tell("b", "x")
                await router.tell("b", "x")
                await anyio.sleep(2)
            await router.tell("b", "x")
            await router.tell("b", "x")
            assert router.statistics().dead_letters == 6
    finally:
        logger.removeFilter(refuse)


async def test_a_lost_queue_is_one_line_of_the_log(router, caplog):
    """Each message of it is a dead letter all the same."""
    worker = router.register_actor("a", Worker())
    router.tell_nowait("a", "wait")
    await settle()
    for number in range(20):
        router.tell_nowait("a", "echo", number)
    await router.stop_actor("a", drain=False)
    assert caplog.messages == [
        f"20 undeliverable messages to {worker}, the first one of type 'echo': {worker} was stopped"
    ]
    assert router.statistics().dead_letters == 20


async def test_tell_to_a_stopped_actor(router):
    """A tell to a stopped actor becomes a dead letter, too."""
    router.register_actor("a", Worker())
    await router.stop_actor("a")
    await router.tell("a", "x")
    assert router.statistics().dead_letters == 1


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "drop_newest", "latest", "fail"])
async def test_slow_reader_of_dead_letters(router, overflow):
    """A subscriber that does not read the dead letters holds up nothing, whatever its policy."""
    router.register_actor("a", Worker())
    letters = router.dead_letters.subscribe(buffer_size=1, overflow=overflow)
    async with letters, router.dead_letters.subscribe() as others:
        for number in range(5):
            await router.tell("b", "x", number)
            await router.tell("a", "unknown", number)
        assert await router.ask("a", "echo", 1) == 1
        read = [(await anext(aiter(others))).payload for _ in range(10)]
        assert sorted(read) == sorted([*range(5)] * 2)
        if overflow == "wait":
            assert (await anext(aiter(letters))).payload == read[-1]
            assert letters.dropped == 9


async def test_undeliverable_tells_are_checkpoints(router):
    """A sender of many undeliverable tells gives other tasks their turn."""
    router.register_actor("a", Worker())
    with anyio.move_on_after(5) as scope:
        scope.cancel()
        for _ in range(10):
            await router.tell("b", "x")
    assert scope.cancelled_caught


async def test_dead_letters_after_the_router():
    """The dead letters end with the router."""
    async with serving(Worker()) as router:
        letters = router.dead_letters.subscribe()
        async with anyio.create_task_group() as tasks:
            got = []

            async def read() -> None:
                got.extend([letter.payload async for letter in letters])

            tasks.start_soon(read)
            await settle()
            await router.tell("b", "x", 1)
            await settle()
            router.dead_letters.close()
        assert got == [1]
        await router.tell("b", "x", 2)


# Routers that are not open


async def use(router: MessageRouter | Actor, way: str) -> None:
    result = getattr(router, way)("a", "echo")
    if way != "tell_nowait":
        await result


@pytest.mark.parametrize("way", ["tell", "tell_nowait", "ask"])
async def test_router_not_open(way):
    """A router that is not entered yet, or has exited, sends nothing."""
    router = MessageRouter()
    router.register_actor("a", Worker())
    with pytest.raises(RouterClosedError, match="not entered"):
        await use(router, way)
    async with router:
        await use(router, way)
    with pytest.raises(RouterClosedError, match="closed"):
        await use(router, way)


@pytest.mark.parametrize("way", ["tell", "tell_nowait", "ask"])
async def test_actor_not_registered(way):
    """An actor that is not registered cannot send."""
    with pytest.raises(RouterClosedError, match=r"before it is registered; write router\.register"):
        await use(Sender(), way)


# Fairness


async def test_tell_is_a_checkpoint(router):
    """A sender whose messages always find room still gives other tasks their turn."""
    router.register_actor("a", Worker(), mailbox_size=10_000)
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(1001):
            await router.tell("a", "echo")
    assert scope.cancelled_caught


async def test_ask_is_a_checkpoint(router):
    """Each ask gives other tasks their turn, and notices a cancellation."""
    router.register_actor("a", Worker())
    with anyio.CancelScope() as scope:
        scope.cancel()
        await router.ask("a", "echo")
    assert scope.cancelled_caught


async def test_two_actors_that_play_ping_pong(router):
    """Two actors that keep each other busy can still be stopped."""

    class Plays(Actor):
        async def receive(self, message):
            await self.tell(message.payload, "ball", self.address)

    router.register_actor("a", Plays())
    router.register_actor("b", Plays())
    await router.tell("a", "ball", address("b"))
    await settle(20)
    await router.stop_actor("a", drain=False)
    await router.stop_actor("b", drain=False)


# Nothing is left


def no_garbage(ref: "weakref.ref[Any]") -> bool:
    return ref() is None


class ThingError(Exception):
    """A failure that a weak reference can watch."""


class RaisesThing(Actor):
    """Raises an exception that no variable keeps."""

    @handles("fail")
    async def fail(self, payload):
        raise self.make(payload)

    @handles("end")
    async def end(self, payload):
        pass

    def make(self, held):
        thing = ThingError()
        held.append(weakref.ref(thing))
        return thing


async def catch_thing(router: MessageRouter, held: list["weakref.ref[object]"]) -> None:
    try:
        await router.ask("a", "fail", held)
    except ActorError as exc:
        held.append(weakref.ref(exc))


async def test_exceptions_are_in_no_cycle(router):
    """Neither the actor's exception nor the asker's is part of a reference cycle."""
    held: list[weakref.ref[object]] = []
    router.register_actor("a", RaisesThing())
    gc.collect()
    gc.disable()
    try:
        await catch_thing(router, held)
        await settle()
        assert [ref() for ref in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("way", ["answered", "timed out", "aborted"])
async def test_payloads_are_not_kept(router, way, unit):
    """No timer and no signal keeps a message that was handled or given up."""
    payload = Referable()
    ref = weakref.ref(payload)
    controller = AbortController()
    type = "echo" if way == "answered" else "wait"
    timeout = unit if way == "timed out" else 30 * unit

    class Forgets(Worker):
        @handles("echo")
        async def echo(self, payload):
            if way == "aborted":
                pytest.fail("was called")

    async def abort_soon() -> None:
        await settle()
        if way == "aborted":
            controller.abort()

    router.register_actor("a", Forgets())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(abort_soon)
        with suppress(AskTimeoutError, StreamAbortedError):
            await router.ask("a", type, payload, timeout=timeout, signal=controller.signal)
    del payload
    await settle()
    gc.collect()
    assert no_garbage(ref)
    assert_nothing_left(router)


async def test_signal_keeps_no_reply(router):
    """A long-lived signal keeps nothing of a finished ask."""

    class Reply:
        pass

    class Replies(Actor):
        async def receive(self, message):
            return Reply()

    signal = AbortSignal.any([AbortController().signal, AbortSignal.timeout(1000)])
    router.register_actor("a", Replies())
    ref = weakref.ref(await router.ask("a", "x", signal=signal))
    await settle()
    gc.collect()
    assert ref() is None
    assert not signal.aborted


async def test_many_asks_leave_nothing(router):
    """A thousand asks leave nothing behind at their signal."""
    controller = AbortController()
    router.register_actor("a", Worker())
    for number in range(1000):
        await router.ask("a", "echo", number, signal=controller.signal)
    controller.abort()
    await settle()
    assert await router.ask("a", "echo", 1) == 1
    assert_nothing_left(router)


class TextlessError(Exception):
    """Its text cannot be made."""

    def __str__(self):
        raise ValueError("no str")

    def __repr__(self):
        raise ValueError("no repr")


async def test_a_failure_without_a_text_is_told_to_the_asker(router):
    """The asker gets the exception as the cause, and the actor lives on."""
    router.register_actor("a", Worker())
    with pytest.raises(ActorError, match="TextlessError") as caught:
        await router.ask("a", "fail", TextlessError())
    assert isinstance(caught.value.__cause__, TextlessError)
    assert await router.ask("a", "echo", 1) == 1


async def test_a_tell_that_raises_a_cancellation_has_sent_nothing(router):
    """So a tell can be tried again: each message is handled once."""
    probe = Probe()
    router.register_actor("a", probe, mailbox_size=10_000)
    raised = []
    for number in range(2000):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await router.tell("a", "x", number)
        if scope.cancelled_caught:
            raised.append(number)
    await router.ask("a", "last")
    handled = [message.payload for message in probe.messages[:-1]]
    assert raised
    assert sorted(raised + handled) == list(range(2000))
