"""A bounded cache that forgets the least recently used entry first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LeastRecentlyUsed(Generic[Value]):
    """What belongs to a level and is costly to make.

    Args:
        make: Level -> value; must give an equal value every time.
        capacity: Bound on the sum of the values' sizes; the newest value is always kept.
        size: Value -> its size in the unit of `capacity` (default: every value counts 1).
    """

    def __init__(
        self, make: Callable[[int], Value], capacity: int, size: Callable[[Value], int] = lambda value: 1
    ) -> None:
        self._make = make
        self._size = size
        self._capacity = capacity
        self._values: OrderedDict[int, Value] = OrderedDict()
        self.used = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, level: object) -> bool:
        return level in self._values

    def get(self, level: int) -> Value:
        """The value, made on first use."""
        if level in self._values:
            self._values.move_to_end(level)
            return self._values[level]
        value = self._values[level] = self._make(level)
        self.used += self._size(value)
        while self.used > self._capacity and len(self._values) > 1:
            self.used -= self._size(self._values.popitem(last=False)[1])
        return value
