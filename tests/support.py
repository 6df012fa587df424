"""What several test modules share: actors, routers that serve them, expected failures."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from actorstream import Actor, MessageRouter
from actorstream.testing import assert_nothing_left


class ActorOf(Actor):
    """An actor whose ``stream_async`` is a given function."""

    def __init__(self, stream_async: Callable[[Any], Any]) -> None:
        self.stream_async = stream_async


def serve(router: MessageRouter, *functions: Callable[[Any], Any]) -> None:
    """Register each function as an actor of the same name."""
    for function in functions:
        router.register_actor(function.__name__, ActorOf(function))


@asynccontextmanager
async def serving(actor: Actor) -> AsyncIterator[MessageRouter]:
    """Open a router with one actor, `a`, for a test that looks on after the router's exit."""
    async with MessageRouter() as router:
        router.register_actor("a", actor)
        yield router
    assert_nothing_left(router)


@contextmanager
def failures() -> Iterator[list[BaseException]]:
    """Expect a group of exceptions to leave the block, and give what is in it."""
    found: list[BaseException] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        yield found
    found += caught.value.exceptions
