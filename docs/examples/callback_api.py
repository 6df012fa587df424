"""The callback API: combine callback-style and streaming-style actors and callers.

Run it: python callback_api.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

from actorstream import Actor, MessageRouter, StreamError


class Older(Actor):
    """Streams by calling back."""

    async def stream(self, payload: int, on_chunk: Callable[[int], Awaitable[None]]) -> None:
        for number in range(payload):
            await on_chunk(number)  # waits while the buffer is full


class Newer(Actor):
    """Streams by yielding."""

    async def stream_async(self, payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("older", Older())
        router.register_actor("newer", Newer())

        for actor in ("older", "newer"):
            chunks: list[int] = []
            await router.stream_ask(actor, "count", 3, on_chunk=chunks.append)
            print(f"{actor} actor, older caller: {chunks}")

            items = [item async for item in router.stream_async(actor, "count", 3).payloads()]
            print(f"{actor} actor, newer caller: {items}")

        async def slow(chunk: int) -> None:
            await anyio.sleep(0.001)  # while this waits, the actor waits, too
            if chunk == 2:
                raise ValueError("two is enough")

        try:
            await router.stream_ask("older", "count", 1_000_000, on_chunk=slow, buffer_size=1)
        except ValueError as error:
            print("what on_chunk raises stops the stream:", error)

        try:
            await router.stream_ask("older", "count", "three", on_chunk=print)
        except StreamError as error:
            print("what the actor raises arrives as StreamError:", error.__cause__)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
