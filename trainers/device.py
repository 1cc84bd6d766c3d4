"""Observations on the learner's device: copied once, as bytes, and learned from where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from envs.errors import RunError
from envs.vector import Observations
from trainers.fragment import Rows
from trainers.networks import TensorObservations, collate


class DeviceFrames:
    """Frames in the device's memory."""

    def __init__(self, device: torch.device, num_steps: int, num_envs: int) -> None:
        self._device = device
        self._shape = (num_steps, num_envs)
        self._fixed: dict[str, Tensor] = {}  # [T, B, *shape]

    def write(self, t: int, slots: slice, observations: Observations) -> Rows:
        """See `trainers.fragment.Frames`."""
        rows: Rows = {}
        for name, column in observations.items():
            assert not isinstance(column, tuple)  # such an environment keeps its frames with the host
            source = torch.from_numpy(np.require(column, requirements=["C", "W"]))
            if name not in self._fixed:
                shape = (*self._shape, *source.shape[1:])
                self._fixed[name] = torch.empty(shape, dtype=source.dtype, device=self._device)
            rows[name] = self._fixed[name][t, slots]
            # Does not block where the memory is pinned; the environments write to it only after the actions, which
            # wait for this copy.
            rows[name].copy_(source, non_blocking=True)
        return rows

    def columns(self) -> Rows:
        """See `trainers.fragment.Frames`."""
        return {name: column.flatten(0, 1) for name, column in self._fixed.items()}


def pin(arrays: list[npt.NDArray[Any]]) -> None:
    """Make existing memory page-locked, so that copies from it to a GPU do not block.

    Raises:
        RunError: If the driver refuses.
    """
    runtime: Any = torch.cuda.cudart()
    for array in arrays:
        if code := int(runtime.cudaHostRegister(array.ctypes.data, array.nbytes, 0)):
            raise RunError(
                f"The GPU's driver refuses to pin {array.nbytes} bytes (CUDA error {code}); try fewer num_envs."
            )


def to_device(rows: Rows, device: torch.device) -> TensorObservations:
    """Rows as tensors on the device; those that are there already stay."""
    host = {name: column for name, column in rows.items() if not isinstance(column, Tensor)}
    there = {name: column.to(device) for name, column in rows.items() if isinstance(column, Tensor)}
    return {**collate(host, device), **there}
