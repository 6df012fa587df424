"""The baselines for streams: the floors (hand-written) and the limits (a bare loop).

None of these programs uses actorstream.
"""

import asyncio
from collections.abc import AsyncIterator

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define

BUFFER_SIZE = 100


@define
class LightEvent:
    """An event as a user would write it, with the fields of ``AsyncStreamMessage``."""

    type: str
    payload: int
    id: int = 0
    correlation_id: str = ""
    sender: str = ""
    error: str | None = None
    timestamp: float = 0.0


async def numbers(count: int) -> AsyncIterator[int]:
    """Yield the numbers below ``count``: the producer of every program."""
    for number in range(count):
        yield number


async def number_events(count: int) -> AsyncIterator[LightEvent]:
    """Yield one event for each number below ``count``, then an end event."""
    for number in range(count):
        yield LightEvent("data", number)
    yield LightEvent("end", 0)


async def bare_loop(count: int) -> int:
    """Consume the generator directly: the limit for payloads."""
    total = 0
    async for number in numbers(count):
        total += number
    return total


async def bare_events(count: int) -> int:
    """Consume a generator of events directly: the limit for events."""
    total = 0
    async for event in number_events(count):
        if event.type == "data":
            total += event.payload
    return total


async def plain_loop(count: int) -> int:
    """Pass each item through an AnyIO memory stream with ``send`` and ``receive``: the floor.

    The consumer calls ``receive()`` itself, which is a little faster than ``async for`` over the
    receiving end, so that the floor is as high as possible.
    """
    send, receive = anyio.create_memory_object_stream[int](BUFFER_SIZE)
    total = 0
    async with anyio.create_task_group() as group, receive:
        group.start_soon(send_numbers, send, count)
        try:
            while True:
                total += await receive.receive()
        except anyio.EndOfStream:
            pass
    return total


async def send_numbers(send: MemoryObjectSendStream[int], count: int) -> None:
    """Produce for the plain loop."""
    async with send:
        async for number in numbers(count):
            await send.send(number)


async def queue_loop(count: int) -> int:
    """Pass each item through an ``asyncio.Queue``: no end, no error, no cancellation, no trio."""
    queue: asyncio.Queue[int | None] = asyncio.Queue(BUFFER_SIZE)
    total = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(put_numbers(queue, count))
        while (number := await queue.get()) is not None:
            total += number
    return total


async def put_numbers(queue: asyncio.Queue[int | None], count: int) -> None:
    """Produce for the queue loop; ``None`` stands for the end."""
    async for number in numbers(count):
        await queue.put(number)
    await queue.put(None)
