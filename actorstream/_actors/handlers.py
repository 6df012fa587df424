"""``@handles`` and ``@streams``: which method of an actor serves which message type.

A class has one table for each decorator. Both are built when the class is defined, so two methods
for one type fail there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator
from inspect import getattr_static
from typing import Any, TypeVar

import attrs

from actorstream._message import Message
from actorstream._texts import repr_of

F = TypeVar("F", bound=Callable[..., Any])

Table = dict[str, tuple[str, bool]]
"""For each type, the method's name, and whether the method takes the whole message."""


@attrs.frozen
class Tables:
    """The methods of a class by message type.

    Attributes:
        handlers: Those marked with ``@handles``.
        streamers: Those marked with ``@streams``.
    """

    handlers: Table
    streamers: Table


_NO_TABLES = Tables({}, {})
_TABLES = "_actorstream_tables"
_HANDLES = "_actorstream_handles"
_STREAMS = "_actorstream_streams"


def handles(*types: str) -> Callable[[F], F]:
    """Make a method the handler of messages of these types.

    ::

        @handles("increment")
        async def increment(self, message): self.n += message.payload

    The method gets the message, like ``receive``; if its parameter is called ``payload``, it
    gets the payload alone. The return value is the reply to an ask.

    Raises:
        TypeError, ValueError: A type is not a ``str``, or no type is given.
    """
    return _marker(_HANDLES, "handles", types)


def streams(*types: str) -> Callable[[F], F]:
    """Make a method the source of streams of these types.

    ::

        @streams("query")
        async def search(self, payload): yield ...

    The method has any form that ``stream_async`` may have, and gets the payload; if its
    parameter is called ``message``, it gets the whole message.

    Raises:
        TypeError, ValueError: A type is not a ``str``, or no type is given.
    """
    return _marker(_STREAMS, "streams", types)


def _marker(mark: str, name: str, types: tuple[Any, ...]) -> Callable[[F], F]:
    if not types:
        raise ValueError(f'@{name} takes a message type; write @{name}("query")')
    for type in types:
        if not isinstance(type, str):
            raise TypeError(
                f'@{name} takes message types (str), not {repr_of(type)}; write @{name}("query")'
            )

    def set_mark(method: F) -> F:
        setattr(method, mark, (*getattr(method, mark, ()), *types))
        return method

    return set_mark


def build_tables(cls: type, reserved: Container[str]) -> None:
    """Build the tables of a class, and store them in the class.

    Args:
        cls: The class.
        reserved: Names that a handler or streaming method must not have.

    Raises:
        ValueError: Two methods of one class are for the same type.
        TypeError: A method cannot be called with a message or a payload, has a reserved name,
            or yields although nothing reads what it yields.
    """
    for name in ("on_start", "on_stop", "receive"):
        check_no_generator(f"{cls.__name__}.{name}()", _function_of(getattr_static(cls, name)))
    tables = Tables(_build(cls, _HANDLES, "message"), _build(cls, _STREAMS, "payload"))
    for name, _ in (*tables.handlers.values(), *tables.streamers.values()):
        if name in reserved:
            raise TypeError(
                f"{cls.__name__}.{name}() hides Actor.{name}(); give the method that is marked "
                "with a decorator another name"
            )
    setattr(cls, _TABLES, tables)


def tables_of(cls: type) -> Tables:
    """Return the tables of a class."""
    tables: Tables = getattr(cls, _TABLES, _NO_TABLES)
    return tables


def _build(cls: type, mark: str, default: str) -> Table:
    names: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = _own_names(base, mark)
        kept = {type: name for type, name in names.items() if not _types(base, name, mark)}
        names = kept | own
    methods = {name: getattr_static(cls, name) for name in names.values()}
    for name, method in methods.items():
        if method is not None:
            _check_method(f"{cls.__name__}.{name}()", method, mark)
    return {
        type: (name, _takes_message(methods[name], default))
        for type, name in names.items()
        if methods[name] is not None  # like `__hash__ = None`: drops what is inherited
    }


def _own_names(cls: type, mark: str) -> dict[str, str]:
    """Return the method for each type, without the inherited ones."""
    own: dict[str, str] = {}
    for name in vars(cls):
        for type in _types(cls, name, mark):
            if own.setdefault(type, name) != name:
                raise ValueError(
                    f"{cls.__name__} has two methods for {type!r}: {own[type]}() and "
                    f"{name}(); leave the decorator on one of them"
                )
    return own


def _types(cls: type, name: str, mark: str) -> tuple[str, ...]:
    """Return the types that one of the class's own attributes is marked with."""
    attribute = vars(cls).get(name)
    marked = getattr_static(attribute, mark, ())  # static: the attribute may be a proxy
    if _is_wrapped(attribute):
        return (*marked, *getattr_static(_function_of(attribute), mark, ()))
    return tuple(marked)


def _is_wrapped(method: object) -> bool:
    return isinstance(method, staticmethod | classmethod)


def _function_of(method: Any) -> Any:
    """Return the function in a static or class method."""
    return method.__func__ if _is_wrapped(method) else method


def _check_method(name: str, method: Any, mark: str) -> None:
    """Check that a method can be called as its decorator promises."""
    function = _function_of(method)
    if mark == _HANDLES:
        check_no_generator(name, function)
    count = 1 if isinstance(method, staticmethod) else 2
    signature = _signature(function, follow_wrapped=False)  # a wrapper may add arguments
    try:
        if signature is not None:
            signature.bind(*[None] * count)
    except TypeError as exc:
        raise TypeError(
            f"{name} is called with one argument, the message or its payload ({exc}); "
            "write `async def method(self, message)`, or `(self, payload)`"
        ) from None


def check_no_generator(name: str, function: object) -> None:
    """Check that a function runs when it is called, and not when its result is iterated."""
    code_flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if code_flags & inspect.CO_ITERABLE_COROUTINE:  # it is marked with @types.coroutine
        return
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"{name} yields, but nothing reads what it yields; write `return`, or yield in a "
            "method marked with @streams"
        )


def _takes_message(method: Any, default: str) -> bool:
    """Return whether the first parameter after ``self`` is the message, by its name."""
    signature = _signature(_function_of(method), follow_wrapped=True)
    names = [] if signature is None else list(signature.parameters)
    first = 0 if isinstance(method, staticmethod) else 1
    name = names[first] if len(names) > first else default
    return (name if name in ("message", "payload") else default) == "message"


def _signature(function: Any, *, follow_wrapped: bool) -> inspect.Signature | None:
    """Return the signature of a function, or ``None`` if it has none, like a partial method."""
    if not callable(function):
        return None
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    except ValueError:
        return None


def types_of(table: Table) -> Iterator[str]:
    """Return the types of a table as error messages show them."""
    return (repr(type) for type in sorted(table))


def argument(message: Message, takes_message: bool) -> Any:
    """Return the argument that a method gets."""
    return message if takes_message else message.payload
