"""One publisher, many subscribers: a port against a memory stream for each of them."""

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from backends import Backend
from floors import BUFFER_SIZE
from measure import Figures, Row, Samples, Section, Settings, rate, ratio, rotated, timed

from actorstream import Actor, MessageRouter, Subscription

LABELS = {
    "hand": "by hand: a memory stream each, send/receive",
    "port": "publish",
}


class PublisherActor(Actor):
    """Has a port."""

    def __init__(self) -> None:
        self.numbers = self.create_port("numbers", buffer_size=BUFFER_SIZE)


class Sums:
    """Adds up what all subscribers receive."""

    def __init__(self) -> None:
        self.total = 0

    async def read(self, subscription: Subscription[int]) -> None:
        """Read a subscription to its end."""
        total = 0
        async for number in subscription:
            total += number
        self.total += total

    async def receive(self, receive: MemoryObjectReceiveStream[int]) -> None:
        """Read a memory stream to its end, as fast as hand-written code can."""
        total = 0
        async with receive:
            try:
                while True:
                    total += await receive.receive()
            except anyio.EndOfStream:
                self.total += total


async def publish(router: MessageRouter, subscribers: int, values: int) -> int:
    """Publish numbers at the port of a new actor, until every subscriber has read all of them."""
    actor, sums = PublisherActor(), Sums()
    router.register_actor("publisher", actor)
    async with anyio.create_task_group() as group:
        for _ in range(subscribers):
            group.start_soon(sums.read, router.subscribe("publisher", "numbers"))
        for number in range(values):
            await actor.numbers.publish(number)
        actor.numbers.close()
    await router.stop_actor("publisher")
    return sums.total


async def send_to_each(subscribers: int, values: int) -> int:
    """Do the same by hand."""
    sums = Sums()
    pairs = [anyio.create_memory_object_stream[int](BUFFER_SIZE) for _ in range(subscribers)]
    async with anyio.create_task_group() as group:
        for _, receive in pairs:
            group.start_soon(sums.receive, receive)
        for number in range(values):
            for send, _ in pairs:
                await send.send(number)
        for send, _ in pairs:
            send.close()
    return sums.total


def take(backend: Backend, settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Run both programs once for each number of subscribers, in one event loop."""
    return backend.run(take_round, settings, round_number)


async def take_round(settings: Settings, round_number: int) -> dict[str, list[float]]:
    """Time both programs in an entered router, including the subscribing."""
    sample: dict[str, list[float]] = {}
    async with MessageRouter() as router:
        for subscribers in settings.subscribers:
            for name in rotated(list(LABELS), round_number):
                seconds = await time_program(name, router, subscribers, settings)
                sample[f"publish.{name}@{subscribers}"] = [seconds]
    return sample


async def time_program(
    name: str, router: MessageRouter, subscribers: int, settings: Settings
) -> float:
    """Return the seconds until every subscriber has received all values."""
    values = values_for(subscribers, settings)
    expected = subscribers * values * (values - 1) // 2

    async def run() -> int:
        if name == "hand":
            return await send_to_each(subscribers, values)
        return await publish(router, subscribers, values)

    return await timed(run, expected, 1)


def values_for(subscribers: int, settings: Settings) -> int:
    """Return how many values to publish, so that the number of deliveries stays the same."""
    return settings.deliveries // subscribers


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return values and deliveries per second, and their ratio to the hand-written program."""
    figures: Figures = {}
    for subscribers in settings.subscribers:
        values = values_for(subscribers, settings)
        for name in LABELS:
            key = f"publish.{name}@{subscribers}"
            seconds = samples[key]
            figures[f"{key}.values"] = rate(seconds, values)
            figures[f"{key}.deliveries"] = rate(seconds, values * subscribers)
            figures[f"{key}.x_hand"] = ratio(samples[f"publish.hand@{subscribers}"], seconds)
    return figures


def rows(settings: Settings) -> list[Row]:
    """Show values and deliveries per second, and the ratio to the hand-written, in one cell."""
    return [
        Row(
            f"{label}, {subscribers:,} subscriber{'s' if subscribers > 1 else ''}",
            (f"{key}.values", f"{key}.deliveries", f"{key}.x_hand"),
        )
        for subscribers in settings.subscribers
        for name, label in LABELS.items()
        for key in [f"publish.{name}@{subscribers}"]
    ]


SECTION = Section(
    name="ports",
    title="Ports: one publisher, many subscribers",
    note=(
        "Values published per second; in brackets deliveries per second (each value goes to every "
        "subscriber) and the ratio to the deliveries by hand in the same round. The policy is "
        '"wait", with a buffer of 100 for each subscriber on both sides, so no value is lost.'
    ),
    take=take,
    derive=derive,
    rows=rows,
)
