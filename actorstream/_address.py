"""The address of an actor: a plain value that can be passed anywhere."""

from __future__ import annotations

from typing import Any

import attrs

from actorstream._texts import one_line, repr_of


def _check_id(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(
            f"an address is a str or an Address, not {repr_of(value)} ({type(value).__name__}); "
            'write address("actor-id")'
        )
    if not value.strip():
        raise ValueError(f'an actor\'s id is empty in {value!r}; write address("actor-id")')


@attrs.frozen(slots=True, repr=False)
class Address:
    """The address of an actor; make one with ``address()``.

    ``str()`` gives ``"@(workers/a)"``. It is always one line: an id with a line break or another
    character that cannot be printed is quoted, as by ``repr()``.

    Attributes:
        id: The id under which the actor is registered; may be a path (``"workers/a"``).
    """

    id: str = attrs.field(validator=_check_id)

    def __str__(self) -> str:
        return f"@({one_line(self.id)})"

    def __repr__(self) -> str:
        return f"address({self.id!r})"


def address(to: str | Address) -> Address:
    """Make an address from an actor's id.

    ``address("a") == address("@(a)") == address(address("a"))``

    Args:
        to: ``"actor-id"``, ``"@(actor-id)"``, or an address, which is returned as it is.

    Raises:
        TypeError: ``to`` is neither a ``str`` nor an ``Address``.
        ValueError: The id is empty.
    """
    if isinstance(to, Address):
        return to
    if not isinstance(to, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"an address is a str or an Address, not {repr_of(to)} ({type(to).__name__}); "
            'write address("actor-id")'
        )
    actor_id = to[2:-1] if to.startswith("@(") and to.endswith(")") else to
    if not actor_id.strip():
        raise ValueError(f'an actor\'s id is empty in {to!r}; write address("actor-id")')
    return Address(actor_id)
