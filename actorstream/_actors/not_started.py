"""What is in a cell before its first actor has been made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from actorstream._message import Message
from actorstream._ports.port import Port
from actorstream._streams.outcome import Outcome


class NotStarted:
    """The behavior of a cell whose first actor has not been made."""

    kind = "no actor yet"
    ports: Mapping[str, Port[Any]] = MappingProxyType({})
    starts_at_once = False

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def attach(self, cell: object) -> None:
        """Do nothing: there is no actor."""

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
