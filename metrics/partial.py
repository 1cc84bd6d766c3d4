"""Values that merge: sum and count travel between ranks and actors, the mean is taken once, at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError


@dataclass(frozen=True)
class PartialMean:
    """A mean that has not been divided yet.

    Example:
        >>> (PartialMean.of([1.0, 2.0]) + PartialMean.of([6.0])).value
        3.0
    """

    total: float = 0.0
    count: float = 0.0
    """How many items, or their summed weight."""

    @classmethod
    def of(cls, values: npt.ArrayLike) -> PartialMean:
        """The partial mean of every element of an array."""
        array = np.asarray(values, dtype=np.float64)
        return cls(float(array.sum()), float(array.size))

    def __add__(self, other: PartialMean) -> PartialMean:
        return PartialMean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; NaN of nothing."""
        return self.total / self.count if self.count else math.nan


Partials = Mapping[str, PartialMean]


def merge(parts: Iterable[Partials]) -> dict[str, PartialMean]:
    """Add up partial means by name; a name may be missing from some parts."""
    merged: dict[str, PartialMean] = {}
    for part in parts:
        for name, partial in part.items():
            merged[name] = merged.get(name, PartialMean()) + partial
    return merged


def values(partials: Partials) -> dict[str, float]:
    """The mean of every name that has items."""
    return {name: partial.value for name, partial in partials.items() if partial.count}


def pack(partials: Partials, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """An array [names, 2] of totals and counts for one sum over ranks; missing names are zeros.

    Raises:
        UsageError: If `partials` has a name that is not listed: another rank would not know it.
    """
    if unlisted := sorted(set(partials) - set(names)):
        raise UsageError(f"The values {unlisted} are not among the names that all ranks reduce: {list(names)}.")
    rows = [partials.get(name, PartialMean()) for name in names]
    return np.array([(row.total, row.count) for row in rows], dtype=np.float64).reshape(-1, 2)


def unpack(array: npt.NDArray[np.float64], names: Sequence[str]) -> dict[str, PartialMean]:
    """The inverse of `pack`, usually after the sum over ranks."""
    return {name: PartialMean(float(total), float(count)) for name, (total, count) in zip(names, array, strict=True)}
