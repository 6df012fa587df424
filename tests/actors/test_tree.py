"""`router.tree()`: which actors there are, under which supervisor, and in what state."""

from collections.abc import AsyncIterator
from typing import Any

import anyio

from actorstream import Actor, ChildSpec, Message, MessageRouter, Supervisor, handles
from actorstream.testing import settle


class Worker(Actor):
    """Counts to a thousand, fails when told to, and holds up its mailbox."""

    def __init__(self) -> None:
        self.port = self.create_port("progress")

    async def stream_async(self, payload: Any) -> AsyncIterator[int]:
        for number in range(1000):
            yield number

    @handles("fail")
    async def fail(self, message: Message) -> None:
        raise ValueError("on purpose")

    @handles("hold")
    async def hold(self, message: Message) -> None:
        await anyio.sleep_forever()


async def test_an_actor_in_the_tree():
    """The tree shows an actor's id, class, state and mailbox."""
    async with MessageRouter() as router:
        router.register_actor("a", Worker(), mailbox_size=7)
        for _ in range(3):
            await router.tell("a", "hold")
        await settle()
        (actor,) = router.tree().actors
        assert (actor.id, actor.kind, actor.state) == ("a", "Worker", "running")
        assert (actor.queued, actor.mailbox_size, actor.restarts) == (2, 7, 0)


async def test_a_stream_in_the_tree(router, unit):
    """The tree shows how many items an open stream has delivered, how fast, and its buffer."""
    router.register_actor("a", Worker())
    payloads = router.stream_async("a", "count", buffer_size=5, timeout=None).payloads()
    for _ in range(10):
        await anext(payloads)
    await anyio.sleep(unit)
    (stream,) = router.tree().actors[0].streams
    assert (stream.type, stream.delivered, stream.buffer_size) == ("count", 10, 5)
    assert stream.buffered == 5
    assert 0 < stream.rate <= 10 / unit * 1.01


async def test_a_port_in_the_tree(router):
    """The tree shows a port's subscribers."""
    worker = Worker()
    router.register_actor("a", worker)
    async with router.subscribe("a", "progress"):
        await worker.port.publish(1)
        assert "port 'progress': 1 subscriber, 1 published" in str(router.tree())


async def test_children_in_the_tree(router):
    """Children appear under their supervisor, with their number of restarts."""
    router.register_actor("pool", Supervisor([ChildSpec("a", Worker), ChildSpec("b", Worker)]))
    await settle()
    await router.tell("pool/b", "fail")
    await settle(20)
    assert str(router.tree()).splitlines() == [
        "pool (Supervisor): running, mailbox 0/100",
        "  pool/a (Worker): running, mailbox 0/100",
        "      port 'progress': 0 subscribers, 0 published",
        "  pool/b (Worker): running, mailbox 0/100, 1 restart",
        "      port 'progress': 0 subscribers, 0 published",
    ]


def test_an_empty_tree():
    """A router without actors says so."""
    assert str(MessageRouter().tree()) == "no actors"


async def test_statistics_count_what_the_tree_shows():
    """The router's statistics sum up restarts, subscriptions, dead letters, and the queue."""
    async with MessageRouter() as router:
        router.register_actor("pool", Supervisor([ChildSpec("a", Worker)]))
        await settle()
        await router.tell("pool/a", "fail")
        await settle(20)
        await router.tell("nobody", "hello")
        for _ in range(2):
            await router.tell("pool/a", "hold")
        await settle()
        async with router.subscribe("pool/a", "progress"):
            now = router.statistics()
        assert (now.actors, now.restarts, now.dead_letters) == (2, 1, 1)
        assert (now.subscriptions, now.queued_messages) == (1, 1)
