"""Stream tokens from a blocking client, and stop the stream with a button.

Run it: python token_streaming_with_abort.py [asyncio|trio]
"""

import sys
import time
from collections.abc import AsyncIterable, Iterator

import anyio

from actorstream import AbortController, Actor, MessageRouter, StreamAbortedError


def generate(prompt: str) -> Iterator[str]:
    """Stand in for a synchronous client library: each token blocks."""
    try:
        yield from prompt.split()
        while True:
            time.sleep(0.001)
            yield "and so on"
    finally:
        print("[the connection to the model is closed]")


class Model(Actor):
    """Runs the blocking client in a worker thread."""

    def stream_async(self, payload: str) -> AsyncIterable[object]:
        return self.create_thread_stream(generate(payload))


async def main() -> None:
    button = AbortController()
    async with MessageRouter() as router:
        router.register_actor("model", Model())
        shown = 0
        try:
            async with router.stream_async(
                "model", "complete", "Once upon a time", signal=button.signal
            ) as stream:
                async for token in stream.payloads():
                    print(token)
                    shown += 1
                    if shown == 6:
                        button.abort("the user pressed stop")
        except StreamAbortedError as error:
            print("stopped, because", error.reason)
        print("open streams:", router.statistics().active_streams)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
