"""Starting tasks: nothing stays registered whose task does not run, whatever interrupts it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from actorstream import (
    Actor,
    ActorNotFoundError,
    ActorStoppedError,
    ChildSpec,
    MessageRouter,
    RouterClosedError,
    StreamError,
    Supervisor,
)
from actorstream._loop import runtime
from actorstream.testing import assert_nothing_left, settle
from tests.support import CountTo, HelperActor, serving

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@contextmanager
def next_task_cancelled() -> Iterator[None]:
    """Cancel the next task that is started, before its first step, as asyncio itself can."""
    loop = asyncio.get_running_loop()

    def start(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        loop.set_task_factory(None)
        task = asyncio.Task(coroutine, loop=loop, **options)
        task.cancel()
        return task

    loop.set_task_factory(start)
    yield
    loop.set_task_factory(None)


# AnyIO's task group ends when asyncio cancels one of its tasks before the first step, and so does
# the router. What counts here is that it does end, and that nothing is left.


@on_asyncio
async def test_producer_cancelled_before_its_first_step():
    """Its stream ends, and the task that leaves it does not wait for ever."""
    async with serving(CountTo()) as router:
        await settle()
        with next_task_cancelled():
            async with router.stream_async("a", "query") as stream:
                with pytest.raises(ActorStoppedError):
                    await anext(aiter(stream))


@on_asyncio
async def test_actor_cancelled_before_its_first_step():
    """It is stopped, and its asker gets an error."""
    errors: list[Exception] = []

    async def ask(router: MessageRouter) -> None:
        try:
            await router.ask("a", "query")
        except (ActorNotFoundError, ActorStoppedError) as exc:
            errors.append(exc)

    async with anyio.create_task_group() as tasks, MessageRouter() as router:
        with next_task_cancelled():
            router.register_actor("a", CountTo())
        tasks.start_soon(ask, router)
        await anyio.sleep_forever()
    assert len(errors) == 1
    assert_nothing_left(router)


@on_asyncio
async def test_child_cancelled_before_its_first_step():
    """It is stopped, and its supervisor does not wait for its start."""

    def make() -> Actor:
        stack.enter_context(next_task_cancelled())
        return CountTo()

    with ExitStack() as stack:
        specs = [ChildSpec("a", make), ChildSpec("b", CountTo)]
        async with serving(Supervisor(specs)):
            await anyio.sleep_forever()


@on_asyncio
@pytest.mark.real_clock
async def test_worker_thread_cancelled_before_its_first_step():
    """The stream that wants it ends."""

    def read(actor: HelperActor) -> Any:
        stack.enter_context(next_task_cancelled())
        return actor.create_thread_stream(range(3))

    with ExitStack() as stack:
        async with serving(HelperActor(read)) as router:
            with suppress(RouterClosedError, StreamError):
                await router.stream_async("a", "query").collect()


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, RecursionError])
async def test_task_that_cannot_be_started(router, monkeypatch, error):
    """An error where a task is started leaves no stream and no actor."""
    router.register_actor("a", CountTo())
    await settle()

    def fail(*args: object, **options: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(type(router._runtime._tasks), "start_soon", fail)
        with pytest.raises(error):
            await anext(aiter(router.stream_async("a", "query")))
        with pytest.raises(error):
            router.register_actor("b", CountTo())
    assert router.statistics().active_streams == 0
    assert router.list_actors() == ["a"]
    router.register_actor("b", CountTo())
    assert await router.stream_async("b", "query", 1).collect() == [0]


def at_depth(left: int, function: Callable[[], object]) -> object:
    """Call a function with this number of unused frames on the stack."""
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1  # type: ignore[assignment]

    return _descend(sys.getrecursionlimit() - used - left - 1, function)


def _descend(number: int, function: Callable[[], object]) -> object:
    return function() if number == 0 else _descend(number - 1, function)


def pull(reader: Any) -> None:
    step = reader.__anext__()
    try:
        step.send(None)
    finally:
        step.close()


async def test_full_stack(router):
    """Without room on the stack, neither an actor nor a stream starts; there is nothing between."""
    router.register_actor("a", CountTo(), stop_timeout=0.2)
    await settle()
    for left in range(70, 3, -1):
        reader = aiter(router.stream_async("a", "query"))
        with suppress(RecursionError):
            at_depth(left, partial(pull, reader))
        reader = None
        with suppress(RecursionError):
            at_depth(left, lambda: router.register_actor("b", CountTo()))
        await settle(20)
        assert router.statistics().active_streams == 0
        if "b" in router.list_actors():
            assert await router.stream_async("b", "query", 1).collect() == [0]
            await router.stop_actor("b")
        else:
            assert left < 70


def test_check_room():
    """The check fails before the stack is full."""
    runtime.check_room()
    with pytest.raises(RecursionError):
        at_depth(30, runtime.check_room)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_at_any_line(backend):
    """Ctrl-C at a line of the library ends the program, whatever line it is."""
    script = Path(__file__).with_name("interrupted.py")
    stride = "29"  # a sample of the lines
    done = subprocess.run(
        [sys.executable, str(script), backend, stride], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines()[-1:] == ["all ended"], done.stdout + done.stderr
