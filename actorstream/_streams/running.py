"""Which stream the running code produces the items of, if it does."""

from __future__ import annotations

from actorstream._context import current_channel
from actorstream._streams.channel import Channel


def running_channel() -> Channel | None:
    """Return the channel of the producer that runs this code, in its event loop."""
    channel: Channel | None = current_channel()
    if channel is None or channel.task is None or not channel.task.runs_here:
        return None
    return channel
