"""The actors of a router as a tree, with their mailboxes, streams and ports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from actorstream._actors.cell import Cell
from actorstream._actors.lifecycle import State
from actorstream._actors.registry import Registry
from actorstream._loop.clock import current_time
from actorstream._statistics import RouterStatistics
from actorstream._streams.channel import Channel
from actorstream._texts import one_line

Under = Mapping[Cell | None, list[Cell]]
"""The children of each cell; under ``None`` the cells without a supervisor."""


@attrs.frozen
class StreamInfo:
    """One open stream.

    Attributes:
        type: The type of the request.
        correlation_id: The one that the events share.
        delivered: Number of items that the consumer has taken.
        rate: Items taken per second, on average since the start.
        buffered: Number of items that wait for the consumer.
        buffer_size: Most items that may wait.
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
        name: The name that the actor gave to ``create_port()``.
        subscribers: Number of subscribers.
        published: Number of values published so far.
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
        id: The id that the actor is registered under.
        kind: The name of the actor's class.
        state: The state of the actor, such as ``"running"``.
        queued: Number of messages that wait in the mailbox.
        mailbox_size: Most messages that may wait.
        restarts: Number of restarts so far.
        streams: The open streams.
        ports: The actor's ports.
        children: The children of a supervisor in the order of their start, and the actors that
            the actor itself has registered under its own path.
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
            f"{one_line(self.id)} ({self.kind}): {self.state}, "
            f"mailbox {self.queued}/{self.mailbox_size}{restarts}"
        )


@attrs.frozen
class RouterTree:
    """All actors of a router; ``str()`` draws the tree.

    Attributes:
        actors: The actors that are under no other, in the order of registration.
    """

    actors: tuple[ActorInfo, ...]

    def __str__(self) -> str:
        return "\n".join(_draw(self.actors)) or "no actors"


def count_all(registry: Registry) -> RouterStatistics:
    """Count the actors, streams and messages of a router."""
    cells, dead_letters = registry.cells, registry.dead_letters.port
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
    """Make the tree of these cells."""
    under: defaultdict[Cell | None, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.absence is None:
            under[cell.supervisor].append(cell)
    return RouterTree(_actor_infos(under, None))


def _actor_infos(
    under: Mapping[Cell | None, list[Cell]], parent: Cell | None
) -> tuple[ActorInfo, ...]:
    return tuple(_actor_info(cell, under) for cell in under.get(parent, ()))


def _actor_info(cell: Cell, under: Under) -> ActorInfo:
    return ActorInfo(
        id=cell.address.id,
        kind=cell.behavior.kind,
        state=cell.state,
        queued=len(cell.mailbox) + cell.mailbox.waiting,
        mailbox_size=cell.mailbox.size,
        restarts=max(cell.incarnation.number - 1, 0),
        streams=tuple(map(_stream_info, cell.channels)),
        ports=tuple(
            PortInfo(name, port.statistics().subscribers, port.statistics().published)
            for name, port in cell.behavior.ports.items()
        ),
        children=_actor_infos(under, cell),
    )


def _stream_info(channel: Channel) -> StreamInfo:
    statistics = channel.statistics()
    seconds = current_time() - channel.began
    return StreamInfo(
        type=channel.request.type,
        correlation_id=channel.identity.correlation_id,
        delivered=statistics.delivered,
        rate=statistics.delivered / seconds if seconds > 0 else 0.0,
        buffered=statistics.buffered,
        buffer_size=statistics.buffer_size,
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _draw(actors: Sequence[ActorInfo], indent: str = "") -> Iterator[str]:
    for actor in actors:
        yield f"{indent}{actor}"
        for detail in (*actor.streams, *actor.ports):
            yield f"{indent}    {detail}"
        yield from _draw(actor.children, indent + "  ")
