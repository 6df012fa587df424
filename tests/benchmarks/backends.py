"""The event loops under which every program runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend:
    """One event loop: its name here, and the options with which AnyIO runs it."""

    name: str
    anyio_name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether the loop can run in this environment."""
        return find_spec(self.module) is not None

    @property
    def is_asyncio(self) -> bool:
        """Whether asyncio's own tools, such as its queue, work here."""
        return self.anyio_name == "asyncio"

    def run(self, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run ``function(*args)`` in a new loop and return its result."""
        return anyio.run(function, *args, backend=self.anyio_name, backend_options=self.options)


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("asyncio", "asyncio", "asyncio", {"use_uvloop": False}),
        Backend("uvloop", "asyncio", "uvloop", {"use_uvloop": True}),
        Backend("trio", "trio", "trio"),
    )
}


def installed_backends() -> list[Backend]:
    """Return the backends that this environment can run, in the order of the table."""
    return [backend for backend in BACKENDS.values() if backend.installed]
