"""Observations on their way into a network: NumPy columns become tensors here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class RaggedTensor(NamedTuple):
    """Rows of different length: row b is ``values[offsets[b]:offsets[b + 1]]``."""

    values: Tensor  # [N, *shape]
    offsets: Tensor  # [B + 1] int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RaggedTensor:
        """The same rows on another device."""
        return RaggedTensor(
            self.values.to(device, non_blocking=non_blocking), self.offsets.to(device, non_blocking=non_blocking)
        )

    def pin_memory(self) -> RaggedTensor:
        """A copy in page-locked memory, from where copies to a GPU do not block."""
        return RaggedTensor(self.values.pin_memory(), self.offsets.pin_memory())


TensorColumn = Tensor | RaggedTensor
TensorObservations = dict[str, TensorColumn]
"""A fixed column is a tensor [B, *shape]; a ragged one a `RaggedTensor` of B rows."""


def collate(
    observations: Mapping[str, npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]], device: torch.device | str = "cpu"
) -> TensorObservations:
    """Columns as tensors, dtypes unchanged: pixels and bytes stay ``uint8`` until the device.

    Args:
        observations: A fixed column is an array [B, *shape], a ragged one a tuple of B arrays [n_b, *shape].
        device: Where the tensors go.
    """
    return {name: _column(column, device) for name, column in observations.items()}


def _column(column: npt.NDArray[Any] | tuple[npt.NDArray[Any], ...], device: torch.device | str) -> TensorColumn:
    if not isinstance(column, tuple):
        return _tensor(column).to(device, non_blocking=True)
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in column], out=offsets[1:])
    return RaggedTensor(_tensor(np.concatenate(column)), torch.from_numpy(offsets)).to(device, non_blocking=True)


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    # A tensor over read-only memory (a memory map, a frame of the Ray store) would be undefined behavior to write to.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
