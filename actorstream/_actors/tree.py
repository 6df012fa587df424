"""What is going on in a router: its actors as a tree, with their mailboxes and streams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from anyio import current_time

from actorstream._actors.cell import Cell
from actorstream._actors.lifecycle import State
from actorstream._actors.registry import Registry
from actorstream._statistics import RouterStatistics
from actorstream._streams.channel import Channel

Under = Mapping[Cell | None, list[Cell]]
"""The cells under each cell; under ``None`` those without a supervisor."""


@attrs.frozen
class StreamInfo:
    """One open stream.

    Attributes:
        type: What was asked for.
        correlation_id: Links its events.
        delivered: Items that the consumer has taken.
        rate: Items per second that it has taken, since the start.
        buffered: Items that wait for the consumer.
        buffer_size: The most that may.
    """

    type: str
    correlation_id: str
    delivered: int
    rate: float
    buffered: int
    buffer_size: int

    def __str__(self) -> str:
        return (
            f"stream {self.type!r}: {_count(self.delivered, 'item')}, {self.rate:.3g}/s, "
            f"buffer {self.buffered}/{self.buffer_size}"
        )


@attrs.frozen
class PortInfo:
    """One port.

    Attributes:
        name: Its name.
        subscribers: How many subscribe to it.
        published: How many values have been published.
    """

    name: str
    subscribers: int
    published: int

    def __str__(self) -> str:
        subscribers = _count(self.subscribers, "subscriber")
        return f"port {self.name!r}: {subscribers}, {self.published} published"


@attrs.frozen
class ActorInfo:
    """One actor, and those under it.

    Attributes:
        id: Under which it is registered.
        kind: The name of its class.
        state: Where it is in its life: ``"running"`` and so on.
        queued: Messages that wait in its mailbox.
        mailbox_size: The most that may.
        restarts: How often it has been restarted.
        streams: Its open streams.
        ports: Its ports.
        children: The actors that it supervises, in the order of their start.
    """

    id: str
    kind: str
    state: State
    queued: int
    mailbox_size: int
    restarts: int
    streams: tuple[StreamInfo, ...]
    ports: tuple[PortInfo, ...]
    children: tuple[ActorInfo, ...]

    def __str__(self) -> str:
        restarts = f", {_count(self.restarts, 'restart')}" if self.restarts else ""
        return (
            f"{self.id} ({self.kind}): {self.state}, "
            f"mailbox {self.queued}/{self.mailbox_size}{restarts}"
        )


@attrs.frozen
class RouterTree:
    """All actors of a router; ``str()`` of it draws them.

    Attributes:
        actors: Those that have no supervisor, in the order of registration.
    """

    actors: tuple[ActorInfo, ...]

    def __str__(self) -> str:
        return "\n".join(_draw(self.actors)) or "no actors"


def count_all(registry: Registry) -> RouterStatistics:
    """Count what is in a router."""
    cells, dead_letters = registry.cells, registry.dead_letters
    ports = [*(port for cell in cells for port in cell.behavior.ports.values()), dead_letters]
    return RouterStatistics(
        actors=len(registry.ids()),
        active_streams=sum(len(cell.channels) for cell in cells),
        opened_streams=registry.opened_streams,
        subscriptions=sum(port.statistics().subscribers for port in ports),
        dead_letters=dead_letters.statistics().published,
        restarts=registry.restarts,
        queued_messages=sum(len(cell.mailbox) + cell.mailbox.waiting for cell in cells),
    )


def make_tree(cells: Iterable[Cell]) -> RouterTree:
    """Look at all cells."""
    under: defaultdict[Cell | None, list[Cell]] = defaultdict(list)
    for cell in cells:
        under[cell.supervisor].append(cell)
    return RouterTree(_look_at_all(under, None))


def _look_at_all(
    under: Mapping[Cell | None, list[Cell]], parent: Cell | None
) -> tuple[ActorInfo, ...]:
    return tuple(_look(cell, under) for cell in under.get(parent, ()))


def _look(cell: Cell, under: Under) -> ActorInfo:
    return ActorInfo(
        id=cell.address.id,
        kind=cell.behavior.kind,
        state=cell.state,
        queued=len(cell.mailbox) + cell.mailbox.waiting,
        mailbox_size=cell.mailbox.size,
        restarts=max(cell.incarnation.number - 1, 0),
        streams=tuple(map(_look_at_stream, cell.channels)),
        ports=tuple(
            PortInfo(name, port.statistics().subscribers, port.statistics().published)
            for name, port in cell.behavior.ports.items()
        ),
        children=_look_at_all(under, cell),
    )


def _look_at_stream(channel: Channel) -> StreamInfo:
    now = channel.statistics()
    seconds = current_time() - channel.began
    return StreamInfo(
        type=channel.request.type,
        correlation_id=channel.identity.correlation_id,
        delivered=now.delivered,
        rate=now.delivered / seconds if seconds > 0 else 0.0,
        buffered=now.buffered,
        buffer_size=now.buffer_size,
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _draw(actors: Sequence[ActorInfo], indent: str = "") -> Iterator[str]:
    for actor in actors:
        yield f"{indent}{actor}"
        for detail in (*actor.streams, *actor.ports):
            yield f"{indent}    {detail}"
        yield from _draw(actor.children, indent + "  ")
