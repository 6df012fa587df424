"""How a stream ends: the table of outcomes, row by row. Each is seen once, then only the end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from actorstream import (
    Actor,
    ActorStoppedError,
    ActorStreamError,
    AsyncStreamMessage,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAbortedError,
    StreamError,
    StreamOverflowError,
    StreamTimeoutError,
)
from actorstream.testing import settle


class Told(Actor):
    """Makes two items, then runs a given function."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        self.then = then

    async def stream_async(self, _: object) -> AsyncIterator[Any]:
        yield 1
        yield 2
        said = await self.then()
        if said is not None:
            yield said


async def stop() -> None:
    """End normally."""


async def fail() -> None:
    raise ValueError("no more")


async def say_end() -> object:
    return AsyncStreamMessage("end", "done")


async def say_error() -> object:
    return AsyncStreamMessage("error", error="no more")


async def make_more() -> object:
    return 3


@attrs.frozen
class Row:
    """One way for a stream to end, and what its consumer should get."""

    event: str | None
    error: type[BaseException] | None
    discards: bool = False
    then: Callable[[], Awaitable[object]] = anyio.sleep_forever
    act: Callable[["Case"], Awaitable[object]] = settle  # type: ignore[assignment]
    options: dict[str, Any] = attrs.field(factory=dict)


class Case:
    """A stream that has ended, with two unread items."""

    def __init__(self, router: MessageRouter, stream: Stream[Any], unit: float) -> None:
        self.router = router
        self.stream = stream
        self.unit = unit
        self.left = anyio.Event()

    async def rest(self) -> None:
        await settle(20)

    async def pass_time(self) -> None:
        await anyio.sleep(3 * self.unit)

    async def unregister(self) -> None:
        await self.rest()
        await self.router.unregister_actor("told")

    async def leave_router(self) -> None:
        await self.rest()
        self.left.set()
        await self.rest()

    async def cancel(self) -> None:
        await self.rest()
        self.stream.cancel("enough")

    async def close(self) -> None:
        await self.rest()
        await self.stream.aclose()


ROWS = {
    "end": Row("end", None, then=stop, act=Case.rest),
    "end, by event": Row("end", None, then=say_end, act=Case.rest),
    "failure": Row("error", StreamError, then=fail, act=Case.rest),
    "failure, by event": Row("error", StreamError, then=say_error, act=Case.rest),
    "timeout": Row(None, StreamTimeoutError, act=Case.pass_time, options={"timeout": 1}),
    "overflow": Row(
        None,
        StreamOverflowError,
        then=make_more,
        act=Case.rest,
        options={"overflow": "fail", "buffer_size": 2},
    ),
    "stopped": Row(None, ActorStoppedError, act=Case.unregister),
    "router": Row(None, RouterClosedError, act=Case.leave_router),
    "stall": Row(
        None,
        StreamTimeoutError,
        discards=True,
        then=make_more,
        act=Case.pass_time,
        options={"stall_timeout": 1, "buffer_size": 2},
    ),
    "abort": Row(None, StreamAbortedError, discards=True, act=Case.cancel),
    "closed": Row(None, None, discards=True, act=Case.close),
}
EVERY_ROW = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
OTHER_ROWS = [row for name, row in ROWS.items() if name != "stopped"]


@asynccontextmanager
async def case_of(row: Row, unit: float, payloads: bool = False) -> AsyncIterator[Any]:
    """End a stream as the row says, and yield its iterator."""
    router = MessageRouter()
    router.register_actor("told", Told(row.then))
    options = {
        name: value * unit if name.endswith("timeout") else value
        for name, value in row.options.items()
    }

    async def host(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with router:
            task_status.started()
            await case.left.wait()

    stream = router.stream_async("told", "go", **{"timeout": None, **options})
    case = Case(router, stream, unit)
    async with anyio.create_task_group() as tasks:
        await tasks.start(host)
        async with stream:
            reader = stream.payloads() if payloads else aiter(stream)
            await row.act(case)
            yield reader
        case.left.set()


async def items_from(reader: Any) -> tuple[list[Any], AsyncStreamMessage[Any] | BaseException]:
    """Read the items up to the first event or exception that is not one, and return both."""
    items: list[Any] = []
    while True:
        try:
            came = await anext(reader)
        except (ActorStreamError, StopAsyncIteration) as error:
            return items, error
        if isinstance(came, AsyncStreamMessage):
            if came.type != "data":
                return items, came
            came = came.payload
        items.append(came)


@EVERY_ROW
async def test_buffered_items_are_delivered_or_discarded(row: Row, unit: float) -> None:
    async with case_of(row, unit) as reader:
        items, _ = await items_from(reader)
    assert items == ([] if row.discards else [1, 2])


@EVERY_ROW
async def test_the_outcome_is_one_event_or_none(row: Row, unit: float) -> None:
    async with case_of(row, unit) as reader:
        _, came = await items_from(reader)
    assert (came.type if isinstance(came, AsyncStreamMessage) else None) == row.event


@EVERY_ROW
async def test_after_the_event_the_error_is_raised(row: Row, unit: float) -> None:
    async with case_of(row, unit) as reader:
        _, came = await items_from(reader)
        if row.event is not None:
            _, came = await items_from(reader)
    assert type(came) is (row.error or StopAsyncIteration)


@EVERY_ROW
async def test_payloads_raise_the_error_and_show_no_event(row: Row, unit: float) -> None:
    async with case_of(row, unit, payloads=True) as reader:
        items, came = await items_from(reader)
    assert items == ([] if row.discards else [1, 2])
    assert type(came) is (row.error or StopAsyncIteration)


@pytest.mark.parametrize("payloads", [False, True])
@EVERY_ROW
async def test_after_its_outcome_a_stream_stays_at_its_end(
    row: Row, unit: float, payloads: bool
) -> None:
    async with case_of(row, unit, payloads) as reader:
        _, came = await items_from(reader)
        while not isinstance(came, StopAsyncIteration):
            items, came = await items_from(reader)
            assert items == []
        for _ in range(3):
            with pytest.raises(StopAsyncIteration):
                await anext(reader)


@EVERY_ROW
async def test_an_outcome_does_not_affect_the_next_stream(row: Row, unit: float) -> None:
    async with case_of(row, unit) as reader:
        await items_from(reader)
    async with case_of(ROWS["end"], unit) as reader:
        items, came = await items_from(reader)
        assert items == [1, 2]
        assert isinstance(came, AsyncStreamMessage)
        assert came.type == "end"


SEEN = [name for name, row in ROWS.items() if not row.discards]


@pytest.mark.parametrize("name", SEEN)
async def test_an_abort_overrides_an_outcome_behind_unread_items(name: str, unit: float) -> None:
    row = ROWS[name]

    async def act_and_cancel(case: Case) -> None:
        await row.act(case)
        case.stream.cancel("enough")

    async with case_of(attrs.evolve(row, act=act_and_cancel), unit) as reader:
        items, came = await items_from(reader)
    assert items == []
    assert isinstance(came, StreamAbortedError)


@EVERY_ROW
async def test_closing_overrides_every_unread_outcome(row: Row, unit: float) -> None:
    async def act_and_close(case: Case) -> None:
        await row.act(case)
        await case.stream.aclose()

    async with case_of(attrs.evolve(row, act=act_and_close), unit) as reader:
        items, came = await items_from(reader)
    assert items == []
    assert isinstance(came, StopAsyncIteration)


@pytest.mark.parametrize("row", OTHER_ROWS)
async def test_an_outcome_that_keeps_the_items_is_not_replaced_by_a_later_one(
    row: Row, unit: float
) -> None:
    async def act_and_unregister(case: Case) -> None:
        await row.act(case)
        await case.router.unregister_actor("told")

    async with case_of(attrs.evolve(row, act=act_and_unregister), unit) as reader:
        _, came = await items_from(reader)
    assert not isinstance(came, ActorStoppedError)


async def outcome_of(name: str, unit: float) -> tuple[Any, Any]:
    """Return the event and the error that end the row of that name."""
    async with case_of(ROWS[name], unit) as reader:
        _, event = await items_from(reader)
        _, error = await items_from(reader)
        return event, error


async def test_a_failure_has_the_actors_exception_as_its_cause(unit: float) -> None:
    _, error = await outcome_of("failure", unit)
    assert isinstance(error.__cause__, ValueError)


async def test_a_failure_names_the_actor_the_request_and_the_error(unit: float) -> None:
    event, error = await outcome_of("failure", unit)
    assert event.error == "no more"
    assert str(error) == "@(told) failed while it streamed 'go': ValueError: no more"


async def test_a_failure_without_a_text_shows_the_exception(unit: float) -> None:
    async def fail_silently() -> None:
        raise KeyError

    async with case_of(Row("error", StreamError, then=fail_silently, act=Case.rest), unit) as it:
        _, event = await items_from(it)
    assert isinstance(event, AsyncStreamMessage)
    assert event.error == "KeyError()"


async def test_an_actors_error_event_keeps_its_text(unit: float) -> None:
    event, error = await outcome_of("failure, by event", unit)
    assert event.error == "no more"
    assert str(error) == "@(told) failed while it streamed 'go': no more"
    assert error.__cause__ is None


async def test_an_actors_end_event_arrives_with_its_payload(unit: float) -> None:
    event, _ = await outcome_of("end, by event", unit)
    assert event.payload == "done"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timeout", ["@(told)", "timeout=..."]),
        ("overflow", ["@(told)", "'go'", "more than 2 items", "buffer_size", 'overflow="wait"']),
        ("stopped", ["@(told)", "stopped"]),
        ("router", ["@(told)", "router was closed", "`async with MessageRouter()`"]),
        ("stall", ["@(told)", "its consumer did not read", "stall_timeout=..."]),
        ("abort", ["cancelled", "enough"]),
    ],
)
async def test_an_error_says_what_came_and_what_to_do(
    name: str, words: list[str], unit: float
) -> None:
    async with case_of(ROWS[name], unit, payloads=True) as reader:
        _, error = await items_from(reader)
    assert [word for word in words if word not in str(error)] == []
