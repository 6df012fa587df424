"""A program that uses most of the library, and gets a Ctrl-C at one line after the other.

Each line of the library gets a process of its own (a fork), in which a trace function raises a
real SIGINT when that line is reached. Run it as ``interrupted.py BACKEND STRIDE [FIRST]``: it takes
every STRIDE-th line, and prints those after which the program did not end.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

import anyio

import actorstream
from actorstream import Actor, ChildSpec, Message, MessageRouter, Supervisor

PACKAGE = os.path.dirname(actorstream.__file__) + os.sep
SECONDS = 15.0

Line = tuple[str, int]


class Source(Actor):
    async def stream_async(self, payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number


class Helper(Actor):
    def stream_async(self, payload: list[int]) -> Any:
        return self.create_async_stream(payload)


class Blocking(Actor):
    def stream_async(self, payload: list[int]) -> Any:
        return self.create_thread_stream(payload)


class Worker(Actor):
    async def on_start(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def receive(self, message: Message) -> object:
        if message.type == "fail":
            raise ValueError
        if message.type == "wait":
            await anyio.sleep(10)
        return message.payload

    async def on_stop(self, reason: object) -> None:
        await anyio.lowlevel.checkpoint()


class Publisher(Actor):
    def __init__(self) -> None:
        self.news = self.create_port("news", buffer_size=1)

    async def receive(self, message: Message) -> None:
        for number in range(3):
            await self.news.publish(number)


async def listen(router: MessageRouter) -> None:
    async for value in router.subscribe("publisher", "news"):
        if value == 2:
            break


async def stream(router: MessageRouter) -> None:
    for actor in (Source(), Helper(), Blocking()):
        router.register_actor(type(actor).__name__, actor)
    await router.stream_async("Source", "", 250).collect()
    async for _ in router.stream_async("Source", "", 250):
        break
    async with router.stream_async("Source", "", 50, buffer_size=5, idle_timeout=5) as events:
        await anext(aiter(events))
    for name in ("Helper", "Blocking"):
        await router.stream_async(name, "", [1, 2, 3]).collect()


async def ask(router: MessageRouter) -> None:
    pool = Supervisor([ChildSpec("a", Worker), ChildSpec("b", Worker)], backoff=0.001)
    router.register_actor("pool", pool)
    await router.ask("pool/a", "", 1)
    await router.tell("pool/a", "fail")
    await router.ask("pool/a", "", 1)
    with anyio.move_on_after(0.005):
        await router.ask("pool/b", "wait")
    await router.stop_actor("pool")


async def publish(router: MessageRouter) -> None:
    router.register_actor("publisher", Publisher())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen, router)
        await anyio.lowlevel.checkpoint()
        await router.ask("publisher", "")
        tasks.cancel_scope.cancel()


async def program() -> None:
    async with MessageRouter(on_failure="stop") as router:
        for part in (stream, ask, publish):
            await part(router)


def run(backend: str, line: Line | None) -> list[Line]:
    """Run the program, with a Ctrl-C at a line; return the lines that were reached."""
    reached: dict[Line, None] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        here = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and line is None:
            reached[here] = None
        elif event == "line" and here == line:
            sys.settrace(None)
            signal.raise_signal(signal.SIGINT)
        return trace if here[0].startswith(PACKAGE) else None

    sys.settrace(trace)
    try:
        anyio.run(program, backend=backend)
    finally:
        sys.settrace(None)
    return list(reached)


def ends(backend: str, line: Line) -> bool:
    """Run the program in a process of its own, and return whether it ends."""
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            os.dup2(null, output)
        try:
            run(backend, line)
        finally:
            os._exit(0)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def stuck(backend: str, stride: int, first: int) -> Iterator[Line]:
    lines = sorted(run(backend, None))
    for line in lines[first::stride]:
        if not ends(backend, line):
            yield line


if __name__ == "__main__":
    found = False
    for path, number in stuck(sys.argv[1], int(sys.argv[2]), int(*sys.argv[3:] or ["0"])):
        print(f"{path}:{number}", flush=True)
        found = True
    print("some did not end" if found else "all ended")
