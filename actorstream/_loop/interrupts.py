"""Ctrl-C on trio, which otherwise raises ``KeyboardInterrupt`` at any line of any task.

Between two lines that belong together, that would leave a state which nothing can end: a stream
without a producer, an actor that no one stops. So the library's own lines are protected. trio then
raises the ``KeyboardInterrupt`` in the main task, where that waits next. Code of the user that the
library calls is not protected: it may run for long.

asyncio needs none of this: there, a first Ctrl-C cancels the main task.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_interruptible: list[Callable[..., Any]] = []


def interruptible(function: F) -> F:
    """Mark a function that calls the user's code: Ctrl-C may interrupt that."""
    _interruptible.append(function)
    return function


@cache
def protect_from_interrupts() -> None:
    """Protect all functions of the library, except for the ``interruptible`` ones, once."""
    from trio.lowlevel import disable_ki_protection, enable_ki_protection  # trio is optional

    for function in {*_find_functions()}:
        # These mark the function itself; versions of trio that return another one cannot.
        if function in _interruptible:
            disable_ki_protection(function)
        else:
            enable_ki_protection(function)


def _find_functions() -> Iterator[FunctionType]:
    """Find the functions and methods of all modules of the library that are imported."""
    package = __name__.partition(".")[0]
    outside = (f"{package}.testing", f"{package}._demo")
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package}.") and not name.startswith(outside):
            for thing in list(vars(module).values()):
                if getattr(thing, "__module__", "").startswith(package):
                    yield from _functions_in(thing)


def _functions_in(thing: object) -> Iterator[FunctionType]:
    if isinstance(thing, type):
        for attribute in list(vars(thing).values()):
            if not isinstance(attribute, type):
                yield from _functions_in(attribute)
    elif isinstance(thing, FunctionType):
        yield thing
    elif isinstance(thing, property):
        yield from _plain(thing.fget)
        yield from _plain(thing.fset)
    else:  # a class method or static method, perhaps
        yield from _plain(getattr(thing, "__func__", None))


def _plain(function: object) -> Iterator[FunctionType]:
    if isinstance(function, FunctionType):
        yield function
