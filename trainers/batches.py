"""From a dataset's batches to tensors on a device; pixels stay ``uint8`` all the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.batch import Batch
from trainers.networks.inputs import RaggedTensor, TensorColumn, TensorObservations, collate


@dataclass(frozen=True, kw_only=True)
class TensorBatch:
    """B transitions as tensors."""

    observations: TensorObservations
    actions: Tensor  # int64 [B]
    rewards: Tensor  # float32 [B]
    terminated: Tensor  # bool [B]
    truncated: Tensor  # bool [B]
    next_observations: TensorObservations | None = None
    successor_known: Tensor | None = None  # bool [B]

    def __len__(self) -> int:
        return len(self.actions)

    def to(self, device: torch.device) -> TensorBatch:
        """The batch on `device`; the copy from page-locked memory does not block."""
        if device.type == self.actions.device.type:
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> TensorBatch:
        """The batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> TensorBatch:
        def columns(observations: TensorObservations) -> TensorObservations:
            return {name: _map_column(column, change) for name, column in observations.items()}

        return TensorBatch(
            observations=columns(self.observations),
            actions=change(self.actions),
            rewards=change(self.rewards),
            terminated=change(self.terminated),
            truncated=change(self.truncated),
            next_observations=None if self.next_observations is None else columns(self.next_observations),
            successor_known=None if self.successor_known is None else change(self.successor_known),
        )


def to_tensors(batch: Batch) -> TensorBatch:
    """A dataset's batch as CPU tensors; actions become the ``int64`` that losses index with."""
    following, known = batch.next_observations, batch.successor_known
    return TensorBatch(
        observations=collate(batch.observations),
        actions=torch.from_numpy(batch.actions.astype(np.int64)),
        rewards=torch.from_numpy(batch.rewards.astype(np.float32)),
        terminated=torch.from_numpy(batch.terminated.astype(np.bool_)),
        truncated=torch.from_numpy(batch.truncated.astype(np.bool_)),
        next_observations=None if following is None else collate(following),
        successor_known=None if known is None else torch.from_numpy(known.astype(np.bool_)),
    )


def _map_column(column: TensorColumn, change: Callable[[Tensor], Tensor]) -> TensorColumn:
    if isinstance(column, RaggedTensor):
        return RaggedTensor(change(column.values), change(column.offsets))
    return change(column)
