"""The logs: an id that comes from outside, such as a user's name, never forges a line in them."""

import ast
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import actorstream
from actorstream import (
    Actor,
    ActorStreamError,
    ChildSpec,
    MessageRouter,
    Supervisor,
    UnhandledMessageError,
    handles,
)
from actorstream.testing import settle

PACKAGE = Path(actorstream.__file__).parent
OF_A_SOURCE = (
    "%s, left half-read, failed to close",
    "%s failed for a callback stream",
    "%s was not awaited: its callback stream",
)
ID = "a\n12:00 ERROR everything is lost"


class Fragile(Actor):
    """Fails wherever it is told to."""

    def __init__(self, *where: str) -> None:
        self.where = where

    async def on_stop(self, reason: str | BaseException) -> None:
        self._fail("on_stop")
        if "stop slowly" in self.where:
            await anyio.sleep_forever()

    @handles("fail")
    async def fail(self, payload: object) -> None:
        raise OSError("failed")

    @handles("refuse")
    async def refuse(self, payload: object) -> None:
        raise UnhandledMessageError(f"{ID} refuses")

    @handles("work")
    async def work(self, payload: object) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._fail("work")

    async def stream_async(self, payload: object) -> Any:
        try:
            yield 1
            self._fail("stream")
            await anyio.sleep_forever()
        finally:
            if "clean up slowly" in self.where:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.1)
            self._fail("clean-up")

    def _fail(self, where: str) -> None:
        if where in self.where:
            raise OSError(f"failed in {where}")


async def fail_and_be_stopped(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("on_stop"))
    await router.tell(ID, "fail")
    await router.wait_stopped(ID)


async def stop_too_slowly(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("stop slowly", "clean up slowly"), stop_timeout=0.01)
    stream = aiter(router.stream_async(ID, "count"))
    await anext(stream)
    await router.stop_actor(ID)


async def leave_a_scope_open(router: MessageRouter) -> None:
    class Forgetful(Actor):
        async def on_start(self) -> None:
            anyio.CancelScope().__enter__()

    router.register_actor(ID, Forgetful())
    await settle()
    await router.stop_actor(ID)


async def drain_too_slowly(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile(), stop_timeout=0.01)
    await router.tell(ID, "work")
    await router.stop_actor(ID)


async def fail_when_the_asker_has_gone(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("work"))
    with anyio.move_on_after(0.01):
        await router.ask(ID, "work")
    await settle()


async def lose_messages(router: MessageRouter) -> None:
    for _ in range(3):
        await router.tell(ID, "nobody")
    await anyio.sleep(1.1)
    router.register_actor(ID, Fragile())
    await router.tell(ID, "refuse")
    for _ in range(3):
        await router.tell(ID, "work")
    await settle()
    await router.stop_actor(ID, drain=False)


async def fail_in_clean_ups(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("clean-up"))
    async for _ in router.stream_async(ID, "count"):
        break
    await settle(20)
    with suppress(KeyError):
        async with router.stream_async(ID, "count") as stream:
            await anext(aiter(stream))
            raise KeyError


async def fail_unseen(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("stream"))
    async with router.stream_async(ID, "count") as stream:
        await settle()
        stream.cancel()


async def swallow_cancellations(router: MessageRouter) -> None:
    class Stubborn(Actor):
        async def stream_async(self, payload: object) -> Any:
            for number in range(12):
                with suppress(BaseException):
                    yield number

    router.register_actor(ID, Stubborn())
    async with router.stream_async(ID, "count", buffer_size=1) as stream:
        await anext(aiter(stream))


async def restart(router: MessageRouter) -> None:
    made: list[Actor] = []

    def make() -> Actor:
        made.append(Fragile())
        if len(made) == 2:
            raise OSError("cannot be made")
        return made[-1]

    router.register_actor(ID, Supervisor([ChildSpec(ID, make)]))
    await router.tell(f"{ID}/{ID}", "fail")
    with suppress(ActorStreamError):
        await router.ask(f"{ID}/{ID}", "nothing")


SCENES = [
    fail_and_be_stopped,
    stop_too_slowly,
    leave_a_scope_open,
    drain_too_slowly,
    fail_when_the_asker_has_gone,
    lose_messages,
    fail_in_clean_ups,
    fail_unseen,
    swallow_cancellations,
    restart,
]


async def play(
    scenes: Iterable[Callable[[MessageRouter], Awaitable[None]]], caplog: pytest.LogCaptureFixture
) -> list[logging.LogRecord]:
    caplog.set_level(logging.DEBUG, "actorstream")
    for scene in scenes:
        async with MessageRouter(on_failure="stop") as router:
            await scene(router)
    return caplog.records


@pytest.mark.parametrize("scene", SCENES)
async def test_a_line_break_in_an_id_makes_no_line_of_its_own(
    scene: Callable[[MessageRouter], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    records = await play([scene], caplog)
    assert records
    for record in records:
        assert "\n" not in record.getMessage()


def templates() -> Iterator[str]:
    """List what the package logs about actors: texts with a place for a value."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if not isinstance(text, str) or text.startswith(OF_A_SOURCE):
                continue
            if "%s" in text and "\n" not in text:
                yield text


async def test_all_log_lines_about_actors_are_in_these_tests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = {record.msg for record in await play(SCENES, caplog)}
    assert set(templates()) - seen == set()


async def test_a_line_break_in_an_id_makes_no_line_in_the_tree(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile())
    assert len(str(router.tree()).splitlines()) == 1


async def cannot_find(router: MessageRouter) -> None:
    await router.ask(ID, "work")


async def cannot_find_a_port(router: MessageRouter) -> None:
    actor = Fragile()
    actor.create_port(ID)
    router.register_actor(ID, actor)
    await anext(router.subscribe(ID, "news"))


async def is_refused(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile())
    await router.ask(ID, "something else")


async def is_too_slow(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile())
    await router.ask(ID, "work", timeout=0.01)


async def fails(router: MessageRouter) -> None:
    router.register_actor(ID, Fragile("stream"))
    await router.stream_async(ID, "count").collect()


async def asks_itself(router: MessageRouter) -> None:
    class Asks(Actor):
        async def receive(self, message: object) -> None:
            await self.ask(ID, "again")

    router.register_actor(ID, Asks())
    await router.ask(ID, "begin")


@pytest.mark.parametrize(
    "act", [cannot_find, cannot_find_a_port, is_refused, is_too_slow, fails, asks_itself]
)
async def test_a_line_break_in_an_id_makes_no_line_in_an_error(
    act: Callable[[MessageRouter], Awaitable[None]], router: MessageRouter
) -> None:
    with pytest.raises(ActorStreamError) as caught:
        await act(router)
    assert "\n" not in str(caught.value)
    assert "\n" not in str(caught.value.__cause__)
