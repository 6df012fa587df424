"""Ports: one publisher, many subscribers; delivery, backpressure, policies, and endings."""

import gc
import logging
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
from anyio import WouldBlock, create_task_group, fail_after, move_on_after
from hypothesis import given
from hypothesis import strategies as st

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorNotFoundError,
    ActorStoppedError,
    AsyncStreamMessage,
    MessageRouter,
    Port,
    PortClosedError,
    PortNotFoundError,
    RouterClosedError,
    StreamAbortedError,
    StreamConsumedError,
    StreamOverflowError,
    Subscription,
    address,
)
from actorstream.testing import settle
from tests.support import YieldsOnceAndCleansUp

POLICIES = ["wait", "drop_oldest", "drop_newest", "latest", "fail"]
TURN = 500  # values published before a publisher yields to other tasks


class Host(Actor):
    """Has ports and does nothing else."""


def add_port(router: MessageRouter, **options: Any) -> Port[Any]:
    """Register an actor `a` that has a port `p`."""
    actor = Host()
    router.register_actor("a", actor)
    return actor.create_port("p", **options)


@asynccontextmanager
async def a_port(**options: Any) -> AsyncIterator[tuple[MessageRouter, Port[Any]]]:
    """Open a router with a port, for a test that continues after the router's exit."""
    async with MessageRouter() as router:
        yield router, add_port(router, **options)
        await settle()


async def read_now(subscription: Subscription[Any], most: int = 1000) -> list[Any]:
    """Read the values that are available without waiting."""
    values: list[Any] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        while len(values) < most:
            values.append(await anext(subscription))
    return values


async def collect_into(values: list[Any], subscription: Subscription[Any]) -> None:
    values.extend(await subscription.collect())


class Publishing:
    """Publishes in its own task, and tells the outcome."""

    def __init__(self, port: Port[Any], *values: Any) -> None:
        self.port = port
        self.values = values
        self.state = "waiting"
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            try:
                for value in self.values:
                    await self.port.publish(value)
                self.state = "done"
            except PortClosedError:
                self.state = "refused"
        if self.scope.cancelled_caught:
            self.state = "cancelled"


async def start(tasks: Any, port: Port[Any], *values: Any) -> Publishing:
    """Start publishing, and let it proceed as far as it can."""
    publishing = Publishing(port, *values)
    tasks.start_soon(publishing.run)
    await settle()
    return publishing


# Making a port


async def test_port_before_registration(router):
    """A port made before its actor is registered can be subscribed to afterwards."""
    actor = Host()
    port = actor.create_port("p")
    router.register_actor("a", actor)
    subscription = router.subscribe("a", "p")
    await port.publish(1)
    assert await anext(subscription) == 1


async def test_port_in_init(router):
    """An actor may make its ports in `__init__`, without calling `super().__init__()`."""

    class Eager(Actor):
        def __init__(self) -> None:
            self.port = self.create_port("p")

    actor = Eager()
    router.register_actor("a", actor)
    subscription = router.subscribe("a", "p")
    await actor.port.publish(1)
    assert await anext(subscription) == 1


async def test_port_of_a_frozen_actor(router):
    """A frozen attrs actor may have ports, too."""

    @attrs.frozen
    class Frozen(Actor):
        name: str

    actor = Frozen("x")
    router.register_actor("a", actor)
    port = actor.create_port("p")
    subscription = router.subscribe("a", "p")
    await port.publish(1)
    assert await anext(subscription) == 1


def test_ports_belong_to_an_instance():
    """Two actors of one class each have their own ports."""
    one, other = Host(), Host()
    assert one.create_port("p") is not other.create_port("p")


def test_second_port_of_a_name():
    """An actor cannot have two ports of the same name."""
    actor = Host()
    actor.create_port("p")
    with pytest.raises(ValueError, match="Host has a port 'p' already"):
        actor.create_port("p")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("name", "", ValueError),
        ("name", " ", ValueError),
        ("name", None, TypeError),
        ("name", 1, TypeError),
        ("buffer_size", 0, ValueError),
        ("buffer_size", -1, ValueError),
        ("buffer_size", None, TypeError),
        ("buffer_size", True, TypeError),
        ("buffer_size", 1.5, TypeError),
        ("overflow", "drop", ValueError),
        ("overflow", None, TypeError),
        ("overflow", 1, TypeError),
    ],
)
def test_bad_option_of_a_port(option, value, error):
    """A bad option raises an error at the call that names it, and no port is made."""
    actor = Host()
    with pytest.raises(error, match=option):
        actor.create_port(**{"name": "p", option: value})
    actor.create_port("p")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("buffer_size", 0, ValueError),
        ("buffer_size", "1", TypeError),
        ("buffer_size", True, TypeError),
        ("overflow", "drop", ValueError),
        ("overflow", 1, TypeError),
        ("signal", AbortController(), TypeError),
        ("signal", "stop", TypeError),
    ],
)
async def test_bad_option_of_a_subscription(router, option, value, error):
    """A bad option raises an error at the call that names it, and nothing is subscribed."""
    port = add_port(router)
    for subscribe in (port.subscribe, lambda **options: router.subscribe("a", "p", **options)):
        with pytest.raises(error, match=option):
            subscribe(**{option: value})
    assert port.statistics().subscribers == 0


@pytest.mark.parametrize(
    ("to", "name", "error", "text"),
    [
        ("", "p", ValueError, "empty"),
        (1, "p", TypeError, "address"),
        ("a", "", ValueError, "port_name is empty"),
        ("a", None, TypeError, "port_name is a str"),
    ],
)
def test_bad_target(to, name, error, text):
    """A bad address or name raises at the call, even before the router is entered."""
    with pytest.raises(error, match=text):
        MessageRouter().subscribe(to, name)


def test_repr():
    """The `repr` of a port and of a subscription shows its name and state."""
    port = Host().create_port("p")
    assert repr(port) == "<Port 'p': 0 subscribers>"
    assert repr(port.subscribe()) == "<Subscription 'p': not attached>"
    port.close()
    assert repr(port) == "<Port 'p': closed>"


async def test_repr_of_a_subscription(router):
    """The `repr` of an attached subscription shows its address and state."""
    port = add_port(router)
    subscription = router.subscribe("a", "p")
    assert repr(subscription) == "<Subscription 'p' of @(a): open>"
    port.close()
    assert repr(subscription) == "<Subscription 'p' of @(a): ending>"
    await subscription.collect()
    assert repr(subscription) == "<Subscription 'p' of @(a): ended>"


# Publishing


async def test_every_subscriber_gets_every_value(router):
    """Each subscriber gets each value, once and in order."""
    port = add_port(router, buffer_size=3)
    async with create_task_group() as tasks:
        seen: list[list[int]] = [[], [], []]
        for values in seen:
            tasks.start_soon(collect_into, values, router.subscribe("a", "p"))
        await settle()
        for number in range(2000):
            await port.publish(number)
        port.close()
    assert seen == [list(range(2000))] * 3


async def test_no_subscriber(router):
    """Without a subscriber a value is lost; later subscribers do not get it."""
    port = add_port(router)
    await port.publish(1)
    subscription = router.subscribe("a", "p")
    await port.publish(2)
    assert await read_now(subscription) == [2]


@pytest.mark.parametrize(
    "value", [None, 0, "", ValueError("x"), StopAsyncIteration(), AsyncStreamMessage(type="end")]
)
async def test_any_value(router, value):
    """`None`, an exception and a stream event are ordinary values."""
    port = add_port(router)
    subscription = router.subscribe("a", "p")
    await port.publish(value)
    port.publish_nowait(value)
    first, second = await read_now(subscription)
    assert first is second is value


async def test_full_subscriber_holds_the_publisher_up(router):
    """`publish()` waits for a full subscriber, and continues when that one reads."""
    port = add_port(router, buffer_size=2)
    async with create_task_group() as tasks:
        subscription = router.subscribe("a", "p")
        publishing = await start(tasks, port, 1, 2, 3)
        assert publishing.state == "waiting"
        assert port.statistics().publishers_waiting == 1
        assert subscription.statistics().producer_waiting
        assert await anext(subscription) == 1
        await settle()
        assert publishing.state == "done"
        assert await read_now(subscription) == [2, 3]


async def test_others_get_it_before_the_wait(router):
    """Subscribers with room get the value at once, even if another one is full."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        row = [port.subscribe(buffer_size=9), port.subscribe(), port.subscribe(buffer_size=9)]
        publishing = await start(tasks, port, 1, 2)
        assert publishing.state == "waiting"
        assert await read_now(row[0]) == await read_now(row[2]) == [1, 2]
        await row[1].aclose()


async def test_a_full_subscriber_gets_it_as_soon_as_it_reads(router):
    """Of two full subscribers, the one that reads does not wait for the other."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        stuck, quick = port.subscribe(), port.subscribe()
        publishing = await start(tasks, port, 1, 2)
        assert await read_now(quick) == [1, 2]
        await settle()
        assert publishing.state == "waiting"
        await stuck.aclose()


async def test_order_of_concurrent_publishers(router):
    """A later `publish()` does not overtake one that waits, even if room appears in between."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        stuck, other = port.subscribe(), port.subscribe()
        for number in range(4):
            await start(tasks, port, number)
        assert port.statistics().publishers_waiting == 3
        assert await read_now(other) == [0, 1, 2, 3]
        assert await read_now(stuck) == [0, 1, 2, 3]
        await settle()
        assert port.statistics().publishers_waiting == 0


async def test_reading_one_value_admits_one(router):
    """A subscriber never holds more than its `buffer_size`, however many publishers wait."""
    port = add_port(router, buffer_size=2)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        for number in range(6):
            await start(tasks, port, number)
        for number in range(6):
            assert subscription.statistics().buffered <= 2
            assert await anext(subscription) == number
            await settle()


async def test_fast_path_after_a_wait(router):
    """When no publisher waits any more, reads take the fast path again."""
    port = add_port(router, buffer_size=2)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        await start(tasks, port, 1, 2, 3)
        await anext(subscription)
        assert subscription._buffer.low == 0
        cancelled = await start(tasks, port, 4)
        cancelled.scope.cancel()
        await settle()
        assert subscription._buffer.low == 0


async def test_cancelled_publish(router):
    """If a waiting `publish()` is cancelled, subscribers that have the value keep it, the others
    never get it, and the publishers behind it go on."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        full, roomy = port.subscribe(), port.subscribe(buffer_size=9)
        await port.publish(1)
        first = await start(tasks, port, 2)
        second = await start(tasks, port, 3)
        first.scope.cancel()
        await settle()
        assert (first.state, second.state) == ("cancelled", "waiting")
        assert await read_now(roomy) == [1, 2, 3]
        assert await read_now(full) == [1, 3]


async def test_publish_notices_an_earlier_cancellation(router):
    """The first `publish()` in a cancelled scope delivers nothing."""
    port = add_port(router)
    subscription = port.subscribe()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await port.publish(1)
    assert scope.cancelled_caught
    assert await read_now(subscription) == []


@pytest.mark.parametrize("overflow", [None, "drop_oldest", "drop_newest", "latest", "wait"])
async def test_publish_yields_to_other_tasks(router, overflow):
    """A publisher that never has to wait gives other tasks turns, and notices a cancellation."""
    port = add_port(router)
    async with create_task_group() as tasks:
        subscription = overflow and port.subscribe(buffer_size=10 * TURN, overflow=overflow)
        published = 0

        async def interrupt() -> None:
            tasks.cancel_scope.cancel()

        tasks.start_soon(interrupt)
        for published in range(4 * TURN):
            await port.publish(published)
    assert published <= 3 * TURN
    del subscription


async def test_publish_yields_between_nowait_calls(router):
    """It does so as well if `publish_nowait()` is called in between."""
    port = add_port(router)
    async with create_task_group() as tasks:

        async def interrupt() -> None:
            tasks.cancel_scope.cancel()

        tasks.start_soon(interrupt)
        for _ in range(4 * TURN):
            port.publish_nowait(1)
            await port.publish(2)
    assert port.statistics().published <= 3 * TURN


async def test_reading_yields_to_other_tasks(router):
    """A subscriber with a full buffer gives other tasks turns."""
    port = add_port(router, buffer_size=10 * TURN)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        for number in range(8 * TURN):
            port.publish_nowait(number)
        turns: list[int] = []

        async def look() -> None:
            while True:
                turns.append(subscription.statistics().delivered)
                await settle(1)

        tasks.start_soon(look)
        for _ in range(8 * TURN):
            await anext(subscription)
        turns.append(8 * TURN)
        tasks.cancel_scope.cancel()
    await subscription.aclose()
    # trio may give the reader a turn at the end of one round and at the beginning of the next.
    assert max(b - a for a, b in zip([0, *turns], turns, strict=False)) <= 3 * TURN


async def test_publish_nowait(router):
    """`publish_nowait()` delivers a value to all subscribers, if all have room."""
    port = add_port(router)
    one, other = port.subscribe(), port.subscribe()
    port.publish_nowait(1)
    assert await read_now(one) == await read_now(other) == [1]


async def test_publish_nowait_to_a_full_subscriber(router):
    """`publish_nowait()` raises `WouldBlock` if a subscriber is full, and delivers to none."""
    port = add_port(router, buffer_size=1)
    roomy, full = port.subscribe(buffer_size=9), port.subscribe()
    lossy = port.subscribe(overflow="drop_oldest")
    port.publish_nowait(1)
    with pytest.raises(WouldBlock):
        port.publish_nowait(2)
    assert port.statistics().published == 1
    assert [await read_now(it) for it in (roomy, full, lossy)] == [[1], [1], [1]]


async def test_publish_nowait_wakes_a_reader(router):
    """`publish_nowait()` wakes a subscriber that waits."""
    port = add_port(router)
    async with create_task_group() as tasks:
        values: list[int] = []
        tasks.start_soon(collect_into, values, port.subscribe())
        await settle()
        port.publish_nowait(1)
        port.close()
    assert values == [1]


# Policies


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_oldest", [4, 5]), ("drop_newest", [1, 2]), ("latest", [5])],
)
@pytest.mark.parametrize("whose", ["port", "subscriber"])
async def test_policy_that_drops(router, overflow, kept, whose):
    """Each policy keeps what its name says, counts the rest, and never holds up the publisher."""
    options: Any = {"buffer_size": 2, "overflow": overflow}
    port = add_port(router, **(options if whose == "port" else {}))
    subscription = port.subscribe(**(options if whose == "subscriber" else {}))
    for number in range(1, 6):
        await port.publish(number)
    lost = 5 - len(kept)
    assert subscription.dropped == subscription.statistics().dropped == lost
    assert await read_now(subscription) == kept
    assert port.statistics().dropped == lost
    await subscription.aclose()
    assert port.statistics().dropped == lost


async def test_fail(router):
    """`"fail"` ends only the subscription that lags, after its buffered values."""
    port = add_port(router, buffer_size=2)
    lagging, other = port.subscribe(overflow="fail"), port.subscribe(buffer_size=9)
    for number in range(4):
        await port.publish(number)
    assert port.statistics().subscribers == 1
    assert await anext(lagging) == 0
    assert await anext(lagging) == 1
    with pytest.raises(StreamOverflowError, match="more than 2 items were waiting"):
        await anext(lagging)
    with pytest.raises(StopAsyncIteration):
        await anext(lagging)
    assert await read_now(other) == [0, 1, 2, 3]


async def test_own_buffer_size(router):
    """A subscriber's `buffer_size` overrides the port's."""
    port = add_port(router, buffer_size=1)
    subscription = router.subscribe("a", "p", buffer_size=3)
    for number in range(3):
        port.publish_nowait(number)
    assert subscription.statistics().buffer_size == 3


async def test_own_overflow(router):
    """A subscriber's `overflow` overrides the port's."""
    port = add_port(router, buffer_size=1, overflow="fail")
    async with create_task_group() as it:
        subscription = router.subscribe("a", "p", overflow="wait")
        publishing = await start(it, port, 1, 2)
        assert publishing.state == "waiting"
        assert await read_now(subscription) == [1, 2]


# R62 of the conformance list


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest", "fail"])
async def test_r62_lagging_subscriber(router, overflow):
    """R62: a lagging subscriber gets what its policy says, and the others lose nothing."""
    port = add_port(router, buffer_size=3)
    async with create_task_group() as tasks:
        values: list[int] = []
        tasks.start_soon(collect_into, values, router.subscribe("a", "p"))
        lagging = router.subscribe("a", "p", overflow=overflow)
        await settle()
        for number in range(100):
            await port.publish(number)
        port.close()
        if overflow == "fail":
            with pytest.raises(StreamOverflowError):
                await lagging.collect()
        else:
            assert len(await lagging.collect()) + lagging.dropped == 100
    assert values == list(range(100))


async def test_r62_cancelled_subscriber(router):
    """R62: a cancelled subscriber blocks no publisher, not even one already waiting for it."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        values: list[int] = []
        tasks.start_soon(collect_into, values, router.subscribe("a", "p"))
        subscriber = anyio.CancelScope()

        async def hang() -> None:
            with subscriber:
                async for _ in router.subscribe("a", "p"):
                    await anyio.sleep_forever()

        tasks.start_soon(hang)
        await settle()
        publishing = await start(tasks, port, *range(10))
        assert publishing.state == "waiting"
        subscriber.cancel()
        await settle(20)
        assert publishing.state == "done"
        port.close()
    assert values == list(range(10))


async def test_r62_subscribe_after_close(router):
    """R62: subscribing after the close raises at the call."""
    port = add_port(router)
    port.close()
    with pytest.raises(PortClosedError, match="the port 'p' is closed"):
        router.subscribe("a", "p")
    with pytest.raises(PortClosedError, match="the port 'p' is closed"):
        port.subscribe()


# Attaching


async def test_attached_at_the_call(router):
    """A subscriber receives what is published between `subscribe()` and its first read."""
    port = add_port(router)
    subscription = router.subscribe(address("a"), "p")
    assert port.statistics().subscribers == 1
    await port.publish(1)
    assert await anext(subscription) == 1


async def test_attached_at_the_first_read(router):
    """If the port does not exist yet, the first read looks for it."""
    subscription = router.subscribe("a", "p")
    actor = Host()
    router.register_actor("a", actor)
    port = actor.create_port("p")
    assert port.statistics().subscribers == 0
    await port.publish(0)
    assert await read_now(subscription) == []
    assert port.statistics().subscribers == 0  # a cancelled read may be repeated
    async with create_task_group() as tasks:
        tasks.start_soon(port.wait_subscribers, 1)
        with move_on_after(0.01):
            await anext(subscription)
    await port.publish(1)
    assert await anext(subscription) == 1


async def test_attached_on_entering():
    """A subscription made before the router is entered attaches on entering."""
    router, actor = MessageRouter(), Host()
    port = actor.create_port("p")
    router.register_actor("a", actor)
    subscriptions = router.subscribe("a", "p"), port.subscribe()
    assert port.statistics().subscribers == 0
    async with router, subscriptions[0] as one, subscriptions[1] as other:
        assert port.statistics().subscribers == 2
        await port.publish(1)
        assert await anext(one) == await anext(other) == 1


UNREACHABLE = [
    ("router", RouterClosedError, "the router is not entered"),
    ("actor", ActorNotFoundError, "no actor is registered as @\\(a\\)"),
    ("port", PortNotFoundError, "@\\(a\\) has no port 'p'; its ports: q, r;"),
]


@pytest.mark.parametrize(("missing", "error", "text"), UNREACHABLE)
@pytest.mark.parametrize("scoped", [False, True])
async def test_nothing_to_attach_to(missing, error, text, scoped):
    """The first read, or entering, raises what is missing; then the subscription has ended."""
    router, actor = MessageRouter(), Host()
    if missing == "port":
        actor.create_port("q")
        actor.create_port("r")
        router.register_actor("a", actor)
    subscription = router.subscribe("a", "p")
    if missing != "router":
        await router.__aenter__()
    with pytest.raises(error, match=text):
        await (subscription.__aenter__() if scoped else anext(subscription))
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    if missing != "router":
        await router.__aexit__(None, None, None)


async def test_port_without_a_router():
    """A port of an unregistered actor accepts values; its subscriber gets an error."""
    port = Host().create_port("p")
    subscription = port.subscribe()
    await port.publish(1)
    port.publish_nowait(2)
    with pytest.raises(RouterClosedError, match="the port 'p' is in no router"):
        await anext(subscription)


async def test_port_closed_before_the_first_read(router):
    """If the port has been closed meanwhile, the first read raises."""
    actor = Host()
    port = actor.create_port("p")
    subscription = port.subscribe()
    port.close()
    router.register_actor("a", actor)
    with pytest.raises(PortClosedError):
        await anext(subscription)


async def test_router_of_another_loop(router):
    """In another thread's loop, the first read says that the router belongs elsewhere."""
    port = add_port(router)

    async def read() -> Any:
        return await anext(router.subscribe("a", "p"))

    def in_thread() -> None:
        with pytest.raises(RouterClosedError, match="another event loop"):
            anyio.run(read)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert port.statistics().subscribers == 0


@pytest.mark.parametrize("how", ["cancel", "signal", "timeout", "aclose"])
async def test_search_for_the_port_is_interrupted(router, how, unit):
    """Whatever ends a subscription also ends its search for the port."""
    controller = AbortController()
    signal = AbortSignal.timeout(unit) if how == "timeout" else controller.signal
    subscription = router.subscribe("a", "p", signal=signal)

    async def never() -> Any:
        await anyio.sleep_forever()

    subscription._find_later = never  # like a wait for an actor that starts
    outcome: list[object] = []

    async def read() -> None:
        try:
            outcome.append(await anext(subscription))
        except (StreamAbortedError, StopAsyncIteration) as exc:
            outcome.append(exc)

    with fail_after(5 * unit):
        async with create_task_group() as tasks:
            tasks.start_soon(read)
            await settle()
            with pytest.raises(StreamConsumedError, match="two tasks"):
                await anext(subscription)
            if how == "cancel":
                subscription.cancel("enough")
            elif how == "signal":
                controller.abort("enough")
            elif how == "aclose":
                await subscription.aclose()
    kind = StopAsyncIteration if how == "aclose" else StreamAbortedError
    assert [type(it) for it in outcome] == [kind]


# Reading


async def test_read_that_is_cancelled(router):
    """A subscriber that polls loses nothing."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        await start(tasks, port, *range(20))
        seen: list[int] = []
        for _ in range(60):
            seen += await read_now(subscription, 1)
            await settle(1)
        assert seen == list(range(20))


async def test_two_readers(router):
    """A second task that reads the same subscription gets an error."""
    port = add_port(router)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        tasks.start_soon(subscription.collect)
        await settle()
        with pytest.raises(StreamConsumedError, match=r"call subscribe\(\) once for each"):
            await anext(subscription)
        port.close()


async def test_break_and_go_on(router):
    """After a `break`, a subscription that is still referenced can be read on."""
    port = add_port(router)
    subscription = port.subscribe()
    for number in range(3):
        await port.publish(number)
    async for number in subscription:
        assert number == 0
        break
    assert await read_now(subscription) == [1, 2]


async def test_after_the_end(router):
    """After the end each read raises `StopAsyncIteration`, and a second iteration is an error."""
    port = add_port(router)
    subscription = port.subscribe()
    port.close()
    assert [value async for value in subscription] == []
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
    with pytest.raises(StreamConsumedError):
        aiter(subscription)
    with pytest.raises(StreamConsumedError):
        await subscription.__aenter__()


async def test_collect(router):
    """`collect()` returns all values until the end."""
    port = add_port(router)
    subscription = port.subscribe()
    for number in range(3):
        await port.publish(number)
    port.close()
    assert await subscription.collect() == [0, 1, 2]


async def test_cancelled_collect(router):
    """A `collect()` that is cancelled detaches the subscription."""
    port = add_port(router)
    subscription = port.subscribe()
    with move_on_after(0):
        await subscription.collect()
    assert port.statistics().subscribers == 0


async def test_statistics(router):
    """A subscription's statistics show how full it is, and which side waits."""
    port = add_port(router, buffer_size=3)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        await port.publish(1)
        await port.publish(2)
        await anext(subscription)
        statistics = subscription.statistics()
        assert (statistics.buffered, statistics.buffer_size, statistics.delivered) == (1, 3, 1)
        assert not statistics.producer_waiting
        tasks.start_soon(subscription.collect)
        await settle()
        assert subscription.statistics().consumer_waiting
        port.close()


def test_statistics_before_it_is_attached():
    """Before attaching, the statistics show the requested options."""
    statistics = MessageRouter().subscribe("a", "p", buffer_size=7).statistics()
    assert (statistics.buffer_size, statistics.buffered, statistics.delivered) == (7, 0, 0)
    assert MessageRouter().subscribe("a", "p").dropped == 0


# Leaving


async def test_break(router):
    """`break` detaches a subscription without `async with`, so it holds up no publisher."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        publishing = Publishing(port, *range(10))
        tasks.start_soon(publishing.run)
        async for _ in router.subscribe("a", "p"):
            break
        await settle()
        assert port.statistics().subscribers == 0
        assert publishing.state == "done"


async def test_dropped_in_another_thread(router):
    """The last reference may be dropped in any thread."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        box = [port.subscribe()]
        publishing = await start(tasks, port, 1, 2)
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
        await settle(20)
        assert port.statistics().subscribers == 0
        assert publishing.state == "done"


async def test_an_exception_does_not_keep_its_subscription(router):
    """An exception that is still referenced does not keep its subscription alive."""
    port = add_port(router)
    kept: list[BaseException] = []
    try:
        with fail_after(0.001):
            async for _ in router.subscribe("a", "p"):
                pass
    except TimeoutError as exc:
        kept.append(exc)
    await settle()
    assert port.statistics().subscribers == 0
    kept.clear()


async def test_scoped(router):
    """Leaving the `async with` block detaches the subscription and ends its reads."""
    port = add_port(router)
    async with router.subscribe("a", "p") as values:
        await port.publish(1)
        async for value in values:
            assert value == 1
            break
        assert port.statistics().subscribers == 1
    assert port.statistics().subscribers == 0
    with pytest.raises(StopAsyncIteration):
        await anext(values)


async def test_exception_of_the_block(router):
    """An exception raised in the block leaves it unchanged."""
    port = add_port(router)
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with router.subscribe("a", "p"):
            raise error
    assert caught.value is error
    assert port.statistics().subscribers == 0


async def test_entered_twice(router):
    """Entering a subscription twice is an error."""
    port = add_port(router)
    async with port.subscribe() as values:
        with pytest.raises(StreamConsumedError):
            await values.__aenter__()


async def test_aclose(router):
    """`aclose()` ends a loop in another task, frees a publisher, and may be called twice."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        subscription, full = port.subscribe(), port.subscribe()
        seen: list[int] = []
        tasks.start_soon(collect_into, seen, subscription)
        publishing = await start(tasks, port, 1, 2)
        await full.aclose()
        await full.aclose()
        await subscription.aclose()
        await settle()
        assert publishing.state == "done"
        assert seen == [1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(full)


async def test_aclose_before_it_is_attached(router):
    """A subscription closed before it found its port has ended."""
    subscription = router.subscribe("a", "p")
    await subscription.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    with pytest.raises(StreamConsumedError):
        aiter(subscription)


async def test_cancel(router):
    """`cancel()` makes the next read raise at once, and discards the buffer."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        publishing = await start(tasks, port, 1, 2)
        subscription.cancel("enough")
        await settle()
        assert publishing.state == "done"
        assert port.statistics().subscribers == 0
        with pytest.raises(StreamAbortedError, match="enough"):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


async def test_cancel_before_it_is_attached(router):
    """`cancel()` before the first read makes that read raise, without a port."""
    subscription = router.subscribe("a", "p")
    subscription.cancel("enough")
    with pytest.raises(StreamAbortedError, match="enough"):
        await anext(subscription)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_cancel_and_close_before_it_is_attached(router):
    """After `aclose()` a read no longer raises the earlier cancellation."""
    subscription = router.subscribe("a", "p")
    subscription.cancel("enough")
    await subscription.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_abort_discards(router):
    """After an abort the next read raises, the buffer is discarded, and no publisher waits."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        controller = AbortController()
        subscription = router.subscribe("a", "p", signal=controller.signal)
        publishing = await start(tasks, port, 1, 2)
        controller.abort("enough")
        with pytest.raises(StreamAbortedError) as caught:
            await anext(subscription)
        assert caught.value.reason == "enough"
        await settle()
        assert publishing.state == "done"
        assert port.statistics().subscribers == 0


async def test_abort_frees_a_publisher(router):
    """An abort frees a waiting publisher, even if the subscriber never reads again."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        controller = AbortController()
        subscription = router.subscribe("a", "p", signal=controller.signal)
        publishing = await start(tasks, port, 1, 2)
        controller.abort("enough")
        await settle(20)
        assert publishing.state == "done"
        subscription.cancel()


@pytest.mark.real_clock
async def test_abort_from_another_thread(router):
    """An abort in another thread wakes a subscriber that waits."""
    port = add_port(router)
    controller = AbortController()
    threading.Timer(0.02, controller.abort, ["enough"]).start()
    with fail_after(5), pytest.raises(StreamAbortedError, match="enough"):
        await router.subscribe("a", "p", signal=controller.signal).collect()
    assert port.statistics().subscribers == 0


async def test_signal_with_a_timeout(router, unit):
    """A signal with a timeout ends a subscriber's wait and frees a publisher."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        stuck = router.subscribe("a", "p", signal=AbortSignal.timeout(unit))
        reading = router.subscribe("a", "p", signal=AbortSignal.timeout(2 * unit))
        publishing = await start(tasks, port, 1, 2)
        with fail_after(10 * unit), pytest.raises(StreamAbortedError, match="timed out after"):
            await reading.collect()
        assert publishing.state == "done"
        with pytest.raises(StreamAbortedError, match="timed out after"):
            await anext(stuck)


@pytest.mark.parametrize("known", [True, False])
async def test_signal_that_was_aborted_before(router, known):
    """With an aborted signal nothing is attached, and the first read raises."""
    controller = AbortController()
    controller.abort("enough")
    port = add_port(router)
    subscription = router.subscribe("a" if known else "b", "p", signal=controller.signal)
    assert port.statistics().subscribers == 0
    with pytest.raises(StreamAbortedError, match="enough"):
        await anext(subscription)
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_signal_does_not_keep_a_subscription(router):
    """A long-lived signal keeps nothing of a subscription that has ended."""
    controller = AbortController()
    add_port(router)
    channels = []
    for _ in range(3):
        async with router.subscribe("a", "p", signal=controller.signal) as values:
            channels.append(weakref.ref(values._channel))
    del values
    await settle()
    gc.collect()
    assert [ref() for ref in channels] == [None] * 3


# Closing and stopping


async def test_close(router):
    """Closing detaches each subscription, which delivers its buffer and ends."""
    port = add_port(router)
    one, other = port.subscribe(), port.subscribe()
    await port.publish(1)
    port.close()
    port.close()
    assert port.statistics().subscribers == 0
    assert await one.collect() == await other.collect() == [1]


async def test_close_wakes_a_reader(router):
    """The close wakes a subscriber that waits, which then ends."""
    port = add_port(router)
    async with create_task_group() as tasks:
        values: list[int] = []
        tasks.start_soon(collect_into, values, port.subscribe())
        await settle()
        port.close()


async def test_publish_after_close(router):
    """Nothing can be published after the close."""
    port = add_port(router)
    port.close()
    with pytest.raises(PortClosedError, match="the port 'p' is closed"):
        await port.publish(1)
    with pytest.raises(anyio.ClosedResourceError):
        port.publish_nowait(1)


async def test_the_name_of_a_closed_port_is_free(router):
    """An actor may close a port, and make another of the same name."""
    actor = Host()
    router.register_actor("a", actor)
    actor.create_port("p").close()
    port = actor.create_port("p")
    values = router.subscribe("a", "p")
    await port.publish(1)
    assert await anext(values) == 1


def test_a_closed_port_is_freed_at_once():
    """An actor that makes ports for ever, and closes them, keeps none."""
    actor = Host()
    alive = []
    for number in range(200):
        port = actor.create_port(f"p{number}")
        alive.append(weakref.ref(port))
        port.close()
        del port
    assert [port() for port in alive if port() is not None] == []


def test_a_second_close_leaves_the_next_port_of_that_name():
    """Closing twice is harmless, even if the actor has another port of that name now."""
    actor = Host()
    first = actor.create_port("p")
    first.close()
    actor.create_port("p")
    first.close()
    with pytest.raises(ValueError, match="has a port 'p' already"):
        actor.create_port("p")


async def test_close_while_publish_waits(router):
    """A `publish()` that waits at the close raises, since not all subscribers got the value."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        subscription = port.subscribe()
        publishing = await start(tasks, port, 1, 2)
        port.close()
        await settle()
        assert publishing.state == "refused"
        assert await subscription.collect() == [1]


async def test_actor_is_unregistered(router):
    """If the actor stops, its subscriptions end with `ActorStoppedError` after their buffers, and a
    waiting publisher goes on."""
    port = add_port(router, buffer_size=1)
    async with create_task_group() as tasks:
        subscription = router.subscribe("a", "p")
        publishing = await start(tasks, port, 1, 2)
        await router.unregister_actor("a")
        assert await anext(subscription) == 1
        with pytest.raises(ActorStoppedError):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        await settle()
        assert publishing.state == "done"
        assert port.statistics().subscribers == 0


async def test_actor_is_registered_again(router):
    """An actor that is registered again still has its ports."""
    port = add_port(router)
    actor = router.get_actor("a")
    await router.unregister_actor("a")
    with pytest.raises(RouterClosedError):
        await anext(port.subscribe())
    router.register_actor("b", actor)
    subscription = router.subscribe("b", "p")
    await port.publish(1)
    assert await anext(subscription) == 1


async def test_port_of_an_actor_whose_id_is_taken(router):
    """While an actor only cleans up and its id is taken, its ports accept no subscribers."""
    released = anyio.Event()
    async with create_task_group() as tasks:
        actor = YieldsOnceAndCleansUp(released.wait)
        port = actor.create_port("p")
        router.register_actor("a", actor)
        async for _ in router.stream_async("a", "query"):
            break
        tasks.start_soon(router.unregister_actor, "a")
        await settle()
        router.register_actor("a", Host())
        with pytest.raises(ActorNotFoundError, match="another actor is registered as @\\(a\\)"):
            await anext(port.subscribe())
        released.set()


async def test_router_exits():
    """When the router exits, its subscribers get `RouterClosedError`."""
    async with create_task_group() as tasks:
        async with a_port() as (router, port):
            errors: list[Exception] = []

            async def read(subscription: Subscription[Any]) -> None:
                try:
                    await subscription.collect()
                except RouterClosedError as exc:
                    errors.append(exc)

            tasks.start_soon(read, router.subscribe("a", "p"))
            tasks.start_soon(read, port.subscribe())
            await settle()
        await settle()
        assert len(errors) == 2
        assert errors[0] is not errors[1]
        with pytest.raises(RouterClosedError):
            await anext(router.subscribe("a", "p"))
        await port.publish(1)


async def test_dropped_after_the_loop(anyio_backend_name):
    """A subscription may outlive its event loop; dropping it then does no harm."""
    kept: list[Subscription[Any]] = []

    async def main() -> None:
        async with a_port() as (router, port):
            kept.append(port.subscribe())
            kept.append(router.dead_letters.subscribe())

    thread = threading.Thread(target=lambda: anyio.run(main, backend=anyio_backend_name))
    thread.start()
    thread.join()
    kept.clear()


# wait_subscribers()


async def test_wait_subscribers(router):
    """`wait_subscribers(n)` returns once `n` subscribers are attached, and not before."""
    port = add_port(router)
    async with create_task_group() as tasks:
        done: list[int] = []

        async def wait(n: int) -> None:
            await port.wait_subscribers(n)
            done.append(n)

        for n in (1, 2, 3):
            tasks.start_soon(wait, n)
        await settle()
        assert done == []
        kept = [port.subscribe()]
        await settle()
        assert done == [1]
        kept.append(port.subscribe())
        kept.append(port.subscribe())
        await settle()
        assert sorted(done) == [1, 2, 3]
        await port.wait_subscribers(3)


async def test_wait_subscribers_ignores_those_that_left(router):
    """A subscriber that has left does not count."""
    port = add_port(router)
    async with port.subscribe():
        await port.wait_subscribers(1)
    with move_on_after(0.01) as scope:
        await port.wait_subscribers(1)
    assert scope.cancelled_caught


async def test_wait_subscribers_is_a_checkpoint(router):
    """`wait_subscribers()` gives other tasks a turn even if it does not have to wait."""
    port = add_port(router)
    async with port.subscribe():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await port.wait_subscribers(1)
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError)]
)
async def test_wait_for_a_bad_number(router, n, error):
    """A bad number is an error that says so."""
    port = add_port(router)
    with pytest.raises(error, match="n is"):
        await port.wait_subscribers(n)


@pytest.mark.parametrize(
    ("end", "error"),
    [("close", PortClosedError), ("unregister", ActorStoppedError), ("leave", RouterClosedError)],
)
async def test_wait_subscribers_in_vain(end, error):
    """`wait_subscribers()` raises when there can be no more subscribers."""
    raised: list[Exception] = []
    async with create_task_group() as tasks, a_port() as (router, port):

        async def wait() -> None:
            try:
                await port.wait_subscribers(1)
            except error as exc:
                raised.append(exc)

        tasks.start_soon(wait)
        await settle()
        if end == "close":
            port.close()
            with pytest.raises(PortClosedError):
                await port.wait_subscribers(1)
        elif end == "unregister":
            await router.unregister_actor("a")
    assert len(raised) == 1


# The dead letters


async def test_dead_letters():
    """The router's port for dead letters exists from its creation to its exit."""
    router = MessageRouter()
    port = router.dead_letters
    assert port is router.dead_letters
    await port.publish(0)
    early = port.subscribe()
    async with router, early:
        late = port.subscribe(buffer_size=1)
        await port.publish(1)
        await port.publish(2)
        assert (await anext(late), late.dropped) == (2, 1)
        assert await read_now(early) == [1, 2]
        await port.publish(3)
    assert [value async for value in late] == [3]
    with pytest.raises(PortClosedError):
        port.subscribe()


# Nothing is logged


async def test_no_log(caplog):
    """None of the ways to leave a port writes to the log."""
    with caplog.at_level(logging.DEBUG, "actorstream"):
        async with a_port(buffer_size=1, overflow="fail") as (_, port):
            kept = [port.subscribe() for _ in range(4)]
            kept[0].cancel()
            await kept[1].aclose()
            for number in range(3):
                await port.publish(number)
            kept.pop()
        kept.clear()
    assert not caplog.records


# Random histories


class Follower:
    """The model of a subscriber: its buffered values, and those that wait for room."""

    def __init__(self, size: int, overflow: str) -> None:
        self.size = 1 if overflow == "latest" else size
        self.overflow = overflow
        self.values: deque[int] = deque()
        self.line: deque[int] = deque()
        self.dropped = 0
        self.ended: str | None = None

    @property
    def is_full(self) -> bool:
        return len(self.values) >= self.size

    def offer(self, value: int) -> None:
        if not self.is_full:
            self.values.append(value)
        elif self.overflow == "wait":
            self.line.append(value)
        elif self.overflow == "fail":
            self.end("StreamOverflowError")
        else:
            self.dropped += 1
            if self.overflow != "drop_newest":
                self.values.popleft()
                self.values.append(value)

    def take(self) -> int | str | None:
        if self.values:
            value = self.values.popleft()
            if self.line:
                self.values.append(self.line.popleft())
            return value
        ended = self.ended
        if ended is not None:
            self.ended = "StopAsyncIteration"
        return ended

    def end(self, word: str, *, discard: bool = False) -> None:
        if self.ended is None or (discard and self.ended not in {"StopAsyncIteration"}):
            self.ended = word
            self.line.clear()
            if discard:
                self.values.clear()


class Life:
    """A port, its subscribers and its publishers, each beside its model."""

    def __init__(self, port: Port[Any], tasks: Any) -> None:
        self.port = port
        self.tasks = tasks
        self.published = 0
        self.closed = False
        self.pairs: list[tuple[Subscription[Any], Follower]] = []
        self.publishing: dict[int, Publishing] = {}

    @property
    def attached(self) -> list[Follower]:
        return [follower for _, follower in self.pairs if follower.ended is None]

    async def publish(self, _: int) -> None:
        if not self.closed:
            self.published += 1
            for follower in self.attached:
                follower.offer(self.published)
            self.publishing[self.published] = await start(self.tasks, self.port, self.published)

    async def publish_nowait(self, _: int) -> None:
        if self.closed:
            return
        value = self.published + 1
        blocked = [it for it in self.attached if it.overflow == "wait" and it.is_full]
        try:
            self.port.publish_nowait(value)
        except WouldBlock:
            assert blocked
        else:
            assert not blocked
            self.published += 1
            for follower in self.attached:
                follower.offer(value)

    async def join(self, number: int) -> None:
        if not self.closed:
            size, overflow = number % 3 + 1, POLICIES[number % 5]
            options: Any = {"buffer_size": size, "overflow": overflow}
            self.pairs.append((self.port.subscribe(**options), Follower(size, overflow)))

    async def read(self, number: int) -> None:
        if self.pairs:
            subscription, follower = self.pairs[number % len(self.pairs)]
            found: object = None
            try:
                found = (await read_now(subscription, 1) or [None])[0]
            except (StopAsyncIteration, StreamOverflowError, StreamAbortedError) as exc:
                found = type(exc).__name__
            assert found == follower.take()

    async def leave(self, number: int) -> None:
        if self.pairs:
            subscription, _ = self.pairs.pop(number % len(self.pairs))
            if number % 2:
                await subscription.aclose()

    async def abort(self, number: int) -> None:
        if self.pairs:
            subscription, follower = self.pairs[number % len(self.pairs)]
            subscription.cancel()
            follower.end("StreamAbortedError", discard=True)

    async def give_up(self, number: int) -> None:
        waiting = [value for value, it in self.publishing.items() if it.state == "waiting"]
        if waiting:
            value = waiting[number % len(waiting)]
            self.publishing[value].scope.cancel()
            for follower in self.attached:
                if value in follower.line:
                    follower.line.remove(value)

    async def close(self, _: int) -> None:
        self.closed = True
        self.port.close()
        for follower in self.attached:
            follower.end("StopAsyncIteration")

    def check(self) -> None:
        statistics = self.port.statistics()
        assert statistics.published == self.published
        assert statistics.subscribers == len(self.attached)
        waited_for = {value for follower in self.attached for value in follower.line}
        waiting = {value for value, it in self.publishing.items() if it.state == "waiting"}
        assert waiting == waited_for
        assert statistics.publishers_waiting == len(waiting)
        for subscription, follower in self.pairs:
            found = subscription.statistics()
            assert (found.buffered, found.dropped) == (len(follower.values), follower.dropped)
            assert found.producer_waiting == bool(follower.line)


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["publish"] * 6
            + ["publish_nowait"] * 3
            + ["join"] * 4
            + ["read"] * 8
            + ["leave", "abort", "give_up"]
        ),
        st.integers(0, 29),
    ),
    max_size=40,
)


@given(commands=COMMANDS, closes=st.booleans())
async def test_random_histories(anyio_backend, commands, closes):
    """Every subscriber gets what the model says, and no publisher waits without need."""
    async with a_port() as (_, port), create_task_group() as tasks:
        life = Life(port, tasks)
        for command, number in [*commands, *([("close", 0)] * closes)]:
            await getattr(life, command)(number)
            await settle()
            life.check()
        for number in range(len(life.pairs)):
            for _ in range(20):
                await life.read(number)
        await settle()
        life.check()
        life.pairs.clear()
        await settle()
        tasks.cancel_scope.cancel()


@given(
    publishers=st.integers(1, 4),
    subscribers=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=4),
)
async def test_random_speeds(anyio_backend, publishers, subscribers):
    """At any speed, with `"wait"` each subscriber gets all values of each publisher in order."""
    async with a_port() as (_, port), create_task_group() as tasks:
        seen: list[list[tuple[int, int]]] = [[] for _ in subscribers]

        async def read(subscription: Any, values: list[Any], turns: int) -> None:
            async for value in subscription:
                values.append(value)
                await settle(turns)

        for values, (size, turns) in zip(seen, subscribers, strict=True):
            tasks.start_soon(read, port.subscribe(buffer_size=size), values, turns)
        async with create_task_group() as publishing:
            for publisher in range(publishers):
                made = Publishing(port, *((publisher, number) for number in range(20)))
                publishing.start_soon(made.run)
        port.close()
    assert all(values == seen[0] for values in seen)
    for publisher in range(publishers):
        assert [n for p, n in seen[0] if p == publisher] == list(range(20))
