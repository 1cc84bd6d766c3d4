"""A bounded store of what was worked out once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

Made = TypeVar("Made")


class Memo:
    """Keeps results by key; starts again when full. A copy sent to another process starts empty.

    Args:
        limit: Most entries held.
    """

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._entries: dict[Hashable, object] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The entry under `key`, made by `make()` the first time; one key always has one type."""
        found = self._entries.get(key)
        if found is None:
            if len(self._entries) >= self._limit:
                self._entries.clear()
            found = self._entries[key] = make()
        return cast(Made, found)

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[type[Memo], tuple[int]]:
        return Memo, (self._limit,)
