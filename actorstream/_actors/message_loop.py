"""How an actor handles its messages: one at a time, whether told, asked or undeliverable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from anyio import CancelScope

from actorstream._actors.dead_letters import DeadLetters
from actorstream._actors.mailbox import Envelope, Mailbox
from actorstream._actors.reply import Reply
from actorstream._address import Address
from actorstream._context import begin_work, current_cell
from actorstream._errors import ActorError, UnhandledMessageError, claim_unhandled
from actorstream._kinds import is_a
from actorstream._loop.failures import split_failure
from actorstream._loop.jobs import JOB_DONE, finish_job, next_job
from actorstream._loop.scopes import ActorScopes
from actorstream._message import Message
from actorstream._texts import describe, loggable, text_of
from actorstream._wait_graph import Wait

logger = logging.getLogger("actorstream")


class Handler(Protocol):
    """What handles a message."""

    async def handle(self, message: Message) -> Any:
        """Handle a message, and return the reply."""
        ...


class MessageLoop:
    """Takes the messages out of a mailbox and has them handled.

    Args:
        address: The actor's.
        mailbox: Where its messages wait.
        dead_letters: Where a tell goes that the actor has no handler for.
    """

    __slots__ = ("_address", "_current", "_mailbox", "_waits", "dead_letters")

    def __init__(self, address: Address, mailbox: Mailbox, dead_letters: DeadLetters) -> None:
        self._address = address
        self._mailbox = mailbox
        self.dead_letters = dead_letters
        self._current: Envelope | None = None
        self._waits: dict[Wait, None] | None = None

    @property
    def waits(self) -> Iterable[Wait]:
        """What the running code waits for."""
        return self._waits or ()

    def note_waits(self) -> dict[Wait, None]:
        """Return where to note what the running code waits for; a new table for each message."""
        if self._waits is None:
            self._waits = {}
        return self._waits

    @property
    def current_message(self) -> Message | None:
        """The message that is being handled."""
        return None if self._current is None else self._current.message

    @property
    def scope(self) -> CancelScope | None:
        """The cancel scope of the handling alone, if there is one."""
        reply = None if self._current is None else self._current.reply
        return None if reply is None else reply.scope

    def forget_waits(self) -> None:
        """Forget the waits of code that is done; tasks it left running do not hold up the actor."""
        self._waits = None

    def drop(self, make_error: Callable[[], BaseException]) -> None:
        """Forget the message that is being handled; if it was asked, the asker gets an error."""
        if self._current is not None and self._current.reply is not None:
            self._current.reply.fail(make_error())
        self._current = None

    async def run(self, handler: Handler, scopes: ActorScopes) -> None:
        """Handle messages until the mailbox has ended and is empty.

        Args:
            handler: What handles them.
            scopes: The scopes of the actor's task.
        """
        jobs = self._handle_all(handler, scopes, current_cell())
        send = jobs.send
        send(None)
        try:
            while True:
                got = await self._mailbox.get()
                if got is None:
                    return
                if not isinstance(got, Envelope):
                    await got()
                    got = None  # do not keep a child's failure alive while idle
                    continue
                self._current = got
                try:
                    step = got.context.run(send, got)
                    if step is not JOB_DONE:
                        await finish_job(jobs, got.context, step)
                finally:
                    self._waits = None
                scopes.leave_handling()
                self._current = got = None  # do not keep the last message alive while idle
        finally:
            jobs.close()

    async def _handle_all(self, handler: Handler, scopes: ActorScopes, cell: object) -> None:
        """Handle each message in a copy of its sender's context: what it sets is gone with it."""
        while True:
            envelope: Any = await next_job()
            begin_work(envelope.message, cell=cell)
            if envelope.reply is None:
                await self._tell(handler, envelope.message)
            else:
                await self._ask(handler, envelope.message, envelope.reply, scopes)
            del envelope

    async def _tell(self, handler: Handler, message: Message) -> None:
        try:
            await handler.handle(message)
        except UnhandledMessageError as exc:
            if not claim_unhandled(exc, message):
                raise
            self.dead_letters.add(message, text_of(exc))

    async def _ask(
        self, handler: Handler, message: Message, reply: Reply, scopes: ActorScopes
    ) -> None:
        if reply.given:  # the asker is no longer waiting
            return
        with scopes.handling() as scope:
            reply.start_handling(scope)
            try:
                reply.give(await handler.handle(message))
            except BaseException as exc:  # noqa: ASYNC103 - given to the asker, or raised again
                failure, rest = split_failure(exc)
                if failure is not None:
                    self._answer_with(failure, reply, message)
                del failure  # break the cycle traceback -> frame -> error
                try:
                    if rest is not None:
                        raise rest from None  # noqa: ASYNC104 - the failure is kept
                finally:
                    del rest
            finally:
                reply.end_handling()

    def _answer_with(self, failure: BaseException, reply: Reply, message: Message) -> None:
        """Tell the asker of a failure, or the log if the asker has gone."""
        if not reply.fail(_answer_for(message, failure)):
            logger.error(
                "%s failed while it handled %r, but the asker is no longer waiting",
                self._address,
                message.type,
                exc_info=loggable(failure),
            )


def _answer_for(message: Message, failure: BaseException) -> BaseException:
    """Return what the asker raises when the handler has raised ``failure``."""
    if is_a(failure, UnhandledMessageError) and claim_unhandled(failure, message):
        return failure
    error = ActorError(
        f"{message.to} failed while it handled {message.type!r}: {describe(failure)}"
    )
    error.__cause__ = failure
    return error
