"""The buffer as an AnyIO object stream, and the marks that open its fast paths.

The first part rewrites AnyIO's own tests of memory object streams (4.16, `test_memory`) for a
buffer that is both ends in one, holds at least one item and has one consumer. Where AnyIO closes
the sending end, the buffer is ended; where AnyIO closes the receiving end, the buffer is closed.
Each test says what that changes; a table lists the cases that do not apply.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import chain, count, repeat
from types import FrameType
from typing import Any, Literal

import anyio
import attrs
import pytest
from anyio import ClosedResourceError, EndOfStream, WouldBlock
from anyio.abc import ObjectReceiveStream, ObjectSendStream, ObjectStream, TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from actorstream._streams.buffer import TURN, Buffer
from actorstream.testing import settle


def full_buffer() -> Buffer[str]:
    """Make a buffer with room for one item, and put one in."""
    buffer = Buffer[str](1)
    buffer.send_nowait("first")
    return buffer


class Call:
    """A call in its own task, and its result. A call that hangs is cancelled."""

    def __init__(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        self._function = function
        self._args = args
        self.scope = anyio.CancelScope()
        self.result: object = "pending"

    async def __call__(self) -> None:
        self.scope.deadline = anyio.current_time() + 5
        with self.scope:
            try:
                self.result = await self._function(*self._args)
            except (anyio.BusyResourceError, ClosedResourceError, EndOfStream) as exc:
                self.result = type(exc)
        if self.scope.cancelled_caught:
            self.result = "cancelled"


async def start(tasks: TaskGroup, function: Callable[..., Awaitable[Any]], *args: object) -> Call:
    """Start a call in a task, and let it run until it waits."""
    call = Call(function, *args)
    tasks.start_soon(call)
    await settle()
    return call


# AnyIO's cases: handing over


async def test_a_waiting_receiver_gets_what_is_sent():
    """AnyIO's `test_receive_then_send`: a waiting receiver gets each item, in order."""
    buffer = Buffer[int](1)

    async def receive_two() -> list[int]:
        return [await buffer.receive(), await buffer.receive()]

    async with anyio.create_task_group() as tasks:
        call = await start(tasks, receive_two)
        await buffer.send(1)
        await buffer.send(2)
    assert call.result == [1, 2]


async def test_send_nowait_wakes_a_waiting_receiver():
    """AnyIO's `test_receive_then_send_nowait`: `send_nowait()` wakes a waiting receiver.

    AnyIO's two receivers get one item each. Here the second is refused, and the first gets both.
    """
    buffer = Buffer[int](2)
    async with anyio.create_task_group() as tasks:
        first = await start(tasks, buffer.receive)
        second = await start(tasks, buffer.receive)
        buffer.send_nowait(1)
        buffer.send_nowait(2)
    assert first.result == 1
    assert second.result is anyio.BusyResourceError
    assert buffer.receive_nowait() == 2


async def test_a_waiting_senders_item_can_be_received():
    """AnyIO's `test_send_then_receive_nowait`: a waiting sender's item can be received.

    AnyIO takes it from the sender. Here the sender puts it in, once there is room.
    """
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.send, "second")
        assert buffer.receive_nowait() == "first"
        await settle()
        assert buffer.receive_nowait() == "second"


async def test_room_unblocks_a_sender():
    """AnyIO's `test_send_is_unblocked_after_receive_nowait`: `receive_nowait()` wakes a sender."""
    buffer = full_buffer()
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            await start(tasks, buffer.send, "second")
            assert buffer.receive_nowait() == "first"
    assert buffer.receive_nowait() == "second"


def test_sending_and_receiving_without_waiting():
    """AnyIO's `test_send_nowait_then_receive_nowait`: items leave in the order of arrival."""
    buffer = Buffer[int](2)
    buffer.send_nowait(1)
    buffer.send_nowait(2)
    assert [buffer.receive_nowait(), buffer.receive_nowait()] == [1, 2]


async def test_iterating():
    """AnyIO's `test_iterate`: a loop gets every item, and stops when the sender has ended."""
    buffer = Buffer[int](1)

    async def iterate() -> list[int]:
        return [item async for item in buffer]

    async with anyio.create_task_group() as tasks:
        call = await start(tasks, iterate)
        await buffer.send(1)
        await buffer.send(2)
        await buffer.send_eof()
    assert call.result == [1, 2]


# AnyIO's cases: ended and closed


async def test_after_the_end():
    """AnyIO's `test_receive_send_closed_send_stream`: no item comes out, none goes in."""
    buffer = Buffer[int](1)
    await buffer.send_eof()
    with pytest.raises(EndOfStream):
        buffer.receive_nowait()
    with pytest.raises(EndOfStream):
        await buffer.receive()
    with pytest.raises(ClosedResourceError):
        buffer.send_nowait(1)
    with pytest.raises(ClosedResourceError):
        await buffer.send(1)


async def test_after_the_close():
    """AnyIO's `test_receive_send_closed_receive_stream`: both sides raise.

    AnyIO's sender hears that the other end is broken; here both ends are one object, and closed.
    """
    buffer = full_buffer()
    await buffer.aclose()
    with pytest.raises(ClosedResourceError):
        buffer.receive_nowait()
    with pytest.raises(ClosedResourceError):
        await buffer.receive()
    with pytest.raises(ClosedResourceError):
        await buffer.send("second")


async def test_the_end_wakes_a_receiver():
    """AnyIO's `test_close_send_while_receiving`: a waiting `receive()` raises `EndOfStream`."""
    buffer = Buffer[int](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        await buffer.send_eof()
    assert call.result is EndOfStream


async def test_the_end_wakes_a_sender():
    """AnyIO's `test_close_send_while_sending`: its `send()` raises, and its item never arrives."""
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.send, "second")
        buffer.end()
        assert buffer.receive_nowait() == "first"
        with pytest.raises(EndOfStream):
            buffer.receive_nowait()
    assert call.result is ClosedResourceError
    with pytest.raises(EndOfStream):
        buffer.receive_nowait()


async def test_closing_wakes_a_receiver():
    """AnyIO's `test_close_receive_while_receiving`: `receive()` raises `ClosedResourceError`."""
    buffer = Buffer[int](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        await buffer.aclose()
    assert call.result is ClosedResourceError


async def test_closing_wakes_a_sender():
    """AnyIO's `test_close_receive_while_sending`: a waiting `send()` raises, even of `None`.

    It raises `ClosedResourceError`, since both ends are the same object.
    """
    buffer = Buffer[None](1)
    buffer.send_nowait(None)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.send, None)
        await buffer.aclose()
    assert call.result is ClosedResourceError
    assert not buffer.items


@pytest.mark.parametrize("runs", [True, False])
async def test_the_end_just_after_there_was_room(runs):
    """AnyIO's `test_close_send_after_item_received`: no error if the item went in.

    AnyIO receives the item before the sender runs again. Here the sender still holds it until
    then: either the item goes in or `send()` raises, never both.
    """
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.send, "second")
        buffer.receive_nowait()
        await settle(5 * runs)
        buffer.end()
    assert call.result is (None if runs else ClosedResourceError)
    assert list(buffer.items) == ["second"] * runs


async def test_the_end_just_after_an_item_for_a_receiver():
    """AnyIO's `test_close_receive_after_item_sent`: a waiting receiver keeps its item.

    That holds here if the buffer is ended. If it is closed, its items are discarded.
    """
    buffer = Buffer[str](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        buffer.send_nowait("item")
        buffer.end()
    assert call.result == "item"


async def test_the_close_just_after_an_item_for_a_receiver():
    """Closing discards even an item that already woke a receiver: see the case before."""
    buffer = Buffer[str](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        buffer.send_nowait("item")
        buffer.close()
    assert call.result is ClosedResourceError


async def test_the_end_behind_an_item():
    """AnyIO's `test_receive_after_send_closed`: the end comes after the buffered items."""
    buffer = Buffer[int](2)
    await buffer.send(1)
    await buffer.send(2)
    await buffer.send_eof()
    assert [await buffer.receive(), await buffer.receive()] == [1, 2]
    with pytest.raises(EndOfStream):
        await buffer.receive()


async def test_each_side_closes_in_its_own_task():
    """AnyIO's `test_close_receive_after_send`: a side that is done may just close."""
    buffer = Buffer[int](1)

    async def send() -> None:
        await buffer.send(1)
        buffer.end()

    async def receive() -> int:
        async with buffer:
            return await buffer.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        call = await start(tasks, receive)
    assert call.result == 1


def test_closing_without_waiting():
    """AnyIO's `test_sync_close`: `close()` closes both sides without waiting, even twice.

    There is no `with`: `async with` closes the buffer.
    """
    buffer = full_buffer()
    buffer.close()
    buffer.close()
    with pytest.raises(ClosedResourceError):
        buffer.send_nowait("second")
    with pytest.raises(ClosedResourceError):
        buffer.receive_nowait()


# AnyIO's cases: cancelled


async def test_a_cancelled_receiver_gets_nothing():
    """AnyIO's `test_cancel_receive`: no item goes to a cancelled receiver."""
    buffer = full_buffer()
    buffer.receive_nowait()
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.receive)
        tasks.cancel_scope.cancel()
    assert buffer.statistics().tasks_waiting_receive == 0
    buffer.send_nowait("second")
    with pytest.raises(WouldBlock):
        buffer.send_nowait("third")


async def test_a_cancelled_sender_sends_nothing():
    """AnyIO's `test_cancel_send`: a cancelled sender's item never arrives."""
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.send, "second")
        tasks.cancel_scope.cancel()
    assert buffer.statistics().tasks_waiting_send == 0
    assert buffer.receive_nowait() == "first"
    with pytest.raises(WouldBlock):
        buffer.receive_nowait()


async def test_receiving_in_a_cancelled_scope():
    """AnyIO's `test_receive_when_cancelled`: in a cancelled scope, `receive()` takes nothing."""
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.send, "second")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await buffer.receive()
        assert scope.cancelled_caught
        assert [await buffer.receive(), await buffer.receive()] == ["first", "second"]


async def test_sending_in_a_cancelled_scope():
    """AnyIO's `test_send_when_cancelled`: in a cancelled scope, `send()` puts nothing in."""
    buffer = Buffer[int](2)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await buffer.send(1)
        assert scope.cancelled_caught
        await buffer.send(2)
    assert call.result == 2
    assert not buffer.items


async def test_a_receiver_cancelled_just_after_its_item():
    """AnyIO's `test_cancel_during_receive`: cancelling a woken receiver loses no item."""
    buffer = Buffer[str](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        buffer.send_nowait("item")
        call.scope.cancel()
    assert call.result == "item"
    assert not buffer.items


async def test_a_receiver_cancelled_just_before_its_item():
    """AnyIO's `test_cancel_during_receive_buffered`: the item stays for the next receiver."""
    buffer = Buffer[str](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        call.scope.cancel()
        buffer.send_nowait("item")
    assert call.result == "cancelled"
    assert buffer.receive_nowait() == "item"


ONLY_ASYNCIO = pytest.mark.parametrize(
    "anyio_backend",
    [
        "asyncio",
        pytest.param(
            ("asyncio", {"use_uvloop": True}),
            marks=pytest.mark.skipif(not find_spec("uvloop"), reason="needs uvloop"),
            id="asyncio+uvloop",
        ),
    ],
)


@ONLY_ASYNCIO
@pytest.mark.parametrize("first", ["the item", "the cancellation"])
async def test_a_receiver_that_asyncio_cancels(first):
    """AnyIO's `test_send_to_natively_cancelled_receiver`: no item goes to a cancelled task."""
    buffer = Buffer[str](1)
    task = asyncio.create_task(buffer.receive())
    await settle()
    if first == "the item":
        buffer.send_nowait("item")
    task.cancel()
    if first == "the cancellation":
        buffer.send_nowait("item")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert buffer.receive_nowait() == "item"


@ONLY_ASYNCIO
@pytest.mark.parametrize("first", ["the room", "the cancellation"])
async def test_a_sender_that_asyncio_cancels(first):
    """A sender that asyncio cancels puts no item in, and its room stays free."""
    buffer = full_buffer()
    task = asyncio.create_task(buffer.send("second"))
    await settle()
    if first == "the room":
        buffer.receive_nowait()
    task.cancel()
    if first == "the cancellation":
        buffer.receive_nowait()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert buffer.statistics().tasks_waiting_send == 0
    buffer.send_nowait("third")
    assert buffer.receive_nowait() == "third"


# AnyIO's cases: statistics and types


async def test_statistics():
    """AnyIO's `test_statistics`: they count the items and the tasks waiting on each side.

    In AnyIO a sender stops counting as soon as there is room; here, once it has run.
    """
    buffer = Buffer[None](1)
    assert buffer.statistics() == (0, 1, 1, 1, 0, 0)
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.receive)
        assert buffer.statistics() == (0, 1, 1, 1, 0, 1)
        buffer.send_nowait(None)
        assert buffer.statistics() == (1, 1, 1, 1, 0, 0)
    async with anyio.create_task_group() as tasks:
        buffer.send_nowait(None)
        for waiting in 1, 2, 3:
            await start(tasks, buffer.send, None)
            assert buffer.statistics() == (1, 1, 1, 1, waiting, 0)
        for waiting in 2, 1, 0:
            buffer.receive_nowait()
            await settle()
            assert buffer.statistics() == (1, 1, 1, 1, waiting, 0)
        buffer.receive_nowait()
    assert buffer.statistics() == (0, 1, 1, 1, 0, 0)


def test_statistics_of_an_ended_and_a_closed_buffer():
    buffer = full_buffer()
    buffer.end()
    assert buffer.statistics() == (1, 1, 0, 1, 0, 0)
    buffer.close()
    assert buffer.statistics() == (0, 1, 0, 0, 0, 0)


# The interface


def test_the_buffer_is_an_object_stream():
    buffer = Buffer[int](1)
    assert isinstance(buffer, ObjectStream)
    assert isinstance(buffer, ObjectSendStream)
    assert isinstance(buffer, ObjectReceiveStream)


async def test_entering_and_leaving():
    """`async with` returns the buffer, and closes it."""
    buffer = full_buffer()
    async with buffer as entered:
        assert entered is buffer
    with pytest.raises(ClosedResourceError):
        buffer.receive_nowait()


async def test_closed_during_a_loop():
    """A loop over a buffer that is closed raises instead of ending normally."""
    buffer = full_buffer()
    iterator = aiter(buffer)
    assert await anext(iterator) == "first"
    buffer.close()
    with pytest.raises(ClosedResourceError):
        await anext(iterator)


@pytest.mark.parametrize("how", ["aclose", "send_eof"])
async def test_closing_in_a_cancelled_scope(how):
    """A cancelled `aclose()` still closes the buffer; `aclose_forcefully()` relies on it."""
    buffer = full_buffer()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await getattr(buffer, how)()
    with pytest.raises(ClosedResourceError):
        buffer.send_nowait("second")


async def test_a_receiver_woken_in_vain_leaves_the_next_one_alone():
    """A receiver that took its item and its place is still woken by the next item."""
    buffer = Buffer[str](1)
    async with anyio.create_task_group() as tasks:
        call = await start(tasks, buffer.receive)
        buffer.send_nowait("item")
        assert buffer.receive_nowait() == "item"
        tasks.start_soon(buffer.send, "next")
        with anyio.fail_after(5):
            await buffer.wait_readable()
        assert buffer.receive_nowait() == "next"
    assert call.result is anyio.BusyResourceError


async def test_several_senders():
    """Of several senders that wait for room, each gets it eventually, in any order."""
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        calls = [await start(tasks, buffer.send, item) for item in ("second", "third", "fourth")]
        received = [await buffer.receive() for _ in range(4)]
    assert received[0] == "first"
    assert sorted(received[1:]) == ["fourth", "second", "third"]
    assert [call.result for call in calls] == [None, None, None]


async def test_one_of_two_senders_gives_up():
    """When one of two waiting senders is cancelled, room still wakes the other."""
    buffer = full_buffer()
    async with anyio.create_task_group() as tasks:
        first = await start(tasks, buffer.send, "second")
        other = await start(tasks, buffer.send, "third")
        first.scope.cancel()
        await settle()
        buffer.receive_nowait()
        await settle()
        assert other.result is None
    assert list(buffer.items) == ["third"]


async def insist(patience: Iterator[int], function: Callable[..., Awaitable[Any]], *args: object):
    """Repeat a call, cancelling it after some turns each time, until it succeeds."""
    while True:
        async with anyio.create_task_group() as tasks:
            call = Call(function, *args)
            tasks.start_soon(call)
            await settle(next(patience))
            call.scope.cancel()
        if call.result != "cancelled":
            return call.result


TURNS_OF_PATIENCE = st.lists(st.integers(0, 5), max_size=40)


@given(size=st.integers(1, 3), to_send=TURNS_OF_PATIENCE, to_receive=TURNS_OF_PATIENCE)
async def test_cancelled_anywhere(size, to_send, to_receive):
    """A cancelled call has no effect: no item is lost, and none comes twice."""
    buffer = Buffer[int](size)
    received: list[object] = []

    async def send_all() -> None:
        patience = chain(to_send, repeat(20))
        for item in range(12):
            await insist(patience, buffer.send, item)
        buffer.end()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_all)
        patience = chain(to_receive, repeat(20))
        while EndOfStream not in received:
            received.append(await insist(patience, buffer.receive))
    assert received == [*range(12), EndOfStream]


# The marks


def append_while_open(buffer: Buffer[int], most: int = 10 * TURN) -> int:
    """Do what the producer does on its fast path, and count."""
    count = 0
    while count < most and len(buffer.items) < buffer.high:
        buffer.items.append(count)
        count += 1
    return count


def take_while_open(buffer: Buffer[int], most: int = 10 * TURN) -> int:
    """Do what the consumer does on its fast path, and count."""
    count = 0
    while count < most and len(buffer.items) > buffer.low:
        buffer.items.popleft()
        count += 1
    return count


async def test_the_longest_turn():
    """After the other side's turn, without a rest, a side handles two turns' items."""
    buffer = Buffer[int](10 * TURN)
    append_while_open(buffer)
    await buffer.rest()
    assert append_while_open(buffer) == TURN
    assert take_while_open(buffer) == 2 * TURN
    assert append_while_open(buffer) == 2 * TURN


async def test_a_wait_for_an_item_is_a_rest():
    buffer = Buffer[int](10 * TURN)
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.wait_readable)
        buffer.send_nowait(0)
        assert append_while_open(buffer) == TURN - 1
    assert append_while_open(buffer) == TURN


async def test_a_wait_for_room_is_a_rest():
    buffer = Buffer[int](3 * TURN)
    for _ in range(3):
        append_while_open(buffer)
        await buffer.rest()
    async with anyio.create_task_group() as tasks:
        await start(tasks, buffer.wait_writable)
        assert take_while_open(buffer) == 0
        buffer.receive_nowait()
        assert take_while_open(buffer) == TURN - 1
    assert take_while_open(buffer) == TURN


SHORT_TURN = 4  # so that a random life has many turns


@attrs.define
class Model:
    """A model of the buffer without its marks: a list, and what blocks each side."""

    size: int
    items: deque[int] = attrs.Factory(deque)
    received: list[object] = attrs.Factory(list)
    rested_at: int = 0  # how many items there were
    made: int = 0
    taken: int = 0
    ended: bool = False
    closed: bool = False
    held: bool = False
    paused: bool = False
    receiver: Literal["none", "waits", "woken"] = "none"
    sender: Literal["none", "waits", "woken"] = "none"
    in_hand: int = 0  # the sender's

    def put_turn_over(self) -> bool:
        return len(self.items) >= self.rested_at + SHORT_TURN

    def take_turn_over(self) -> bool:
        return len(self.items) <= self.rested_at - SHORT_TURN

    def may_append(self) -> bool:
        """Whether putting an item just appends it: no wait, no error, no other work."""
        busy = self.held or self.paused or self.receiver == "waits" or self.put_turn_over()
        return self.why_not_put() is None and not busy

    def may_take(self) -> bool:
        """Whether taking an item just pops it: no wait, no error, no other work."""
        busy = self.paused or self.sender == "waits" or self.take_turn_over()
        return self.why_not_take() is None and not busy

    def make(self) -> int:
        self.made += 1
        return self.made

    def end(self) -> None:
        self.ended = True
        self.wake_receiver()
        self.wake_sender()

    def why_not_put(self) -> type[Exception] | None:
        if self.ended:
            return ClosedResourceError
        return WouldBlock if len(self.items) >= self.size else None

    def why_not_take(self) -> type[Exception] | None:
        if self.items:
            return None
        if self.closed:
            return ClosedResourceError
        return EndOfStream if self.ended else WouldBlock

    def put(self, item: int) -> None:
        self.items.append(item)
        self.wake_receiver()

    def take(self) -> int:
        self.wake_sender()
        self.taken += 1
        return self.items.popleft()

    def wake_receiver(self) -> None:
        if self.receiver == "waits":
            self.receiver = "woken"

    def wake_sender(self) -> None:
        if self.sender == "waits":
            self.sender = "woken"

    def settle(self) -> None:
        """Let the woken tasks do what they can. Each has rested, and checks again."""
        while "woken" in (self.receiver, self.sender):
            self.rested_at = len(self.items)
            if self.receiver == "woken":
                self.let_receive()
            else:
                self.let_send()

    def let_receive(self) -> None:
        error = self.why_not_take()
        self.receiver = "waits" if error is WouldBlock else "none"
        if error is not WouldBlock:
            self.received.append(error or self.take())

    def let_send(self) -> None:
        error = self.why_not_put()
        self.sender = "waits" if error is WouldBlock else "none"
        if error is None:
            self.put(self.in_hand)


class Life:
    """A buffer beside its model; each method is a command, however senseless."""

    def __init__(self, size: int, tasks: TaskGroup) -> None:
        self.buffer = Buffer[int](size)
        self.model = Model(size)
        self.tasks = tasks
        self.received: list[object] = []
        self.receiver: Call | None = None
        self.sender: Call | None = None

    def check(self) -> None:
        buffer, model = self.buffer, self.model
        assert buffer.items == model.items
        assert self.received == model.received
        assert buffer.delivered == model.taken
        assert buffer.consumer_waiting == (model.receiver == "waits")
        assert buffer.producer_waiting == (model.sender == "waits")
        assert (len(buffer.items) < buffer.high) == model.may_append()
        assert (len(buffer.items) > buffer.low) == model.may_take()
        assert buffer.put_turn_over == model.put_turn_over()
        assert buffer.take_turn_over == model.take_turn_over()
        assert buffer.high - buffer.low <= 2 * SHORT_TURN

    async def append(self, count: int) -> None:
        """Have the producer use its fast path, as long as it is open."""
        buffer = self.buffer
        while count and len(buffer.items) < buffer.high:
            assert self.model.may_append()
            item = self.model.make()
            buffer.items.append(item)
            self.model.put(item)
            count -= 1

    async def popleft(self, count: int) -> None:
        """Have the consumer use its fast path, as long as it is open."""
        buffer = self.buffer
        while count and len(buffer.items) > buffer.low:
            assert self.model.may_take()
            buffer.delivered += 1
            assert buffer.items.popleft() == self.model.take()
            count -= 1

    async def send_nowait(self) -> None:
        item, error = self.model.make(), self.model.why_not_put()
        with pytest.raises(error) if error else nullcontext():
            self.buffer.send_nowait(item)
        if error is None:
            self.model.put(item)

    async def receive_nowait(self) -> None:
        error = self.model.why_not_take()
        with pytest.raises(error) if error else nullcontext():
            item = self.buffer.receive_nowait()
        if error is None:
            assert item == self.model.take()

    async def send(self) -> None:
        await self.rest()
        if self.sender is None:
            self.model.in_hand, self.model.sender = self.model.make(), "woken"
            self.sender = await start(self.tasks, self.buffer.send, self.model.in_hand)
            await self.settle()

    async def receive(self) -> None:
        await self.rest()
        if self.receiver is None:
            self.model.receiver = "woken"
            self.receiver = await start(self.tasks, self.buffer.receive)
            await self.settle()

    async def settle(self) -> None:
        """Let the other tasks run until they wait."""
        await settle(10)
        if self.sender is not None and self.sender.result != "pending":
            self.sender = None
        if self.receiver is not None and self.receiver.result != "pending":
            self.received.append(self.receiver.result)
            self.receiver = None
        self.model.settle()

    async def rest(self) -> None:
        """Let the other tasks run, then rest, so that this is known to be the last rest."""
        await self.settle()
        await self.buffer.rest()
        self.model.rested_at = len(self.model.items)

    async def cancel(self) -> None:
        await self.rest()
        for call in self.sender, self.receiver:
            if call is not None:
                call.scope.cancel()
        if self.receiver is not None:
            self.model.received.append("cancelled")
        self.model.sender = self.model.receiver = "none"
        await self.rest()

    async def hold(self) -> None:
        self.buffer.hold()
        self.model.held = True

    async def release(self) -> None:
        self.buffer.release()
        self.model.held = False

    async def pause(self) -> None:
        self.buffer.pause()
        self.model.paused = True

    async def resume(self) -> None:
        self.buffer.resume()
        self.model.paused = False

    async def drop_oldest(self) -> None:
        if self.sender is None and self.model.items:  # a dropper never waits for room
            self.buffer.drop_oldest()
            self.model.items.popleft()

    async def end(self) -> None:
        self.buffer.end()
        self.model.end()

    async def close(self) -> None:
        self.buffer.close()
        self.model.closed = True
        self.model.items.clear()
        self.model.end()


COMMANDS = st.tuples(
    st.sampled_from([Life.append, Life.popleft]),
    st.sampled_from([1, 2, SHORT_TURN, 10 * SHORT_TURN]),
) | st.tuples(
    st.sampled_from(
        [
            Life.send_nowait,
            Life.receive_nowait,
            Life.send,
            Life.receive,
            Life.settle,
            Life.rest,
            Life.cancel,
            Life.hold,
            Life.release,
            Life.pause,
            Life.resume,
            Life.drop_oldest,
        ]
    )
)
LAST_COMMANDS = st.tuples(st.sampled_from([Life.end, Life.close]))


@given(
    size=st.sampled_from([1, 2, SHORT_TURN, SHORT_TURN + 1, 10 * SHORT_TURN]),
    commands=st.lists(COMMANDS, max_size=40),
    last_commands=st.lists(COMMANDS | LAST_COMMANDS, max_size=10),
)
async def test_the_marks_open_the_fast_path_exactly_when_it_is_safe(
    monkeypatch, size, commands, last_commands
):
    """The fast path is open exactly when the slow path would only hand an item over.

    That is, when the slow path would not wait, raise, rest or wake a task.
    """
    monkeypatch.setattr("actorstream._streams.buffer.TURN", SHORT_TURN)
    async with anyio.create_task_group() as tasks:
        life = Life(size, tasks)
        for command, *args in [*commands, *last_commands]:
            await command(life, *args)
            life.check()
        await life.cancel()
        life.check()


STEPS = 60  # more than any of the methods below takes


@pytest.mark.parametrize("method", ["release", "_begin_turn"])
def test_paused_by_another_thread_at_any_step(method):
    """`pause()` takes effect even while the event loop's thread changes the marks."""
    open_although_paused = []
    for step in range(STEPS):
        buffer = Buffer[int](10)
        buffer.send_nowait(1)
        at_step(step, buffer.pause, getattr(buffer, method))
        if buffer.paused and (len(buffer.items) > buffer.low or buffer.high):
            open_although_paused.append(step)
    assert not open_although_paused


def at_step(step: int, intrude: Callable[[], object], function: Callable[[], object]) -> None:
    """Call a function and interrupt it before its n-th step, as a thread switch could."""
    steps = count()

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode" and next(steps) == step:
            sys.settrace(None)
            intrude()
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(tracer)
