"""The second scene: a supervised pool of workers counts words, and one of them fails on the way.

``WordCounter`` cuts the words into pieces and asks the workers to count them. Each worker is a
child of a supervisor, which restarts the one that fails. Nothing is lost: the mailbox stays, and
the restarted worker handles the messages that are queued in it.
"""

import logging
import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import anyio
import anyio.lowlevel
import attrs

from actorstream import Actor, ChildSpec, MessageRouter, Subscription, Supervisor, handles
from actorstream._demo.report import Facts, duration, quoted, rate
from actorstream._demo.text import Text

_WORKERS = ("a", "b", "c", "d")
_ASKS_AT_ONCE = 2  # of each worker: it counts one piece, and the next one waits in its mailbox
_MOST_PIECES = 60


class BrokenDownError(Exception):
    """A worker cannot go on."""


class Worker(Actor):
    """Counts the words of one piece at a time."""

    @handles("count")
    async def count(self, payload: Sequence[str]) -> Counter[str]:
        counts = Counter(payload)
        await anyio.lowlevel.checkpoint()  # counting never waits: let other tasks run
        return counts

    @handles("break down")
    def break_down(self, payload: object) -> None:
        raise BrokenDownError("out of order")


@attrs.frozen
class Progress:
    """How many pieces have been counted, and how many there are."""

    done: int
    pieces: int


class WordCounter(Actor):
    """Has workers count words, and publishes their progress at its port `progress`.

    Halfway it breaks one of them. It *tells* the worker: no asker waits for an answer, so the
    exception fails the worker, and its supervisor restarts it. After an ask the exception would go
    to the asker, and the worker would go on.
    """

    def __init__(self, workers: Sequence[str]) -> None:
        self.workers = workers
        self.progress = self.create_port("progress")
        self.pieces: list[Sequence[str]] = []
        self.done = 0
        self.total = Counter[str]()

    @handles("count")
    async def count(self, payload: Sequence[str]) -> Counter[str]:
        size = math.ceil(len(payload) / _MOST_PIECES)
        self.pieces = [payload[i : i + size] for i in range(0, len(payload), size)]
        numbered = enumerate(self.pieces)
        async with anyio.create_task_group() as tasks:
            for worker in [*self.workers] * _ASKS_AT_ONCE:
                tasks.start_soon(self.have_counted, worker, numbered)
        self.progress.close()
        return self.total

    async def have_counted(
        self, worker: str, numbered: Iterator[tuple[int, Sequence[str]]]
    ) -> None:
        """Let a worker count one piece after the other, until none is left."""
        for number, piece in numbered:
            if number == len(self.pieces) // 2:
                await self.tell(worker, "break down")
            self.total.update(await self.ask(worker, "count", piece))
            self.done += 1
            await self.progress.publish(Progress(self.done, len(self.pieces)))


class Watcher:
    """Reads the progress, and keeps the router's tree from just after the first restart."""

    def __init__(self, router: MessageRouter) -> None:
        self.router = router
        self.reports: list[Progress] = []
        self.tree = ""
        self.tree_at = 0

    async def watch(self, progress: Subscription[Progress]) -> None:
        async for report in progress:
            self.reports.append(report)
            if not self.tree and self.router.statistics().restarts:
                self.tree, self.tree_at = str(self.router.tree()), report.done


async def count_words(text: Text, query: str) -> Facts:
    """Count every word with a pool of four, and compare with a plain count."""
    pool = Supervisor([ChildSpec(name, Worker) for name in _WORKERS], strategy="one_for_one")
    counter = WordCounter([f"pool/{name}" for name in _WORKERS])
    router = MessageRouter()
    watcher = Watcher(router)
    counted = Counter[str]()
    started = perf_counter()
    with kept_log() as log:
        async with router, anyio.create_task_group() as tasks:
            router.register_actor("pool", pool)
            router.register_actor("counter", counter)
            tasks.start_soon(watcher.watch, router.subscribe("counter", "progress"))
            counted = await router.ask("counter", "count", text.words)
    seconds, restarts = perf_counter() - started, router.statistics().restarts
    if counted != Counter(text.words):
        raise RuntimeError("the pool has lost or invented words")
    return _describe_count(text, counted, watcher) | {
        "failure": "; ".join(log),
        "restarts": f"{restarts:,} worker, whose mailbox stayed: no piece was asked for twice",
        "time": f"{duration(seconds)}, {rate(len(text.words), 'words', seconds)}",
        "tree": f"when {watcher.tree_at:,} pieces had been counted:\n{watcher.tree}",
    }


def _describe_count(text: Text, counted: Counter[str], watcher: Watcher) -> Facts:
    ranked = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))
    common = ", ".join(f"{quoted(word)} {times:,} times" for word, times in ranked[:3])
    last = watcher.reports[-1]
    return {
        "counted": f"{counted.total():,} words, {len(counted):,} different ones",
        "commonest": common,
        "check": f"equal to collections.Counter over the same {len(text.words):,} words",
        "progress": f"{len(watcher.reports):,} reports, the last one:"
        f" {last.done:,} of {last.pieces:,} pieces",
    }


@contextmanager
def kept_log() -> Generator[list[str]]:
    """Keep what the library logs, one line for each record, and hide it from other handlers.

    Otherwise, unless `logging` is configured, a restart and its traceback appear on stderr: a
    failure is never silent.
    """
    logger, handler = logging.getLogger("actorstream"), _ListHandler()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated


class _ListHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.lines.append(f"{record.getMessage()}; {error!r}" if error else record.getMessage())
