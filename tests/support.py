"""What several test modules share: an actor made of a function, and a router with one actor."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

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


@contextmanager
def failures() -> Iterator[list[BaseException]]:
    """Expect a group of exceptions to leave the block, and give what is in it."""
    found: list[BaseException] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        yield found
    found += caught.value.exceptions
