"""What several test modules share: a virtual clock for asyncio, and turns of the loop."""

import asyncio
import selectors

from anyio.lowlevel import checkpoint


async def settle(turns: int = 5) -> None:
    """Let every other task have ``turns`` turns of the event loop."""
    for _ in range(turns):
        await checkpoint()


class SkippingSelector(selectors.DefaultSelector):
    """Skip a wait that no I/O ends at once, and count it as time gone by.

    A wait without an end is a real one: only a thread or a socket can end it.
    """

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if timeout is not None and timeout > 0 and not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while tasks run and jumps while all of them sleep."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now
