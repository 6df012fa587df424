"""Ends a stream from outside, if its caller asks for it: three time limits and an abort signal.

All of them lead to one call, ``end(outcome)``. An unused option costs nothing: a stream without
such options has no ``Watchdog``, and one that does not watch items keeps the buffer's fast path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from actorstream._abort import attach, deadline_of, detach
from actorstream._address import Address
from actorstream._errors import TimeoutKind
from actorstream._loop.runtime import Runtime
from actorstream._loop.timers import Timer
from actorstream._options import NO_LIMIT, StreamAsyncOptions
from actorstream._streams.buffer import Buffer
from actorstream._streams.item_limit import ItemLimit
from actorstream._streams.outcome import Outcome, aborted, timed_out


def _ignore(_: Outcome) -> None:
    """Replaces ``end`` when the stream is over."""


def find_early_outcome(options: StreamAsyncOptions, to: Address) -> Outcome | None:
    """Return the outcome of a stream that is over before it starts, if it is."""
    if options.signal is not None and options.signal.aborted:
        return aborted(options.signal.reason)
    if options.timeout == 0:
        return timed_out("total", options, to)
    if options.first_timeout == 0:
        return timed_out("first", options, to)
    return None


class Watchdog:
    """Watches one running stream: all limits but its ``timeout``.

    Args:
        options: The limits and the signal.
        to: The actor, for the errors.
        buffer: The stream's; held while the producer must report each item.
        runtime: The router's runtime.
        end: Called in the event loop with the outcome when a limit passes.
    """

    __slots__ = (
        "_buffer",
        "_end",
        "_first",
        "_idle",
        "_options",
        "_runtime",
        "_signal_key",
        "_signal_timer",
        "_stall",
        "_to",
        "_watches_blocking",
        "_watches_items",
    )

    def __init__(
        self,
        options: StreamAsyncOptions,
        to: Address,
        buffer: Buffer[Any],
        runtime: Runtime,
        end: Callable[[Outcome], object],
    ) -> None:
        self._options = options
        self._to = to
        self._buffer = buffer
        self._runtime = runtime
        self._end = end
        self._idle = self._limit("idle", options.idle_timeout)
        self._stall: Timer | None = None
        self._first = self._limit("first", options.first_timeout)
        if self._first is not None:
            self._first.restart()
        self._signal_key: object = None
        self._signal_timer: Timer | None = None
        if options.signal is not None:
            self._signal_key = attach(options.signal, self._interrupt)
            deadline = deadline_of(options.signal)
            if deadline < math.inf:
                self._signal_timer = runtime.timers.call_at(deadline, self.apply_abort)
        watches_idle = self._idle is not None
        self._watches_items = watches_idle or self._first is not None
        self._watches_blocking = watches_idle or options.stall_timeout not in NO_LIMIT
        if self._watches_items:
            buffer.hold()

    def _interrupt(self) -> None:
        """Pause the buffer, and end the stream soon. Runs in the aborting thread."""
        self._buffer.pause()
        self._runtime.call_soon(self.apply_abort)

    def apply_abort(self) -> None:
        """End the stream with the signal's reason: the signal has been aborted, or is due."""
        assert self._options.signal is not None
        self._buffer.resume()
        self._end(aborted(self._options.signal.reason))

    def find_abort(self) -> Outcome | None:
        """Return the outcome of an abort, if the signal has been aborted."""
        signal = self._options.signal
        return aborted(signal.reason) if signal is not None and signal.aborted else None

    def on_item(self) -> None:
        """The producer has made an item: restart the time limits between items."""
        if not self._watches_items:
            return
        if self._first is not None:
            self._first.stop()
            self._first = None
        if self._idle is None:
            self._watches_items = False
            self._buffer.release()
        else:
            self._idle.restart()

    async def wait_writable(self) -> None:
        """Wait until there may be room; meanwhile, the idle time does not run."""
        if not self._watches_blocking:
            await self._buffer.wait_writable()
            return
        self._on_blocked()
        try:
            await self._buffer.wait_writable()
        finally:
            if self._watches_blocking and not self._buffer.producer_waiting:
                self._on_unblocked()

    def _on_blocked(self) -> None:
        if self._idle is not None:
            self._idle.stop()
        seconds = self._options.stall_timeout
        if self._stall is None and seconds not in NO_LIMIT:
            end = partial(self._end_by_time, "stall")
            self._stall = self._runtime.timers.call_after(seconds, end)

    def _on_unblocked(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._idle is not None:
            self._idle.restart()

    def stop_timers(self) -> None:
        """Stop measuring time: the outcome is decided."""
        for limit in (self._first, self._idle):
            if limit is not None:
                limit.stop()
        if self._stall is not None:
            self._stall.cancel()
        self._first = self._idle = self._stall = None  # they refer to this object: break the cycle
        self._watches_items = self._watches_blocking = False

    def detach(self) -> None:
        """Forget the signal, too: the consumer has reached the end."""
        self.forget_signal()
        if self._signal_timer is not None:
            self._signal_timer.cancel()
        self._end = _ignore  # it is a bound method of this object's owner: break the cycle

    def forget_signal(self) -> None:
        """Stop listening to the signal. Any thread may call this."""
        if self._options.signal is not None:
            detach(self._options.signal, self._signal_key)

    def _limit(self, kind: TimeoutKind, seconds: float | None) -> ItemLimit | None:
        if seconds is None or seconds == math.inf:
            return None
        return ItemLimit(seconds, self._runtime, partial(self._end_by_time, kind))

    def _end_by_time(self, kind: TimeoutKind) -> None:
        self._end(timed_out(kind, self._options, self._to))
