"""The first scene: streams. Each part is a sample: an actor, a consumer, the measurements."""

import math
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from time import perf_counter

import anyio
import anyio.lowlevel
import attrs

from actorstream import (
    AbortController,
    Actor,
    MessageRouter,
    Stream,
    StreamAbortedError,
    StreamTimeoutError,
)
from actorstream._demo.report import Facts, duration, quoted, rate
from actorstream._demo.text import Text

_WORDS_BEFORE_ABORT = 12
_SMALL_BUFFER = 10
_SLOW_READS = 100
_SLOW_READ = 0.002
_ENOUGH_ITEMS = 10
_TIMEOUT = 0.2
_PAUSE = 0.03


class SessionActor(Actor):
    """Streams the lines that contain the query, ignoring case."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines

    async def stream_async(self, payload: dict[str, str]) -> AsyncIterator[str]:
        query = payload["query"].casefold()
        for number, line in enumerate(self.lines):
            if query in line.casefold():
                yield line
            elif number % 1000 == 0:
                # A long search that finds little never waits at a `yield`: let other tasks run.
                await anyio.lowlevel.checkpoint()


class EndlessActor(Actor):
    """Streams the same items over and over, as fast as it can, until it is stopped.

    Attributes:
        produced: How many items it has made.
        stopped_at: When its `finally` ran, by `time.perf_counter()`; NaN before that.
    """

    def __init__(self, items: Sequence[str]) -> None:
        self.items = items
        self.produced = 0
        self.stopped_at = math.nan

    async def stream_async(self, payload: object) -> AsyncIterator[str]:
        try:
            for item in cycle(self.items):
                self.produced += 1
                yield item
        finally:
            self.stopped_at = perf_counter()


@attrs.define
class Lead:
    """How far a producer is ahead of its consumer, as both count it."""

    produced: int = 0
    consumed: int = 0
    peak: int = 0

    def count_produced(self) -> None:
        """Count an item that the producer is about to yield."""
        self.produced += 1
        self.peak = max(self.peak, self.produced - self.consumed)

    def count_consumed(self) -> None:
        """Count an item that the consumer has received."""
        self.consumed += 1


class CountingActor(Actor):
    """Streams items over and over, and counts each one before it yields it."""

    def __init__(self, items: Sequence[str], lead: Lead) -> None:
        self.items = items
        self.lead = lead

    async def stream_async(self, payload: object) -> AsyncIterator[str]:
        for item in cycle(self.items):
            self.lead.count_produced()
            yield item


class PausingActor(Actor):
    """Streams items over and over, with a pause after each."""

    def __init__(self, items: Sequence[str]) -> None:
        self.items = items

    async def stream_async(self, payload: object) -> AsyncIterator[str]:
        for item in cycle(self.items):
            yield item
            await anyio.sleep(_PAUSE)


async def query_session(text: Text, query: str) -> Facts:
    """Read a session filtered by a query, event by event, to its end."""
    router = MessageRouter()
    session = router.register_actor("session", SessionActor(text.lines))
    found: list[str] = []
    started = perf_counter()
    async with router:
        async for event in router.stream_async(session, "query", {"query": query}):
            if event.type == "data":
                found.append(str(event.payload))
            elif event.type == "error":
                raise RuntimeError(event.error)
    seconds = perf_counter() - started
    return _describe_search(text, query, found, seconds)


def _describe_search(text: Text, query: str, found: Sequence[str], seconds: float) -> Facts:
    facts = {"query": quoted(query), "found": f"{len(found):,} of {len(text.lines):,} lines"}
    if found:
        facts["first"] = quoted(found[0])
    searched = rate(len(text.lines), "lines", seconds)
    received = rate(len(found), "lines", seconds)
    return facts | {
        "time": duration(seconds),
        "speed": f"{searched} searched, {received} received",
    }


async def abort_words(text: Text, query: str) -> Facts:
    """Read word by word, like the output of a language model, and abort after enough words."""
    actor = EndlessActor(text.words)
    router = MessageRouter()
    writer = router.register_actor("writer", actor)
    controller = AbortController()
    words: list[str] = []
    reason, aborted_at = "none: the stream was read to its end", math.nan
    async with router, router.stream_async(writer, "write", signal=controller.signal) as stream:
        try:
            async for word in stream.payloads():
                words.append(word)
                if len(words) == _WORDS_BEFORE_ABORT:
                    aborted_at = perf_counter()
                    controller.abort(reason="the reader has seen enough")
        except StreamAbortedError as error:
            reason = str(error.reason)
    return {
        "words": quoted(" ".join(words)),
        "reason": reason,
        "received": f"{len(words):,} words",
        "produced": f"{actor.produced:,} words when the actor's finally ran",
        "time": f"{duration(actor.stopped_at - aborted_at)} from the abort to the actor's finally",
    }


async def outrun_consumer(text: Text, query: str) -> Facts:
    """Let a slow consumer read from a fast producer; measure how far ahead the producer gets."""
    lead = Lead()
    router = MessageRouter()
    source = router.register_actor("source", CountingActor(text.words, lead))
    started = perf_counter()
    async with router, router.stream_async(source, "read", buffer_size=_SMALL_BUFFER) as stream:
        async for _ in stream.payloads():
            lead.count_consumed()
            if lead.consumed == _SLOW_READS:
                break
            await anyio.sleep(_SLOW_READ)
    seconds = perf_counter() - started
    return {
        "consumer": f"{lead.consumed:,} items, with {duration(_SLOW_READ)} of work after each",
        "producer": f"{lead.produced:,} items, as fast as backpressure allowed",
        "ahead": f"{lead.peak:,} items at the peak, of at most {_SMALL_BUFFER + 1:,}"
        f" (buffer_size {_SMALL_BUFFER:,} and one in hand)",
        "time": f"{duration(seconds)}, {rate(lead.consumed, 'items', seconds)}",
    }


async def stop_after_ten(text: Text, query: str) -> Facts:
    """Leave the loop with `break`, and check that nothing is left of the stream."""
    actor = EndlessActor(text.lines)
    received, left_at = 0, math.nan
    async with MessageRouter() as router:
        dataset = router.register_actor("dataset", actor)
        async with router.stream_async(dataset, "read") as stream:
            async for _ in stream.payloads():
                received += 1
                if received == _ENOUGH_ITEMS:
                    left_at = perf_counter()
                    break
        active_streams = router.statistics().active_streams
    return {
        "received": f"{received:,} items, then break",
        "produced": f"{actor.produced:,} items of an endless source",
        "finally": f"ran {duration(actor.stopped_at - left_at)} after the break",
        "left": f"{active_streams:,} active streams in the router",
    }


async def run_out_of_time(text: Text, query: str) -> Facts:
    """Set a timeout of a fifth of a second on the stream of an actor that pauses."""
    router = MessageRouter()
    source = router.register_actor("source", PausingActor(text.words))
    received, outcome = 0, "none: the stream was read to its end"
    started = perf_counter()
    async with router:
        stream: Stream[str] = router.stream_async(source, "read", timeout=_TIMEOUT)
        try:
            async for _ in stream.payloads():
                received += 1
        except StreamTimeoutError as error:
            outcome = f"{type(error).__name__}, kind {error.kind!r}"
    seconds = perf_counter() - started
    return {
        "timeout": f"{duration(_TIMEOUT)} for the whole stream",
        "outcome": f"{outcome}, after {duration(seconds)}",
        "received": f"{received:,} items before it, with {duration(_PAUSE)} between two",
    }
