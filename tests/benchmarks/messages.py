"""Messages per second: asks and tells, against a hand-written task with a memory stream."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from backends import Backend
from floors import BUFFER_SIZE
from measure import Figures, Row, Samples, Section, Settings, rate, ratio, rotated, timed

from actorstream import Actor, MessageRouter, handles

ASKERS = 100
#: The programs, each with its label and the hand-written program that it is compared with.
PROGRAMS = {
    "ask-hand": ("by hand: ask, a request with an event", "ask-hand"),
    "ask": ("ask", "ask-hand"),
    "ask-untimed": ("ask, timeout=None", "ask-hand"),
    "asks-hand": (f"by hand: ask, {ASKERS} askers at once", "asks-hand"),
    "asks": (f"ask, {ASKERS} askers at once", "asks-hand"),
    "tell-hand": ("by hand: tell, send into a memory stream", "tell-hand"),
    "tell": ("tell", "tell-hand"),
}

Ask = Callable[[int], Awaitable[int]]


class CalculatorActor(Actor):
    """Answers asks with the next number, and adds up the numbers of tells."""

    def __init__(self) -> None:
        self.total = 0

    @handles("next")
    async def next_number(self, payload: int) -> int:
        """Answer with the number after this one."""
        return payload + 1

    @handles("add")
    async def add(self, payload: int) -> None:
        """Add a number."""
        self.total += payload

    @handles("take")
    async def take(self, payload: object) -> int:
        """Answer with the sum, and reset it."""
        total, self.total = self.total, 0
        return total


class Request:
    """A hand-made request, and the event that is set when it is answered."""

    __slots__ = ("answered", "number", "reply")

    def __init__(self, number: int) -> None:
        self.number = number
        self.reply = 0
        self.answered = anyio.Event()


async def answer(receive: MemoryObjectReceiveStream[Request]) -> None:
    """Answer requests by hand, one after the other."""
    async with receive:
        while True:
            request = await receive.receive()
            request.reply = request.number + 1
            request.answered.set()


@asynccontextmanager
async def asked_by_hand() -> AsyncIterator[Ask]:
    """Run the answering task, and yield a function that asks it."""
    send, receive = anyio.create_memory_object_stream[Request](BUFFER_SIZE)

    async def ask(number: int) -> int:
        request = Request(number)
        await send.send(request)
        await request.answered.wait()
        return request.reply

    async with anyio.create_task_group() as group, send:
        group.start_soon(answer, receive)
        yield ask
        group.cancel_scope.cancel()


async def ask_in_turn(ask: Ask, count: int) -> int:
    """Ask one request after the other; return the sum of the answers."""
    total = 0
    for number in range(count):
        total += await ask(number)
    return total


async def ask_at_once(ask: Ask, count: int) -> int:
    """Have many tasks ask; return the sum of the answers."""
    numbers, total = iter(range(count)), 0

    async def ask_on() -> None:
        nonlocal total
        for number in numbers:
            answered = await ask(number)
            total += answered

    async with anyio.create_task_group() as group:
        for _ in range(ASKERS):
            group.start_soon(ask_on)
    return total


async def tell_by_hand(count: int) -> int:
    """Send numbers to a task that adds them up, and wait for the sum."""
    send, receive = anyio.create_memory_object_stream[int](BUFFER_SIZE)
    total = 0

    async def add_all() -> None:
        nonlocal total
        async with receive:
            try:
                while True:
                    total += await receive.receive()
            except anyio.EndOfStream:
                pass

    async with anyio.create_task_group() as group, send:
        group.start_soon(add_all)
        for number in range(count):
            await send.send(number)
    return total + count


async def tell(router: MessageRouter, count: int) -> int:
    """Tell numbers to an actor that adds them up, and wait for the sum."""
    for number in range(count):
        await router.tell("calculator", "add", number)
    total: int = await router.ask("calculator", "take")
    return total + count


def programs(
    router: MessageRouter, ask_by_hand: Ask, count: int
) -> dict[str, Callable[[], Awaitable[int]]]:
    """Return every program, by name; each sends ``count`` messages and waits for their handling."""

    async def ask(number: int) -> int:
        answered: int = await router.ask("calculator", "next", number)
        return answered

    async def ask_untimed(number: int) -> int:
        answered: int = await router.ask("calculator", "next", number, timeout=None)
        return answered

    return {
        "ask-hand": lambda: ask_in_turn(ask_by_hand, count),
        "ask": lambda: ask_in_turn(ask, count),
        "ask-untimed": lambda: ask_in_turn(ask_untimed, count),
        "asks-hand": lambda: ask_at_once(ask_by_hand, count),
        "asks": lambda: ask_at_once(ask, count),
        "tell-hand": lambda: tell_by_hand(count),
        "tell": lambda: tell(router, count),
    }


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Run every program once, in one event loop."""
    return backend.run(take_round, settings, round_number)


async def take_round(settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Time each program, with the router entered and the hand-written tasks already running."""
    count = settings.messages if round_number >= 0 else settings.messages // 10
    expected = count * (count + 1) // 2
    sample: dict[str, list[float]] = {}
    async with MessageRouter() as router, asked_by_hand() as ask_by_hand:
        router.register_actor("calculator", CalculatorActor(), mailbox_size=BUFFER_SIZE)
        for name, run in rotated(list(programs(router, ask_by_hand, count).items()), round_number):
            sample[f"message.{name}"] = [await timed(run, expected, 1)]
    return sample


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return messages per second, and their ratio to the hand-written program."""
    figures: Figures = {}
    for name, (_, hand) in PROGRAMS.items():
        seconds = samples[f"message.{name}"]
        figures[f"message.{name}.rate"] = rate(seconds, settings.messages)
        figures[f"message.{name}.x_hand"] = ratio(samples[f"message.{hand}"], seconds)
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show messages per second, and the ratio to the hand-written program."""
    return [
        Row(label, (f"message.{name}.rate", f"message.{name}.x_hand"))
        for name, (label, _) in PROGRAMS.items()
    ]


SECTION = Section(
    name="messages",
    title="Messages per second",
    note=(
        "Asks answered and tells handled per second, and the ratio to the same by hand in the "
        "same round: a task that reads a memory stream with a buffer of 100, like the mailbox, "
        "and for an ask an AnyIO event that signals the answer. The version by hand has no time "
        "limit, no errors from the other side and no supervision."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
