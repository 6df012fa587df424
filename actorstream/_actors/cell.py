"""A cell: the address, mailbox, state and streams of one actor, across its restarts.

A cell outlives the actor in it. A supervisor that restarts an actor puts a fresh one into the same
cell: the address and the queued messages stay. Each actor in a cell is one incarnation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from anyio.lowlevel import checkpoint

from actorstream._actors.cell_state import CellState
from actorstream._actors.dead_letters import DeadLetters
from actorstream._actors.incarnation import Incarnation
from actorstream._actors.lifecycle import ACCEPTS
from actorstream._actors.mailbox import Envelope, Mailbox
from actorstream._actors.message_loop import MessageLoop
from actorstream._actors.no_actor import NoActor, NoParent
from actorstream._actors.options import ActorOptions
from actorstream._actors.reply import no_answer
from actorstream._actors.roles import BehaviorIn, ParentOf
from actorstream._address import Address
from actorstream._context import current_request
from actorstream._errors import (
    ActorNotFoundError,
    ActorStreamError,
    StartTimeoutError,
)
from actorstream._loop.clock import current_time
from actorstream._ports.control import end_port
from actorstream._streams.channel import Channel
from actorstream._streams.outcome import Outcome, actor_restarted, actor_stopped, router_closed
from actorstream._wait_graph import Wait, refuse_waits

NO_SUCH_ACTOR = "there is no such actor"


class Cell(CellState):
    """What stays of an actor across restarts, from registration until the final stop.

    Args:
        parent: Decides whether the actor is restarted.
        options: The limits of the actor.
        dead_letters: Where messages go that the actor does not handle.
        absence: For a cell that waits for an actor, which may never come: makes the error that
            says that there is none.

    Attributes:
        absence: See above; ``None`` once an actor has the address.
        behavior: How the actor is called; set by ``put_actor()``.
        channels: The open streams, in the order of opening.
        incarnation: The current one, or the last one.
        messages: Handles the messages.
        router_closing: Whether the cell ends because the router does.
    """

    __slots__ = (
        "absence",
        "address",
        "behavior",
        "channels",
        "incarnation",
        "mailbox",
        "messages",
        "options",
        "parent",
        "router_closing",
    )

    def __init__(
        self,
        address: Address,
        parent: ParentOf[Cell],
        options: ActorOptions,
        dead_letters: DeadLetters,
        absence: Callable[[], ActorNotFoundError] | None = None,
    ) -> None:
        super().__init__()
        self.absence = absence
        self.address = address
        self.parent: ParentOf[Cell] = parent
        self.options = options
        self.mailbox = Mailbox(options.mailbox_size)
        self.messages = MessageLoop(address, self.mailbox, dead_letters)
        self.behavior: BehaviorIn[Cell] = NoActor()
        self.channels: dict[Channel, None] = {}
        self.incarnation = Incarnation(0)
        self.router_closing = False

    def __repr__(self) -> str:
        return f"<Cell of {self.address}: {self.state}>"

    # Properties

    @property
    def supervisor(self) -> Cell | None:
        """The supervisor's cell, if there is one."""
        return self.parent.cell

    @property
    def accepting(self) -> bool:
        """Whether messages are queued; this includes the time of a restart."""
        return self.state in ACCEPTS or (self.state == "stopping" and self.will_restart)

    @property
    def will_restart(self) -> bool:
        """Whether a restart follows; False while that is undecided."""
        return self.incarnation.will_restart and not self.router_closing

    @property
    def label(self) -> str:
        """What an error message about a cycle calls the actor."""
        return self.address.id

    def waits(self, *, for_end: bool) -> Iterable[Wait]:
        """Return what must come before the running code ends, or else before the next message."""
        waits, above = self.messages.waits, self.supervisor
        if for_end or above is None or not (self.state == "registered" or self.will_restart):
            return waits
        return *waits, Wait(None, above)  # which starts, restarts or brings the actor

    def note_waits(self) -> dict[Wait, None]:
        """Return where to note what the running code waits for."""
        return self.messages.note_waits()

    @property
    def contains_caller(self) -> bool:
        """Whether the next message waits for the running code, a handler's or a hook's."""
        current = self.messages.current_message
        if current is not current_request():
            return False
        if current is None and self.state not in ("starting", "stopping"):
            return False
        return self.incarnation.contains_caller(self.messages.scope)

    # Waiting

    async def wait_started(self) -> bool:
        """Wait until this incarnation has started; return False if it ended first."""
        while self.state == "starting":
            await self._wait_changed()
        return self.incarnation.has_started

    async def wait_running(self) -> bool:
        """Wait until this or a later incarnation runs; return False if none will."""
        while self.state != "running":
            if self.state == "draining" or not self.accepting:
                return False
            await self._wait_changed()
        return True

    async def wait_ended(self) -> None:
        """Wait until this incarnation is over."""
        incarnation = self.incarnation
        while incarnation is self.incarnation and self.state not in ("restarting", "stopped"):
            await self._wait_changed()

    # Commands

    def put_actor(self, behavior: BehaviorIn[Cell]) -> None:
        """Put the first actor, or a fresh one for a restart, into the cell."""
        behavior.attach(self)
        last, self.behavior = self.behavior, behavior
        last.release_children()

    def may_pass_to(self, parent: ParentOf[Cell]) -> bool:
        """Return whether a parent may take the cell over: no actor is in it now.

        Either the cell waits for an actor of any parent, or it was kept for this one: the fresh
        actor of a supervisor that was restarted.
        """
        is_kept = parent is not self.parent and parent.cell is self.supervisor is not None
        return self.absence is not None or (is_kept and self.state in ("registered", "restarting"))

    def pass_to(self, parent: ParentOf[Cell], options: ActorOptions) -> None:
        """Give the cell to another parent, with the queued messages and the open streams."""
        self.absence = None
        self.parent = parent
        self.options = options
        self.mailbox.resize(options.mailbox_size)

    def launch(self) -> None:
        """Begin an incarnation, whose task is about to run."""
        self.incarnation = Incarnation(self.incarnation.number + 1)
        self.mailbox.reopen()
        self._apply("launch")
        if self.behavior.starts_at_once:
            self.note_started()

    def note_started(self) -> None:
        """Note that the actor handles messages from now on."""
        self.incarnation.note_started(None if self.supervisor is None else current_time())
        self._apply("started")

    def time_out_start(self) -> None:
        """Let the actor fail: its ``on_start()`` takes too long."""
        self.incarnation.fail(_start_timeout_error(self.address, self.options.start_timeout))
        self.incarnation.cancel()

    def drain(self) -> None:
        """Stop when the queued messages have been handled; the streams end now.

        The parent decides now whether a restart follows.
        """
        self.incarnation.decide(restart=self.parent.should_restart(self, "normal"))
        if self.state in ("registered", "restarting") and not self.will_restart:
            self.finish()
        elif self.state in ("restarting", "stopping"):
            self.end_streams()  # the open ones wait for the next incarnation
        elif self.state == "starting":
            self.mailbox.put_system(self._drain_running)
        elif self.state == "running":
            self._start_draining()

    async def _drain_running(self) -> None:
        if self.state == "running":
            self._start_draining()

    def _start_draining(self) -> None:
        self.incarnation.end("normal")
        self._apply("drain")
        self.end_streams()
        self._refuse(self.mailbox.end())
        self.behavior.note_draining()

    def stop(self, *, restart: bool | None = None) -> None:
        """Stop now.

        Args:
            restart: What the supervisor orders; ``None`` asks the parent.
        """
        ordered = restart is not None
        if restart is None:
            restart = self.parent.should_restart(self, "shutdown")
        self.incarnation.decide(restart=restart, ordered=ordered)
        if not ordered and self.state in ("restarting", "stopping"):
            self.end_streams()  # the open ones wait for the next incarnation
        if self.state in ("registered", "restarting"):
            if not self.will_restart:
                self.finish()
        elif self.state != "stopped":
            if self.state != "stopping":
                self.incarnation.end("shutdown")
            self.incarnation.cancel()
            self.mailbox.put_system(checkpoint)  # so that an actor that never waits is cancelled

    def note_router_closing(self) -> None:
        """Note that the router ends, and no restart follows."""
        self.router_closing = True

    def start_stopping(self) -> None:
        """Handle no more messages, and fail the asks that get no answer."""
        if not self.incarnation.ordered:
            restart = self.parent.should_restart(self, self.incarnation.ending)
            self.incarnation.decide(restart=restart)
        self.incarnation.note_stopping()
        self._apply("stop")
        self.messages.drop(self.stopped_error)
        if not self.will_restart:
            self._refuse(self.mailbox.end() + self.mailbox.clear())
        elif self.supervisor is not None:
            refuse_waits(self.supervisor, self)

    def leave(self) -> None:
        """End the incarnation: wait for a restart, or stop for good."""
        if self.will_restart:
            self.behavior.detach(self.interruption)
            self._apply("restart")
        else:
            self.finish()

    def close_with_router(self) -> None:
        """End streams and subscriptions, and allow no restart: the router is being left."""
        self.router_closing = True
        self.end_streams()
        for port in self.behavior.ports.values():
            end_port(port, partial(router_closed, self.address))

    def finish(self) -> None:
        """Stop for good: end the streams, and fail the asks that still wait."""
        self.incarnation.decide(restart=False)
        is_detached = self.state == "restarting"
        self._apply("finish")
        self._refuse(self.mailbox.end() + self.mailbox.clear())
        self.end_streams()
        if not is_detached:
            self.behavior.detach(self.interruption)
        self.behavior.release_children()

    def release(self) -> None:
        """Let go of actor, failure and parent: a stopped cell may be known for a while."""
        self.behavior = NoActor()
        self.incarnation.forget_failure()
        self.pass_to(NoParent(), self.options)

    def open_stream(self, channel: Channel) -> None:
        """Add a stream that has been opened."""
        self.channels[channel] = None

    def on_stream_left(self, channel: Channel) -> None:
        """Forget a stream whose producer has ended."""
        del self.channels[channel]

    # Outcomes and errors

    def interruption(self) -> Outcome:
        """Return the outcome of the streams that the actor's end cuts short."""
        if self.router_closing:
            return router_closed(self.address)
        if self.absence is not None:
            return Outcome(error=self.absence())
        if self.will_restart:
            return actor_restarted(self.address, self.incarnation.failure)
        return actor_stopped(self.address, self.incarnation.failure)

    def stopped_error(self) -> ActorStreamError:
        """Make the error for an asker without an answer; its cause is the actor's failure."""
        if self.absence is not None and not self.router_closing:
            return self.absence()
        return no_answer(self.address, self.incarnation.failure, restarted=self.will_restart)

    def end_streams(self) -> None:
        """End the open streams; their producers may still clean up."""
        for stream in list(self.channels):
            stream.terminate(self.interruption())

    def _refuse(self, envelopes: list[Envelope]) -> None:
        """Fail the asks, and make dead letters of the tells."""
        told = [envelope.message for envelope in envelopes if envelope.reply is None]
        for envelope in envelopes:
            if envelope.reply is not None:
                envelope.reply.fail(self.stopped_error())
        if told:
            why = f"{self.address} was stopped" if self.absence is None else NO_SUCH_ACTOR
            self.messages.dead_letters.add_queue(told, why)


def _start_timeout_error(address: Address, seconds: float | None) -> StartTimeoutError:
    return StartTimeoutError(
        f"{address} did not start: its on_start() did not return within {seconds:g} s; allow more "
        "with start_timeout=..., or None for no limit"
    )


Behavior: TypeAlias = BehaviorIn[Cell]
Parent: TypeAlias = ParentOf[Cell]
