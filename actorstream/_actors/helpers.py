"""Registering an actor: one that another actor registers below its own address is its helper."""

from __future__ import annotations

from actorstream._actors.behavior import ActorBehavior
from actorstream._actors.cell import Cell
from actorstream._actors.options import ActorOptions
from actorstream._actors.registry import Registry
from actorstream._address import Address
from actorstream._context import current_cell, current_channel
from actorstream._loop.runtime import check_room


def register(
    registry: Registry,
    to: Address,
    behavior: ActorBehavior,
    options: ActorOptions,
) -> None:
    """Register an actor, and launch it if the router is open.

    Raises:
        ValueError: The id is taken.
        RouterClosedError: The router is being left, or has been left.
    """
    check_room()
    maker = _find_maker(registry, to)
    cell = registry.add(to, behavior, options, maker)
    if maker is not None:
        maker.add_helper(cell)
    registry.launch_soon(cell)


def _find_maker(registry: Registry, to: Address) -> ActorBehavior | None:
    """Return the running actor, if the address is below its own, and it has not ended."""
    cell = _running_cell(registry)
    if cell is None or not to.id.startswith(f"{cell.address.id}/"):
        return None
    if cell.state not in ("starting", "running", "draining", "stopping"):
        return None
    maker = cell.behavior
    return maker if isinstance(maker, ActorBehavior) and maker.registry is registry else None


def _running_cell(registry: Registry) -> Cell | None:
    """Return the cell of the actor whose code is running: in its own task, or in a stream."""
    cell: Cell | None = current_cell()
    channel = current_channel()
    if cell is None and channel is not None:
        cell = registry.find_streaming(channel)
    return cell
