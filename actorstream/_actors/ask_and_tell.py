"""Sending a message, and asking for an answer: what the router and actors share."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint

from actorstream._abort import AbortSignal, attach, deadline_of, detach
from actorstream._actors.cell import NO_SUCH_ACTOR, Cell
from actorstream._actors.mailbox import Envelope
from actorstream._actors.registry import Registry
from actorstream._actors.reply import Reply
from actorstream._address import Address, address
from actorstream._checks import as_seconds, check_seconds, check_signal
from actorstream._context import current_cell, current_request
from actorstream._errors import (
    AskCycleError,
    AskTimeoutError,
    MailboxFullError,
    StreamAbortedError,
)
from actorstream._loop.runtime import Runtime
from actorstream._loop.timers import Timer
from actorstream._message import Message
from actorstream._options import NO_LIMIT
from actorstream._texts import one_line, repr_of
from actorstream._wait_graph import Wait, Waiter, find_cycle, running_node


def make_message(
    to: str | Address, type: str, payload: Any, sender: Address | None = None
) -> Message:
    """Make a message; without a sender it comes from the actor that is running, if any.

    Raises:
        TypeError, ValueError: The address or the type has the wrong type.
    """
    if not isinstance(type, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f'type is a str such as "query", not {repr_of(type)}')
    if sender is None:
        sender = _running_actor()
    return Message(to=address(to), type=type, payload=payload, sender=sender)


def _running_actor() -> Address | None:
    request = current_request()
    if request is not None:
        return request.to
    cell = current_cell()  # in an actor's on_start() or on_stop()
    return None if cell is None else cell.address


def tell_nowait(registry: Registry, message: Message) -> None:
    """Send a message; raise ``MailboxFullError`` if the mailbox is full."""
    cell = _receiver(registry, message)
    if cell is None:
        return
    if cell.mailbox.full:
        raise _mailbox_full(cell, "wait with `await tell(...)`, or give it a larger mailbox_size")
    cell.mailbox.add(Envelope(message))


async def tell(registry: Registry, message: Message) -> None:
    """Send a message; wait while the mailbox is full. A cancelled wait sends nothing."""
    registry.runtime.check_open(or_closing=True)
    cell = None if registry.count_tell() else _find_receiver(registry, message)
    if cell is None:
        await checkpoint()  # before sending: a tell that raises a cancellation has sent nothing
        cell = _receiver(registry, message)
        if cell is None:
            return
    envelope = Envelope(message)
    teller = running_node() if cell.mailbox.full else None
    is_refused = teller is not None and find_cycle(teller, cell) is not None
    if not is_refused:
        if cell.mailbox.add(envelope):
            return
        with _TellWait(teller, cell, envelope) as wait:
            await cell.mailbox.wait_admitted(envelope)
        is_refused = wait.is_refused
    if is_refused:
        raise _mailbox_full(
            cell,
            "this tell would deadlock, since its actor waits for it; give it a larger mailbox_size",
        )


def _receiver(registry: Registry, message: Message) -> Cell | None:
    """Return the cell that a message goes to; without one, the message is a dead letter."""
    registry.runtime.check_open(or_closing=True)
    cell = _find_receiver(registry, message)
    if cell is None:
        known = registry.get(message.to)
        why = NO_SUCH_ACTOR if known is None else f"it is {known.state}"
        registry.dead_letters.add(message, why)
    return cell


def _find_receiver(registry: Registry, message: Message) -> Cell | None:
    cell = registry.get(message.to) or registry.expect(message.to)
    return cell if cell is not None and cell.accepting else None


async def ask(
    registry: Registry, message: Message, timeout: float | None, signal: AbortSignal | None
) -> Any:
    """Send a message and wait for the answer. Cancelling this cancels the handling."""
    timeout = as_seconds(timeout)
    check_seconds("timeout", timeout)
    check_signal("signal", signal)
    registry.runtime.check_open(or_closing=True)
    cell = registry.reach(message.to)
    if not cell.accepting:
        raise cell.stopped_error()
    if signal is not None:
        signal.throw_if_aborted()
    if timeout == 0:
        raise _timeout_error(message, timeout)
    asker = running_node()
    if asker is None and signal is None:
        return await _send_and_wait(registry, cell, message, Reply(), timeout)
    if asker is not None:
        _check_no_cycle(asker, cell)
    reply = Reply()
    failing = nullcontext() if signal is None else _FailingOnAbort(registry.runtime, signal, reply)
    with _AskWait(asker, cell, reply), failing:
        return await _send_and_wait(registry, cell, message, reply, timeout)


async def _send_and_wait(
    registry: Registry, cell: Cell, message: Message, reply: Reply, timeout: float | None
) -> Any:
    """Send a message and wait for the reply, until the timeout passes."""
    envelope = Envelope(message, reply)
    timer = None
    if timeout not in NO_LIMIT:
        expire = partial(_expire, reply, message, timeout)
        timer = registry.runtime.timers.call_after(timeout, expire)
    cell.mailbox.add(envelope)
    try:
        return await reply.wait()
    except BaseException:
        reply.abandon()
        cell.mailbox.discard(envelope)
        raise
    finally:
        if timer is not None:
            timer.cancel()


def _expire(reply: Reply, message: Message, timeout: float) -> None:
    reply.fail(_timeout_error(message, timeout))


def _timeout_error(message: Message, timeout: float) -> AskTimeoutError:
    return AskTimeoutError(
        f"{message.to} did not answer {message.type!r} within {timeout:g} s; "
        "allow more with timeout=..., or None for no limit"
    )


class _FailingOnAbort:
    """Fails a reply when the signal is aborted inside of ``with``."""

    def __init__(self, runtime: Runtime, signal: AbortSignal, reply: Reply) -> None:
        self._runtime = runtime
        self._signal = signal
        self._reply = reply
        self._timer: Timer | None = None

    def __enter__(self) -> None:
        call_soon = self._runtime.call_soon
        self._key = attach(self._signal, lambda: call_soon(self._abort))
        deadline = deadline_of(self._signal)
        if deadline < math.inf:
            self._timer = self._runtime.timers.call_at(deadline, self._abort)

    def __exit__(self, *exc_info: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        detach(self._signal, self._key)

    def _abort(self) -> None:
        if self._signal.aborted:
            self._reply.fail(StreamAbortedError(self._signal.reason))


class _AskWait(Wait):
    """The wait for a reply."""

    __slots__ = ("_reply",)

    def __init__(self, asker: Waiter | None, cell: Cell, reply: Reply) -> None:
        super().__init__(asker, cell)
        self._reply = reply

    def refuse(self, path: list[str]) -> bool:
        """Answer the ask with an error: it would deadlock from now on."""
        self._reply.fail(_cycle_error(path))
        return True


class _TellWait(Wait):
    """The wait for room in a mailbox."""

    __slots__ = ("_cell", "_envelope", "is_refused")

    def __init__(self, teller: Waiter | None, cell: Cell, envelope: Envelope) -> None:
        super().__init__(teller, cell)
        self.is_refused = False
        self._cell = cell
        self._envelope = envelope

    def refuse(self, path: list[str]) -> bool:
        """Withdraw the message: it would wait forever from now on."""
        self.is_refused = self.is_refused or self._cell.mailbox.refuse(self._envelope)
        return self.is_refused


def _check_no_cycle(asker: Waiter, cell: Cell) -> None:
    path = find_cycle(asker, cell)
    if path:
        raise _cycle_error(path)


def _cycle_error(path: list[str]) -> AskCycleError:
    return AskCycleError(
        f"this ask would deadlock: {' -> '.join(map(one_line, path))}; "
        "let one of them use tell(), or answer from a stream, which runs beside the mailbox"
    )


def _mailbox_full(cell: Cell, advice: str) -> MailboxFullError:
    return MailboxFullError(
        f"the mailbox of {cell.address} is full (mailbox_size={cell.mailbox.size}); {advice}"
    )
