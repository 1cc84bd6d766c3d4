"""From a dataset's batches to tensors on a device; pixels stay ``uint8`` all the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.batch import Batch
from envs.spec import EnvSpec
from trainers.networks.inputs import RaggedTensor, TensorColumn, TensorObservations, collate


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """B rows as tensors. A row is a transition; with windows, rows of the same window lie one after the other."""

    observations: TensorObservations
    actions: Tensor  # int64 [B]
    rewards: Tensor  # float32 [B]
    terminated: Tensor  # bool [B]
    truncated: Tensor  # bool [B]
    next_observations: TensorObservations | None = None
    """Row t + 1; where it is unknown, row t again, so that truncated ends bootstrap from the last frame seen."""
    successor_known: Tensor | None = None  # bool [B]
    levels: Tensor | None = None  # int64 [B]
    timesteps: Tensor | None = None  # int64 [B] from 0 within the episode
    behavior_log_probs: Tensor | None = None  # float32 [B, A] where every dataset stores them
    returns_to_go: Tensor | None = None  # float32 [B], only with windows
    valid: Tensor | None = None  # bool [B] rows that are no padding, only with windows
    changed: TensorObservations | None = None
    """Augmented observations to be consistent with."""
    window: int = 1
    """K, rows per window."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.actions.device

    def to(self, device: torch.device) -> TensorBatch:
        """The batch on `device`; the copy from page-locked memory does not block."""
        if device.type == self.device.type:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> TensorBatch:
        """The batch in page-locked memory; one that is on a GPU stays there."""
        if self.device.type == "cuda":
            return self
        return self._map(lambda tensor: tensor.pin_memory())

    def cloned(self) -> TensorBatch:
        """A copy where it is."""
        return self._map(torch.clone)

    def split(self, parts: int) -> Iterator[TensorBatch]:
        """Equal parts, one after the other; whole windows stay together."""
        if parts == 1:
            yield self
            return
        size = len(self) // parts
        for part in range(parts):
            yield self._slice(part * size, (part + 1) * size)

    def _map(self, change: Callable[[Tensor], Tensor]) -> TensorBatch:
        return self._each(lambda column: _map_column(column, change))

    def _slice(self, start: int, stop: int) -> TensorBatch:
        return self._each(lambda column: _slice_column(column, start, stop))

    def _each(self, change: Callable[[TensorColumn], TensorColumn]) -> TensorBatch:
        def apply(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: change(column) for name, column in value.items()}
            return change(value) if isinstance(value, Tensor) else value

        return TensorBatch(**{field.name: apply(getattr(self, field.name)) for field in dataclasses.fields(self)})


def to_tensors(batch: Batch) -> TensorBatch:
    """A dataset's batch as CPU tensors; actions become the ``int64`` that losses index with."""
    following, known, log_probs = batch.next_observations, batch.successor_known, batch.behavior_log_probs
    return TensorBatch(
        observations=collate(batch.observations),
        actions=torch.from_numpy(batch.actions.astype(np.int64)),
        rewards=torch.from_numpy(batch.rewards.astype(np.float32)),
        terminated=torch.from_numpy(batch.terminated.astype(np.bool_)),
        truncated=torch.from_numpy(batch.truncated.astype(np.bool_)),
        next_observations=None if following is None else collate(following),
        successor_known=None if known is None else torch.from_numpy(known.astype(np.bool_)),
        levels=torch.from_numpy(batch.level.astype(np.int64)),
        timesteps=torch.from_numpy(batch.timestep.astype(np.int64)),
        behavior_log_probs=None if log_probs is None else torch.from_numpy(log_probs.astype(np.float32)),
    )


def made_up_batch(spec: EnvSpec, items: int, *, window: int = 1) -> TensorBatch:
    """Zeros in every fixed column, for timing a step of any algorithm; ragged columns are not made up."""
    size = items * window
    columns: TensorObservations = {
        name: torch.zeros((size, *column.shape), dtype=getattr(torch, column.dtype))
        for name, column in spec.observation_columns.items()
        if not column.ragged
    }
    flags, numbers = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.int64)
    uniform = torch.full((size, spec.num_actions), -math.log(spec.num_actions))
    return TensorBatch(
        observations=columns,
        actions=numbers,
        rewards=torch.zeros(size),
        terminated=flags,
        truncated=flags,
        next_observations=dict(columns),
        successor_known=~flags,
        levels=numbers,
        timesteps=numbers,
        behavior_log_probs=uniform,
        returns_to_go=torch.zeros(size),
        valid=~flags,
        window=window,
    )


def _map_column(column: TensorColumn, change: Callable[[Tensor], Tensor]) -> TensorColumn:
    if isinstance(column, RaggedTensor):
        return RaggedTensor(change(column.values), change(column.offsets))
    return change(column)


def _slice_column(column: TensorColumn, start: int, stop: int) -> TensorColumn:
    if not isinstance(column, RaggedTensor):
        return column[start:stop]
    offsets = column.offsets[start : stop + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    return RaggedTensor(column.values[first:last], offsets - first)
