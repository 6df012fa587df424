"""Where undeliverable messages show: in the log, a line a second at most, and at a port."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from actorstream._address import Address
from actorstream._loop.runtime import Runtime
from actorstream._loop.timers import Timer
from actorstream._message import Message
from actorstream._ports.control import post
from actorstream._ports.options import PortOptions
from actorstream._ports.port import Port
from actorstream._texts import one_line

_INTERVAL = 1.0  # seconds

logger = logging.getLogger("actorstream.dead_letters")


class DeadLetters:
    """Logs the undeliverable messages of one router, and publishes them.

    Args:
        runtime: The router's.

    Attributes:
        port: Where they are published; it never waits.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.port: Port[Message] = Port(
            "dead_letters",
            PortOptions(overflow="drop_oldest"),
            partial(_locate, runtime),
            partial(_same, runtime),
            can_wait=False,
        )
        self._runtime = runtime
        self._log = _Log(runtime)

    def add(self, message: Message, why: str) -> None:
        """A message was lost."""
        self._log.add(message, why)
        self._publish([message])

    def add_queue(self, messages: list[Message], why: str) -> None:
        """The queue of an actor was lost, which is one line of the log."""
        self._log.write(messages, why)
        self._publish(messages)

    def close(self) -> None:
        """The router is closed."""
        self.port.close()
        self._log.flush()

    def _publish(self, messages: list[Message]) -> None:
        if self._runtime.state != "closed":
            for message in messages:
                post(self.port, message)


class _Log:
    """Logs the first undeliverable message at once, and counts those of the next second.

    A filter or handler of the user's that raises costs its line and nothing else.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._timer: Timer | None = None
        self._count = 0
        self._latest: tuple[object, ...] = ()

    def add(self, message: Message, why: str) -> None:
        """Log a message, or count it if the last line is younger than a second."""
        if self._timer is not None:
            self._count += 1
            self._latest = (message.type, message.to, one_line(why))
            return
        self.write([message], why)
        if self._runtime.state != "closed":
            self._start_timer()

    def write(self, messages: list[Message], why: str) -> None:
        """Log messages to one actor in a line of their own."""
        first = messages[0]
        if len(messages) == 1:
            _warn("undeliverable message of type %r to %s: %s", first.type, first.to, one_line(why))
        else:
            _warn(
                "%d undeliverable messages to %s, the first one of type %r: %s",
                len(messages),
                first.to,
                first.type,
                one_line(why),
            )

    def flush(self) -> None:
        """Log the number of the messages counted so far. The router is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write_count()

    def _start_timer(self) -> None:
        self._timer = self._runtime.timers.call_after(_INTERVAL, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._count:
            self._write_count()
            self._start_timer()

    def _write_count(self) -> None:
        if self._count:
            _warn(
                "%d more undeliverable messages, the last one of type %r to %s: %s",
                self._count,
                *self._latest,
            )
            self._count = 0


def _warn(text: str, *arguments: object) -> None:
    with suppress(Exception):
        logger.warning(text, *arguments)


def _locate(runtime: Runtime) -> tuple[Address, Runtime]:
    runtime.check_open()
    return Address("dead_letters"), runtime


def _same(runtime: Runtime) -> Runtime:
    return runtime
