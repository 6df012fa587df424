"""Read a large data set at the consumer's pace, and measure how far ahead the producer gets.

Run it: python large_data_with_backpressure.py [asyncio|trio]
"""

import sys
from collections.abc import AsyncIterable, Iterator

import anyio

from actorstream import Actor, MessageRouter

ROWS = 1_000
BUFFER_SIZE = 20


class Table(Actor):
    """Produces rows as fast as backpressure allows, and counts them."""

    def __init__(self) -> None:
        self.produced = 0
        self.times_held_up = 0

    def rows(self) -> Iterator[int]:
        for number in range(ROWS):
            self.produced += 1
            yield number

    def stream_async(self, payload: None) -> AsyncIterable[object]:
        return self.create_async_stream_with_backpressure(
            self.rows(), check_interval=100, on_backpressure=self.note
        )

    def note(self, is_paused: bool) -> None:
        self.times_held_up += is_paused


async def main() -> None:
    table = Table()
    consumed = 0
    furthest_ahead = 0
    async with MessageRouter() as router:
        router.register_actor("table", table)
        async for row in router.stream_async("table", "read", buffer_size=BUFFER_SIZE).payloads():
            assert row == consumed
            consumed += 1
            await anyio.sleep(0)  # work on the row; the producer can run meanwhile
            furthest_ahead = max(furthest_ahead, table.produced - consumed)

    print("rows consumed, in order:", consumed)
    print("held up at", table.times_held_up, "of", ROWS // 100, "looks")
    print("never more than", BUFFER_SIZE, "rows in the buffer and one in hand:", end=" ")
    print(furthest_ahead <= BUFFER_SIZE + 1)


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if sys.argv[1:] else "asyncio")
