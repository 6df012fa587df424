"""Items beside the buffer: a source that cannot wait keeps them until the consumer takes them."""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeVar

T = TypeVar("T")


class Reserve(Protocol[T]):
    """Items that stay outside the buffer until the consumer takes them."""

    def __len__(self) -> int: ...

    def move(self, items: deque[T]) -> None:
        """Append the oldest item to ``items``, if there is one."""

    def drain(self, items: deque[T]) -> None:
        """Append all items to ``items``, and accept no more."""
