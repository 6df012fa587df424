"""Typical uses of the library, with the types that type checkers must infer.

mypy and pyright check each ``assert_type``. ``test_typing.py`` also runs the functions, so that the
samples are known to work.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, assert_type

from actorstream import (
    AbortController,
    AbortSignal,
    Actor,
    Address,
    AsyncStreamMessage,
    Message,
    MessageRouter,
    Port,
    Stream,
    StreamAbortedError,
    StreamAsyncOptions,
    StreamTimeoutError,
    Subscription,
    address,
    current_message,
    generate_correlation_id,
    generate_message_id,
)


class Counter(Actor):
    """An async generator function, annotated as strictly as possible."""

    async def stream_async(self, payload: int) -> AsyncIterator[int]:
        for number in range(payload):
            yield number


class HandMade(Actor):
    """Yields messages instead of bare items."""

    async def stream_async(self, payload: int) -> AsyncIterator[AsyncStreamMessage[int]]:
        assert_type(self.address, Address)
        assert_type(self.router, MessageRouter)
        assert_type(current_message(), Message)
        yield AsyncStreamMessage("data", payload, id=generate_message_id())
        yield AsyncStreamMessage("end", correlation_id=generate_correlation_id())


class Plain(Actor):
    """A plain method that returns a helper's stream."""

    def stream_async(self, payload: list[str]) -> AsyncIterator[AsyncStreamMessage[str]]:
        events = self.create_async_stream_with_backpressure(payload, on_backpressure=print)
        by_hand: AsyncIterator[AsyncStreamMessage[str]] = self.create_thread_stream(payload)
        return events if payload else by_hand


class Called(Actor):
    """Streams what a callback is called with."""

    def stream_async(self, payload: object) -> AsyncIterator[AsyncStreamMessage[int]]:
        def register(push: Callable[[int], None]) -> Callable[[], None]:
            push(1)
            return print

        numbers: AsyncIterator[AsyncStreamMessage[int]] = self.create_callback_stream(
            register, overflow="latest"
        )
        return numbers


async def consume(router: MessageRouter, to: Address | str) -> list[int]:
    """Iterate events in an ``async with`` block; an annotation gives the item type."""
    stream: Stream[int] = router.stream_async(to, "query", 3)
    assert_type(stream.correlation_id, str)
    assert_type(stream.statistics().buffered, int)
    payloads: list[int] = []
    async with stream as entered:
        assert_type(entered, Stream[int])
        async for event in entered:
            assert_type(event, AsyncStreamMessage[int])
            assert_type(event.type, Literal["data", "end", "error"])
            assert_type(event.payload, int)
            assert_type(event.error, str | None)
            assert_type(event.sender, Address | None)
            assert_type(event.timestamp, float)
            if event.payload is not None:
                payloads.append(event.payload)
    return payloads


async def consume_payloads(router: MessageRouter) -> list[int]:
    """Iterate and collect bare payloads."""
    stream: Stream[int] = router.stream_async("counter", "query", 2)
    async for payload in stream.payloads():
        assert_type(payload, int)
    again: Stream[int] = router.stream_async("counter", "query", 2)
    collected = await again.collect()
    assert_type(collected, list[int])
    assert_type(router.stream_async("counter", "query"), Stream[Any])
    return collected


async def ask(router: MessageRouter) -> list[int]:
    """Use the callback form, with a function and with a coroutine function."""
    chunks: list[int] = []

    async def on_chunk(chunk: int) -> None:
        chunks.append(chunk)

    await router.stream_ask("counter", "query", 2, on_chunk=chunks.append)
    await router.stream_ask("counter", "query", 2, on_chunk=on_chunk, buffer_size=1)
    return chunks


async def handle_errors(router: MessageRouter) -> object:
    """Pass options and a signal, and tell the errors apart."""
    controller = AbortController()
    signal = AbortSignal.any([controller.signal, AbortSignal.timeout(60)])
    assert_type(signal, AbortSignal)
    options = StreamAsyncOptions(signal=signal, buffer_size=1, overflow="wait")
    try:
        async for _ in router.stream_async("counter", "query", 9, options=options, timeout=None):
            controller.abort("enough")
    except StreamAbortedError as error:
        assert_type(error.reason, object)
        return error.reason
    except StreamTimeoutError as error:
        assert_type(error.kind, Literal["total", "first", "idle", "stall"])
    return None


async def watch(router: MessageRouter) -> list[int]:
    """Publish on a port, and subscribe to it."""
    port: Port[int] = router.get_actor("counter").create_port("numbers", overflow="latest")
    assert_type(port.subscribe(), Subscription[int])
    numbers: Subscription[int] = router.subscribe("counter", "numbers", overflow="wait")
    await port.publish(1)
    port.publish_nowait(2)
    port.close()
    async with numbers as values:
        assert_type(values, Subscription[int])
        async for value in values:
            assert_type(value, int)
            assert_type(values.dropped, int)
            return [value, *await values.collect()]
    return []


def register(router: MessageRouter) -> None:
    """Register actors and look at them."""
    assert_type(router.register_actor("counter", Counter()), Address)
    assert_type(router.register_actor(address("hand-made"), HandMade()), Address)
    router.register_actor("plain", Plain())
    assert_type(router.get_actor("counter"), Actor)
    assert_type(router.list_actors(), list[str])
    assert_type(router.statistics().active_streams, int)
