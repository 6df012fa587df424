"""Stopping one actor from outside, and waiting until it has stopped."""

from __future__ import annotations

import logging
from typing import Literal

from actorstream._actors.actor_task import living_cell
from actorstream._actors.cell import Cell
from actorstream._actors.options import as_limit
from actorstream._actors.registry import Registry
from actorstream._address import Address
from actorstream._checks import check_seconds
from actorstream._context import current_channel
from actorstream._errors import AskCycleError
from actorstream._loop.runtime import Runtime
from actorstream._ports.control import give_up_reading
from actorstream._ports.delivery import SubscriptionChannel
from actorstream._wait_graph import Wait, find_cycle, running_node

logger = logging.getLogger("actorstream")


async def stop_actor(
    registry: Registry,
    to: Address,
    *,
    drain: bool,
    timeout: float | Literal["stop_timeout"] | None,
) -> None:
    """Stop an actor, and wait for its end unless that would wait for the caller."""
    if timeout != "stop_timeout":
        check_seconds("timeout", timeout)
    registry.runtime.check_loop()
    cell = registry.find_ending(to)
    streams = list(cell.channels)
    if not cell.parent.keeps_name(cell):
        registry.forget_name(cell)
    if drain:
        cell.drain()
        seconds = cell.options.stop_timeout if timeout == "stop_timeout" else as_limit(timeout)
        _limit_drain(registry.runtime, cell, seconds)
    else:
        cell.stop()
    registry.forget_if_stopped(cell)
    if _waits_for_caller(registry, cell):
        return
    unread = _stop_reading(registry.runtime, cell) if drain else []
    try:
        with Wait(running_node(), cell, for_end=True):
            await cell.wait_ended()
        for stream in streams:
            if stream.task is not None:
                await stream.task.wait(running_node())
    finally:
        for subscription in unread:
            subscription.go_on()


def _stop_reading(runtime: Runtime, cell: Cell) -> list[SubscriptionChannel]:
    """Let the drain not wait for this task, which reads no value of the actor until then."""
    if cell.state == "stopped":  # at once, perhaps since the router is not entered
        return []
    task_id = id(runtime.current_task())
    return [
        subscription
        for port in cell.behavior.ports.values()
        for subscription in give_up_reading(port, task_id, cell.interruption)
    ]


def _limit_drain(runtime: Runtime, cell: Cell, seconds: float | None) -> None:
    """Stop an actor at once if it has not finished its messages in time."""
    if seconds is None or cell.state not in ("starting", "running", "draining"):
        return

    def stop() -> None:
        logger.warning("%s did not drain within %g s, and is stopped now", cell.address, seconds)
        cell.stop()

    cell.incarnation.limit_drain(runtime.timers.call_after(seconds, stop))


async def wait_stopped(registry: Registry, to: Address) -> None:
    """Wait until an actor is stopped for good; return at once if there is none.

    Raises:
        AskCycleError: The actor cannot end before the caller does.
    """
    registry.runtime.check_loop()
    for cell in registry.cells_at(to):
        if _waits_for_caller(registry, cell):
            raise AskCycleError(
                f"this wait_stopped() would deadlock: {to} cannot end before the code that waits "
                "for it; let a task outside of the actor wait"
            )
        with Wait(running_node(), cell, for_end=True):
            await cell.wait_stopped()


def _waits_for_caller(registry: Registry, cell: Cell) -> bool:
    """Return whether a cell's end waits for the running code, or for the actor of that code."""
    serving, caller, channel = running_node(), living_cell(), current_channel()
    if serving is not None and find_cycle(serving, cell, for_end=True):
        return True
    if caller is None and channel is not None:
        caller = registry.find_streaming(channel)
    while caller is not None and caller is not cell:
        caller = caller.supervisor
    return caller is cell
