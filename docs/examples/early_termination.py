"""Leave a stream early in every possible way; the producer's cleanup always runs.

Run it: python early_termination.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterator

import anyio

from actorstream import Actor, MessageRouter, Stream


class Endless(Actor):
    """Counts forever."""

    async def stream_async(self, payload: str) -> AsyncIterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            print(f"  [{payload}: the producer cleans up]")


async def first_of(stream: Stream[int]) -> int:
    async with stream:
        async for number in stream.payloads():
            return number
    raise ValueError("the stream was empty")


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("endless", Endless())

        print("break, in the scoped form: the producer is gone when the block ends")
        async with router.stream_async("endless", "count", "scoped break") as stream:
            async for number in stream.payloads():
                if number == 9:
                    break
        print("  open streams:", router.statistics().active_streams)

        print("return")
        print("  got", await first_of(router.stream_async("endless", "count", "return")))

        print("an exception in the block: it leaves as it is")
        try:
            async with router.stream_async("endless", "count", "exception") as stream:
                async for number in stream.payloads():
                    print("  1 /", number, "=", 1 / number)
        except ZeroDivisionError as error:
            print("  caught:", error)

        print("cancellation from outside")
        with anyio.CancelScope() as scope:
            async with router.stream_async("endless", "count", "cancellation") as stream:
                async for number in stream.payloads():
                    if number == 500:
                        scope.cancel()
        print("  cancelled:", scope.cancelled_caught)

        print("break, in the bare form: the producer is gone a few turns of the loop later")
        async for event in router.stream_async("endless", "count", "bare break"):
            if event.payload == 9:
                break
        while router.statistics().active_streams:
            await anyio.sleep(0)
        print("  open streams:", router.statistics().active_streams)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
