"""What a cell needs of others: of the actor in it, and of the parent that decides about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from actorstream._actors.lifecycle import Ending
from actorstream._actors.message_loop import Handler
from actorstream._ports.port import Port
from actorstream._streams.half_read import Sources
from actorstream._streams.outcome import Outcome

# The cell, which is defined above this module.
C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)


class BehaviorIn(Handler, Protocol[C_contra]):
    """What a cell calls on the actor in it."""

    @property
    def kind(self) -> str:
        """The name of the actor's class."""
        ...

    @property
    def ports(self) -> Mapping[str, Port[Any]]:
        """The actor's ports, by name."""
        ...

    @property
    def starts_at_once(self) -> bool:
        """Whether ``start()`` does nothing."""
        ...

    def attach(self, cell: C_contra) -> None:
        """Enter a cell."""

    def open_sources(self) -> Sources | None:
        """Return where the sources are kept that the actor's handlers read."""
        ...

    async def start(self) -> None:
        """Prepare; no message comes before this has returned."""

    def note_draining(self) -> None:
        """Note that only the messages that are queued already are handled."""

    async def stop_children(self) -> None:
        """Stop the actors under this one. Each has its own time limit."""

    async def stop_helpers(self) -> None:
        """Stop those actors under this one that its own code has registered."""

    async def stop(self, reason: str | BaseException) -> None:
        """Clean up; no message comes after this."""

    def detach(self, outcome: Callable[[], Outcome]) -> None:
        """Leave the cell; the subscriptions to the actor end with this outcome."""

    def release_children(self) -> None:
        """Stop for good what was kept for a fresh actor, and not taken over."""


class ParentOf(Protocol[C]):
    """What decides whether a cell is restarted: its supervisor, its maker, or else the registry."""

    @property
    def cell(self) -> C | None:
        """The supervisor's own cell."""
        ...

    def should_restart(self, cell: C, ending: Ending) -> bool:
        """Return whether a restart follows this end."""
        ...

    def keeps_name(self, cell: C) -> bool:
        """Return whether the id is taken until the actor has ended, even if it is stopped."""
        ...

    def on_terminated(self, cell: C) -> None:
        """Handle the end of an incarnation; raise a failure that ends the router."""
