"""Which method of an actor handles which type: ``@handles`` and ``@streams``.

A class has one table for each of the two. They are built when the class is made, so that two
methods for one type are noticed there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from actorstream._message import Message

F = TypeVar("F", bound=Callable[..., Any])

Table = dict[str, tuple[str, bool]]
"""For each type, the method's name and whether it takes the whole message."""

_HANDLES = "_actorstream_handles"
_STREAMS = "_actorstream_streams"


def handles(*types: str) -> Callable[[F], F]:
    """Make a method the handler of messages of these types.

    ::

        @handles("increment")
        async def increment(self, message): self.n += message.payload

    The method gets the message, as ``receive`` does; one whose parameter is called
    ``payload`` gets the payload alone. What it returns is the reply to an ask.

    Raises:
        TypeError, ValueError: A type is no ``str``, or there is none.
    """
    return _marker(_HANDLES, "handles", types)


def streams(*types: str) -> Callable[[F], F]:
    """Make a method the source of streams of these types.

    ::

        @streams("query")
        async def search(self, payload): yield ...

    It is all that ``stream_async`` may be, and gets the payload; one whose parameter is
    called ``message`` gets the whole message.

    Raises:
        TypeError, ValueError: A type is no ``str``, or there is none.
    """
    return _marker(_STREAMS, "streams", types)


def _marker(mark: str, name: str, types: tuple[Any, ...]) -> Callable[[F], F]:
    if not types:
        raise ValueError(f'@{name} takes a message type; write @{name}("query")')
    for type in types:
        if not isinstance(type, str):
            raise TypeError(
                f'@{name} takes message types (str), not {type!r}; write @{name}("query")'
            )

    def set_mark(method: F) -> F:
        setattr(method, mark, (*getattr(method, mark, ()), *types))
        return method

    return set_mark


def build_tables(cls: type) -> tuple[Table, Table]:
    """Return the tables of a class: of its handlers, and of its streaming methods.

    Raises:
        ValueError: Two methods of one class are for the same type.
    """
    return _build(cls, _HANDLES, "message"), _build(cls, _STREAMS, "payload")


def _build(cls: type, mark: str, usual: str) -> Table:
    table: Table = {}
    for base in reversed(cls.__mro__):
        own: Table = {}
        for name, method in vars(base).items():
            for type in getattr(method, mark, ()):
                if type in own:
                    raise ValueError(
                        f"{base.__name__} has two methods for {type!r}: {own[type][0]}() and "
                        f"{name}(); leave the decorator on one of them"
                    )
                own[type] = name, _takes_message(method, usual)
        table = {type: entry for type, entry in table.items() if not _replaced(entry, base, mark)}
        table |= own
    return table


def _replaced(entry: tuple[str, bool], cls: type, mark: str) -> bool:
    """Return whether a class overrides a method and gives it types of its own."""
    return bool(getattr(vars(cls).get(entry[0]), mark, ()))


def _takes_message(method: Callable[..., Any], usual: str) -> bool:
    """Return whether the first parameter after ``self`` is the message, by its name."""
    names = _parameter_names(method)
    name = names[1] if len(names) > 1 else usual
    return (name if name in ("message", "payload") else usual) == "message"


def _parameter_names(method: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(method).parameters)


def types_of(table: Table) -> Iterator[str]:
    """Return the types of a table as they are shown in messages."""
    return (repr(type) for type in sorted(table))


def argument(message: Message, takes_message: bool) -> Any:
    """Return what a method gets."""
    return message if takes_message else message.payload
