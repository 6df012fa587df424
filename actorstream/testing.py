"""For tests of actors: a clock that jumps, an actor that records, a look at what is left.

Nothing here needs a test framework. The only door beside the package root::

    from actorstream.testing import Probe, assert_nothing_left, run, settle, virtual_time

In virtual time the clock stands still while any task runs. When all of them wait, it jumps to
the next deadline, so an hour's timeout takes milliseconds, and the same order of events comes
out at each run. What the clock cannot know is how long a thread, a socket or a process will
take: while one of them works and a deadline is ahead, the clock jumps there at once, and
``fail_after(5)`` around a call in a worker thread fails at once. With no deadline ahead such
a wait is a real one. Leave tests with threads and sockets on the real clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeGuard, TypeVar

import anyio
from anyio import Event, move_on_after
from anyio.lowlevel import checkpoint

from actorstream._actors.actor import Actor
from actorstream._actors.slot import slot_of
from actorstream._message import Message
from actorstream._router import MessageRouter

T = TypeVar("T")

__all__ = ["Probe", "VirtualTimeLoop", "assert_nothing_left", "run", "settle", "virtual_time"]

# What a router may still hold: an attribute of its statistics, and the word for one of them.
_LEFT = (
    ("active_streams", "live stream"),
    ("subscriptions", "subscription"),
    ("queued_messages", "queued message"),
)


class _SkippingSelector(selectors.DefaultSelector):
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
    """An event loop whose clock stands still while tasks run and jumps while all of them wait.

    ``virtual_time()`` hands it to AnyIO; ``asyncio.Runner(loop_factory=VirtualTimeLoop)`` takes
    it, too. Its clock begins at 0.
    """

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._skipping.now


def run(main: Callable[..., Awaitable[T]], *args: Any, backend: str = "asyncio") -> T:
    """Run ``main(*args)`` in virtual time, and return what it returns.

    Args:
        main: A coroutine function.
        *args: What it is called with.
        backend: ``"asyncio"`` or ``"trio"``.

    Raises:
        ValueError: There is no such backend.
        ImportError: trio is not installed.
    """
    options = virtual_time(backend)
    if backend == "trio":  # AnyIO before 4.14 does not hand the options on to trio
        import trio  # it is optional

        return trio.run(main, *args, **options)
    return anyio.run(main, *args, backend=backend, backend_options=options)


def virtual_time(backend: str = "asyncio") -> dict[str, Any]:
    """Make the ``backend_options`` with which AnyIO's pytest plugin runs in virtual time.

    ``anyio.run()`` takes them, too (for trio from AnyIO 4.14 on; ``run()`` works with all).

    Together with the backend's name they are what AnyIO's pytest plugin takes as the value of
    an ``anyio_backend`` fixture: ``("trio", virtual_time("trio"))``. Make them anew for each run:
    a clock of trio's serves only one.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.

    Raises:
        ValueError: There is no such backend.
        ImportError: trio is not installed.
    """
    if backend == "asyncio":
        return {"loop_factory": VirtualTimeLoop}
    if backend == "trio":
        return {"clock": _make_trio_clock()}
    raise ValueError(f'backend is "asyncio" or "trio", not {backend!r}')


def _make_trio_clock() -> object:
    try:
        from trio.testing import MockClock  # trio is optional
    except ImportError as error:
        raise ImportError(
            'virtual_time("trio") needs trio, which is not installed; '
            'install it with `pip install "actorstream[trio]"`'
        ) from error
    return MockClock(autojump_threshold=0)


async def settle(turns: int = 5) -> None:
    """Let every other task have ``turns`` turns of the event loop.

    For a test that wants to see what the others have done by then without waiting for a
    time: a task that was started has begun, a task that was woken or cancelled has gone on.
    It moves no clock. Being cancelled, it stops.
    """
    for _ in range(turns):
        await checkpoint()


class Probe(Actor):
    """An actor that records its messages, for a test to wait for them, one after another.

    ``expect()`` and ``expect_no_message()`` go through what came in its order. A message that
    an expectation did not meet stays the next one: a failed or cancelled expectation takes
    nothing. The reply to an ask is ``None``, unless ``reply_with()`` says otherwise.

    A subclass that has an ``__init__`` calls ``super().__init__()``.

    Attributes:
        messages: All that came, in its order, whether expected yet or not.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._unexpected: deque[Message] = deque()
        self._replies: dict[str, Any] = {}
        self._came: Event | None = None  # set at the next message, for whoever waits for it

    def __repr__(self) -> str:
        where = "unregistered" if slot_of(self).cell is None else str(self.address)
        return (
            f"<{type(self).__name__} {where}: {len(self.messages)} messages, "
            f"{len(self._unexpected)} not expected yet>"
        )

    async def receive(self, message: Message) -> Any:
        """Record a message, and reply to it as ``reply_with()`` said."""
        self._record(message)
        reply = self._replies.get(message.type)
        if _is_exception(reply):
            raise reply
        if not callable(reply):
            return reply
        made = reply(message)
        return await made if isawaitable(made) else made

    def reply_with(self, type: str, reply: object | Callable[[Message], object]) -> None:
        """Say how to reply to the messages of a type from now on.

        Args:
            type: The messages' type.
            reply: The reply. A function is called with the message and returns it; a coroutine
                function is awaited. An exception, or a class of exceptions, is raised: an asker
                sees the failure of the actor, and after a ``tell`` the actor has failed.
        """
        self._replies[type] = reply

    async def expect(self, type: str, *, timeout: float | None = 5.0) -> Message:
        """Return the next message that no test has expected yet; it must be of this type.

        Like ``expectMsg`` of Akka's TestProbe: a message of another type is not skipped.

        Args:
            type: What the message's type must be.
            timeout: How long to wait for it, in seconds of the event loop's clock; ``None``: as
                long as it takes. At 0 it must have come.

        Raises:
            AssertionError: A message of another type came next, or none in time.
        """
        message = await self._wait_next(timeout)
        if message is None:
            raise AssertionError(
                f"expected a message of type {type!r} within {timeout:g} s, but none came"
                f"{self._so_far()}"
            )
        if message.type != type:
            raise AssertionError(
                f"expected a message of type {type!r} next, not {_show(message)}{self._so_far()}"
            )
        return self._unexpected.popleft()

    async def expect_no_message(self, *, within: float) -> None:
        """Wait, and make sure that there is no message that no test has expected yet.

        Like ``expectNoMessage`` of Akka's TestProbe: what came before the call counts.

        Args:
            within: How long to wait, in seconds of the event loop's clock.

        Raises:
            AssertionError: There was one, or one came.
        """
        message = await self._wait_next(within)
        if message is not None:
            raise AssertionError(
                f"expected no message within {within:g} s, not {_show(message)}{self._so_far()}"
            )

    async def _wait_next(self, timeout: float | None) -> Message | None:
        """Return the next message without taking it, or ``None`` if none came in time."""
        with move_on_after(timeout):
            while not self._unexpected:
                self._came = self._came or Event()
                await self._came.wait()
        return self._unexpected[0] if self._unexpected else None

    def _record(self, message: Message) -> None:
        self.messages.append(message)
        self._unexpected.append(message)
        if self._came is not None:
            self._came.set()
            self._came = None

    def _so_far(self) -> str:
        types = ", ".join(repr(message.type) for message in self.messages)
        return f"; came so far: {types or 'nothing'}"


def assert_nothing_left(router: MessageRouter) -> None:
    """Make sure that a router holds no stream, subscription, queued message or running task.

    For the end of a test, inside of the router's block or after it. A stream that was left by
    ``break`` without ``async with`` needs a few turns of the loop to go: ``await settle()`` first.

    Raises:
        AssertionError: Something is left; the message lists it.
    """
    statistics = router.statistics()
    counts = [(getattr(statistics, attribute, 0), word) for attribute, word in _LEFT]
    left = [f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count]
    if left:
        raise AssertionError(f"left in {router!r}: {', '.join(left)}")


def _is_exception(reply: object) -> TypeGuard[BaseException | type[BaseException]]:
    return isinstance(reply, BaseException) or (
        isinstance(reply, type) and issubclass(reply, BaseException)
    )


def _show(message: Message) -> str:
    return f"one of type {message.type!r} with payload {message.payload!r}"
