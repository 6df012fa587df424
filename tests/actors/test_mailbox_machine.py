"""Random histories of a mailbox, each checked against a model, and random crowds without a model.

A history is a list of commands: a sender tells, asks or gives up; the actor finishes its current
message, or fails. After each command the mailbox has to match the model. In a crowd, senders act
freely, and the invariants are checked at the end.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from actorstream import (
    AbortController,
    Actor,
    ActorError,
    ActorStoppedError,
    MailboxFullError,
    MessageRouter,
    StreamAbortedError,
    UnhandledMessageError,
)
from actorstream.testing import assert_nothing_left, settle

pytestmark = pytest.mark.slow

QUIET = 12  # turns of the loop after which nothing changes any more

Way = Literal["tell", "tell_nowait", "ask"]


class Slow(Actor):
    """Holds one message until it is told how to end it."""

    def __init__(self) -> None:
        self.in_hand: int | None = None
        self.ended: list[tuple[int, str]] = []
        self.order = "finish"
        self.going = anyio.Event()

    async def receive(self, message):
        assert self.in_hand is None, "two at a time"
        self.in_hand = message.payload
        end = "cancelled"
        try:
            await self.going.wait()
            end = self.order
        finally:
            self.ended.append((message.payload, end))
            self.in_hand = None
            self.going = anyio.Event()
        if end == "fail":
            raise UnhandledMessageError("not this one") if message.type == "tell" else ValueError
        return message.payload


@attrs.define
class Sender:
    """A sender and its outcome."""

    number: int
    way: Way
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    controller: AbortController = attrs.field(factory=AbortController)
    outcome: object = "waits"

    async def send(self, router: MessageRouter) -> None:
        self.outcome = "cancelled"
        with self.scope:
            try:
                self.outcome = "waits"
                self.outcome = await self._send(router)
            except (ActorError, ActorStoppedError, MailboxFullError, StreamAbortedError) as exc:
                self.outcome = type(exc)
        if self.scope.cancelled_caught:
            self.outcome = "cancelled"

    async def _send(self, router: MessageRouter) -> object:
        if self.way == "tell_nowait":
            router.tell_nowait("a", "tell", self.number)
        elif self.way == "tell":
            await router.tell("a", "tell", self.number)
        else:
            return await router.ask(
                "a", "ask", self.number, timeout=None, signal=self.controller.signal
            )
        return "sent"


class Life:
    """The actor, its senders, and the model of both."""

    def __init__(self, router: MessageRouter, tasks: Any, size: int) -> None:
        self.router = router
        self.tasks = tasks
        self.size = size
        self.actor = Slow()
        self.senders: list[Sender] = []
        self.running: Sender | None = None
        self.waiting: deque[Sender] = deque()  # the queue, then those waiting for room
        self.outcomes: dict[int, object] = {}
        self.ended: list[tuple[int, str]] = []
        router.register_actor("a", self.actor, mailbox_size=size)

    # Commands

    def send(self, way: Way) -> None:
        sender = Sender(len(self.senders), way)
        self.senders.append(sender)
        self.tasks.start_soon(sender.send, self.router)
        if way == "tell_nowait" and len(self.waiting) >= self.size:
            self.outcomes[sender.number] = MailboxFullError
            return
        self.outcomes[sender.number] = "waits"
        self.waiting.append(sender)
        self._go_on()

    def give_up(self, index: int, way: str) -> None:
        sender = self.senders[index % len(self.senders)] if self.senders else None
        if sender is None or self.outcomes[sender.number] != "waits":
            return
        if way == "signal" and sender.way == "ask":
            sender.controller.abort()
            self.outcomes[sender.number] = StreamAbortedError
        else:
            sender.scope.cancel()
            self.outcomes[sender.number] = "cancelled"
        if sender is self.running:
            self._end("cancelled")
        else:
            self.waiting.remove(sender)
        self._go_on()

    def end_one(self, end: str) -> None:
        if self.running is None:
            return
        self.actor.order = end
        self.actor.going.set()
        if self.running.way == "ask":
            reply = ActorError if end == "fail" else self.running.number
            self.outcomes[self.running.number] = reply
        self._end(end)
        self._go_on()

    def stop(self) -> None:
        """Update the model for an immediate stop of the actor."""
        if self.running is not None:
            if self.running.way == "ask":
                self.outcomes[self.running.number] = ActorStoppedError
            self._end("cancelled")
        for sender in self.waiting:
            self.outcomes[sender.number] = ActorStoppedError if sender.way == "ask" else "sent"
        self.waiting.clear()

    def _end(self, end: str) -> None:
        assert self.running is not None
        self.ended.append((self.running.number, end))
        self.running = None

    def _go_on(self) -> None:
        """Let the model's actor take its next message, and admit senders while there is room."""
        if self.running is None and self.waiting:
            self.running = self.waiting.popleft()
        admitted = [*([self.running] if self.running else []), *list(self.waiting)[: self.size]]
        for sender in admitted:
            if sender.way != "ask":
                self.outcomes[sender.number] = "sent"

    # Invariants

    def check(self) -> None:
        number = None if self.running is None else self.running.number
        assert self.actor.in_hand == number
        assert self.actor.ended == self.ended
        assert self.router.statistics().queued_messages == len(self.waiting)
        self.check_outcomes()

    def check_outcomes(self) -> None:
        assert {sender.number: sender.outcome for sender in self.senders} == self.outcomes


@asynccontextmanager
async def living(size: int) -> AsyncIterator[Life]:
    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        life = Life(router, tasks, size)
        yield life
        await router.stop_actor("a", drain=False)
        life.stop()
        await settle(QUIET)
        life.check_outcomes()
        assert life.actor.ended == life.ended
        assert_nothing_left(router)


commands = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["tell", "tell_nowait", "ask"])),
    st.tuples(st.just("end_one"), st.sampled_from(["finish", "fail"])),
    st.tuples(st.just("give_up"), st.integers(0, 20), st.sampled_from(["scope", "signal"])),
)


@given(size=st.integers(1, 3), life=st.lists(commands, max_size=25))
@settings(max_examples=60)
async def test_random_life(size, life):
    """Nothing is handled twice or out of order, and nothing is lost unless its sender gives up."""
    async with living(size) as living_one:
        for name, *arguments in life:
            getattr(living_one, name)(*arguments)
            await settle(QUIET)
            living_one.check()


class Quick(Actor):
    """Logs what it handles; pauses for as many turns as the message says."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.done: list[tuple[int, int]] = []
        self.busy = False

    async def receive(self, message):
        assert not self.busy
        self.busy = True
        who, number, turns = message.payload
        self.began.append((who, number))
        try:
            for _ in range(turns):
                await checkpoint()
            self.done.append((who, number))
        finally:
            self.busy = False
        return who, number


@attrs.frozen
class Plan:
    """What one sender of a crowd sends, and after how many turns it is cancelled, if at all."""

    sends: list[tuple[Way, int, int]]  # how, turns before, turns to handle
    cancelled_after: int | None


plans = st.builds(
    Plan,
    st.lists(
        st.tuples(
            st.sampled_from(["tell", "tell_nowait", "ask"]), st.integers(0, 2), st.integers(0, 2)
        ),
        min_size=1,
        max_size=6,
    ),
    st.none() | st.integers(0, 12),
)


@attrs.define
class Log:
    """What was certainly sent, and what was certainly not."""

    sent: list[tuple[int, int]] = attrs.field(factory=list)
    not_sent: list[tuple[int, int]] = attrs.field(factory=list)


async def carry_out(plan: Plan, who: int, router: MessageRouter, log: Log) -> None:
    """Send what is planned; log what was certainly sent, and what was certainly not."""
    for number, (way, before, turns) in enumerate(plan.sends):
        for _ in range(before):
            await checkpoint()
        payload = (who, number, turns)
        if way == "ask":
            assert await router.ask("a", "x", payload) == (who, number)
        elif way == "tell":
            try:
                await router.tell("a", "x", payload)
            except anyio.get_cancelled_exc_class():
                log.not_sent.append((who, number))
                raise
        else:
            try:
                router.tell_nowait("a", "x", payload)
            except MailboxFullError:
                continue
        log.sent.append((who, number))


async def cancel_after(turns: int, scope: anyio.CancelScope) -> None:
    for _ in range(turns):
        await checkpoint()
    scope.cancel()


async def join_in(plan: Plan, who: int, router: MessageRouter, log: Log) -> None:
    async with anyio.create_task_group() as tasks:
        if plan.cancelled_after is not None:
            tasks.start_soon(cancel_after, plan.cancelled_after, tasks.cancel_scope)
        await carry_out(plan, who, router, log)
        tasks.cancel_scope.cancel()


@given(size=st.integers(1, 3), crowd=st.lists(plans, min_size=1, max_size=5))
@settings(max_examples=60)
async def test_random_crowd(size, crowd):
    """Each sender's messages are handled once and in order, and none is lost."""
    actor = Quick()
    log = Log()
    async with MessageRouter() as router:
        router.register_actor("a", actor, mailbox_size=size)
        async with anyio.create_task_group() as tasks:
            for who, plan in enumerate(crowd):
                tasks.start_soon(join_in, plan, who, router, log)
        await router.ask("a", "x", (-1, 0, 0))
        assert_nothing_left(router)
    assert len(set(actor.began)) == len(actor.began)
    assert set(log.sent) <= set(actor.done)
    assert not set(log.not_sent) & set(actor.began)
    for who, plan in enumerate(crowd):
        began = [number for one, number in actor.began if one == who]
        assert began == sorted(began)
        if plan.cancelled_after is None:
            assert began == [number for one, number in log.sent if one == who]


@pytest.mark.parametrize("size", [1, 2, 100])
async def test_every_sender_gets_through(router, size):
    """With many senders and no cancellation, every message arrives and none is left waiting."""
    actor = Quick()
    crowd = [Plan([("tell", 0, who % 2), ("ask", who % 3, 0)], None) for who in range(50)]
    log = Log()
    router.register_actor("a", actor, mailbox_size=size)
    async with anyio.create_task_group() as tasks:
        for who, plan in enumerate(crowd):
            tasks.start_soon(carry_out, plan, who, router, log)
    assert_nothing_left(router)
    assert (
        sorted(actor.done) == sorted(log.sent) == [(who, n) for who in range(50) for n in range(2)]
    )
