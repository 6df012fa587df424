"""What several test modules share: an actor made of a function, and a router with one actor."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actorstream import Actor, MessageRouter


class ActorOf(Actor):
    """An actor whose ``stream_async`` is a given function."""

    def __init__(self, stream_async: Callable[[Any], Any]) -> None:
        self.stream_async = stream_async


@asynccontextmanager
async def serving(actor: Actor) -> AsyncIterator[MessageRouter]:
    """Open a router with one actor, `a`."""
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        yield router
