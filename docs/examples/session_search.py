"""Search the messages of a session: the actor filters, the consumer reads events.

Run it: python session_search.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterator

import anyio

from actorstream import Actor, MessageRouter, address

MESSAGES = [
    "user: how do I open a file?",
    "model: call open() in a with block",
    "user: and how do I close the file?",
    "model: the with block does that for you",
    "user: thanks",
]


class Session(Actor):
    """Holds the messages of one conversation."""

    def __init__(self, messages: list[str]) -> None:
        self.messages = messages

    async def stream_async(self, payload: dict[str, str]) -> AsyncIterator[str]:
        for message in self.messages:
            if payload["query"] in message:
                yield message


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("sessions/42", Session(MESSAGES))

        async for event in router.stream_async(address("sessions/42"), "search", {"query": "file"}):
            if event.type == "data":
                print("found:", event.payload)
            elif event.type == "end":
                print("end of the search, from", event.sender)
            elif event.type == "error":
                print("the search failed:", event.error)

        # If you only need the items, there is less to write.
        stream = router.stream_async("sessions/42", "search", {"query": "model:"})
        print("the model spoke", len(await stream.collect()), "times")


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
