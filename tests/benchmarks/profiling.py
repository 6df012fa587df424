"""Profile one benchmark program: where does the time of an item or a message go?

``python tests/benchmarks/profiling.py [events|payloads|list|short|ask|tell] [asyncio|trio]``
"""

import argparse
import cProfile
import pstats
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

# As in run.py: make the modules next to this file importable under PYTHONSAFEPATH, too.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import anyio
from actors import add_events, add_payloads, entered_router
from messages import CalculatorActor, tell

from actorstream import MessageRouter

ITEMS = 200_000
MESSAGES = 20_000
SHORT_STREAMS = 5_000
ROWS = 25


async def events(router: MessageRouter) -> None:
    """Read events of bare items that an async generator yields."""
    await add_events(router.stream_async("generator", "numbers", ITEMS))


async def payloads(router: MessageRouter) -> None:
    """Read the payloads of bare items that an async generator yields."""
    await add_payloads(router.stream_async("generator", "numbers", ITEMS))


async def of_a_list(router: MessageRouter) -> None:
    """Read the payloads of ``create_async_stream(list)``."""
    await add_payloads(router.stream_async("list", "numbers", ITEMS))


async def short(router: MessageRouter) -> None:
    """Open and finish many streams of one item."""
    for _ in range(SHORT_STREAMS):
        await add_events(router.stream_async("generator", "numbers", 1))


async def ask(router: MessageRouter) -> None:
    """Ask an actor many times."""
    for number in range(MESSAGES):
        await router.ask("calculator", "next", number)


async def tell_often(router: MessageRouter) -> None:
    """Tell an actor many times."""
    await tell(router, MESSAGES)


PROGRAMS: dict[str, Callable[[MessageRouter], Awaitable[None]]] = {
    "events": events,
    "payloads": payloads,
    "list": of_a_list,
    "short": short,
    "ask": ask,
    "tell": tell_often,
}


async def profile(program: str) -> None:
    """Run a program under the profiler, after a run without it, and print the top rows."""
    async with entered_router() as router:
        router.register_actor("calculator", CalculatorActor())
        await PROGRAMS[program](router)
        profiler = cProfile.Profile()
        with profiler:
            await PROGRAMS[program](router)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(ROWS)


def main() -> None:
    """Read the command line and profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", choices=PROGRAMS, default="payloads")
    parser.add_argument("backend", nargs="?", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    anyio.run(profile, arguments.program, backend=arguments.backend)


if __name__ == "__main__":
    main()
