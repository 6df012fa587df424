"""What is in a cell without an actor: one that has not been made yet, or is gone for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from actorstream._actors.lifecycle import Ending
from actorstream._message import Message
from actorstream._ports.port import Port
from actorstream._streams.outcome import Outcome


class NoActor:
    """The behavior of a cell without an actor."""

    kind = "no actor yet"
    ports: Mapping[str, Port[Any]] = MappingProxyType({})
    starts_at_once = False

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def attach(self, cell: object) -> None:
        """Do nothing: there is no actor."""

    def open_sources(self) -> None:
        """Return nothing: there is no actor."""

    async def start(self) -> None:
        """Never called."""

    async def handle(self, message: Message) -> Any:
        """Never called."""

    def note_draining(self) -> None:
        """Never called."""

    async def stop_children(self) -> None:
        """Never called."""

    async def stop_helpers(self) -> None:
        """Never called."""

    async def stop(self, reason: str | BaseException) -> None:
        """Never called."""

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """Do nothing: there is no actor."""

    def release_children(self) -> None:
        """Do nothing: there is no actor."""


class NoParent:
    """The parent of a cell that has stopped for good."""

    cell = None

    def should_restart(self, cell: object, ending: Ending) -> bool:
        """Return False: the stop is final."""
        return False

    def keeps_name(self, cell: object) -> bool:
        """Return False: another actor may have the id."""
        return False

    def on_terminated(self, cell: object) -> None:
        """Never called."""
