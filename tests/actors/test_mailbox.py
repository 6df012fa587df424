"""The mailbox: its order, its bound, and the senders that wait for room; alone and in an actor."""

import gc
from typing import Any
from weakref import ref

import anyio
import anyio.lowlevel
import pytest

from actorstream import Actor, ActorStoppedError, MailboxFullError, Message, address
from actorstream._actors.mailbox import Envelope, Mailbox
from actorstream._actors.reply import Reply
from actorstream.testing import assert_nothing_left, settle
from tests.support import Referable


def envelope(number: int = 0, reply: Reply | None = None) -> Envelope:
    return Envelope(Message(to=address("a"), type="x", payload=number), reply)


def fill(mailbox: Mailbox, count: int) -> list[Envelope]:
    envelopes = [envelope(number) for number in range(count)]
    for each in envelopes:
        mailbox.add(each)
    return envelopes


def count_envelopes() -> int:
    return sum(isinstance(each, Envelope) for each in gc.get_objects())


async def take(mailbox: Mailbox, count: int) -> list[object]:
    """Take ``count`` envelopes, and return their payloads."""
    taken = [await mailbox.get() for _ in range(count)]
    return [each.message.payload if isinstance(each, Envelope) else each for each in taken]


# The mailbox alone


async def test_order():
    """Envelopes come out in the order they went in, even if they had to wait in line."""
    mailbox = Mailbox(2)
    fill(mailbox, 5)
    assert (len(mailbox), mailbox.waiting, mailbox.full) == (2, 3, True)
    assert await take(mailbox, 5) == [0, 1, 2, 3, 4]
    assert (len(mailbox), mailbox.waiting, mailbox.full) == (0, 0, False)


async def test_the_line_comes_first():
    """A later envelope does not overtake the line, even if there is room for a moment."""
    mailbox = Mailbox(1)
    fill(mailbox, 2)
    assert await take(mailbox, 1) == [0]
    assert not mailbox.add(envelope(2))
    assert await take(mailbox, 2) == [1, 2]


def test_bound():
    """`add()` returns whether there was room; the mailbox never holds more than its size."""
    mailbox = Mailbox(1)
    assert mailbox.add(envelope())
    assert not mailbox.add(envelope())
    assert len(mailbox) == 1


async def test_discard_from_the_queue():
    """Discarding a queued envelope makes room for the first in line."""
    mailbox = Mailbox(2)
    envelopes = fill(mailbox, 4)
    mailbox.discard(envelopes[0])
    assert (len(mailbox), mailbox.waiting) == (2, 1)
    assert await take(mailbox, 3) == [1, 2, 3]


async def test_discard_from_the_line():
    """Discarding an envelope from the line leaves the others as they were."""
    mailbox = Mailbox(1)
    envelopes = fill(mailbox, 3)
    mailbox.discard(envelopes[1])
    assert await take(mailbox, 2) == [0, 2]


async def test_discard_too_late():
    """Discarding an envelope that was taken already does nothing."""
    mailbox = Mailbox(1)
    envelopes = fill(mailbox, 2)
    await mailbox.get()
    mailbox.discard(envelopes[0])
    assert await take(mailbox, 1) == [1]


async def test_discarded_messages_are_not_kept():
    """What waits in the queue under a message that is not discarded, goes when it is discarded."""
    mailbox = Mailbox(10)
    held = Referable()
    mailbox.add(envelope())
    late = Envelope(Message(to=address("a"), type="x", payload=held))
    mailbox.add(late)
    mailbox.discard(late)
    alive = ref(held)
    del held
    assert alive() is None


async def test_discarded_messages_do_not_pile_up():
    """A queue does not grow with messages whose senders give up while the actor is busy."""
    mailbox = Mailbox(1000)
    fill(mailbox, 1)
    before = count_envelopes()
    for number in range(1000):
        late = envelope(number)
        mailbox.add(late)
        mailbox.discard(late)
    assert count_envelopes() - before < 100
    assert len(mailbox) == 1


async def test_discarded_messages_are_passed_over():
    """The actor takes the messages between those that were discarded, in their order."""
    mailbox = Mailbox(300)
    envelopes = fill(mailbox, 300)
    for number in reversed(range(300)):
        if number % 3:
            mailbox.discard(envelopes[number])
    assert len(mailbox) == 100
    assert await take(mailbox, 100) == list(range(0, 300, 3))
    assert len(mailbox) == 0


async def test_an_empty_queue_after_discarded_messages():
    """If all messages after the first were discarded, the actor waits for the next message."""
    mailbox = Mailbox(10)
    envelopes = fill(mailbox, 3)
    mailbox.discard(envelopes[1])
    mailbox.discard(envelopes[2])
    assert await take(mailbox, 1) == [0]
    with anyio.move_on_after(0.01):
        await mailbox.get()
        pytest.fail("there was no message")
    assert mailbox.clear() == []


def test_clear_leaves_out_discarded_messages():
    """The messages of a mailbox that is emptied are those that still count."""
    mailbox = Mailbox(10)
    envelopes = fill(mailbox, 3)
    mailbox.discard(envelopes[1])
    assert mailbox.clear() == [envelopes[0], envelopes[2]]
    assert len(mailbox) == 0


@pytest.mark.parametrize("is_admitted", [True, False])
async def test_wait_admitted(is_admitted):
    """A sender in line continues when its message is admitted, or refused by the end."""
    mailbox = Mailbox(1)
    fill(mailbox, 1)
    late = envelope(1)
    mailbox.add(late)
    admitted = []

    async def wait() -> None:
        admitted.append(await mailbox.wait_admitted(late))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await settle()
        assert not admitted
        if is_admitted:
            await mailbox.get()
        else:
            assert mailbox.end() == [late]
    assert admitted == [is_admitted]


async def test_wait_admitted_cancelled():
    """A sender that is cancelled leaves the line."""
    mailbox = Mailbox(1)
    fill(mailbox, 1)
    late = envelope(1)
    mailbox.add(late)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mailbox.wait_admitted, late)
        await settle()
        tasks.cancel_scope.cancel()
    assert (len(mailbox), mailbox.waiting) == (1, 0)


async def test_wait_admitted_cancelled_just_before_room():
    """A cancelled sender is not admitted, even if its task has not run yet."""
    mailbox = Mailbox(1)
    fill(mailbox, 1)
    late = envelope(1)
    mailbox.add(late)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mailbox.wait_admitted, late)
        await settle()
        tasks.cancel_scope.cancel()
        await mailbox.get()
        assert (len(mailbox), mailbox.waiting) == (0, 0)


async def test_system_messages_first():
    """System messages come before all others, in their own order."""
    mailbox = Mailbox(1)
    fill(mailbox, 1)
    for system_message in (anyio.sleep_forever, anyio.lowlevel.checkpoint):
        mailbox.put_system(system_message)
    assert await take(mailbox, 3) == [anyio.sleep_forever, anyio.lowlevel.checkpoint, 0]


async def test_end():
    """Queued envelopes can still be taken after the end; then `get()` keeps returning `None`."""
    mailbox = Mailbox(2)
    fill(mailbox, 2)
    mailbox.end()
    assert await take(mailbox, 4) == [0, 1, None, None]


async def test_end_wakes_the_actor():
    """The end wakes an actor that waits for a message."""
    mailbox = Mailbox(1)
    taken = []

    async def get() -> None:
        taken.append(await mailbox.get())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get)
        await settle()
        mailbox.end()
    assert taken == [None]


def test_clear():
    """`clear()` empties the mailbox and returns its envelopes in order."""
    mailbox = Mailbox(3)
    envelopes = fill(mailbox, 3)
    assert mailbox.clear() == envelopes
    assert len(mailbox) == 0


async def test_get_cancelled():
    """A cancelled `get()` loses nothing."""
    mailbox = Mailbox(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mailbox.get)
        await settle()
        tasks.cancel_scope.cancel()
    mailbox.add(envelope(7))
    assert await take(mailbox, 1) == [7]


async def test_get_is_a_checkpoint():
    """Taking many messages gives other tasks their turn."""
    mailbox = Mailbox(2000)
    fill(mailbox, 2000)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await take(mailbox, 1001)
    assert scope.cancelled_caught
    assert len(mailbox) > 900


# The mailbox of an actor


class Collector(Actor):
    """Collects its payloads; blocks until `going` is set."""

    def __init__(self) -> None:
        self.going = anyio.Event()
        self.got: list[object] = []
        self.busy = 0

    async def receive(self, message):
        self.busy += 1
        assert self.busy == 1
        await self.going.wait()
        await anyio.lowlevel.checkpoint()
        self.got.append(message.payload)
        self.busy -= 1
        return message.payload


async def test_tells_in_order_one_at_a_time(router):
    """An actor handles one message at a time, in sending order."""
    actor = Collector()
    actor.going.set()
    router.register_actor("a", actor)
    for number in range(20):
        await router.tell("a", "x", number)
    assert await router.ask("a", "x", 20) == 20
    assert_nothing_left(router)
    assert actor.got == list(range(21))


@pytest.mark.parametrize("mailbox_size", [1, 3])
async def test_order_of_waiting_senders(router, mailbox_size):
    """Tells and asks that find the mailbox full arrive in the order of the calls."""
    actor = Collector()
    async with anyio.create_task_group() as tasks:
        router.register_actor("a", actor, mailbox_size=mailbox_size)
        for number in range(12):
            tasks.start_soon(router.ask if number % 3 else router.tell, "a", "x", number)
            await settle()
        assert router.statistics().queued_messages == 11
        actor.going.set()
    assert actor.got == list(range(12))


async def test_a_late_sender_does_not_overtake(router):
    """A later sender queues behind those that waited for room before it."""
    actor = Collector()
    async with anyio.create_task_group() as tasks:
        router.register_actor("a", actor, mailbox_size=1)
        for number in range(5):
            tasks.start_soon(router.tell, "a", "x", number)
            await settle()
        actor.going.set()
        await router.ask("a", "x", 5)
    assert actor.got == [0, 1, 2, 3, 4, 5]


async def test_backpressure(router):
    """`tell()` waits while the mailbox is full, and continues when there is room."""
    actor = Collector()
    sent: list[Any] = []

    async def send() -> None:
        for number in range(6):
            await router.tell("a", "x", number)
            sent.append(number)

    async with anyio.create_task_group() as tasks:
        router.register_actor("a", actor, mailbox_size=3)
        tasks.start_soon(send)
        await settle(20)
        assert sent == [0, 1, 2, 3]  # one is being handled, three are queued, the next sender waits
        actor.going.set()
        await settle(30)
    assert actor.got == [0, 1, 2, 3, 4, 5]


async def test_default_size(router):
    """By default, a mailbox has room for a hundred messages."""
    actor = Collector()
    router.register_actor("a", actor)
    for number in range(100):
        router.tell_nowait("a", "x", number)
    with pytest.raises(MailboxFullError):
        router.tell_nowait("a", "x")
    actor.going.set()
    await router.ask("a", "x")


async def test_tell_nowait_when_full(router):
    """`tell_nowait()` raises `MailboxFullError` when there is no room, and says what to do."""
    actor = Collector()
    router.register_actor("a", actor, mailbox_size=2)
    router.tell_nowait("a", "x", 1)
    router.tell_nowait("a", "x", 2)
    with pytest.raises(MailboxFullError, match=r"of @\(a\) is full \(mailbox_size=2\);"):
        router.tell_nowait("a", "x", 3)
    actor.going.set()
    await router.ask("a", "x", 4)
    assert actor.got == [1, 2, 4]


async def test_tell_cancelled_in_line(router):
    """A tell that is cancelled while it waits for room is not sent."""
    actor = Collector()
    router.register_actor("a", actor, mailbox_size=1)
    await router.tell("a", "x", 0)
    await settle()
    await router.tell("a", "x", 1)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(router.tell, "a", "x", 2)
            await settle()
            scope.cancel()
    actor.going.set()
    await router.ask("a", "x", 3)
    assert actor.got == [0, 1, 3]


async def test_bound_of_each_actor(router):
    """A full mailbox holds up only the senders to that actor."""
    slow, quick = Collector(), Collector()
    quick.going.set()
    async with anyio.create_task_group() as tasks:
        router.register_actor("slow", slow, mailbox_size=1)
        router.register_actor("quick", quick)
        for number in range(4):
            tasks.start_soon(router.tell, "slow", "x", number)
        await settle()
        assert await router.ask("quick", "x", 1) == 1
        slow.going.set()


async def test_messages_before_the_start(router):
    """Messages sent during `on_start()` wait, and are handled in order afterwards."""

    class Late(Collector):
        async def on_start(self):
            await self.going.wait()
            self.got.append("started")

    actor = Late()
    async with anyio.create_task_group() as tasks:
        router.register_actor("a", actor)
        await router.tell("a", "x", 0)
        tasks.start_soon(router.ask, "a", "x", 1)
        await settle()
        assert actor.got == []
        actor.going.set()
    assert actor.got == ["started", 0, 1]


async def test_streams_beside_the_mailbox(router):
    """A stream runs while its actor handles a message and others are queued."""

    class Both(Collector):
        async def stream_async(self, payload):
            yield len(self.got)

    actor = Both()
    router.register_actor("a", actor, mailbox_size=1)
    await router.tell("a", "x", 0)
    await settle()
    await router.tell("a", "x", 1)
    assert await router.stream_async("a", "query").collect() == [0]
    actor.going.set()


async def test_many_in_line(router):
    """Thousands of senders may wait in line, and be cancelled together."""
    actor = Collector()
    router.register_actor("a", actor, mailbox_size=1)
    async with anyio.create_task_group() as tasks:
        for _ in range(3000):
            tasks.start_soon(router.tell, "a", "x")
        await settle()
        assert router.statistics().queued_messages == 2999
        tasks.cancel_scope.cancel()
    assert router.statistics().queued_messages == 1
    actor.going.set()
    await router.ask("a", "x", "last")
    assert actor.got == [None, None, "last"]


async def test_senders_in_line_at_a_stop(router):
    """When the actor stops, a tell that waits for room becomes a dead letter."""
    actor = Collector()
    router.register_actor("a", actor, mailbox_size=1)
    letters = router.dead_letters.subscribe()
    async with letters, anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(router.tell, "a", "x", number)
            await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
        assert (await anext(aiter(letters))).payload == 2
        actor.going.set()
    assert actor.got == [0, 1]


async def test_ask_in_line_at_a_stop(router):
    """When the actor stops, an ask that waits for room gets `ActorStoppedError`."""
    actor = Collector()
    outcomes = []

    async def ask(number: int) -> None:
        try:
            outcomes.append(await router.ask("a", "x", number))
        except ActorStoppedError as exc:
            outcomes.append(type(exc))

    router.register_actor("a", actor, mailbox_size=1)
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(ask, number)
            await settle()
        tasks.start_soon(router.stop_actor, "a")
        await settle()
        assert outcomes == [ActorStoppedError]
        actor.going.set()
    assert outcomes == [ActorStoppedError, 0, 1]
