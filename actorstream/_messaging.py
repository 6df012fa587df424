"""Sending a message, and asking for an answer."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from anyio import current_time
from anyio.lowlevel import checkpoint

from actorstream._abort import AbortSignal, attach, deadline_of, detach
from actorstream._address import Address, address
from actorstream._buffer import TURN
from actorstream._cell import Cell, handling
from actorstream._context import request_in_hand
from actorstream._errors import (
    AskCycleError,
    AskTimeoutError,
    MailboxFullError,
    StreamAbortedError,
)
from actorstream._mailbox import Envelope
from actorstream._message import Message
from actorstream._options import check_seconds, check_signal
from actorstream._registry import Registry
from actorstream._reply import Reply


def make_message(
    to: str | Address, type: str, payload: Any, sender: Address | None = None
) -> Message:
    """Make a message; without a sender it comes from the actor that is running, if any.

    Raises:
        TypeError, ValueError: The address or the type has the wrong kind.
    """
    if not isinstance(type, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f'type is a str such as "query", not {type!r}')
    if sender is None:
        served = request_in_hand.get(None)
        sender = None if served is None else served.to
    return Message(to=address(to), type=type, payload=payload, sender=sender)


def tell_nowait(registry: Registry, message: Message) -> None:
    """Send a message, if there is room."""
    cell = _receiver(registry, message)
    if cell is None:
        return
    if cell.mailbox.full:
        raise _mailbox_full(cell, "wait with `await tell(...)`, or give it a larger mailbox_size")
    cell.mailbox.add(Envelope(message))


async def tell(registry: Registry, message: Message) -> None:
    """Send a message; wait while there is no room. If cancelled then, it was not sent."""
    cell = _receiver(registry, message)
    if cell is None:
        await checkpoint()
        return
    envelope = Envelope(message)
    if cell.mailbox.full and _cycle(cell):
        raise _mailbox_full(
            cell, "its actor waits for this very message to be sent; give it a larger mailbox_size"
        )
    if cell.mailbox.add(envelope):
        registry.told += 1
        if registry.told % TURN == 0:
            await checkpoint()
        return
    with _waiting_for(cell):
        await cell.mailbox.wait_admitted(envelope)


def _receiver(registry: Registry, message: Message) -> Cell | None:
    """Return where a message goes; one to nobody is a dead letter."""
    registry.check_open(closing_too=True)
    cell = registry.get(message.to)
    if cell is not None and cell.accepting:
        return cell
    registry.on_dead_letter(message, "nobody is there" if cell is None else f"it is {cell.state}")
    return None


async def ask(
    registry: Registry, message: Message, timeout: float | None, signal: AbortSignal | None
) -> Any:
    """Send a message and wait for the answer. Cancelling it cancels the handling."""
    check_seconds("timeout", timeout)
    check_signal(signal)
    registry.check_open(closing_too=True)
    cell = registry.find(message.to)
    if not cell.accepting:
        raise cell.stopped_error()
    if signal is not None:
        signal.throw_if_aborted()
    path = _cycle(cell)
    if path:
        raise AskCycleError(
            f"this ask would wait for itself: {' -> '.join(path)}; "
            "let one of them use tell(), or answer from a stream, which runs beside the mailbox"
        )
    envelope = Envelope(message, reply := Reply())
    with _waiting_for(cell), _limited(registry, reply, message, timeout, signal):
        cell.mailbox.add(envelope)
        try:
            return await reply.wait()
        finally:
            _give_up(cell, envelope)


def _give_up(cell: Cell, envelope: Envelope) -> None:
    """Cancel the handling, whether it is queued or runs; do nothing if it is over."""
    reply = envelope.reply
    assert reply is not None
    if reply.scope is not None:
        reply.scope.cancel()
    else:
        cell.mailbox.discard(envelope)


@contextmanager
def _limited(
    registry: Registry,
    reply: Reply,
    message: Message,
    timeout: float | None,
    signal: AbortSignal | None,
) -> Generator[None]:
    """Have a reply fail when the time is over or the signal is aborted."""
    timers = []
    key = None

    def expire() -> None:
        reply.fail(
            AskTimeoutError(
                f"{message.to} did not answer {message.type!r} within {timeout:g} s; "
                "allow more with timeout=..., or None for no limit"
            )
        )

    def abort() -> None:
        if signal is not None and signal.aborted:
            reply.fail(StreamAbortedError(signal.reason))

    if timeout is not None and timeout != math.inf:
        timers.append(registry.clock.call_at(current_time() + timeout, expire))
    if signal is not None:
        key = attach(signal, lambda: registry.call_soon(abort))
        if deadline_of(signal) < math.inf:
            timers.append(registry.clock.call_at(deadline_of(signal), abort))
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        if signal is not None:
            detach(signal, key)


@contextmanager
def _waiting_for(cell: Cell) -> Generator[None]:
    """Note that the handler that runs here waits for another actor."""
    waiter = handling.get()
    if waiter is None:
        yield
        return
    waiter.waits_for[cell] = waiter.waits_for.get(cell, 0) + 1
    try:
        yield
    finally:
        waiter.waits_for[cell] -= 1
        if not waiter.waits_for[cell]:
            del waiter.waits_for[cell]


def _cycle(target: Cell) -> list[str] | None:
    """Return the way from the handler that runs here over ``target`` back to it, if there is one.

    A handler that waits for the answer of an actor, which waits for ... that handler's actor,
    waits for ever: an actor handles one message at a time.
    """
    asker = handling.get()
    if asker is None:
        return None
    ways = [(target, [asker.address.id, target.address.id])]
    seen: set[Cell] = set()
    while ways:
        cell, path = ways.pop()
        if cell is asker:
            return path
        if cell not in seen:
            seen.add(cell)
            ways += [(other, [*path, other.address.id]) for other in cell.waits_for]
    return None


def _mailbox_full(cell: Cell, advice: str) -> MailboxFullError:
    return MailboxFullError(
        f"the mailbox of {cell.address} is full: {cell.mailbox.size} messages wait; {advice}"
    )
