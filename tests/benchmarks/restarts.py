"""Restarts: from the message that makes an actor fail to the first answer of its new instance."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter

from backends import Backend
from measure import Figures, Row, Samples, Section, Settings, spread

from actorstream import Actor, ChildSpec, MessageRouter, Supervisor, UnhandledMessageError, handles

#: More restarts than any measurement takes.
UNLIMITED = 1_000_000
#: Seconds; a restart that takes longer fails the run.
LIMIT = 60


class FragileActor(Actor):
    """Fails on request; a new instance has seen no failures."""

    def __init__(self) -> None:
        self.failures = 0

    @handles("fail")
    async def fail(self, payload: object) -> None:
        """Fail, so that the supervisor restarts the actor."""
        self.failures += 1
        raise ValueError("measured")

    @handles("failures")
    async def tell_failures(self, payload: object) -> int:
        """Answer how often this instance has failed."""
        return self.failures


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the log: printing a traceback takes longer than a restart."""
    logger = logging.getLogger("actorstream")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


async def restart_once(router: MessageRouter) -> float:
    """Return the seconds that one restart takes."""
    start = perf_counter()
    await router.tell("pool/0", "fail")
    failures = await router.ask("pool/0", "failures", timeout=LIMIT)
    seconds = perf_counter() - start
    if failures:
        raise AssertionError("the actor that failed has answered")
    return seconds


def take(backend: Backend, settings: Settings, _: int) -> dict[str, list[float]]:
    """Restart an actor several times, with each number of siblings, in one event loop."""
    return backend.run(take_round, settings)


async def take_round(settings: Settings) -> dict[str, list[float]]:
    """Measure in a pool whose children have all started."""
    sample: dict[str, list[float]] = {}
    for children in settings.supervised:
        specs = [ChildSpec(str(number), FragileActor) for number in range(children)]
        with quiet():
            async with MessageRouter() as router:
                router.register_actor("pool", Supervisor(specs, max_restarts=UNLIMITED))
                await wait_up(router)
                sample[f"restart@{children}"] = [
                    await restart_once(router) * 1e6 for _ in range(settings.repeats_of_restart)
                ]
    return sample


async def wait_up(router: MessageRouter) -> None:
    """Wait until the supervisor answers, even with an error: then its children have all started."""
    with suppress(UnhandledMessageError):
        await router.ask("pool", "are you there?", timeout=LIMIT)


def derive(samples: Samples, settings: Settings) -> Figures:
    """Return the time of a restart."""
    return {key: spread(values, "us") for key, values in samples.items()}


def rows(settings: Settings) -> list[Row]:
    """Show the time of a restart for each size of the pool."""
    return [
        Row(f"one_for_one, {children:,} {name}", (f"restart@{children}",))
        for children in settings.supervised
        for name in ["child" if children == 1 else "children"]
    ]


SECTION = Section(
    name="restart",
    title="Restart latency",
    note=(
        "Time from `await router.tell(...)` with a message that makes the actor fail to the first "
        'answer of the fresh actor: supervised, "one_for_one", no backoff, with logging switched '
        "off."
    ),
    take=take,
    derive=derive,
    rows=rows,
)
