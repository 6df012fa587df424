"""Cancellation from anywhere: a controller that aborts, and a signal for the code that stops.

Modeled on ``AbortController`` of the WHATWG DOM standard (section 3.1). ``abort()`` takes no
lock, so it is safe in a signal handler or a ``__del__`` that interrupts any line of it: the
first reason wins through ``dict.setdefault``, and each callback is called once because it
is taken out with ``dict.pop``; both are atomic.

A signal with a time limit runs no timer. It knows its deadline, and the code that attaches to it
waits no later than that deadline.
"""

# The classes of this module use each other's private members.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import count
from operator import itemgetter
from time import monotonic
from types import TracebackType
from typing import NamedTuple

from anyio import CancelScope, Event

from actorstream._errors import StreamAbortedError
from actorstream._loop.clock import current_time
from actorstream._loop.wakeup import current_call_soon
from actorstream._texts import repr_of

Callback = Callable[[], object]

_order = count()


class _Abort(NamedTuple):
    """When and why a signal was aborted.

    ``when`` is on the clock of the event loop. A thread without an event loop has no clock: an
    abort from there counts as later than any abort with a time. ``order`` breaks ties.
    """

    when: float
    order: int
    reason: object


def _now() -> float:
    try:
        return current_time()
    except RuntimeError:  # no event loop runs in this thread, so there is no clock
        return math.inf


class AbortSignal:
    """Tells whether to stop, and why. Get one from an ``AbortController``."""

    __slots__ = ("__weakref__", "_abort", "_callbacks")

    def __init__(self) -> None:
        self._abort: dict[str, _Abort] = {}  # empty, or one entry
        self._callbacks: dict[object, Callback] = {}

    def __repr__(self) -> str:
        state = f"aborted: {repr_of(self.reason)}" if self.aborted else "not aborted"
        return f"<{type(self).__name__} {state}>"

    @staticmethod
    def timeout(seconds: float) -> AbortSignal:
        """Return a signal that aborts after some time.

        Args:
            seconds: The time from now, on the clock of the running event loop.

        Raises:
            TypeError, ValueError: ``seconds`` is not a number, or is below 0.
            RuntimeError: No event loop is running (AnyIO raises a subclass).
        """
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"seconds is a number, not {repr_of(seconds)}; write AbortSignal.timeout(30)"
            )
        if not seconds >= 0:  # False for nan, too
            raise ValueError(f"seconds is 0 or more, not {repr_of(seconds)}")
        is_beyond = seconds > sys.float_info.max  # an int may be, and no clock can count it
        return _TimeoutSignal(math.inf if is_beyond else seconds)

    @staticmethod
    def any(signals: Iterable[AbortSignal]) -> AbortSignal:
        """Return a signal that aborts with the first of ``signals``, for its reason.

        Raises:
            TypeError: One of them is not an ``AbortSignal``.
        """
        sources = tuple(signals)
        for signal in sources:
            if not isinstance(signal, AbortSignal):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"AbortSignal.any() takes signals, not {repr_of(signal)}; "
                    "write AbortSignal.any([controller.signal, ...])"
                )
        return _AnySignal(_flatten(sources))

    @property
    def aborted(self) -> bool:
        """Whether the signal has been aborted."""
        return self._find_abort() is not None

    @property
    def reason(self) -> object:
        """The object given to ``abort()``, unchanged; ``None`` before that."""
        found = self._find_abort()
        return None if found is None else found.reason

    def _find_deadline(self) -> float:
        return math.inf

    def throw_if_aborted(self) -> None:
        """Raise ``StreamAbortedError`` with the reason, if the signal has been aborted."""
        found = self._find_abort()
        if found is not None:
            raise StreamAbortedError(found.reason)

    async def wait(self) -> None:
        """Wait until the signal is aborted; return at once if it has been. Safe to cancel."""
        if self.aborted:
            return
        event = Event()
        call_soon = current_call_soon()
        key = attach(self, lambda: call_soon(event.set))
        try:
            with CancelScope(deadline=self._find_deadline()):
                await event.wait()
        finally:
            self._detach(key)

    def cancel_scope(self) -> AbstractContextManager[CancelScope]:
        """Tie any code to the signal: ``with signal.cancel_scope() as scope: ...``.

        The scope is cancelled when the signal is aborted; code after the block goes on, and
        can check ``scope.cancelled_caught``.
        """
        return _SignalScope(self)

    def _attach(self, key: object, callback: Callback) -> None:
        self._callbacks[key] = callback
        if self._abort:  # aborted in between: the thread that pops the entry makes the call
            self._call(key)

    def _detach(self, key: object) -> None:
        self._callbacks.pop(key, None)

    def _find_abort(self) -> _Abort | None:
        return self._abort.get("")

    def _fire(self, reason: object) -> None:
        self._fire_at(_now(), reason)

    def _fire_at(self, when: float, reason: object) -> None:
        abort = _Abort(when, next(_order), reason)
        if self._abort.setdefault("", abort) is abort:
            for key in list(self._callbacks):
                self._call(key)

    def _call(self, key: object) -> None:
        callback = self._callbacks.pop(key, None)
        if callback is not None:
            callback()


class _TimeoutSignal(AbortSignal):
    """Aborts at a deadline on the event loop's clock."""

    __slots__ = ("_deadline", "_real_deadline", "_seconds")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._deadline = current_time() + seconds
        self._real_deadline = monotonic() + seconds

    def _find_deadline(self) -> float:
        return self._deadline

    def _find_abort(self) -> _Abort | None:
        if not self._abort and self._is_due():
            self._fire_at(self._deadline, f"timed out after {self._seconds:g} s")
        return super()._find_abort()

    def _is_due(self) -> bool:
        try:
            return current_time() >= self._deadline
        except RuntimeError:  # no event loop runs in this thread: use the real clock
            return monotonic() >= self._real_deadline


class _AnySignal(AbortSignal):
    """Aborts with the first of its sources. To attach to it is to attach to each of them.

    None of the sources is such a signal itself, and each is there once, as in the DOM standard. So
    signals may be combined again and again.

    While nothing is attached, it keeps nothing at its sources, so a short-lived combination
    leaves no trace at a long-lived source.
    """

    __slots__ = ("_sources",)

    def __init__(self, sources: tuple[AbortSignal, ...]) -> None:
        super().__init__()
        self._sources = sources

    def _find_deadline(self) -> float:
        return min((source._find_deadline() for source in self._sources), default=math.inf)

    def _find_abort(self) -> _Abort | None:
        if not self._abort:
            found = [abort for source in self._sources if (abort := source._find_abort())]
            if found:
                self._abort.setdefault("", min(found, key=itemgetter(0, 1)))
        return super()._find_abort()

    def _attach(self, key: object, callback: Callback) -> None:
        once: dict[str, Callback] = {"": callback}

        def first() -> None:
            # Two sources may abort, even at the same time in two threads.
            call = once.pop("", None)
            if call is not None:
                call()

        for source in self._sources:
            source._attach(key, first)

    def _detach(self, key: object) -> None:
        for source in self._sources:
            source._detach(key)


def _flatten(signals: Iterable[AbortSignal]) -> tuple[AbortSignal, ...]:
    """Return the signals, with its sources in place of one that was combined; each once."""
    sources: dict[AbortSignal, None] = {}
    for signal in signals:
        for source in signal._sources if isinstance(signal, _AnySignal) else (signal,):
            sources[source] = None
    return tuple(sources)


class AbortController:
    """Aborts its signal.

    Attributes:
        signal: The signal to pass to streams and other code.
    """

    __slots__ = ("__weakref__", "signal")

    def __init__(self) -> None:
        self.signal: AbortSignal = AbortSignal()

    def __repr__(self) -> str:
        return f"<AbortController {self.signal!r}>"

    def abort(self, reason: object = "aborted") -> None:
        """Abort the signal; only the first call counts.

        May be called from any thread, from a signal handler, and from ``__del__``. It never
        waits: code that watches the signal is woken in the next turn of its event loop.

        Args:
            reason: Any object; each consumer gets it as ``StreamAbortedError.reason``.
        """
        self.signal._fire(reason)


class _SignalScope(AbstractContextManager[CancelScope]):
    """A cancel scope that is cancelled when a signal is aborted."""

    def __init__(self, signal: AbortSignal) -> None:
        self._signal = signal
        self._scope: CancelScope | None = None

    def __enter__(self) -> CancelScope:
        if self._scope is None:
            self._scope = CancelScope(deadline=deadline_of(self._signal))
        scope = self._scope
        scope.__enter__()  # raises if it was entered before
        if self._signal.aborted:
            scope.cancel()
        call_soon = current_call_soon()
        self._key = attach(self._signal, lambda: call_soon(scope.cancel))
        return scope

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._scope is not None
        detach(self._signal, self._key)
        return self._scope.__exit__(exc_type, exc, traceback)


def attach(signal: AbortSignal, callback: Callback) -> object:
    """Call ``callback`` once on abort, in the aborting thread; return a key for ``detach()``.

    A deadline does not call it: check ``deadline_of()``, too.
    """
    key = object()
    signal._attach(key, callback)
    return key


def detach(signal: AbortSignal, key: object) -> None:
    """Forget the callback of that key, if it has not been called."""
    signal._detach(key)


def deadline_of(signal: AbortSignal) -> float:
    """Return the deadline of a signal, on the event loop's clock; ``inf`` for none."""
    return signal._find_deadline()
