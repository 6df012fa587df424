"""The buffer between a producer and its consumer: order, room, turns, waking, end and close.

``test_buffer_as_anyio_stream.py`` compares it with AnyIO's memory object streams.
"""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import BusyResourceError, ClosedResourceError, EndOfStream, WouldBlock
from hypothesis import given
from hypothesis import strategies as st

from actorstream._streams.buffer import TURN, Buffer
from actorstream.testing import settle


def buffer_of(*items: object, size: int = 10) -> Buffer[object]:
    buffer: Buffer[object] = Buffer(size)
    for item in items:
        buffer.send_nowait(item)
    return buffer


def drain(buffer: Buffer[object]) -> list[object]:
    """Take every item that is available without waiting."""
    taken: list[object] = []
    while True:
        try:
            taken.append(buffer.receive_nowait())
        except (WouldBlock, EndOfStream, ClosedResourceError):
            return taken


class Waiting:
    """A wait in a task of its own."""

    def __init__(self, wait: Callable[[], Awaitable[object]]) -> None:
        self.wait = wait
        self.scope = anyio.CancelScope()
        self.woken = False

    async def __call__(self) -> None:
        with self.scope:
            await self.wait()
            self.woken = True


# Items


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    assert drain(buffer_of(1, 2, 3)) == [1, 2, 3]


@pytest.mark.parametrize("item", [None, 0, "", False, WouldBlock(), EndOfStream()], ids=repr)
def test_any_object_can_be_an_item(item: object) -> None:
    assert buffer_of(item).receive_nowait() is item


def test_an_empty_buffer_would_block_its_consumer() -> None:
    with pytest.raises(WouldBlock):
        buffer_of().receive_nowait()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_full_buffer_would_block_its_producer(size: int) -> None:
    buffer = buffer_of(*range(size), size=size)
    assert buffer.full
    with pytest.raises(WouldBlock):
        buffer.send_nowait("one more")
    assert drain(buffer) == list(range(size))


def test_taking_one_makes_room_for_one() -> None:
    buffer = buffer_of(1, 2, size=2)
    buffer.receive_nowait()
    assert not buffer.full
    buffer.send_nowait(3)
    assert drain(buffer) == [2, 3]


def test_the_oldest_item_can_be_dropped() -> None:
    buffer = buffer_of(1, 2, size=2)
    buffer.drop_oldest()
    buffer.send_nowait(3)
    assert drain(buffer) == [2, 3]


def test_only_items_taken_count_as_delivered() -> None:
    buffer = buffer_of(1, 2, 3)
    buffer.drop_oldest()
    buffer.receive_nowait()
    buffer.close()
    assert buffer.delivered == 1


@given(sends=st.lists(st.booleans(), max_size=60), size=st.integers(1, 5))
def test_no_order_of_sends_and_takes_loses_an_item(sends: list[bool], size: int) -> None:
    buffer, sent, taken = buffer_of(size=size), 0, []
    for send in sends:
        try:
            if send:
                buffer.send_nowait(sent)
                sent += 1
            else:
                taken.append(buffer.receive_nowait())
        except WouldBlock:
            assert buffer.full if send else sent == len(taken)
        assert sent - len(taken) <= size
    assert taken + drain(buffer) == list(range(sent))


# End and close


def test_an_ended_buffer_accepts_no_items() -> None:
    buffer = buffer_of(1)
    buffer.end()
    with pytest.raises(ClosedResourceError):
        buffer.send_nowait(2)


def test_an_ended_buffer_gives_its_items_and_then_stays_at_its_end() -> None:
    buffer = buffer_of(1, 2)
    buffer.end()
    assert drain(buffer) == [1, 2]
    for _ in range(3):
        with pytest.raises(EndOfStream):
            buffer.receive_nowait()


def test_a_closed_buffer_neither_gives_nor_accepts_items() -> None:
    buffer = buffer_of(1, 2)
    buffer.close()
    with pytest.raises(ClosedResourceError):
        buffer.receive_nowait()
    with pytest.raises(ClosedResourceError):
        buffer.send_nowait(3)


def test_closing_an_ended_buffer_discards_its_items() -> None:
    buffer = buffer_of(1, 2)
    buffer.end()
    buffer.close()
    assert drain(buffer) == []


@pytest.mark.parametrize("finish", [Buffer.end, Buffer.close])
def test_finishing_twice_is_harmless(finish: Callable[[Buffer[object]], None]) -> None:
    buffer = buffer_of(1)
    finish(buffer)
    finish(buffer)
    assert len(drain(buffer)) <= 1


def test_a_closed_buffer_keeps_no_item_alive() -> None:
    buffer = buffer_of(1, 2)
    buffer.close()
    assert buffer.statistics().current_buffer_used == 0


# Waiting


async def test_an_item_wakes_the_consumer() -> None:
    buffer = buffer_of()
    waiting = Waiting(buffer.wait_readable)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await settle()
        assert buffer.consumer_waiting
        assert not waiting.woken
        buffer.send_nowait(1)
    assert waiting.woken
    assert drain(buffer) == [1]


async def test_room_wakes_the_producer() -> None:
    buffer = buffer_of(1, size=1)
    waiting = Waiting(buffer.wait_writable)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await settle()
        assert buffer.producer_waiting
        assert not waiting.woken
        buffer.receive_nowait()
        assert not buffer.producer_waiting  # although it has not run yet
    assert waiting.woken
    assert not buffer.full


@pytest.mark.parametrize("finish", [Buffer.end, Buffer.close])
async def test_the_end_wakes_both_sides(finish: Callable[[Buffer[object]], None]) -> None:
    for buffer, wait in [
        (empty := buffer_of(), empty.wait_readable),
        (full := buffer_of(1, size=1), full.wait_writable),
    ]:
        waiting = Waiting(wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting)
            await settle()
            finish(buffer)
        assert waiting.woken


async def test_room_wakes_every_waiting_producer() -> None:
    buffer = buffer_of(1, size=1)
    waiting = [Waiting(buffer.wait_writable) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for wait in waiting:
            tasks.start_soon(wait)
        await settle()
        buffer.receive_nowait()
    assert all(wait.woken for wait in waiting)


async def test_a_second_consumer_is_refused_and_the_first_keeps_waiting() -> None:
    buffer = buffer_of()
    waiting = Waiting(buffer.wait_readable)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await settle()
        with pytest.raises(BusyResourceError):
            await buffer.wait_readable()
        assert buffer.consumer_waiting
        buffer.send_nowait(1)
    assert waiting.woken


@pytest.mark.parametrize("side", ["consumer", "producer"])
async def test_after_a_cancelled_wait_the_side_is_not_waiting(side: str) -> None:
    buffer = buffer_of() if side == "consumer" else buffer_of(1, size=1)
    with anyio.move_on_after(0):
        await (buffer.wait_readable() if side == "consumer" else buffer.wait_writable())
    assert not buffer.consumer_waiting
    assert not buffer.producer_waiting


async def test_an_item_sent_as_the_wait_is_cancelled_stays_in_the_buffer() -> None:
    buffer = buffer_of()
    waiting = Waiting(buffer.receive)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await settle()
        buffer.send_nowait(1)
        waiting.scope.cancel()
    assert waiting.woken or drain(buffer) == [1]


async def test_after_a_cancelled_wait_the_next_one_is_woken() -> None:
    buffer = buffer_of()
    with anyio.move_on_after(0):
        await buffer.wait_readable()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buffer.wait_readable)
        await settle()
        buffer.send_nowait(1)


async def test_waits_for_room_are_counted() -> None:
    buffer = buffer_of(1, size=1)
    for _ in range(3):
        with anyio.move_on_after(0):
            await buffer.wait_writable()
    assert buffer.waits == 3


# Turns


def put_a_turn(buffer: Buffer[object]) -> int:
    """Put items in until the turn is over, and count them."""
    count = 0
    while not buffer.put_turn_over:
        buffer.send_nowait(count)
        count += 1
    return count


async def test_a_producer_rests_after_a_turn() -> None:
    buffer = buffer_of(size=10 * TURN)
    assert put_a_turn(buffer) == TURN
    await buffer.rest()
    assert put_a_turn(buffer) == TURN


async def test_a_consumer_rests_after_a_turn() -> None:
    buffer = buffer_of(*range(3 * TURN), size=10 * TURN)
    await buffer.rest()
    count = 0
    while not buffer.take_turn_over:
        buffer.receive_nowait()
        count += 1
    assert count == TURN


async def test_a_rest_lets_other_tasks_run() -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await buffer_of().rest()
        await buffer_of().rest()
        turns.append("mine")
    assert turns == ["other", "mine"]


async def test_a_cancelled_rest_still_counts() -> None:
    buffer = buffer_of(size=10 * TURN)
    put_a_turn(buffer)
    with anyio.move_on_after(0):
        await buffer.rest()
    assert not buffer.put_turn_over


# Marks: whether a side may take its fast path


def producer_is_fast(buffer: Buffer[object]) -> bool:
    return len(buffer.items) < buffer.high


def consumer_is_fast(buffer: Buffer[object]) -> bool:
    return len(buffer.items) > buffer.low


def test_with_room_and_items_both_sides_are_fast() -> None:
    buffer = buffer_of(1, size=2)
    assert producer_is_fast(buffer)
    assert consumer_is_fast(buffer)


def test_a_full_buffer_slows_its_producer_and_an_empty_one_its_consumer() -> None:
    assert not producer_is_fast(buffer_of(1, size=1))
    assert not consumer_is_fast(buffer_of())


def test_a_held_producer_is_slow_until_it_is_released() -> None:
    buffer = buffer_of(1)
    buffer.hold()
    assert not producer_is_fast(buffer)
    buffer.release()
    assert producer_is_fast(buffer)


def test_while_paused_both_sides_are_slow() -> None:
    buffer = buffer_of(1)
    buffer.pause()
    assert buffer.paused
    assert not consumer_is_fast(buffer)
    assert not producer_is_fast(buffer)
    buffer.resume()
    assert not buffer.paused
    assert consumer_is_fast(buffer)
    assert producer_is_fast(buffer)


async def test_a_rest_undoes_neither_a_hold_nor_a_pause() -> None:
    buffer = buffer_of(1)
    buffer.hold()
    buffer.pause()
    await buffer.rest()
    assert not producer_is_fast(buffer)
    assert not consumer_is_fast(buffer)


@pytest.mark.parametrize("finish", [Buffer.end, Buffer.close])
def test_after_the_end_no_producer_is_fast(finish: Callable[[Buffer[object]], None]) -> None:
    buffer = buffer_of(1)
    finish(buffer)
    assert not producer_is_fast(buffer)


async def test_while_one_side_waits_the_other_is_slow_to_wake_it() -> None:
    empty, full = buffer_of(), buffer_of(1, size=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(empty.wait_readable)
        tasks.start_soon(full.wait_writable)
        await settle()
        assert not producer_is_fast(empty)
        assert not consumer_is_fast(full)
        tasks.cancel_scope.cancel()
    assert producer_is_fast(empty)
    assert consumer_is_fast(full)
