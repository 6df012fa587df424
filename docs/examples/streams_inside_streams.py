"""An actor that streams through other actors: it forwards, merges and stops their streams.

Run it: python streams_inside_streams.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterator

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from actorstream import Actor, MessageRouter, current_message


class Shelf(Actor):
    """Streams the titles on one shelf."""

    def __init__(self, titles: list[str]) -> None:
        self.titles = titles
        self.served: list[str] = []

    async def stream_async(self, payload: str) -> AsyncIterator[str]:
        try:
            for title in self.titles:
                yield title
        finally:
            self.served.append(f"{self.address} served {current_message().sender}")


class Library(Actor):
    """Streams the matching titles of all shelves, one shelf after another."""

    async def stream_async(self, payload: str) -> AsyncIterator[str]:
        for shelf in ("shelves/a", "shelves/b"):
            async with self.router.stream_async(shelf, "list", payload) as titles:
                async for title in titles.payloads():
                    if payload in title:
                        yield title


class Everywhere(Actor):
    """Streams the titles of all shelves concurrently, in order of arrival."""

    async def stream_async(self, payload: str) -> AsyncIterator[str]:
        send, receive = anyio.create_memory_object_stream[str](10)

        async def read(shelf: str, send: MemoryObjectSendStream[str]) -> None:
            async with send, self.router.stream_async(shelf, "list") as titles:
                async for title in titles.payloads():
                    await send.send(title)

        # In an actor, a task group may stay open across `yield`.
        async with receive, anyio.create_task_group() as tasks:
            async with send:
                for shelf in ("shelves/a", "shelves/b"):
                    tasks.start_soon(read, shelf, send.clone())
            async for title in receive:
                yield title


async def main() -> None:
    async with MessageRouter() as router:
        shelf_a = Shelf(["red book", "blue book", "red pen"])
        shelf_b = Shelf(["green book", "red book, part two"])
        router.register_actor("shelves/a", shelf_a)
        router.register_actor("shelves/b", shelf_b)
        router.register_actor("library", Library())
        router.register_actor("everywhere", Everywhere())

        print("one after the other")
        async for title in router.stream_async("library", "search", "red").payloads():
            print(" ", title)

        print("stopped at the first: the inner stream is stopped with the outer one")
        async with router.stream_async("library", "search", "red", buffer_size=1) as stream:
            async for title in stream.payloads():
                print(" ", title)
                break
        print("  open streams:", router.statistics().active_streams)
        print(" ", shelf_a.served[-1])

        print("all at once")
        titles = await router.stream_async("everywhere", "list").collect()
        print(" ", len(titles), "titles:", ", ".join(sorted(titles)))


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
