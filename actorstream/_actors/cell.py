"""Where an actor lives: one cell per registration, with its mailbox, its task, its state.

The cell outlives the actor. A supervisor that restarts an actor puts a fresh one into the same
cell: the address and what is queued stay. One incarnation is one run of ``Cell.run()``, in
three phases: it begins, handles messages one at a time, and ends, whatever happened.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from anyio import CancelScope, Event, get_cancelled_exc_class, move_on_after
from anyio.lowlevel import checkpoint

from actorstream._actors.lifecycle import ACCEPTS, INITIAL, Ending, State, Transition, next_state
from actorstream._actors.mailbox import Envelope, Mailbox
from actorstream._actors.reply import Reply
from actorstream._address import Address
from actorstream._context import current_cell, current_request
from actorstream._errors import (
    ActorError,
    ActorRestartedError,
    ActorStoppedError,
    UnhandledMessageError,
)
from actorstream._loop.failures import split_failure
from actorstream._message import Message
from actorstream._ports.port import Port
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome, actor_restarted, actor_stopped, router_closed

logger = logging.getLogger("actorstream")


class Behavior(Protocol):
    """What a cell wants of the actor in it."""

    @property
    def kind(self) -> str:
        """What it is, for people to read."""
        ...

    @property
    def ports(self) -> Mapping[str, Port[Any]]:
        """Where it publishes, by name."""
        ...

    @property
    def starts_at_once(self) -> bool:
        """Whether there is nothing to do in ``begin()``."""
        ...

    def attach(self, cell: Cell) -> None:
        """Take note of the cell."""
        ...

    async def begin(self) -> None:
        """Prepare; no message comes before."""
        ...

    async def handle(self, message: Message) -> Any:
        """Handle a message, and return the reply."""
        ...

    async def stop_dependents(self) -> None:
        """Stop those who live under this actor. Each has its own time limit."""
        ...

    async def end(self, reason: str | BaseException) -> None:
        """Clean up; no message comes after."""
        ...

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """End what others still have of the actor, with this, and leave the cell."""
        ...


class Parent(Protocol):
    """What a cell wants of those around it."""

    def should_restart(self, cell: Cell, ending: Ending) -> bool:
        """Whether a fresh actor is to come after this one."""
        ...

    def on_terminated(self, cell: Cell) -> None:
        """This incarnation is over; raises what is to leave the router."""
        ...

    def on_dead_letter(self, message: Message, why: str) -> None:
        """A message reached nobody."""
        ...


class Cell:
    """The place of one actor, from its registration until it is stopped for good.

    Args:
        address: Under which the actor is reached.
        host: Decides what comes after its end.
        mailbox_size: Most messages that wait for it.
        stop_timeout: Seconds for the clean-up of its streams, and then for its own; ``None``
            for no limit.

    Attributes:
        behavior: The actor; ``put_actor()`` sets it.
        parent: The cell of its supervisor, if it has one.
        channels: Its open streams, in the order of opening.
        waits_for: The cells whose answers its handler awaits, and how many. A new one for each
            message: what a handler leaves running elsewhere holds nobody up.
        incarnation: Counts the actors that have lived here.
        has_started: Whether the last one has come to its messages.
        failure: What the last one died of, if it failed.
        router_closing: Whether all ends because the router does.
    """

    def __init__(
        self,
        address: Address,
        host: Parent,
        mailbox_size: int,
        stop_timeout: float | None,
        parent: Cell | None = None,
    ) -> None:
        self.address = address
        self.mailbox = Mailbox(mailbox_size)
        self.parent = parent
        self.state: State = INITIAL
        self.channels: dict[Channel, None] = {}
        self.waits_for: dict[Cell, int] = {}
        self.incarnation = 0
        self.has_started = False
        self.failure: BaseException | None = None
        self.router_closing = False
        self._host = host
        self._stop_timeout = _limit_of(stop_timeout)
        self._scope: CancelScope | None = None  # of this incarnation, once its task runs
        self._reason: Ending = "shutdown"
        self._again: bool | None = None  # whether a fresh actor comes next, if that is decided
        self._stop_requested = False
        self._commanded = False  # it was, by whoever ends it, and its host is not asked
        self._fatal = False  # its task ends with what is neither its failure nor a cancellation
        self._changed: Event | None = None
        self._in_hand: Envelope | None = None
        self.behavior: Behavior

    def __repr__(self) -> str:
        return f"<Cell of {self.address}: {self.state}>"

    # What it looks like

    @property
    def accepting(self) -> bool:
        """Whether messages are queued: also while one actor ends and another is to come."""
        return self.state in ACCEPTS or (self.state == "stopping" and bool(self._again))

    @property
    def ending(self) -> Ending:
        """How the last incarnation ended."""
        return "abnormal" if self.failure is not None else self._reason

    async def wait_started(self) -> bool:
        """Wait until this incarnation has has_started; return False if it ended before."""
        while self.state == "starting":
            await self._wait_changed()
        return self.has_started

    def is_busy_with(self, request: Message | None) -> bool:
        """Whether it handles no message before the code that serves ``request`` goes on.

        Without a request, that is the code of ``on_start()`` and ``on_stop()``.
        """
        if self._in_hand is None:
            return request is None and self.state in ("starting", "stopping")
        return self._in_hand.message is request

    async def wait_running(self) -> bool:
        """Wait until an actor runs here, this one or a fresh one; return False if none will."""
        while self.state != "running":
            if self.state == "draining" or not self.accepting:
                return False
            await self._wait_changed()
        return True

    async def wait_ended(self) -> None:
        """Wait until this incarnation is over."""
        incarnation = self.incarnation
        while incarnation == self.incarnation and self.state not in ("restarting", "stopped"):
            await self._wait_changed()

    async def wait_stopped(self) -> None:
        """Wait until it is over for good."""
        while self.state != "stopped":
            await self._wait_changed()

    async def _wait_changed(self) -> None:
        if self._changed is None:
            self._changed = Event()
        await self._changed.wait()

    def stopped_error(self) -> ActorStoppedError:
        """Make the error for whoever waits for the actor; the cause is its failure, if any."""
        error: ActorStoppedError
        if self._again:
            error = ActorRestartedError(f"{self.address} was restarted before it answered")
        else:
            error = ActorStoppedError(f"{self.address} was stopped before it answered")
        error.__cause__ = self.failure
        return error

    # Orders from around

    def put_actor(self, behavior: Behavior) -> None:
        """Have an actor live here, a fresh one after a restart."""
        self.behavior = behavior
        behavior.attach(self)

    def launch(self) -> None:
        """Note that ``run()`` is about to run."""
        self.incarnation += 1
        self.has_started = False
        self.failure = None
        self.mailbox.reopen()
        self._reason = "shutdown"
        self._again = None
        self._stop_requested = False
        self._commanded = False
        self._scope = None
        self._go("launch")
        if self.behavior.starts_at_once:
            self._start()

    def drain(self) -> None:
        """Have the actor end when it has handled what is queued; its streams end now."""
        if self.state in ("registered", "restarting"):
            self.finish()
        elif self.state == "starting":
            self.mailbox.put_system(self._drain)
        elif self.state == "running":
            self._reason = "normal"
            self._again = self._host.should_restart(self, "normal")
            self._go("drain")
            self._end_streams(list(self.channels))
            self._refuse(self.mailbox.end())

    async def _drain(self) -> None:
        self.drain()

    def _start(self) -> None:
        self.has_started = True
        self._go("started")

    def stop(self, again: bool | None = None) -> None:
        """Have the actor end now.

        Args:
            again: Whether a fresh one comes after it; by default its host decides.
        """
        if self.state in ("registered", "restarting"):
            if not again:
                self.finish()
        elif self.state != "stopped":
            self._stop_requested = True
            self._commanded = again is not None
            wanted = self._host.should_restart(self, "shutdown") if again is None else again
            self._again = wanted and self._again is not False
            if self.state != "stopping":
                self._reason = "shutdown"
            if self._scope is not None:
                self._scope.cancel()
            self.mailbox.put_system(checkpoint)  # even one that never waits handles no more

    def finish(self) -> None:
        """It is over for good: whoever waits is told."""
        self._again = False
        left = self.state == "restarting"
        self._go("finish")
        self._refuse(self.mailbox.end() + self.mailbox.clear())
        self._end_streams(list(self.channels))
        if not left:
            self.behavior.detach(self.interruption)

    def on_left(self, stream: Channel) -> None:
        """A stream's producer is gone."""
        del self.channels[stream]

    # One incarnation

    async def run(self) -> None:
        """Live: begin, handle messages, end. The actor's task."""
        current_cell.set(self)
        current_request.set(None)  # it may have been registered in another actor's handler
        try:
            with self._open_scope():
                await self._live()
        except BaseException as exc:  # what comes from around the cell ends the router, too
            self.router_closing = True
            self._fatal = not isinstance(exc, get_cancelled_exc_class())
            raise
        finally:
            try:
                await self._end()  # noqa: ASYNC102 - shielded inside, and bounded
            finally:
                self._host.on_terminated(self)

    def _open_scope(self) -> CancelScope:
        # What cancels the router does not reach a child: its supervisor ends it, in its turn.
        self._scope = CancelScope(shield=self.parent is not None)
        if self._stop_requested:
            self._scope.cancel()
        return self._scope

    async def _live(self) -> None:
        try:
            if self.state == "starting":
                await self.behavior.begin()
                self.waits_for = {}
                self._start()
            await self._handle_messages()
        except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
            failure, rest = split_failure(exc)
            self.failure = None if failure is None else _as_exception(self.address, failure)
            del failure  # or its traceback would lead back to itself
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - unless it is a failure, and kept

    async def _handle_messages(self) -> None:
        while True:
            got = await self.mailbox.get()
            if got is None:
                return
            if not isinstance(got, Envelope):
                await got()
                continue
            self._in_hand = got
            token = current_request.set(got.message)
            try:
                await (self._tell(got.message) if got.reply is None else self._ask(got))
            finally:
                current_request.reset(token)
                if self.waits_for:
                    self.waits_for = {}
            self._in_hand = got = None  # keep nothing of it while there is no other

    async def _tell(self, message: Message) -> None:
        try:
            await self.behavior.handle(message)
        except UnhandledMessageError as exc:
            if not _is_about(exc, message):
                raise
            self._host.on_dead_letter(message, str(exc))

    async def _ask(self, envelope: Envelope) -> None:
        reply, message = envelope.reply, envelope.message
        assert reply is not None
        if reply.given:  # nobody waits for it any more
            return
        with CancelScope() as reply.scope:
            try:
                reply.give(await self.behavior.handle(message))
            except BaseException as exc:  # noqa: ASYNC103 - given to the asker, or raised again
                failure, rest = split_failure(exc)
                if failure is not None:
                    self._answer_with(failure, reply, message)
                del failure  # or its traceback would lead back to itself
                if rest is not None:
                    raise rest from None  # noqa: ASYNC104 - unless it is a failure, and kept
            finally:
                reply.scope = None

    def _answer_with(self, failure: BaseException, reply: Reply, message: Message) -> None:
        """Let the asker know, or the log if the asker has gone."""
        if not reply.fail(_answer_for(message, failure)):
            logger.error(
                "%s failed while it handled %r, for which nobody waits any more",
                self.address,
                message.type,
                exc_info=failure,
            )

    async def _end(self) -> None:
        """End this incarnation: nobody is left waiting, and the actor cleans up."""
        if self.router_closing:
            self._again = False
        elif self._again is None:
            self._again = self._host.should_restart(self, self.ending)
        self._go("stop")
        if self._in_hand is not None and self._in_hand.reply is not None:
            self._in_hand.reply.fail(self.stopped_error())
        self._in_hand = None
        if not self._again:
            self._refuse(self.mailbox.end() + self.mailbox.clear())
        try:
            with CancelScope(shield=True):
                await self._clean_up()
        finally:
            if self._again:
                self.behavior.detach(self.interruption)
                self._go("restart")
            else:
                self.finish()

    async def _clean_up(self) -> None:
        streams = list(self.channels)
        self._end_streams(streams)
        await self.behavior.stop_dependents()
        with self._limit("the streams of %s did not end within %g s; its on_stop() runs now"):
            for stream in streams:
                await stream.wait_left()
        with self._limit("%s did not stop within %g s, and was cancelled"):
            await self._run_hook()

    @contextmanager
    def _limit(self, warning: str) -> Generator[None]:
        with move_on_after(self._stop_timeout) as scope:
            yield
        if scope.cancelled_caught:
            logger.warning(warning, self.address, self._stop_timeout)

    async def _run_hook(self) -> None:
        try:
            await self.behavior.end(self.failure or self._reason)
        except BaseException as exc:  # noqa: ASYNC103 - kept, or raised again
            failure, rest = split_failure(exc)
            if failure is not None:
                self._fail_in_hook(failure)
            if rest is not None:
                raise rest from None  # noqa: ASYNC104 - unless it is a failure, and kept

    def _fail_in_hook(self, exc: BaseException) -> None:
        if self.failure is not None or self._fatal:  # it cannot be told of both
            logger.error("%s failed in its on_stop(), too", self.address, exc_info=exc)
            return
        self.failure = exc
        if not self._commanded and not self.router_closing:
            self._again = self._host.should_restart(self, "abnormal")

    def _end_streams(self, streams: list[Channel]) -> None:
        for stream in streams:
            stream.terminate(self.interruption())

    def interruption(self) -> Outcome:
        """Return what the streams of the actor end with."""
        if self.router_closing:
            return router_closed(self.address)
        if self._again:
            return actor_restarted(self.address, self.failure)
        return actor_stopped(self.address, self.failure)

    def _refuse(self, envelopes: list[Envelope]) -> None:
        """Answer those who wait, and send the rest where dead letters go."""
        for envelope in envelopes:
            if envelope.reply is not None:
                envelope.reply.fail(self.stopped_error())
            else:
                self._host.on_dead_letter(envelope.message, f"{self.address} was stopped")

    def _go(self, transition: Transition) -> None:
        self.state = next_state(self.state, transition)
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _limit_of(seconds: float | None) -> float | None:
    """Return a time limit that can be added to a time: an ``int`` may be too large for that."""
    return None if seconds is None or seconds > sys.float_info.max else seconds


def serving_cell() -> Cell | None:
    """Return the cell that handles nothing more before the code that runs here goes on."""
    cell: Cell | None = current_cell.get()
    if cell is None or not cell.is_busy_with(current_request.get()):
        return None
    return cell


def _answer_for(message: Message, failure: BaseException) -> BaseException:
    """Return what the asker raises when the handler has raised ``failure``."""
    if isinstance(failure, UnhandledMessageError) and _is_about(failure, message):
        return failure
    error = ActorError(
        f"{message.to} failed while it handled {message.type!r}: "
        f"{type(failure).__name__}: {failure}"
    )
    error.__cause__ = failure
    return error


def _is_about(error: UnhandledMessageError, message: Message) -> bool:
    """Return whether an error is about this message, and not about one sent on from here."""
    if error.message is None:  # the actor made it
        error.message = message
    return error.message is message


def _as_exception(address: Address, failure: BaseException) -> Exception:
    """Return a failure as what no task group takes for the end of a cancellation."""
    if isinstance(failure, Exception):
        return failure
    error = ActorError(f"{address} failed: {failure!r}, though nobody cancelled it")
    error.__cause__ = failure
    return error
