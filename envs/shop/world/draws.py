"""Uniform numbers that depend on a key and a few integers only: cheap to start, the same on every machine."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")

_BLOCK = struct.Struct("<16I")
_SCALE = 2.0**-32


class Draws:
    """An endless stream of draws for ``(key, *numbers)``; starting one takes about a microsecond.

    `envs.seeding.rng_for` would do the same, but a million levels are scanned for a split and it takes twenty times
    longer to start. Keys come from `envs.seeding.derive_seed`.
    """

    __slots__ = ("_block", "_head", "_next", "_values")

    def __init__(self, key: int, *numbers: int) -> None:
        self._head = struct.pack(f"<{len(numbers) + 1}q", key, *numbers)
        self._block = 0
        self._next = 16
        self._values: tuple[int, ...] = ()

    def bits(self) -> int:
        """The next 32 bits."""
        if self._next == 16:
            data = self._head + self._block.to_bytes(4, "little")
            self._values = _BLOCK.unpack(blake2b(data, digest_size=64).digest())
            self._block += 1
            self._next = 0
        self._next += 1
        return self._values[self._next - 1]

    def uniform(self) -> float:
        """The next uniform in [0, 1)."""
        return self.bits() * _SCALE

    def below(self, count: int) -> int:
        """An integer in [0, count)."""
        return (self.bits() * count) >> 32

    def chance(self, probability: float) -> bool:
        """True with this probability; always takes one draw, so that later draws do not move."""
        return self.bits() * _SCALE < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all equally likely."""
        return items[(self.bits() * len(items)) >> 32]

    def index(self, cumulative: Sequence[float]) -> int:
        """An index drawn by its weight, from the table of `cumulate`."""
        return min(bisect_right(cumulative, self.bits() * _SCALE * cumulative[-1]), len(cumulative) - 1)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items (all, if there are fewer) in random order."""
        pool = list(items)
        count = min(count, len(pool))
        for i in range(count):
            j = i + self.below(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]

    def weighted_sample(self, items: Sequence[T], weights: Sequence[float], count: int) -> list[T]:
        """`count` different items, drawn one after the other by weight."""
        pool, left = list(items), list(weights)
        chosen = []
        for _ in range(min(count, len(pool))):
            at = self.index(cumulate(left))
            chosen.append(pool.pop(at))
            left.pop(at)
        return chosen


def cumulate(weights: Sequence[float]) -> tuple[float, ...]:
    """The table that `Draws.index` reads."""
    return tuple(accumulate(weights))
