"""Tools for testing actors: virtual time, a probe that records messages, a leak check.

They need no test framework. This is the only public module besides the package root::

    from actorstream.testing import Probe, assert_nothing_left, run, settle, virtual_time

In virtual time the clock stands still while any task runs. When all tasks wait, it jumps to the
next deadline, so an hour's timeout takes milliseconds, and every run has the same order of events.
The clock cannot know how long a thread, a socket or a process will take: while one of them works
and there is a deadline ahead, the clock jumps to it at once, and ``fail_after(5)`` around a call
in a worker thread fails at once. Without a deadline ahead, the wait is real. Run tests with
threads and sockets on the real clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard, TypeVar

import anyio
from anyio import Event, move_on_after
from anyio.lowlevel import checkpoint

from actorstream._actors.actor import Actor
from actorstream._actors.slot import slot_of
from actorstream._checks import as_seconds, check_seconds
from actorstream._kinds import is_a, is_awaitable
from actorstream._message import Message
from actorstream._router import MessageRouter
from actorstream._texts import repr_of

T = TypeVar("T")

__all__ = ["Probe", "VirtualTimeLoop", "assert_nothing_left", "run", "settle", "virtual_time"]

# What a router may still hold: an attribute of its statistics, and the name of one such thing.
_LEFT = (
    ("active_streams", "live stream"),
    ("subscriptions", "subscription"),
    ("queued_messages", "queued message"),
)


class _SkippingSelector(selectors.DefaultSelector):
    """Skips a wait unless I/O is ready, and adds its length to the clock.

    A wait without a timeout is real: only a thread or a socket can end it.
    """

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if timeout is not None and timeout > 0 and not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while tasks run and jumps while all of them wait.

    ``virtual_time()`` passes it to AnyIO; ``asyncio.Runner(loop_factory=VirtualTimeLoop)`` takes
    it, too. Its clock starts at 0.
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
        *args: The arguments of ``main``.
        backend: ``"asyncio"`` or ``"trio"``.

    Raises:
        ValueError: There is no such backend.
        ImportError: trio is not installed.
    """
    options = virtual_time(backend)
    if backend == "trio":  # AnyIO before 4.14 does not pass the options on to trio
        import trio  # trio is optional

        return trio.run(main, *args, **options)
    return anyio.run(main, *args, backend=backend, backend_options=options)


def virtual_time(backend: str = "asyncio") -> dict[str, Any]:
    """Make the ``backend_options`` with which AnyIO's pytest plugin runs in virtual time.

    ``anyio.run()`` takes them, too (for trio since AnyIO 4.14; ``run()`` works with any version).

    The plugin takes them, together with the backend's name, as the value of an ``anyio_backend``
    fixture: ``("trio", virtual_time("trio"))``. Make new options for each run: a trio clock serves
    only one.

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
    """Give every other task ``turns`` turns of the event loop.

    A test then sees what other tasks have done, without a sleep: a task that was started has
    begun, a task that was woken or cancelled has gone on. The clock does not move. A cancellation
    takes effect at the next turn.
    """
    for _ in range(turns):
        await checkpoint()


class Probe(Actor):
    """An actor that records its messages, so that a test can wait for them one after another.

    ``expect()`` and ``expect_no_message()`` go through the messages in the order of arrival. A
    failed or cancelled expectation takes no message: the next one stays the next one. The reply
    to an ask is ``None``, unless ``reply_with()`` sets another.

    A subclass that has an ``__init__`` calls ``super().__init__()``.

    Attributes:
        messages: All messages in the order of arrival, whether expected yet or not.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._unexpected: deque[Message] = deque()
        self._replies: dict[str, Any] = {}
        self._arrived: Event | None = None  # set when the next message arrives

    def __repr__(self) -> str:
        cell = slot_of(self).cell
        where = "unregistered" if cell is None else str(cell.address)
        return (
            f"<{type(self).__name__} {where}: {len(self.messages)} messages, "
            f"{len(self._unexpected)} not expected yet>"
        )

    async def receive(self, message: Message) -> Any:
        """Record a message, and reply to it as set by ``reply_with()``."""
        self._record(message)
        reply = self._replies.get(message.type)
        if _is_exception(reply):
            raise reply
        if not callable(reply):
            return reply
        made = reply(message)
        return await made if is_awaitable(made) else made

    def reply_with(self, type: str, reply: object | Callable[[Message], object]) -> None:
        """Set the reply to the messages of a type from now on.

        Args:
            type: The type of the messages.
            reply: The reply. A function is called with the message and returns the reply; a
                coroutine function is awaited. An exception, or an exception class, is raised: an
                asker sees the actor's failure, and after a ``tell`` the actor has failed.
        """
        self._replies[type] = reply

    async def expect(self, type: str, *, timeout: float | None = 5.0) -> Message:
        """Return the next message that was not expected yet; it must be of this type.

        Like ``expectMsg`` of Akka's TestProbe: a message of another type is not skipped.

        Args:
            type: The type that the message must have.
            timeout: How long to wait for it, in seconds on the event loop's clock; ``None`` for
                no limit. At 0 the message must have arrived already.

        Raises:
            AssertionError: The next message has another type, or none arrived in time.
            TypeError, ValueError: ``timeout`` is not a number of seconds, or is below 0.
        """
        timeout = as_seconds(timeout)
        check_seconds("timeout", timeout)
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
        """Wait, and check that there is no message that was not expected yet.

        Like ``expectNoMessage`` of Akka's TestProbe: messages from before the call count.

        Args:
            within: How long to wait, in seconds on the event loop's clock.

        Raises:
            AssertionError: There was such a message, or one arrived.
            TypeError, ValueError: ``within`` is not a number of seconds, or is below 0.
        """
        seconds = as_seconds(within)
        check_seconds("within", seconds)
        message = await self._wait_next(seconds)
        if message is not None:
            raise AssertionError(
                f"expected no message within {seconds:g} s, not {_show(message)}{self._so_far()}"
            )

    async def _wait_next(self, timeout: float | None) -> Message | None:
        """Return the next message without taking it, or ``None`` if none arrives in time."""
        with move_on_after(timeout):
            while not self._unexpected:
                self._arrived = self._arrived or Event()
                await self._arrived.wait()
        return self._unexpected[0] if self._unexpected else None

    def _record(self, message: Message) -> None:
        self.messages.append(message)
        self._unexpected.append(message)
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def _so_far(self) -> str:
        types = ", ".join(repr(message.type) for message in self.messages)
        return f"; received so far: {types or 'nothing'}"


def assert_nothing_left(router: MessageRouter) -> None:
    """Check that a router holds no live stream, subscription or queued message.

    For the end of a test, inside the router's block or after it. A stream that was left by
    ``break`` without ``async with`` needs a few turns of the loop to end: ``await settle()`` first.

    Raises:
        AssertionError: Something is left; the message lists it.
    """
    statistics = router.statistics()
    counts = [(getattr(statistics, attribute), word) for attribute, word in _LEFT]
    left = [f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count]
    if left:
        raise AssertionError(f"left in {router!r}: {', '.join(left)}")


def _is_exception(reply: object) -> TypeGuard[BaseException | type[BaseException]]:
    return is_a(reply, BaseException) or (is_a(reply, type) and issubclass(reply, BaseException))


def _show(message: Message) -> str:
    return f"one of type {message.type!r} with payload {repr_of(message.payload)}"
