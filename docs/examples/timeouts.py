"""Exceed each of the four timeouts of a stream once.

Run it: python timeouts.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio

from actorstream import Actor, MessageRouter, StreamTimeoutError


class Slow(Actor):
    """Waits before the first item and between items, as long as the payload says."""

    async def stream_async(self, payload: dict[str, float]) -> AsyncIterator[int]:
        await anyio.sleep(payload.get("before", 0))
        for number in range(1000):
            yield number
            await anyio.sleep(payload.get("between", 0))


async def read(router: MessageRouter, payload: dict[str, float], **options: Any) -> None:
    work = payload.pop("work", 0)
    received = 0
    try:
        async for _ in router.stream_async("slow", "count", payload, **options).payloads():
            received += 1
            await anyio.sleep(work)
    except StreamTimeoutError as error:
        print(f"{error.kind}: after {'some' if received else 'no'} items")
        print(f"  {error}")


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("slow", Slow())
        await read(router, {"between": 0.01}, timeout=0.3)
        await read(router, {"before": 60}, first_timeout=0.1)
        await read(router, {"between": 60}, first_timeout=10, idle_timeout=0.1)
        await read(router, {"work": 0.5}, buffer_size=5, stall_timeout=0.1)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
