"""`current_message()`: the request that an actor serves."""

import time

import anyio
import attrs
import pytest

from actorstream import Actor, address, current_message
from tests.support import ActorOf


class Teller(Actor):
    """Yields the request that it serves."""

    async def stream_async(self, payload):
        yield current_message()


class CallbackTeller(Actor):
    """Does the same in the callback form."""

    async def stream(self, payload, on_chunk):
        await on_chunk(current_message())


class Forwarder(Actor):
    """Streams what another actor streams."""

    async def stream_async(self, payload):
        async for item in self.router.stream_async(payload, "forwarded").payloads():
            yield item
        yield current_message()


@pytest.mark.parametrize("actor", [Teller, CallbackTeller])
async def test_what_it_returns(router, actor):
    """It returns the request with its type, payload, address and correlation id, in either form."""
    router.register_actor("a", actor())
    stream = router.stream_async("a", "query", {"n": 1})
    [message] = await stream.collect()
    assert (message.to, message.type, message.payload) == (address("a"), "query", {"n": 1})
    assert message.correlation_id == stream.correlation_id
    assert message.id
    assert 0 <= time.time() - message.timestamp < 60


async def test_sender_outside_of_actors(router):
    """A request from outside an actor has no sender."""
    router.register_actor("a", Teller())
    [message] = await router.stream_async("a", "query").collect()
    assert message.sender is None


async def test_sender_inside_of_an_actor(router):
    """A request that a handler makes has the handler's actor as its sender."""
    router.register_actor("forwarder", Forwarder())
    router.register_actor("teller", Teller())
    inner, outer = await router.stream_async("forwarder", "query", "teller").collect()
    assert (inner.to, inner.sender) == (address("teller"), address("forwarder"))
    assert (outer.to, outer.sender) == (address("forwarder"), None)


async def test_outside_of_a_handler():
    """Outside a handler there is no current message; the error says where there is one."""
    with pytest.raises(LookupError, match=r"no current message here; .*stream_async\(\)"):
        current_message()


async def test_consumer_sees_none(router):
    """The consumer has no current message, even in the loop over a stream."""
    router.register_actor("a", Teller())
    async for _ in router.stream_async("a", "query"):
        with pytest.raises(LookupError):
            current_message()


async def test_in_tasks_of_the_handler(router):
    """Tasks that a handler starts see its message."""
    seen = []

    async def look():
        seen.append(current_message().type)

    async def busy(_):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
        yield

    router.register_actor("a", ActorOf(busy))
    await router.stream_async("a", "query").collect()
    assert seen == ["query"]


async def test_in_a_plain_method(router):
    """A plain method and the iterable it returns see the message, even during clean-up."""
    seen = []

    async def items():
        try:
            seen.append(current_message().type)
            yield
        finally:
            seen.append(current_message().type)

    def plain(_):
        seen.append(current_message().type)
        return items()

    router.register_actor("a", ActorOf(plain))
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
    assert seen == ["query"] * 3


async def test_concurrent_streams(router):
    """Concurrent streams each see their own message."""
    router.register_actor("a", Teller())
    streams = [router.stream_async("a", f"query {number}") for number in range(3)]
    types = [(await anext(stream.payloads())).type for stream in streams]
    assert types == ["query 0", "query 1", "query 2"]


async def test_message_is_frozen(router):
    """A request cannot be changed."""
    router.register_actor("a", Teller())
    [message] = await router.stream_async("a", "query").collect()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.type = "command"
