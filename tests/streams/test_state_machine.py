"""Random lives of a stream, each compared with a model: guarantees 1, 2, 7 and 12.

A life is a list of commands: the actor makes items without a pause; the consumer reads, polls
without waiting, or is cancelled just as an item arrives; time passes; something ends the stream.
After each command the stream must match the model. The clocks are virtual, and no two limits pass
at the same instant.
"""

import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Literal, Protocol

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    ActorStreamError,
    AsyncStreamMessage,
    MessageRouter,
    StreamAbortedError,
    StreamError,
    StreamTimeoutError,
)
from actorstream.testing import assert_nothing_left, settle

pytestmark = pytest.mark.slow

QUIET = 20  # turns of the loop after which nothing changes any more
CLEAN_UP_TIME = 1.0

Order = int | Literal["return", "raise", "end event", "error event"]
Seen = int | str  # an item, or a word for what came instead of one


class ActorError(Exception):
    """The actor fails."""


class CleanUpError(Exception):
    """The actor fails in its ``finally``."""


class BodyError(Exception):
    """The block around the stream fails."""


@attrs.frozen
class Scenario:
    """What stays the same for a whole life."""

    buffer_size: int = 1
    overflow: str = "wait"
    source: Literal["generator", "callback", "helper"] = "generator"
    scoped: bool = False
    payloads: bool = False
    clean_up: frozenset[str] = frozenset()  # of "awaits" and "raises"
    limits: dict[str, float] = attrs.field(factory=dict)  # "signal" is one, too

    def options(self, signal: AbortSignal) -> dict[str, Any]:
        limits = dict(self.limits)
        if "signal" in limits:
            signal = AbortSignal.any([signal, AbortSignal.timeout(limits.pop("signal"))])
        defaults = {"timeout": None, "buffer_size": self.buffer_size, "overflow": self.overflow}
        return {**defaults, "signal": signal, **limits}


class Model:
    """A stream without any waiting: a list of items and a list of last words."""

    def __init__(self, scenario: Scenario, now: float) -> None:
        self.scenario = scenario
        self.now = self.opened_at = now
        self.started_at: float | None = None
        self.actor_called = False
        self.items: deque[int] = deque()
        self.hand: int | None = None
        self.orders: deque[Order] = deque()
        self.made = self.delivered = self.dropped = 0
        self.idle_since = self.blocked_since = now
        self.last_words: list[str] | None = None
        self.final = False  # nothing overrides the last words
        self.ended_at = now
        self.registered = self.router_open = True
        self.aborted: str | None = None
        self.cancelled: str | None = None

    def order(self, order: Order) -> None:
        if self.last_words is None:
            self.orders.append(order)
            self.work()

    def start(self) -> None:
        """Start at the first pull; an earlier command may have ended the stream already."""
        if self.started_at is not None:
            return
        self.started_at = self.now
        if self.final:
            return
        if self.cancelled:
            self.end(f"StreamAbortedError: {self.cancelled}", discards=True)
        elif not self.router_open:
            self.end("RouterClosedError")
        elif self.aborted or self.signal_is_due():
            self.end(f"StreamAbortedError: {self.aborted or 'time'}", discards=True)
        elif not self.registered:
            self.end("ActorNotFoundError")
        else:
            self.actor_called = True
            self.work()

    def signal_is_due(self) -> bool:
        return self.now >= self.opened_at + self.scenario.limits.get("signal", float("inf"))

    def work(self) -> None:
        """Do all the actor can do before it has to wait."""
        while self.actor_called and self.last_words is None:
            if self.hand is not None and not self.hand_over(self.hand):
                return
            if not self.orders:
                return
            self.obey(self.orders.popleft())

    def obey(self, order: Order) -> None:
        if isinstance(order, str):
            self.end(*self.words_for(order))
        elif order:
            self.orders.appendleft(order - 1)
            self.made += 1
            self.hand = self.made
            self.idle_since = self.blocked_since = self.now

    def words_for(self, order: str) -> list[str]:
        if order in {"return", "end event"}:
            return [] if self.scenario.payloads else ["end event"]
        error = f"StreamError: {'ActorError' if order == 'raise' else None}"
        return [error] if self.scenario.payloads else ["error event", error]

    def hand_over(self, item: int) -> bool:
        if len(self.items) >= self.scenario.buffer_size:
            if self.scenario.overflow == "wait":
                return False
            if self.scenario.overflow == "fail":
                self.end("StreamOverflowError")
                return False
            self.dropped += 1
            if self.scenario.overflow == "drop_oldest":
                self.items.popleft()
        if len(self.items) < self.scenario.buffer_size:
            self.items.append(item)
        self.hand = None
        self.idle_since = self.now
        return True

    def end(self, *last_words: str, discards: bool = False) -> None:
        """End; an end that discards items overrides one that still waits behind them."""
        if self.final or (self.last_words is not None and not discards):
            return
        if self.last_words is None:
            self.ended_at = self.now
        self.last_words = list(last_words)
        self.final = discards
        self.hand = None
        if discards:
            self.items.clear()

    def close(self) -> None:
        self.end(discards=True)
        self.items.clear()
        self.last_words = []
        self.final = True

    def dues(self) -> dict[float, Callable[[], None]]:
        """Return when and how time will end the stream if nothing else happens."""
        if self.started_at is None or self.final or not self.router_open:
            return {}
        since = {"signal": self.opened_at}
        if self.last_words is None:
            since["timeout"] = self.started_at
            if not self.made:
                since["first_timeout"] = self.started_at
            elif self.hand is None:
                since["idle_timeout"] = self.idle_since
            else:
                since["stall_timeout"] = self.blocked_since
        limits = self.scenario.limits
        return {since[name] + limits[name]: self.ending(name) for name in since if name in limits}

    def ending(self, limit: str) -> Callable[[], None]:
        if limit == "signal":
            return lambda: self.end("StreamAbortedError: time", discards=True)
        kind = limit.removesuffix("timeout").strip("_") or "total"
        return lambda: self.end(f"StreamTimeoutError: {kind}", discards=kind == "stall")

    def advance(self, until: float) -> None:
        """Let time pass; afterwards ``now`` is when time ended the stream, or ``until``."""
        due, end = min(self.dues().items(), default=(until, None))
        self.now = min(due, until)
        if end is not None and due <= until:
            end()

    def catch_up(self, now: float) -> None:
        self.advance(now)
        self.now = now

    def peek(self) -> Seen:
        if self.items:
            return self.items[0]
        if self.last_words is None:
            return "nothing"
        return self.last_words[0] if self.last_words else "stop"

    def read(self) -> Seen:
        seen = self.peek()
        if self.items:
            self.items.popleft()
            self.delivered += 1
            self.work()
        elif self.last_words is not None:
            self.last_words = self.last_words[1:]
            self.final = True
        return seen


class Scripted(Actor):
    """Follows orders; records what it made and whether its ``finally`` ran."""

    def __init__(self, life: "Life") -> None:
        self.life = life
        self.orders: deque[Order] = deque()
        self.ordered = anyio.Event()
        self.made = self.started = self.finished = 0
        self.clean_up_failed = False

    def order(self, order: Order) -> None:
        self.orders.append(order)
        self.ordered.set()

    async def items(self) -> AsyncGenerator[Any, None]:
        self.started += 1
        stopped = True
        try:
            while isinstance(order := await self.next_order(), int):
                for _ in range(order):
                    self.made += 1
                    self.life.check_bound()
                    yield self.made
            stopped = False
            if order == "raise":
                raise ActorError("as told")
            if order == "end event":
                yield AsyncStreamMessage("end")
            if order == "error event":
                yield AsyncStreamMessage("error", error="as told")
        finally:
            try:
                if stopped:
                    await self.clean_up()
            finally:
                self.finished += 1

    async def next_order(self) -> Order:
        while not self.orders:
            self.ordered = anyio.Event()
            await self.ordered.wait()
        return self.orders.popleft()

    async def clean_up(self) -> None:
        if "awaits" in self.life.scenario.clean_up:
            with anyio.CancelScope(shield=True):
                await (anyio.sleep(CLEAN_UP_TIME) if self.life.virtual else checkpoint())
        if "raises" in self.life.scenario.clean_up:
            self.clean_up_failed = True
            raise CleanUpError


class Generating(Scripted):
    def stream_async(self, _: object) -> AsyncIterator[Any]:
        return self.items()


class Calling(Scripted):
    async def stream(self, _: object, on_chunk: Callable[[Any], Awaitable[None]]) -> None:
        async with aclosing(self.items()) as items:
            async for item in items:
                await on_chunk(item)


class Helped(Scripted):
    def stream_async(self, _: object) -> AsyncIterator[AsyncStreamMessage[Any]]:
        return self.create_async_stream(self.items())


ACTORS = {"generator": Generating, "callback": Calling, "helper": Helped}


class Life:
    """One stream and its model."""

    def __init__(self, scenario: Scenario, virtual: bool) -> None:
        self.scenario = scenario
        self.virtual = virtual
        self.model = Model(scenario, anyio.current_time())
        self.delivered = 0
        self.told: list[BaseException] = []
        self.actor = ACTORS[scenario.source](self)
        self.router = MessageRouter()
        self.router.register_actor("scripted", self.actor)
        self.leave_router = anyio.Event()
        self.router_left = anyio.Event()
        self.router_scope = anyio.CancelScope()
        self.controller = AbortController()
        options = scenario.options(self.controller.signal)
        self.stream = self.router.stream_async("scripted", "go", **options)
        self.inside = False
        self.reader: AsyncIterator[Any] | None = None

    async def live(self, commands: list["Command"]) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.host)
            await self.begin()
            for command in [*commands, Leave(), Pass(2), CloseRouter()]:
                self.model.catch_up(anyio.current_time())
                await command.run(self)
                await self.calm()
                self.check()
        self.check_end()

    async def host(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with self.router_scope:
            async with self.router:
                task_status.started()
                await self.leave_router.wait()
        self.router_left.set()

    async def begin(self) -> None:
        if self.scenario.scoped:
            await self.stream.__aenter__()
            self.inside = True
            self.model.start()
            await self.calm()
        self.reader = self.stream.payloads() if self.scenario.payloads else aiter(self.stream)

    async def calm(self) -> None:
        """Wait until nothing changes any more; an actor that drops items takes many turns."""
        made = -1
        while made != self.actor.made:
            made = self.actor.made
            await settle(QUIET)

    def order(self, order: Order) -> None:
        self.actor.order(order)
        self.model.order(order)

    def most_to_make(self) -> int:
        """Return how many items the actor may make, so that one result is possible.

        Where items are dropped, the order matters: a reader runs after 8 items at the earliest,
        and it may be the first pull that starts the actor.
        """
        if self.scenario.overflow == "wait" or self.model.started_at is not None:
            return sys.maxsize
        return 7 - sum(order for order in self.actor.orders if isinstance(order, int))

    async def pull(self) -> Seen:
        """Read once; return the item, or a word for what came instead."""
        assert self.reader is not None
        try:
            came = await anext(self.reader)
        except StopAsyncIteration:
            return "stop"
        except ActorStreamError as error:
            return self.word_for(error)
        if isinstance(came, AsyncStreamMessage):
            if came.type != "data":
                return f"{came.type} event"
            came = came.payload
        self.delivered += 1
        assert isinstance(came, int)
        return came

    def word_for(self, error: ActorStreamError) -> str:
        name = type(error).__name__
        if isinstance(error, StreamAbortedError):
            reason = "time" if "timed out" in str(error.reason) else error.reason
            return f"{name}: {reason}"
        if isinstance(error, StreamTimeoutError):
            return f"{name}: {error.kind}"
        if type(error) is StreamError:
            return f"{name}: {error.__cause__ and type(error.__cause__).__name__}"
        return name

    @contextmanager
    def hear_clean_up_fail(self) -> Iterator[None]:
        try:
            yield
        except CleanUpError as error:
            self.told.append(error)

    def check_bound(self) -> None:
        """Guarantee 1: the producer is at most the buffer and one item ahead."""
        ahead = self.actor.made - self.delivered - self.stream.statistics().dropped
        assert ahead <= self.scenario.buffer_size + 1

    def check_gone(self) -> None:
        """Guarantee 7: the producer is gone, clean-up included."""
        assert self.actor.finished == self.actor.started <= 1
        assert_nothing_left(self.router)

    def check(self) -> None:
        """Compare the stream with its model while neither is active."""
        model, statistics = self.model, self.stream.statistics()
        model.catch_up(anyio.current_time())
        assert statistics.buffered == len(model.items)
        assert statistics.delivered == model.delivered == self.delivered
        assert statistics.dropped == model.dropped
        assert statistics.producer_waiting == (model.hand is not None)
        assert not statistics.consumer_waiting
        assert self.actor.made == model.made
        if model.actor_called and model.last_words is None:
            assert self.router.statistics().active_streams == 1
        elif "awaits" not in self.scenario.clean_up or model.now > model.ended_at + CLEAN_UP_TIME:
            self.check_gone()

    def check_end(self) -> None:
        self.check_gone()
        assert bool(self.told) == self.actor.clean_up_failed


class Command(Protocol):
    async def run(self, life: Life) -> None: ...


@attrs.frozen
class Make:
    """The actor makes items, without a pause between them."""

    count: int

    async def run(self, life: Life) -> None:
        life.order(min(self.count, life.most_to_make()))


@attrs.frozen
class Finish:
    """The actor makes items and then ends or fails, without a pause."""

    how: Literal["return", "raise", "end event", "error event"]
    count: int = 0

    async def run(self, life: Life) -> None:
        life.order(self.count)
        life.order(self.how)


@attrs.frozen
class Read:
    """The consumer reads what is available, then polls for more."""

    count: int

    async def run(self, life: Life) -> None:
        for _ in range(self.count if life.reader else 0):
            life.model.start()
            waits = life.model.peek() == "nothing"
            with anyio.move_on_after(0) if waits else anyio.fail_after(10):
                assert await life.pull() == life.model.read()


@attrs.frozen
class ReadToEnd:
    """The consumer reads until nothing is left, and beyond the end."""

    async def run(self, life: Life) -> None:
        if life.reader is not None:
            life.model.start()
            while life.model.peek() not in {"nothing", "stop"}:
                await Read(1).run(life)
            await Read(3).run(life)


@attrs.frozen
class Poll:
    """The consumer reads without waiting, and loses no item by it."""

    async def run(self, life: Life) -> None:
        if life.reader is not None:
            life.model.start()
            with anyio.move_on_after(0):
                assert await life.pull() == life.model.read()


@attrs.frozen
class Wait:
    """The consumer reads, for a given time."""

    seconds: int

    async def run(self, life: Life) -> None:
        if life.reader is None or not life.virtual:
            return
        life.model.start()
        until = anyio.current_time() + self.seconds
        if life.model.peek() == "nothing":
            life.model.advance(until)
        expected = life.model.read()
        seen: Seen = "nothing"
        with anyio.CancelScope(deadline=until):
            seen = await life.pull()
        assert seen == expected
        assert anyio.current_time() == life.model.now


@attrs.frozen
class Pass:
    """Nothing happens for a given time."""

    seconds: int

    async def run(self, life: Life) -> None:
        if life.virtual:
            until = anyio.current_time() + self.seconds
            await anyio.sleep_until(until)
            life.model.catch_up(until)


@attrs.frozen
class While:
    """A read waits while another command runs, and is cancelled some turns later."""

    happening: Command
    turns: int = QUIET

    async def run(self, life: Life) -> None:
        if life.reader is None:
            return
        if life.model.started_at is None:
            await Poll().run(life)
            await settle(QUIET)
        while life.model.items:
            await Read(1).run(life)
        await settle(QUIET)
        if life.model.peek() != "nothing":
            return
        seen: list[Seen] = []
        async with anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()
            tasks.start_soon(self.read, life, scope, seen)
            await settle(QUIET)
            assert not seen
            await self.happening.run(life)
            await settle(self.turns)
            scope.cancel()
        if seen or self.turns == QUIET:
            assert (seen or ["nothing"]) == [life.model.read()]

    async def read(self, life: Life, scope: anyio.CancelScope, seen: list[Seen]) -> None:
        with scope:
            seen.append(await life.pull())


@attrs.frozen
class Abort:
    """The signal is aborted; the next read raises at once."""

    read: bool = False

    async def run(self, life: Life) -> None:
        life.controller.abort("by signal")
        if not life.model.signal_is_due():
            life.model.aborted = "by signal"
        if life.model.started_at is not None:
            life.model.end("StreamAbortedError: by signal", discards=True)
        if self.read and life.reader is not None:
            await Read(1).run(life)


@attrs.frozen
class Cancel:
    """The stream is cancelled."""

    async def run(self, life: Life) -> None:
        life.stream.cancel("by hand")
        life.model.cancelled = "by hand"
        if life.model.started_at is not None:
            life.model.end("StreamAbortedError: by hand", discards=True)


@attrs.frozen
class Close:
    """The consumer closes the stream and keeps the iterator."""

    async def run(self, life: Life) -> None:
        life.model.close()
        with life.hear_clean_up_fail():
            await life.stream.aclose()
        life.check_gone()


@attrs.frozen
class Unregister:
    """The actor is unregistered."""

    async def run(self, life: Life) -> None:
        if not life.model.registered:
            return
        life.model.registered = False
        if life.model.started_at is not None:
            life.model.end("ActorStoppedError")
        await life.router.unregister_actor("scripted")
        life.check_gone()


@attrs.frozen
class CloseRouter:
    """The router is left, or cancelled from outside."""

    cancelled: bool = False

    async def run(self, life: Life) -> None:
        life.model.router_open = False
        if life.model.started_at is not None:
            life.model.end("RouterClosedError")
        if self.cancelled:
            life.router_scope.cancel()
        else:
            life.leave_router.set()
        await life.router_left.wait()
        life.check_gone()


@attrs.frozen
class Leave:
    """The consumer breaks out of the loop, and leaves the block around it, if any."""

    failing: bool = False

    async def run(self, life: Life) -> None:
        if life.reader is None:
            return
        life.reader = None
        life.model.close()
        if life.inside:
            error = BodyError() if self.failing else None
            with life.hear_clean_up_fail():
                await life.stream.__aexit__(type(error) if error else None, error, None)
            life.check_gone()


FLOW: list[st.SearchStrategy[Command]] = [
    st.builds(Make, st.integers(1, 7) | st.just(600)),
    st.builds(Read, st.integers(1, 5)),
    st.builds(Poll),
    st.builds(Wait, st.integers(1, 3)),
    st.builds(Pass, st.integers(1, 3)),
]
ENDS: list[st.SearchStrategy[Command]] = [
    st.builds(
        Finish, st.sampled_from(["return", "raise", "end event", "error event"]), st.integers(0, 4)
    ),
    st.builds(Abort, st.booleans()),
    st.builds(Cancel),
    st.builds(Close),
    st.builds(Unregister),
    st.builds(CloseRouter, st.booleans()),
]
# While a read is pending, make only one item: a waiting read may or may not count as room.
DURING = st.one_of(
    st.builds(Make, st.just(1)), st.one_of(ENDS).filter(lambda it: it != Abort(read=True))
)
RACES = st.builds(While, DURING, st.sampled_from([0, 0, 1, 2, 3, QUIET, QUIET]))

LAST_READS: list[list[Command]] = [[], [ReadToEnd()], [Finish("return"), ReadToEnd()]]


@st.composite
def lives(draw: st.DrawFn) -> list[Command]:
    """Ordinary commands, and up to three ends, each followed by more commands."""
    flow = st.lists(st.one_of([*FLOW, RACES]), max_size=6)
    end = st.one_of([*ENDS, st.builds(Leave, st.booleans()), RACES])
    life = draw(flow)
    for ending in draw(st.lists(end, max_size=3)):
        life += [ending, *draw(flow)]
    return [*life, *draw(st.sampled_from(LAST_READS))]


@st.composite
def limits(draw: st.DrawFn) -> dict[str, float]:
    """Limits of a few seconds, none of which passes when anything else happens."""
    fractions = {
        "timeout": 0.5,
        "first_timeout": 0.25,
        "idle_timeout": 0.125,
        "stall_timeout": 0.375,
        "signal": 0.0625,
    }
    names = draw(st.sets(st.sampled_from(sorted(fractions)), max_size=3))
    return {name: draw(st.integers(0, 4)) + fractions[name] for name in sorted(names)}


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    scenario = Scenario(
        buffer_size=draw(st.sampled_from([1, 1, 2, 3, 4, 1000])),
        overflow=draw(st.sampled_from(["wait", "wait", "drop_oldest", "drop_newest", "fail"])),
        source=draw(st.sampled_from(["generator", "callback", "helper"])),
        scoped=draw(st.booleans()),
        payloads=draw(st.booleans()),
        clean_up=draw(st.frozensets(st.sampled_from(["awaits", "raises"]))),
        limits=draw(limits()),
    )
    if "awaits" in scenario.clean_up:
        # After the router is left, a timed signal may or may not be noticed.
        scenario.limits.pop("signal", None)
    return scenario


class Listener(logging.Handler):
    """Collects the errors that the library logs because it cannot raise them."""

    def __init__(self, told: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and isinstance(record.exc_info[1], CleanUpError):
            self.told.append(record.exc_info[1])


@contextmanager
def listening(told: list[BaseException]) -> Iterator[None]:
    logger, listener = logging.getLogger("actorstream"), Listener(told)
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(listener)


async def live(scenario: Scenario, commands: list[Command], virtual: bool) -> None:
    if not virtual:
        scenario = attrs.evolve(scenario, limits={})
    life = Life(scenario, virtual)
    with listening(life.told):
        await life.live(commands)


# What chance seldom finds: a limit that must not apply, and the two ways in which time can end a
# stream with unread items.
SELDOM: list[tuple[Scenario, list[Command]]] = [
    (Scenario(limits={"first_timeout": 1.25}), [Make(1), Poll(), Pass(3), ReadToEnd()]),
    (Scenario(limits={"timeout": 1.5}), [Make(3), Poll(), Pass(3), ReadToEnd()]),
    (Scenario(limits={"stall_timeout": 1.375}), [Make(3), Poll(), Pass(3), ReadToEnd()]),
    (
        Scenario(limits={"stall_timeout": 1.375}),
        [Make(4), Poll(), Pass(1), Read(1), Pass(1), Read(1), Pass(1), ReadToEnd()],
    ),
    (
        Scenario(limits={"idle_timeout": 1.125}, buffer_size=2),
        [Make(1), Poll(), Pass(1), Make(3), Pass(1), Read(3), Pass(1), ReadToEnd(), Wait(1)],
    ),
    (Scenario(limits={"idle_timeout": 1.125}), [Make(3), Poll(), Pass(3), ReadToEnd(), Wait(3)]),
    (Scenario(), [While(Make(1), 0), ReadToEnd()]),
    (Scenario(buffer_size=4), [Finish("raise", 3), Poll(), ReadToEnd()]),
    (Scenario(buffer_size=4, source="callback"), [Finish("raise", 3), Poll(), ReadToEnd()]),
    (Scenario(buffer_size=4, source="helper"), [Finish("raise", 3), Poll(), ReadToEnd()]),
    (Scenario(buffer_size=2), [Finish("raise", 4), Poll(), ReadToEnd()]),
]


@pytest.mark.parametrize(("scenario", "commands"), SELDOM)
async def test_a_stream_matches_its_model_in_rare_lives(
    scenario: Scenario, commands: list[Command], virtual_time: bool
) -> None:
    await live(scenario, commands, virtual_time)


@settings(max_examples=200)
@given(scenario=scenarios(), commands=lives())
async def test_a_stream_matches_its_model(
    scenario: Scenario, commands: list[Command], virtual_time: bool
) -> None:
    """Guarantees 1, 2, 7 and 12 hold for any commands in any order."""
    await live(scenario, commands, virtual_time)
