"""Complete examples of streaming, one for each common use."""

from typing import Any

import anyio
import attrs
import pytest

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    AsyncStreamMessage,
    StreamAbortedError,
    StreamAsyncOptions,
    StreamError,
    StreamTimeoutError,
    generate_correlation_id,
    generate_message_id,
)
from actorstream.testing import settle

# Session messages, filtered


@attrs.frozen
class Note:
    """A message of a chat session."""

    author: str
    text: str


SESSION = [
    Note("ann", "hello world"),
    Note("ben", "hi ann"),
    Note("ann", "what is the world made of?"),
    Note("ben", "turtles"),
]


class SessionActor(Actor):
    """Streams the messages of a session that match a query."""

    def __init__(self, notes: list[Note]) -> None:
        self.notes = notes

    async def stream_async(self, payload):
        for note in self.notes:
            if payload.get("query", "") in note.text and payload.get("author") in (
                None,
                note.author,
            ):
                yield note


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, SESSION),
        ({"query": "world"}, [SESSION[0], SESSION[2]]),
        ({"query": "ann", "author": "ben"}, [SESSION[1]]),
        ({"query": "elephants"}, []),
    ],
)
async def test_session_with_a_filter(router, query, found):
    """A session streams the notes that match the query, in order, and then the end event."""
    router.register_actor("session-123", SessionActor(SESSION))
    got = []
    async for event in router.stream_async("session-123", "query", query):
        match event.type:
            case "data":
                got.append(event.payload)
            case "error":
                pytest.fail(str(event.error))
            case "end":
                break
    assert got == found


async def test_two_sessions_at_once(router):
    """Two sessions stream at the same time, each to its own consumer."""
    got: dict[str, list[str]] = {}

    async def read(name):
        stream = router.stream_async(name, "query", {"author": name})
        got[name] = [note.text async for note in stream.payloads()]

    for name in ("ann", "ben"):
        router.register_actor(name, SessionActor(SESSION))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, "ann")
        tasks.start_soon(read, "ben")
    assert got == {
        "ann": ["hello world", "what is the world made of?"],
        "ben": ["hi ann", "turtles"],
    }


# AI tokens, cancelled

ANSWER = ["The", "world", "stands", "on", "a", "turtle", "that", "stands", "on", "another"]


class ModelActor(Actor):
    """Streams an answer token by token, with a pause before each."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.stopped_after: int | None = None

    async def stream_async(self, payload):
        given = 0
        try:
            for token in ANSWER:
                await anyio.sleep(self.pause)
                given += 1
                yield {"token": token}
        finally:
            if given < len(ANSWER):
                self.stopped_after = given


async def test_tokens_cancelled_by_the_user(router, unit):
    """When the user aborts, the reader gets an error, and the model stops at once."""
    model, stop = ModelActor(unit), AbortController()
    words: list[str] = []

    async def read():
        async for payload in router.stream_async("m", "ask", "?", signal=stop.signal).payloads():
            words.append(payload["token"])
            if len(words) == 3:
                stop.abort("the user pressed stop")

    router.register_actor("m", model)
    with pytest.raises(StreamAbortedError, match="the user pressed stop"):
        await read()
    await settle()
    assert router.statistics().active_streams == 0
    assert words == ["The", "world", "stands"]
    assert model.stopped_after == 3


async def test_tokens_cancelled_while_the_model_thinks(router, unit):
    """An abort wakes a reader that waits for a slow model."""
    stop = AbortController()
    async with anyio.create_task_group() as tasks:
        router.register_actor("model", ModelActor(1000 * unit))
        payloads = router.stream_async("model", "ask", "?", signal=stop.signal).payloads()

        async def press_stop() -> None:
            await anyio.sleep(unit)
            stop.abort("too slow")

        tasks.start_soon(press_stop)
        with pytest.raises(StreamAbortedError) as caught:
            await anext(payloads)
    assert caught.value.reason == "too slow"


async def test_one_button_stops_every_model(router, unit):
    """One signal stops the answers of many models."""
    stop = AbortController()
    models = [ModelActor(unit) for _ in range(3)]
    aborted: list[str] = []

    async def read(name):
        with pytest.raises(StreamAbortedError):
            await router.stream_async(name, "ask", "?", signal=stop.signal).collect()
        aborted.append(name)

    async with anyio.create_task_group() as tasks:
        for number, model in enumerate(models):
            router.register_actor(f"models/{number}", model)
            tasks.start_soon(read, f"models/{number}")
        await anyio.sleep(2.5 * unit)
        stop.abort()
    assert router.statistics().active_streams == 0
    assert sorted(aborted) == ["models/0", "models/1", "models/2"]
    assert None not in [model.stopped_after for model in models]


# A large dataset, with backpressure


class DatasetActor(Actor):
    """Streams the rows of a large dataset, and records what it hears about its consumer."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.produced = 0
        self.paused: list[bool] = []

    def read_rows(self):
        for row in range(self.rows):
            self.produced += 1
            yield {"row": row}

    def stream_async(self, payload):
        return self.create_async_stream_with_backpressure(
            self.read_rows(), check_interval=100, on_backpressure=self.paused.append
        )


async def test_dataset_with_a_slow_consumer(router):
    """A slow consumer gets every row, and the producer stays within the buffer."""
    dataset = DatasetActor(1000)
    ahead, consumed = 0, 0
    router.register_actor("dataset", dataset)
    async for row in router.stream_async("dataset", "query", buffer_size=10).payloads():
        assert row == {"row": consumed}
        await settle(3)
        consumed += 1
        ahead = max(ahead, dataset.produced - consumed)
    assert (consumed, ahead) == (1000, 10 + 1)
    assert dataset.paused == [True] * 10


async def test_dataset_with_a_fast_consumer(router):
    """A consumer with room for all rows is never reported as slow."""
    dataset = DatasetActor(1000)
    router.register_actor("dataset", dataset)
    rows = await router.stream_async("dataset", "query", buffer_size=5000).collect()
    assert len(rows) == 1000
    assert dataset.paused == [False] * 10


async def test_dataset_of_live_data(router):
    """A consumer of live data that wants only the newest rows drops the oldest."""
    dataset = DatasetActor(1000)
    router.register_actor("dataset", dataset)
    stream = router.stream_async("dataset", "watch", buffer_size=3, overflow="drop_oldest")
    async with stream:
        while dataset.produced < 1000:
            await settle()
        rows = [payload["row"] async for payload in stream.payloads()]
        assert stream.statistics().dropped == 997
    assert rows == [997, 998, 999]


# Early termination


async def test_first_ten(router):
    """A consumer that takes ten rows stops the producer early."""
    dataset = DatasetActor(100_000)
    rows = []
    router.register_actor("dataset", dataset)
    async for payload in router.stream_async("dataset", "query", buffer_size=20).payloads():
        rows.append(payload["row"])
        if len(rows) >= 10:
            break
    await settle()
    assert router.statistics().active_streams == 0
    assert rows == list(range(10))
    assert dataset.produced <= 10 + 20 + 1


async def test_first_match(router):
    """A function may return in the middle of a stream."""
    dataset = DatasetActor(100_000)

    async def find(wanted: int) -> Any:
        async with router.stream_async("dataset", "query", buffer_size=5) as stream:
            async for payload in stream.payloads():
                if payload["row"] >= wanted:
                    return payload
        return None

    router.register_actor("dataset", dataset)
    assert await find(37) == {"row": 37}
    assert router.statistics().active_streams == 0


async def test_break_and_ask_again(router):
    """An actor whose stream was left early serves the next one from the beginning."""
    router.register_actor("session", SessionActor(SESSION))
    for _ in range(3):
        async for note in router.stream_async("session", "query", {}).payloads():
            assert note == SESSION[0]
            break


# Timeouts


async def test_answer_that_takes_too_long(router, unit, virtual_time):
    """A reader with a time limit has the items that came within it."""
    model = ModelActor(unit)
    words: list[str] = []

    async def read():
        stream = router.stream_async("model", "ask", "?", timeout=4.5 * unit)
        async for event in stream:
            assert event.payload
            words.append(event.payload["token"])

    router.register_actor("model", model)
    with pytest.raises(StreamTimeoutError) as caught:
        await read()
    await settle()
    assert caught.value.kind == "total"
    assert words == ANSWER[: 4 if virtual_time else len(words)]
    assert model.stopped_after is not None


async def test_model_that_never_answers(router, unit):
    """If a model does not begin in time, the reader asks another one."""
    router.register_actor("slow", ModelActor(1000 * unit))
    router.register_actor("fast", ModelActor(0))
    with pytest.raises(StreamTimeoutError) as caught:
        await router.stream_async("slow", "ask", first_timeout=unit).collect()
    tokens = await router.stream_async("fast", "ask", first_timeout=unit).collect()
    assert caught.value.kind == "first"
    assert [token["token"] for token in tokens] == ANSWER


async def test_signal_with_a_time_limit(router, unit):
    """A signal with its own time limit ends the stream as an abort."""
    router.register_actor("model", ModelActor(unit))
    with pytest.raises(StreamAbortedError, match="timed out after"):
        await router.stream_async("model", "ask", signal=AbortSignal.timeout(2.5 * unit)).collect()


# All options together


async def test_all_options_and_a_normal_end(router, unit):
    """A stream that stays within every option ends normally."""
    stop = AbortController()
    options = StreamAsyncOptions(
        signal=AbortSignal.any([stop.signal, AbortSignal.timeout(1000 * unit)]),
        buffer_size=2,
        timeout=900 * unit,
        first_timeout=100 * unit,
        idle_timeout=100 * unit,
        stall_timeout=100 * unit,
        overflow="wait",
    )
    router.register_actor("model", ModelActor(unit / 10))
    async with router.stream_async("model", "ask", options=options) as stream:
        tokens = [token["token"] async for token in stream.payloads()]
    assert router.statistics().active_streams == 0
    assert tokens == ANSWER


@pytest.mark.parametrize(
    ("tight", "kind"),
    [("timeout", "total"), ("first_timeout", "first"), ("idle_timeout", "idle")],
)
async def test_all_options_and_one_too_tight(router, unit, tight, kind):
    """With all options set, the tightest decides how the stream ends."""
    limits = dict.fromkeys(["timeout", "first_timeout", "idle_timeout", "stall_timeout"], 60 * unit)
    limits[tight] = unit / 2

    class OneThenSilent(Actor):
        async def stream_async(self, payload):
            if tight == "first_timeout":
                await anyio.sleep_forever()
            yield 1
            await anyio.sleep_forever()

    router.register_actor("a", OneThenSilent())
    options: Any = {"signal": AbortController().signal, "buffer_size": 1, **limits}
    with pytest.raises(StreamTimeoutError) as caught:
        await router.stream_async("a", "query", **options).collect()
    assert caught.value.kind == kind


async def test_all_options_and_a_stall(router, unit):
    """With every limit set, a consumer that stops reading gets the stall error."""
    router.register_actor("dataset", DatasetActor(100))
    limits: Any = dict.fromkeys(["timeout", "first_timeout", "idle_timeout"], 60 * unit)
    stream = router.stream_async("dataset", "q", buffer_size=1, stall_timeout=unit, **limits)
    payloads = stream.payloads()
    await anext(payloads)
    await anyio.sleep(3 * unit)
    with pytest.raises(StreamTimeoutError) as caught:
        await anext(payloads)
    assert caught.value.kind == "stall"


# Streams through streams


class Shout(Actor):
    """Streams another actor's words on, louder."""

    async def stream_async(self, payload):
        async with self.router.stream_async("words", "query", payload, buffer_size=2) as words:
            async for word in words.payloads():
                yield word.upper()


class Words(Actor):
    """Streams words, and fails at the end on request."""

    def __init__(self) -> None:
        self.produced = 0

    async def stream_async(self, payload):
        for word in ["a", "b", "c", "d"] * 10:
            self.produced += 1
            yield word
        if payload.get("fail"):
            raise ValueError("no more words")


async def test_stream_through_a_stream(router):
    """An actor may stream on what another actor streams to it."""
    router.register_actor("words", Words())
    router.register_actor("shout", Shout())
    words = await router.stream_async("shout", "query", {}).collect()
    assert words == ["A", "B", "C", "D"] * 10


async def test_backpressure_through_streams(router):
    """A slow consumer slows the whole chain down."""
    source = Words()
    router.register_actor("words", source)
    router.register_actor("shout", Shout())
    stream = router.stream_async("shout", "query", {}, buffer_size=3)
    async with stream:
        await settle(50)
        assert stream.statistics().buffered == 3
        assert router.statistics().active_streams == 2
    assert router.statistics().active_streams == 0
    assert source.produced == (3 + 1) + (2 + 1)


async def test_break_through_streams(router):
    """Leaving the last stream of a chain ends every stream before it."""
    router.register_actor("words", Words())
    router.register_actor("shout", Shout())
    async for _ in router.stream_async("shout", "query", {}, buffer_size=1):
        break
    await settle(10)
    assert router.statistics().active_streams == 0


async def test_failure_through_streams(router):
    """A failure at the beginning of a chain reaches its end, with all its causes."""
    router.register_actor("words", Words())
    router.register_actor("shout", Shout())
    with pytest.raises(StreamError, match=r"@\(shout\) failed.*no more words") as caught:
        await router.stream_async("shout", "query", {"fail": True}).collect()
    inner = caught.value.__cause__
    assert isinstance(inner, StreamError)
    assert type(inner.__cause__) is ValueError


class Relay(Actor):
    """Yields the events of another actor."""

    async def stream_async(self, payload):
        async for event in self.router.stream_async("words", "query", payload):
            yield event


class Handle(Actor):
    """Returns another actor's stream as its own."""

    def stream_async(self, payload):
        return self.router.stream_async("words", "query", payload)


class Wrap(Actor):
    """Returns another actor's stream through a helper."""

    def stream_async(self, payload):
        return self.create_async_stream(self.router.stream_async("words", "query", payload))


@pytest.mark.parametrize("relay", [Relay, Handle, Wrap])
async def test_forwarded_events(router, relay):
    """An actor may forward another actor's events, including the end event."""
    router.register_actor("words", Words())
    router.register_actor("relay", relay())
    events = [event async for event in router.stream_async("relay", "query", {})]
    assert [event.payload for event in events] == ["a", "b", "c", "d"] * 10 + [None]
    assert [event.type for event in events] == ["data"] * 40 + ["end"]
    assert {event.sender for event in events} == {router.get_actor("words").address}


@pytest.mark.parametrize("relay", [Relay, Handle, Wrap])
async def test_forwarded_failure(router, relay):
    """A forwarded failure gives the items before it, its error event, then `StreamError`."""
    types: list[str] = []

    async def read(stream):
        async for event in stream:
            assert event.correlation_id
            types.append(event.type)

    router.register_actor("words", Words())
    router.register_actor("relay", relay())
    with pytest.raises(StreamError, match="no more words"):
        await read(router.stream_async("relay", "query", {"fail": True}))
    await settle()
    assert router.statistics().active_streams == 0
    assert types == ["data"] * 40 + ["error"]


@pytest.mark.parametrize("relay", [Relay, Handle, Wrap])
async def test_forwarded_stream_left_early(router, relay):
    """Leaving a forwarded stream ends both."""
    router.register_actor("words", Words())
    router.register_actor("relay", relay())
    async for _ in router.stream_async("relay", "query", {}, buffer_size=1):
        break
    await settle(10)
    assert router.statistics().active_streams == 0


# The specification's manual implementation


class ManualActor(Actor):
    """Makes every event itself, as the specification shows."""

    async def stream_async(self, payload):
        correlation_id = generate_correlation_id()
        try:
            for token in payload:
                if not token:
                    raise ValueError("an empty token")
                yield AsyncStreamMessage(
                    "data",
                    token,
                    id=generate_message_id(),
                    correlation_id=correlation_id,
                    sender=self.address,
                )
            yield AsyncStreamMessage(
                "end",
                id=generate_message_id(),
                correlation_id=correlation_id,
                sender=self.address,
            )
        except ValueError as error:
            yield AsyncStreamMessage(
                "error",
                error=str(error),
                id=generate_message_id(),
                correlation_id=correlation_id,
                sender=self.address,
            )


async def test_manual_implementation(router):
    """A stream of hand-made events ends with its own end event."""
    router.register_actor("manual", ManualActor())
    events = [event async for event in router.stream_async("manual", "query", "ab")]
    assert [event.type for event in events] == ["data", "data", "end"]
    assert len({event.correlation_id for event in events}) == 1
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))


async def test_manual_error(router):
    """A stream of hand-made events fails with its own error event."""
    router.register_actor("manual", ManualActor())
    async for event in router.stream_async("manual", "query", ["a", ""]):
        if event.type == "error":
            assert event.error == "an empty token"
            break
    else:
        pytest.fail("there was no error event")
