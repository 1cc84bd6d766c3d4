"""Gymnasium spaces of observation columns; one for rows of varying length, such as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.spec import ColumnSpec


class RaggedSpace(spaces.Space[npt.NDArray[Any]]):
    """Arrays ``[n, *item_shape]`` of one dtype with any n.

    Args:
        dtype: Of the entries.
        item_shape: Shape of one entry; () for text bytes.
        sample_length: The greatest n that `sample` draws.
    """

    def __init__(self, dtype: npt.DTypeLike, item_shape: tuple[int, ...] = (), sample_length: int = 64) -> None:
        super().__init__(None, dtype)
        self.item_shape = item_shape
        self.sample_length = sample_length

    @property
    def is_np_flattenable(self) -> bool:
        """False: rows have no common length."""
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> npt.NDArray[Any]:
        """A random row; masks do not apply."""
        shape = (int(self.np_random.integers(self.sample_length + 1)), *self.item_shape)
        if np.issubdtype(self.dtype, np.integer):
            limits = np.iinfo(self.dtype)
            return self.np_random.integers(limits.min, limits.max, shape, self.dtype, endpoint=True)
        return self.np_random.standard_normal(shape).astype(self.dtype)

    def contains(self, x: Any) -> bool:
        """Whether `x` is an array of this dtype whose rows have the item shape."""
        return isinstance(x, np.ndarray) and x.dtype == self.dtype and x.ndim > 0 and x.shape[1:] == self.item_shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RaggedSpace) and (other.dtype, other.item_shape) == (self.dtype, self.item_shape)

    def __hash__(self) -> int:
        return hash((str(self.dtype), self.item_shape))

    def __repr__(self) -> str:
        return f"RaggedSpace({self.dtype}, {self.item_shape})"


def observation_space(columns: Mapping[str, ColumnSpec]) -> spaces.Dict:
    """The Gymnasium space of one row of these columns; integer columns span their dtype."""
    return spaces.Dict({name: _column_space(column) for name, column in columns.items()})


def _column_space(column: ColumnSpec) -> spaces.Space[Any]:
    dtype = np.dtype(column.dtype)
    if column.ragged:
        return RaggedSpace(dtype, column.shape)
    if np.issubdtype(dtype, np.integer):
        return spaces.Box(np.iinfo(dtype).min, np.iinfo(dtype).max, column.shape, dtype.type)
    return spaces.Box(-np.inf, np.inf, column.shape, dtype.type)
