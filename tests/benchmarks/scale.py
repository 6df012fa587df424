"""One to thousands at once: streams, actors, subscribers, asks, children; and the loop's turns."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import thread_time

import anyio
from anyio.lowlevel import checkpoint
from backends import Backend
from measure import Figures, Row, Samples, Section, Settings, ratio, spread
from restarts import UNLIMITED, FragileActor, quiet, wait_up

from actorstream import Actor, ChildSpec, MessageRouter, Supervisor
from actorstream.testing import settle

LABELS = {
    "streams": "open streams, and read an item of each",
    "actors": "register actors, and ask each",
    "asks": "asks at once, all answered",
    "given-up": "asks in one mailbox, all given up",
    "subscribers": "publish a value, and read it",
    "restart": "one_for_all, a restart of all children",
}
#: More messages than any measurement sends.
ROOMY = 1_000_000


class Everything(Actor):
    """Streams, answers, or keeps an asker waiting, and has a port."""

    def __init__(self) -> None:
        self.numbers = self.create_port("numbers")

    async def stream_async(self, payload: object) -> AsyncIterator[int]:
        """Stream one item, and wait."""
        yield 1
        await anyio.sleep_forever()

    async def receive(self, message: object) -> int:
        """Answer."""
        return 1


class Holding(Actor):
    """Holds its first message for ever."""

    async def receive(self, message: object) -> None:
        """Do not answer."""
        await anyio.sleep_forever()


Measured = tuple[float, float]
"""Processor seconds of the whole, and of the longest turn of the event loop meanwhile."""


async def watch(work: Callable[[], Awaitable[object]]) -> Measured:
    """Run something without the garbage collector, which would stop the loop as well."""
    longest = 0.0

    async def take_turns() -> None:
        nonlocal longest
        last = thread_time()
        while True:
            await checkpoint()
            now = thread_time()
            longest, last = max(longest, now - last), now

    with without_collector():
        async with anyio.create_task_group() as group:
            group.start_soon(take_turns)
            await checkpoint()
            start = thread_time()
            await work()
            seconds = thread_time() - start
            group.cancel_scope.cancel()
    return seconds, longest


@contextmanager
def without_collector() -> Iterator[None]:
    """Collect now, and not inside of ``with``."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def open_streams(n: int) -> Measured:
    """Open streams one after the other; all stay open."""
    async with MessageRouter() as router:
        router.register_actor("a", Everything())
        opened = [aiter(router.stream_async("a", "count", timeout=None)) for _ in range(n)]

        async def read() -> None:
            for stream in opened:
                await anext(stream)

        measured = await watch(read)
        await router.stop_actor("a", drain=False)
    return measured


async def register_actors(n: int) -> Measured:
    """Register actors one after the other, and have each of them answer."""
    async with MessageRouter() as router:

        async def register() -> None:
            for number in range(n):
                router.register_actor(f"a{number}", Everything())
                await router.ask(f"a{number}", "x")

        return await watch(register)


async def ask_at_once(n: int) -> Measured:
    """Ask one actor from as many tasks."""
    async with MessageRouter() as router:
        router.register_actor("a", Everything(), mailbox_size=ROOMY)

        async def ask_all() -> None:
            async with anyio.create_task_group() as group:
                for number in range(n):
                    group.start_soon(partial(router.ask, "a", "x", timeout=None))
                    if number % 100 == 0:  # what starts the tasks takes turns, too
                        await checkpoint()

        return await watch(ask_all)


async def give_up(n: int) -> Measured:
    """Give up asks that wait in one mailbox, the last one first."""
    async with MessageRouter() as router:
        router.register_actor("a", Holding(), mailbox_size=ROOMY)
        scopes = [anyio.CancelScope() for _ in range(n)]

        async def ask(scope: anyio.CancelScope) -> None:
            with scope:
                await router.ask("a", "x", timeout=None)

        async def cancel_all() -> None:
            for number, scope in enumerate(reversed(scopes)):
                scope.cancel()
                if number % 100 == 0:
                    await checkpoint()
            await settle()

        async with anyio.create_task_group() as group:
            for scope in scopes:
                group.start_soon(ask, scope)
            await settle()
            measured = await watch(cancel_all)
        return measured  # noqa: RET504 - inside, pyright sees a block that may not return


async def publish(n: int) -> Measured:
    """Publish one value to as many subscribers, each of which reads it in a task of its own."""
    async with MessageRouter() as router, anyio.create_task_group() as group:
        actor = Everything()
        router.register_actor("a", actor)
        subscriptions = [router.subscribe("a", "numbers") for _ in range(n)]
        left = n
        done = anyio.Event()

        async def read(subscription: AsyncIterator[int]) -> None:
            nonlocal left
            await anext(subscription)
            left -= 1
            if not left:
                done.set()

        async def publish_one() -> None:
            await actor.numbers.publish(1)
            await done.wait()

        for subscription in subscriptions:
            group.start_soon(read, subscription)
        await settle()
        return await watch(publish_one)
    raise AssertionError("unreachable")


async def restart_all(n: int) -> Measured:
    """Let one of many children fail, whose supervisor restarts all of them."""
    specs = [ChildSpec(str(number), FragileActor) for number in range(n)]
    supervisor = Supervisor(specs, strategy="one_for_all", max_restarts=UNLIMITED)
    with quiet():
        async with MessageRouter() as router:
            router.register_actor("pool", supervisor)
            await wait_up(router)
            await router.tell("pool/0", "fail")

            async def restart() -> None:
                for number in (0, n - 1):
                    await router.ask(f"pool/{number}", "failures", timeout=None)

            return await watch(restart)


PROGRAMS: dict[str, Callable[[int], Awaitable[Measured]]] = {
    "streams": open_streams,
    "actors": register_actors,
    "asks": ask_at_once,
    "given-up": give_up,
    "subscribers": publish,
    "restart": restart_all,
}


def take(backend: Backend, settings: Settings, _: int) -> dict[str, list[float]]:
    """Run each program with each number, in one event loop."""
    return backend.run(take_round, settings)


async def take_round(settings: Settings) -> dict[str, list[float]]:
    """Return microseconds, of each and of the longest turn."""
    sample: dict[str, list[float]] = {}
    for name, run in PROGRAMS.items():
        for n in settings.scale:
            seconds, longest = await run(n)
            sample[f"scale.{name}@{n}"] = [seconds / n * 1e6]
            sample[f"scale.{name}@{n}.turn"] = [longest * 1e6]
    return sample


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return the times, and how much the time of each grows with the number."""
    figures = {key: spread(values, "us") for key, values in samples.items()}
    few, many = settings.scale[-2:]
    for name in LABELS:
        pair = samples[f"scale.{name}@{many}"], samples[f"scale.{name}@{few}"]
        figures[f"scale.{name}.growth"] = ratio(*pair)
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show the time of each, and the longest turn, for each number."""
    return [
        Row(f"{label}, {n:,}", (f"scale.{name}@{n}", f"scale.{name}@{n}.turn"))
        for name, label in LABELS.items()
        for n in settings.scale
    ]


SECTION = Section(
    name="scale",
    title="Many at once",
    note=(
        "Processor time of each, from one to 20,000 at once; in brackets the longest turn of the "
        "event loop meanwhile, in which no other task runs. A time that stays the same is a total "
        "in proportion to the number. Without the garbage collector, whose pauses grow with all "
        "objects of the program."
    ),
    take=take,
    derive=derive,
    rows=rows,
    warm_up=False,
    most_rounds=3,
)
