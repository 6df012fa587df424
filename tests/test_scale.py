"""What there are many of takes a time in proportion to its number, and lets other tasks run.

Eight times as many may take twenty times as long: with the square of the number it would be 64
times. The time is that of the processor, and the smallest of several tries.
"""

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from actorstream import Actor, ActorNotFoundError, ChildSpec, MessageRouter, Supervisor
from actorstream._supervision.policy import plan
from actorstream.testing import settle

pytestmark = [pytest.mark.real_clock, pytest.mark.slow]

TRIES = 2
MOST = 20  # times as long, for eight times as many

Measure = Callable[[int], Awaitable[float]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Return the backend; the time does not depend on the loop of asyncio."""
    return str(request.param)


class Worker(Actor):
    async def receive(self, message: Any) -> None:
        if message.type == "hold":
            await anyio.sleep_forever()
        if message.type == "fail":
            raise ConnectionError("lost")


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Measure processor seconds, without those of the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        yield lambda: time.process_time() - begin
    finally:
        gc.enable()


async def assert_in_proportion(measure: Measure, small: int) -> None:
    """Check that eight times as many do not take much more than eight times as long."""
    few = min([await measure(small) for _ in range(TRIES)])
    for _ in range(TRIES):  # a busy machine may disturb one try
        many = await measure(8 * small)
        if many <= MOST * few:
            return
    pytest.fail(f"{small}: {few:.4f} s, {8 * small}: {many:.4f} s")


@asynccontextmanager
async def many_tasks(function: Callable[[], Awaitable[object]], n: int) -> AsyncIterator[Any]:
    """Run a function in many tasks; yield their cancel scopes in the order of their start."""
    scopes: list[anyio.CancelScope] = []

    async def run(scope: anyio.CancelScope) -> None:
        with scope:
            await function()

    async with anyio.create_task_group() as tasks:
        for _ in range(n):
            scopes.append(anyio.CancelScope())
            tasks.start_soon(run, scopes[-1])
        await settle()
        yield scopes
        tasks.cancel_scope.cancel()


async def give_up(function: Callable[[], Awaitable[object]], n: int) -> float:
    """Return the time in which many calls that wait are given up, the last one first."""
    async with many_tasks(function, n) as scopes:
        with stopwatch() as elapsed:
            for scope in reversed(scopes):
                scope.cancel()
            await settle()
            return elapsed()


@pytest.mark.parametrize("mailbox_size", [1, 10**6])
async def test_asks_that_are_given_up(mailbox_size: int) -> None:
    """Asks that wait in a mailbox, or for room in it."""

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            router.register_actor("a", Worker(), mailbox_size=mailbox_size)
            return await give_up(lambda: router.ask("a", "hold", timeout=None), n)

    await assert_in_proportion(measure, 300)


async def test_tells_that_are_given_up() -> None:
    """Tells that wait for room in a mailbox."""

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            router.register_actor("a", Worker(), mailbox_size=1)
            return await give_up(lambda: router.tell("a", "hold"), n)

    await assert_in_proportion(measure, 300)


async def test_publishers_that_are_given_up() -> None:
    """Publishers that wait for the same subscriber."""

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            actor = Worker()
            port = actor.create_port("news", buffer_size=1)
            router.register_actor("a", actor)
            async with port.subscribe():
                return await give_up(lambda: port.publish(1), n)

    await assert_in_proportion(measure, 300)


def pool(n: int, strategy: Any) -> Supervisor:
    specs = [ChildSpec(f"c{number}", Worker) for number in range(n)]
    return Supervisor(specs, strategy=strategy, max_restarts=10**6)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_restart_of_all_children(strategy: Any) -> None:
    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            router.register_actor("pool", pool(n, strategy))
            await router.ask(f"pool/c{n - 1}", "ping", timeout=None)
            await router.tell("pool/c0", "fail")
            with stopwatch() as elapsed:
                await ask_both(router, n)
                return elapsed()

    await assert_in_proportion(measure, 100)


async def test_a_restart_of_each_child() -> None:
    """One failure after the other: each costs the same, however many siblings there are."""

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            router.register_actor("pool", pool(n, "one_for_one"))
            await router.ask(f"pool/c{n - 1}", "ping", timeout=None)
            with stopwatch() as elapsed:
                for number in range(n):
                    await router.tell(f"pool/c{number}", "fail")
                    await router.ask(f"pool/c{number}", "ping", timeout=None)
                return elapsed()

    await assert_in_proportion(measure, 100)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_the_plan_of_a_restart(strategy: Any) -> None:
    async def measure(n: int) -> float:
        specs = [ChildSpec(f"c{number}", Worker) for number in range(n)]
        live = [spec.id for spec in specs]
        with stopwatch() as elapsed:
            plan(strategy, specs, "c0", live)
            return elapsed()

    await assert_in_proportion(measure, 1000)


async def test_waits_for_the_end_of_each_actor() -> None:
    async def measure(n: int) -> float:
        async with MessageRouter() as router, anyio.create_task_group() as tasks:
            with stopwatch() as elapsed:
                for number in range(n):
                    router.register_actor(f"a{number}", Worker())
                    tasks.start_soon(router.wait_stopped, f"a{number}")
                await settle()
                for number in range(n):
                    await router.stop_actor(f"a{number}")
                seconds = elapsed()
        return seconds

    await assert_in_proportion(measure, 100)


async def test_stops_from_streams() -> None:
    """A stream that stops another actor is not looked for among all actors."""

    class Stops(Actor):
        async def stream_async(self, payload: int) -> AsyncIterator[int]:
            for number in range(payload):
                await self.router.stop_actor(f"a{number}")
                yield number

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            for number in range(n):
                router.register_actor(f"a{number}", Worker())
            router.register_actor("stops", Stops())
            with stopwatch() as elapsed:
                await router.stream_async("stops", "x", n).collect()
                return elapsed()

    await assert_in_proportion(measure, 100)


async def test_asks_to_unknown_actors() -> None:
    """The look for similar ids is bounded, by 1,000 ids."""

    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            for number in range(n):
                router.register_actor(f"user-{number:06}", Worker())
            with stopwatch() as elapsed:
                for number in range(20):
                    with pytest.raises(ActorNotFoundError):
                        await router.ask(f"nobody-{number}", "x")
                return elapsed()

    await assert_in_proportion(measure, 1000)


@pytest.mark.parametrize("method", ["statistics", "tree", "list_actors"])
async def test_looks_at_all_actors(method: str) -> None:
    async def measure(n: int) -> float:
        async with MessageRouter() as router:
            for number in range(n):
                router.register_actor(f"a{number}", Worker())
            with stopwatch() as elapsed:
                getattr(router, method)()
                return elapsed()

    await assert_in_proportion(measure, 200)


async def ask_both(router: MessageRouter, n: int) -> None:
    """Return when the first child has been restarted, and then the last one."""
    for number in (0, n - 1):
        await router.ask(f"pool/c{number}", "ping", timeout=None)


async def count_turns(work: Callable[[], Awaitable[object]]) -> int:
    """Return how often another task runs meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await work()
        tasks.cancel_scope.cancel()
    return turns


async def test_other_tasks_run_while_thousands_of_children_are_restarted() -> None:
    n = 2000
    async with MessageRouter() as router:
        router.register_actor("pool", pool(n, "one_for_all"))
        started = await count_turns(lambda: router.ask(f"pool/c{n - 1}", "x", timeout=None))
        await router.tell("pool/c0", "fail")
        restarted = await count_turns(lambda: ask_both(router, n))
        stopped = await count_turns(lambda: router.stop_actor("pool"))
    assert min(started, restarted, stopped) >= n / 200
