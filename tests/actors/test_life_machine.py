"""A tree of actors under any mix of messages, failures, stops and exits answers every caller."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import StringIO
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, fail_after, sleep
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st

from actorstream import (
    Actor,
    ActorStreamError,
    ChildSpec,
    Message,
    MessageRouter,
    Supervisor,
)
from actorstream.testing import assert_nothing_left, settle

pytestmark = pytest.mark.slow

IDS = ("p", "s", "s/a", "s/b", "s/c", "s/n", "s/n/x", "s/n/y")
CHILDREN = IDS[2:]
OTHERS = ("reply", "wait", "stop", "stop now", "ask", "tell", "stream", "yield")


class BrokenError(Exception):
    """What the actors here raise."""


class Chaotic(Actor):
    """Does what a message says; may pause or fail at random in its hooks."""

    def __init__(self, random: Random, tick: float, calm: float) -> None:
        self.random = random
        self.tick = tick
        self.calm = calm

    async def on_start(self) -> None:
        await self.hook()

    async def on_stop(self, reason: str | BaseException) -> None:
        await self.hook()

    async def hook(self) -> None:
        chance = self.random.random()
        if chance < self.calm:
            return
        if chance < (1 + self.calm) / 2:
            await sleep(self.tick * self.random.randrange(3))
        else:
            raise BrokenError

    async def receive(self, message: Message) -> Any:
        return await self.do(message.type, message.payload)

    async def stream_async(self, payload):
        yield 1
        await self.do(*payload)
        yield 2

    async def do(self, deed: str, other: str) -> Any:
        if deed == "fail":
            raise BrokenError
        if deed == "wait":
            await sleep(self.tick)
        elif deed == "yield":
            await settle(self.random.randrange(4))
        elif deed in ("stop", "stop now"):
            await self.router.stop_actor(other, drain=deed == "stop")
        elif deed == "ask":
            return await self.ask(other, "wait", other, timeout=None)
        elif deed == "tell":
            await self.tell(other, "fail", other)
        elif deed == "stream":
            return await self.router.stream_async(other, "go", ("yield", other)).collect()
        return deed


def make_tree(random: Random, tick: float) -> tuple[Actor, Supervisor]:
    """Make an actor without a supervisor, and a supervisor that has another one below it."""
    calm = random.choice([1.0, 0.9, 0.8])

    def make() -> Actor:
        if random.random() < (1 - calm) / 2:
            raise BrokenError
        return Chaotic(random, tick, calm)

    def supervise(*children: ChildSpec) -> Supervisor:
        return Supervisor(
            children,
            strategy=random.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            max_restarts=random.choice([0, 2, 100, 100]),
            within=random.choice([1, 10]) * tick,
            backoff=random.choice([None, 0, tick, lambda attempt: attempt * tick]),
        )

    def below() -> Supervisor:
        return supervise(
            ChildSpec("x", make), ChildSpec("y", make, restart="transient", mailbox_size=2)
        )

    return Chaotic(random, tick, calm), supervise(
        ChildSpec("a", make, stop_timeout=random.choice([0, tick, None])),
        ChildSpec("b", make, restart="transient", mailbox_size=1),
        ChildSpec("n", below),
        ChildSpec("c", make, restart="temporary"),
    )


class World:
    """A router with such a tree, and the tasks around it that use it."""

    def __init__(self, seed: int, tick: float, tasks: TaskGroup) -> None:
        self.random = Random(seed)
        self.tick = tick
        self.tasks = tasks
        self.router = MessageRouter(on_failure="stop")
        for id, actor in zip(("p", "s"), make_tree(self.random, tick), strict=True):
            self.router.register_actor(id, actor)

    def spawn(self, job: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run a job in the background; it may end with any error of the library."""

        async def run() -> None:
            with suppress(ActorStreamError):
                await job(*args)

        self.tasks.start_soon(run)

    async def act(self, what: str, to: str, deed: str, other: str) -> None:
        router = self.router
        if what == "tell":
            self.spawn(router.tell, to, deed, other)
        elif what == "ask":
            self.spawn(partial(router.ask, timeout=None), to, deed, other)
        elif what == "stream":
            self.spawn(router.stream_async(to, "go", (deed, other), timeout=None).collect)
        elif what == "stop":
            self.spawn(partial(router.stop_actor, drain=deed != "stop now"), to)
        elif what == "pause":
            await sleep(self.tick * self.random.randrange(3))
        await settle(self.random.choice([0, 1, 2, 20]))


@contextmanager
def without_bugs() -> Iterator[None]:
    """Check that the log reports no bug in the library."""
    said = StringIO()
    handler = logging.StreamHandler(said)
    logger = logging.getLogger("actorstream")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert "bug in actorstream" not in said.getvalue()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["tell", "tell", "ask", "stream", "stop", "pause", "pause"]),
        st.sampled_from(CHILDREN) | st.sampled_from(IDS),
        st.just("fail") | st.sampled_from(OTHERS),
        st.sampled_from(IDS),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32),
    actions=ACTIONS,
    way_out=st.sampled_from(["leave", "raise", "cancel", "stop"]),
)
async def test_no_caller_is_left_waiting(unit, seed, actions, way_out):
    """Whatever happens to a tree of actors, every caller gets an answer, and nothing is left."""
    with without_bugs(), fail_after(200 * unit):
        async with create_task_group() as tasks:
            world = World(seed, unit / 50, tasks)
            with CancelScope() as scope:
                try:
                    async with world.router:
                        await settle(world.random.choice([0, 3, 50]))
                        for action in actions:
                            await world.act(*action)
                        if way_out == "stop":
                            for id in world.router.list_actors():
                                world.spawn(world.router.stop_actor, id)
                            await settle(10)
                        elif way_out == "cancel":
                            scope.cancel()
                            await sleep(0)
                        elif way_out == "raise":
                            raise BrokenError
                except BrokenError:
                    assert way_out == "raise"
    assert_nothing_left(world.router)
    assert world.router.list_actors() == []
