"""The router: registration, statistics, closing, and the older callback form."""

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from actorstream import (
    AbortController,
    Actor,
    ActorNotFoundError,
    ActorStoppedError,
    AsyncStreamMessage,
    MessageRouter,
    RouterClosedError,
    Stream,
    StreamAbortedError,
    StreamAsyncOptions,
    StreamError,
    StreamTimeoutError,
    address,
)
from actorstream.testing import settle
from tests.support import (
    CallbackActorOf,
    CallbackCountTo,
    CountTo,
    NeverYields,
    YieldsOnceAndCleansUp,
)

# Registering


def test_register_returns_the_address():
    """Registering returns the actor's address, whatever the spelling of the id."""
    router = MessageRouter()
    assert router.register_actor("a", CountTo()) == address("a")
    assert router.register_actor("@(workers/b)", CountTo()) == address("workers/b")
    assert router.register_actor(address("c"), CountTo()) == address("c")


def test_list_actors():
    """`list_actors()` returns the ids in the order of registration."""
    router = MessageRouter()
    for name in ("b", "a", "workers/c"):
        router.register_actor(name, CountTo())
    assert router.list_actors() == ["b", "a", "workers/c"]


@pytest.mark.parametrize("to", ["a", "@(a)", address("a")], ids=repr)
def test_get_actor(to):
    """`get_actor()` returns the actor, by its id or its address."""
    router, actor = MessageRouter(), CountTo()
    router.register_actor("a", actor)
    assert router.get_actor(to) is actor


async def test_registered_before_and_after_entering():
    """Actors may be registered before and after the router is entered."""
    router = MessageRouter()
    router.register_actor("before", CountTo())
    async with router:
        router.register_actor("after", CountTo())
        for name in ("before", "after"):
            assert await router.stream_async(name, "query", 2).collect() == [0, 1]


def test_router_of_a_module():
    """A router may be created without an event loop, and entered in one later."""
    router = MessageRouter()
    router.register_actor("a", CountTo())

    async def main() -> list[int]:
        async with router:
            return await router.stream_async("a", "query", 2).collect()

    assert anyio.run(main) == [0, 1]


async def test_unregister(router):
    """An unregistered actor is unknown, and its id is free again."""
    router.register_actor("a", CountTo())
    await router.unregister_actor("@(a)")
    assert router.list_actors() == []
    with pytest.raises(ActorNotFoundError):
        router.get_actor("a")
    router.register_actor("a", CountTo())


async def test_unregister_before_entering():
    """Actors may be unregistered before the router is entered."""
    router = MessageRouter()
    router.register_actor("a", CountTo())
    await router.unregister_actor("a")
    assert router.list_actors() == []


async def test_unregister_waits_for_the_clean_up(router):
    """`unregister_actor()` returns when the actor's producers have cleaned up."""
    steps = []

    class Tidy(Actor):
        async def stream_async(self, payload):
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await settle()
                steps.append("cleaned up")

    router.register_actor("a", Tidy())
    iterators = [aiter(router.stream_async("a", "query")) for _ in range(3)]
    for iterator in iterators:
        await anext(iterator)
    await router.unregister_actor("a")
    assert steps == ["cleaned up"] * 3


async def test_unregister_by_the_actor_itself(router):
    """An actor may unregister itself in a stream, which ends like the others."""

    class Quitter(Actor):
        async def stream_async(self, payload):
            yield "last words"
            await self.router.unregister_actor(self.address)
            yield "never said"

    router.register_actor("a", Quitter())
    payloads = router.stream_async("a", "query").payloads()
    assert await anext(payloads) == "last words"
    with pytest.raises(ActorStoppedError):
        await anext(payloads)
    assert router.list_actors() == []


async def test_unregister_in_the_actors_clean_up(router):
    """An actor that unregisters itself in a shielded clean-up does not wait for itself."""

    class Quitter(Actor):
        async def stream_async(self, payload):
            try:
                while True:
                    yield 1
            finally:
                with anyio.CancelScope(shield=True):
                    await self.router.unregister_actor(self.address)

    router.register_actor("a", Quitter())
    async with router.stream_async("a", "query") as stream:
        await anext(aiter(stream))
    assert router.list_actors() == []


async def test_cancelled_unregister(router, unit):
    """If `unregister_actor()` is cancelled while it waits, the producers still end."""
    router.register_actor("a", YieldsOnceAndCleansUp(lambda: anyio.sleep(2 * unit)))
    iterator = aiter(router.stream_async("a", "query"))
    await anext(iterator)
    with anyio.move_on_after(unit) as scope:
        await router.unregister_actor("a")
    assert scope.cancelled_caught
    await anyio.sleep(3 * unit)
    assert router.statistics().active_streams == 0


# Statistics and repr


async def test_statistics(router):
    """The router counts its actors, its open streams, and the streams opened so far."""
    router.register_actor("a", CountTo())
    router.register_actor("b", NeverYields())
    async with router.stream_async("b", "query"):
        await router.stream_async("a", "query", 1).collect()
        statistics = router.statistics()
        counts = (statistics.actors, statistics.active_streams, statistics.opened_streams)
        assert counts == (2, 1, 2)
    assert router.statistics().active_streams == 0


async def test_repr():
    """The `repr` shows the router's state and its number of actors and streams."""
    router = MessageRouter()
    assert repr(router) == "<MessageRouter not entered: 0 actors, 0 active streams>"
    async with router:
        router.register_actor("a", NeverYields())
        async with router.stream_async("a", "query"):
            assert repr(router) == "<MessageRouter open: 1 actors, 1 active streams>"
    assert repr(router) == "<MessageRouter closed: 0 actors, 0 active streams>"


# Closing


async def read_until_closed(stream: Stream[Any]) -> None:
    with pytest.raises(RouterClosedError):
        await stream.collect()


async def test_exit_waits_for_every_producer():
    """The router's exit waits until every producer has ended."""
    silent = NeverYields()
    async with anyio.create_task_group() as tasks:
        async with MessageRouter() as router:
            router.register_actor("a", silent)
            for _ in range(3):
                tasks.start_soon(read_until_closed, router.stream_async("a", "query"))
            await settle()
            assert router.statistics().active_streams == 3
        assert (silent.stopped, router.statistics().active_streams) == (3, 0)


async def test_exit_with_an_exception():
    """An exception of the router's block leaves it as the same object."""
    error = KeyError("mine")

    async def fail() -> None:
        async with MessageRouter() as router:
            router.register_actor("a", NeverYields())
            async with router.stream_async("a", "query"):
                raise error

    with pytest.raises(KeyError) as caught:
        await fail()
    assert caught.value is error


async def test_exit_with_a_group():
    """An exception group raised in the block leaves it unchanged."""
    error = ExceptionGroup("mine", [KeyError(), OSError()])

    async def fail() -> None:
        async with MessageRouter():
            raise error

    with pytest.raises(ExceptionGroup) as caught:
        await fail()
    assert caught.value is error


async def test_cancellation_passes_through():
    """A cancellation of the router's block behaves like any other."""
    with anyio.CancelScope() as scope:
        async with MessageRouter():
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught


async def test_failing_producer_leaves_the_router_open(router):
    """A failure in a stream, or in its clean-up, does not close the router."""

    class Broken(Actor):
        async def stream_async(self, payload):
            try:
                raise ValueError
                yield
            finally:
                raise OSError

    router.register_actor("a", Broken())
    router.register_actor("b", CountTo())
    with pytest.raises(StreamError):
        await router.stream_async("a", "query").collect()
    assert await router.stream_async("b", "query", 2).collect() == [0, 1]


async def test_actors_are_free_after_the_exit():
    """After the exit, an actor may be registered with another router."""
    actor = CountTo()
    for _ in range(2):
        async with MessageRouter() as router:
            router.register_actor("a", actor)
            assert await router.stream_async("a", "query", 1).collect() == [0]


async def test_stream_started_while_closing():
    """A stream that an actor opens while the router closes is refused."""
    errors: list[BaseException] = []

    class Late(Actor):
        async def stream_async(self, payload):
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                with pytest.raises(RouterClosedError) as caught:
                    await router.stream_async("late", "query").collect()
                errors.append(caught.value)

    async with MessageRouter() as router:
        router.register_actor("late", Late())
        iterator = aiter(router.stream_async("late", "query"))
        await anext(iterator)
    assert len(errors) == 1


# stream_async's arguments


async def test_options_and_overrides(router):
    """Single options override `options`, which stay unchanged."""
    options = StreamAsyncOptions(buffer_size=7, timeout=None)
    router.register_actor("a", CountTo())
    assert router.stream_async("a", "q", options=options).statistics().buffer_size == 7
    stream = router.stream_async("a", "q", options=options, buffer_size=3)
    assert stream.statistics().buffer_size == 3
    assert options.buffer_size == 7


async def test_default_buffer_size():
    """By default, the buffer holds 100 items."""
    assert MessageRouter().stream_async("a", "query").statistics().buffer_size == 100


async def test_payload_by_default(router):
    """By default, the payload is `None`."""

    class Echo(Actor):
        async def stream_async(self, payload):
            yield payload

    router.register_actor("a", Echo())
    assert await router.stream_async("a", "query").collect() == [None]


# stream_ask


@pytest.mark.parametrize("actor", [CountTo, CallbackCountTo])
async def test_stream_ask(router, actor):
    """`stream_ask()` calls `on_chunk` with each payload, whichever form the actor has."""
    chunks: list[int] = []
    router.register_actor("a", actor())
    await router.stream_ask("a", "query", 3, on_chunk=chunks.append)
    assert chunks == [0, 1, 2]


async def test_stream_ask_awaits(router):
    """An `on_chunk` coroutine function is awaited, one chunk at a time."""
    steps = []

    async def on_chunk(chunk):
        steps.append(f"{chunk} in")
        await settle()
        steps.append(f"{chunk} out")

    router.register_actor("a", CountTo())
    await router.stream_ask("a", "query", 2, on_chunk=on_chunk)
    assert steps == ["0 in", "0 out", "1 in", "1 out"]


@pytest.mark.parametrize("form", ["stream", "stream_async"])
async def test_stream_ask_holds_the_actor_up(router, form):
    """An `on_chunk` that waits holds up the actor, so that it is never far ahead."""
    produced = 0

    class Eager(Actor):
        async def give(self):
            nonlocal produced
            for number in range(20):
                produced += 1
                yield number

    if form == "stream":

        async def stream(self, payload, on_chunk):
            async for number in self.give():
                await on_chunk(number)

        Eager.stream = stream  # type: ignore[attr-defined]
    else:
        Eager.stream_async = lambda self, _: self.give()  # type: ignore[attr-defined]
    ahead = []

    async def on_chunk(chunk):
        await settle()
        ahead.append(produced - (chunk + 1))

    router.register_actor("a", Eager())
    await router.stream_ask("a", "query", on_chunk=on_chunk, buffer_size=2)
    assert max(ahead) == 2 + 1


async def test_stream_ask_raises_the_actors_failure(router):
    """`stream_ask()` raises the actor's failure, after the chunks before it."""

    async def break_down(on_chunk):
        await on_chunk(1)
        raise ValueError("out of ink")

    chunks: list[int] = []
    router.register_actor("a", CallbackActorOf(break_down))
    with pytest.raises(StreamError, match="out of ink") as caught:
        await router.stream_ask("a", "query", on_chunk=chunks.append)
    assert chunks == [1]
    assert type(caught.value.__cause__) is ValueError


@pytest.mark.parametrize("waits", [False, True])
async def test_failing_on_chunk(router, waits):
    """`stream_ask()` raises what `on_chunk` raises, once the producer has ended."""
    error = KeyError("mine")
    silent = NeverYields()

    class OneThenSilent(Actor):
        async def stream_async(self, payload):
            yield 1
            async for item in silent.stream_async(payload):
                yield item

    def on_chunk(chunk):
        if not waits:
            raise error
        return fail_later()

    async def fail_later():
        await settle()
        raise error

    router.register_actor("a", OneThenSilent())
    with pytest.raises(KeyError) as caught:
        await router.stream_ask("a", "query", on_chunk=on_chunk)
    assert caught.value is error
    assert router.statistics().active_streams == 0


async def test_stream_ask_aborted(router):
    """A signal aborts a `stream_ask()`."""
    controller = AbortController()
    router.register_actor("a", CallbackCountTo())
    with pytest.raises(StreamAbortedError, match="enough"):
        await router.stream_ask(
            "a",
            "query",
            1000,
            on_chunk=lambda chunk: controller.abort("enough"),
            signal=controller.signal,
        )


async def test_stream_ask_timed_out(router, unit):
    """A timeout ends a `stream_ask()`, which raises once the producer has ended."""
    silent = NeverYields()
    router.register_actor("a", silent)
    with pytest.raises(StreamTimeoutError):
        await router.stream_ask("a", "query", on_chunk=print, timeout=unit)
    assert silent.stopped == 1


async def test_stream_ask_with_options(router):
    """`stream_ask()` takes options, too."""
    options = StreamAsyncOptions(timeout=0)
    router.register_actor("a", CountTo())
    with pytest.raises(StreamTimeoutError):
        await router.stream_ask("a", "query", 1, on_chunk=print, options=options)


async def test_cancelled_stream_ask(router, unit):
    """A cancelled `stream_ask()` returns once its producer has stopped."""
    silent = NeverYields()
    router.register_actor("a", silent)
    with anyio.move_on_after(unit):
        await router.stream_ask("a", "query", on_chunk=print)
    assert (silent.stopped, router.statistics().active_streams) == (1, 0)


async def test_stream_ask_skips_other_events(router):
    """`on_chunk` is called only for data events, with their payloads."""

    class HandMade(Actor):
        async def stream_async(self, payload):
            yield AsyncStreamMessage("data", "a")
            yield AsyncStreamMessage("end", "no chunk")

    chunks: list[str] = []
    router.register_actor("a", HandMade())
    await router.stream_ask("a", "query", on_chunk=chunks.append)
    assert chunks == ["a"]


async def test_an_unknown_id_is_told_from_similar_ones_at_most(router):
    """The error names what may have been meant, and no other id: those are other people's."""
    for number in range(300):
        router.register_actor(f"session-{number}", Actor())
    router.register_actor("other", Actor())
    with pytest.raises(ActorNotFoundError) as caught:
        router.get_actor("sesion-123")
    assert "'session-123'" in str(caught.value)
    assert str(caught.value).count("session-") <= 5
    assert "other" not in str(caught.value)
