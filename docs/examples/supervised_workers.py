"""A pool of workers that count words; one fails at a bad text, and is restarted.

Run it: python supervised_workers.py [asyncio|trio]
"""

import logging
import sys

import anyio

from actorstream import Actor, ActorError, ChildSpec, MessageRouter, Supervisor, handles

WORKERS = ("a", "b", "c")
TEXTS = [
    "the quick brown fox",
    "jumps over",
    "the lazy dog",
    "while the cat",
    "sleeps all day",
    "under the old tree",
]


class Worker(Actor):
    """Counts words, and how many texts it has seen."""

    def __init__(self) -> None:
        self.texts = 0

    async def on_start(self) -> None:
        print(self.address.id, "starts")

    async def on_stop(self, reason: str | BaseException) -> None:
        print(f"{self.address.id} stops after {self.texts} texts: {reason!r}")

    @handles("count")
    async def count(self, payload: str) -> int:
        await anyio.sleep(0.001)  # hard work
        words = len(payload.split())
        self.texts += 1
        return words


async def main() -> None:
    async with MessageRouter() as router:
        router.register_actor("workers", Supervisor([ChildSpec(name, Worker) for name in WORKERS]))

        counts: dict[str, int] = {}

        async def count(worker: str, text: str) -> None:
            counts[text] = await router.ask(f"workers/{worker}", "count", text)

        async with anyio.create_task_group() as tasks:  # all at once, two for each worker
            for number, text in enumerate(TEXTS):
                tasks.start_soon(count, WORKERS[number % len(WORKERS)], text)
        print("words:", sum(counts.values()))

        # An ask that fails is the asker's to handle; the worker lives on.
        try:
            await router.ask("workers/b", "count", None)
        except ActorError as error:
            print("the ask failed:", error)

        # After a tell nobody waits, so the worker itself has failed, and a fresh one comes.
        await router.tell("workers/b", "count", None)
        print("words:", await router.ask("workers/b", "count", "back again"))
        print(router.tree())


if __name__ == "__main__":
    logging.getLogger("actorstream").setLevel(logging.ERROR)  # a restart is a warning
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
