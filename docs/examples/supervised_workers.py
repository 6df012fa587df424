"""A pool of workers counts words; one worker fails on bad input and is restarted.

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
    """Counts words, and the texts that it has processed."""

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

        async with anyio.create_task_group() as tasks:  # concurrently, two texts per worker
            for number, text in enumerate(TEXTS):
                tasks.start_soon(count, WORKERS[number % len(WORKERS)], text)
        print("words:", sum(counts.values()))

        # An error in an ask goes to the asker; the worker keeps running.
        try:
            await router.ask("workers/b", "count", None)
        except ActorError as error:
            print("the ask failed:", error)

        # An error in a tell fails the worker, and the supervisor restarts it.
        await router.tell("workers/b", "count", None)
        print("words:", await router.ask("workers/b", "count", "back again"))
        print(router.tree())


if __name__ == "__main__":
    logging.getLogger("actorstream").setLevel(logging.ERROR)  # a restart logs a warning
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
