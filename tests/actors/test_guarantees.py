"""What the guarantees page promises about messages, one test per promise."""

from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, move_on_after, sleep

from actorstream import (
    AbortController,
    Actor,
    ActorError,
    ActorNotFoundError,
    ActorStoppedError,
    AskCycleError,
    AskTimeoutError,
    MailboxFullError,
    Message,
    MessageRouter,
    StreamAbortedError,
    UnhandledMessageError,
    handles,
)
from actorstream.testing import assert_nothing_left, settle


class Clerk(Actor):
    """Records the messages that arrive; works on each until its door opens."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.done: list[Any] = []
        self.dropped: list[Any] = []
        self.door = Event()

    @handles("work")
    async def work(self, payload: Any) -> Any:
        self.begun.append(payload)
        try:
            await self.door.wait()
            await sleep(0)
        except BaseException:
            self.dropped.append(payload)
            raise
        self.done.append(payload)
        return payload

    @handles("fail")
    async def fail(self, message: Message) -> None:
        raise ValueError(message.payload)

    async def stream_async(self, payload: Any):
        yield payload


async def test_messages_are_handled_one_at_a_time_in_order(router):
    """Messages are handled in order, even those that waited for room; streams run alongside."""
    router.register_actor("clerk", clerk := Clerk(), mailbox_size=2)
    async with create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(router.tell, "clerk", "work", number)
            await settle()
        assert clerk.begun == [0]
        assert await router.stream_async("clerk", "beside", "stream").collect() == ["stream"]
        clerk.door.set()
    await router.stop_actor("clerk")
    assert clerk.begun == clerk.done == list(range(6))


async def test_a_full_mailbox_makes_its_senders_wait(router):
    """One message is handled, `mailbox_size` wait, and the next sender waits or is refused."""
    router.register_actor("clerk", clerk := Clerk(), mailbox_size=2)
    await router.tell("clerk", "work", 0)
    await settle()
    for number in (1, 2):
        router.tell_nowait("clerk", "work", number)
    with pytest.raises(MailboxFullError):
        router.tell_nowait("clerk", "work", "refused")
    with move_on_after(0.01) as patience:
        await router.tell("clerk", "work", "cancelled")
    assert patience.cancelled_caught
    clerk.door.set()
    await router.stop_actor("clerk")
    assert clerk.done == [0, 1, 2]


@pytest.mark.parametrize(
    ("to", "type", "answer"),
    [
        ("clerk", "fail", ActorError),
        ("clerk", "unknown", UnhandledMessageError),
        ("nobody", "work", ActorNotFoundError),
        ("busy", "work", ActorStoppedError),
    ],
)
async def test_every_asker_gets_an_answer(router, to, type, answer):
    """Whatever happens to an actor, every asker is told, even without a timeout."""
    answers: list[Exception] = []

    async def ask(router: MessageRouter) -> None:
        try:
            await router.ask(to, type, timeout=None)
        except Exception as exc:
            answers.append(exc)

    async with create_task_group() as tasks:
        router.register_actor("clerk", Clerk())
        router.register_actor("busy", Clerk())
        for _ in range(2):  # one is being handled, one is queued
            tasks.start_soon(ask, router)
        await settle()
        await router.stop_actor("busy", drain=False)
    assert [answer] * 2 == [exc.__class__ for exc in answers]


async def ask_in_vain(router: MessageRouter, end: str, payload: str) -> None:
    """Ask, and give up in one of three ways."""
    button = AbortController()
    if end == "timeout":
        with pytest.raises(AskTimeoutError):
            await router.ask("clerk", "work", payload, timeout=0.01)
    elif end == "cancellation":
        with move_on_after(0.01):
            await router.ask("clerk", "work", payload)
    else:
        async with create_task_group() as tasks:
            tasks.start_soon(abort_soon, button)
            with pytest.raises(StreamAbortedError):
                await router.ask("clerk", "work", payload, signal=button.signal)


async def abort_soon(button: AbortController) -> None:
    await settle()
    button.abort("enough")


@pytest.mark.parametrize("end", ["timeout", "cancellation", "signal"])
async def test_giving_up_an_ask_gives_up_its_work(router, end):
    """A running handler is cancelled, a queued message is removed; the actor lives on."""
    router.register_actor("clerk", clerk := Clerk())
    await ask_in_vain(router, end, "running")
    await settle()
    assert (clerk.begun, clerk.dropped) == (["running"], ["running"])

    await router.tell("clerk", "work", "told")
    await settle()
    await ask_in_vain(router, end, "queued")
    clerk.door.set()
    assert await router.ask("clerk", "work", "next") == "next"
    assert clerk.begun == ["running", "told", "next"]
    assert_nothing_left(router)


class PassOn(Actor):
    """Asks the next actor, from its handler or from a task that its handler started."""

    def __init__(self, to: str, in_a_task: bool) -> None:
        self.to = to
        self.in_a_task = in_a_task

    async def receive(self, message: Message) -> None:
        if not self.in_a_task:
            await self.ask(self.to, message.type, timeout=None)
            return
        async with create_task_group() as tasks:
            tasks.start_soon(self.ask, self.to, message.type)


def causes(exc: BaseException) -> set[type[BaseException]]:
    """List the classes of an exception, of its causes, and of those in its groups."""
    inner = [*getattr(exc, "exceptions", ()), *filter(None, [exc.__cause__])]
    return {type(exc)}.union(*map(causes, inner))


@pytest.mark.parametrize("in_a_task", [False, True])
@pytest.mark.parametrize("circle", [["a"], ["a", "b"], ["a", "b", "c"]])
async def test_an_ask_cycle_is_an_error(router, circle, in_a_task):
    """An ask that would wait for itself raises, however long the cycle, without a timeout."""
    for name, following in zip(circle, [*circle[1:], circle[0]], strict=True):
        router.register_actor(name, PassOn(following, in_a_task))
    with fail_after(5), pytest.raises(ActorError) as caught:
        await router.ask("a", "round", timeout=None)
    assert AskCycleError in causes(caught.value)


async def test_no_message_is_lost_silently(router, caplog):
    """An undeliverable tell is logged and published as a dead letter, whatever the reason."""
    lost = router.dead_letters.subscribe()
    router.register_actor("clerk", Clerk())
    await router.tell("nobody", "to nobody")
    await sleep(2)  # the log has a line a second
    await router.tell("clerk", "unknown")
    await sleep(2)
    await router.tell("clerk", "work")
    await router.tell("clerk", "queued")
    await settle()
    await router.stop_actor("clerk", drain=False)
    await router.tell("clerk", "too late")
    letters = [await anext(lost) for _ in range(4)]
    types = [letter.type for letter in letters]
    assert types == ["to nobody", "unknown", "queued", "too late"]
    assert all(any(type in line for line in caplog.messages) for type in types)
