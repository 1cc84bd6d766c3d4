"""A batch of transitions, and gathering its rows from memory-mapped columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.episode import Column, Ragged

Indices = npt.NDArray[np.int64]
BatchColumn = npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]
"""A fixed column is one array [B, ...]; a ragged one is a tuple of B arrays."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B transitions, copied out of the dataset."""

    observations: dict[str, BatchColumn]
    actions: npt.NDArray[np.int32]  # [B]
    rewards: npt.NDArray[np.float32]  # [B]
    terminated: npt.NDArray[np.bool_]  # [B] the transition ended its episode
    truncated: npt.NDArray[np.bool_]  # [B] the transition is the last one before a time-out or a cut
    behavior_logp: npt.NDArray[np.float32]  # [B]
    level: npt.NDArray[np.int64]  # [B]
    source_id: npt.NDArray[np.int64]  # [B] index into `Dataset.sources`
    timestep: npt.NDArray[np.int64]  # [B] from 0 within the episode
    behavior_log_probs: npt.NDArray[np.float16] | None = None  # [B, A]
    next_observations: dict[str, BatchColumn] | None = None
    """Row t + 1; where it is unknown, row t again (truncated ends bootstrap from the last frame seen)."""
    successor_known: npt.NDArray[np.bool_] | None = None  # [B]

    def __len__(self) -> int:
        return len(self.actions)


def gather(columns: list[Column], store: Indices, row: Indices) -> BatchColumn:
    """Rows ``columns[store[b]][row[b]]``, copied.

    Args:
        columns: The same column of every store.
        store: [B] which store.
        row: [B] which row of it, valid.
    """
    if isinstance(columns[0], Ragged):
        return tuple(np.array(columns[s][r]) for s, r in zip(store.tolist(), row.tolist(), strict=True))
    arrays: list[npt.NDArray[Any]] = [column for column in columns if not isinstance(column, Ragged)]
    return gather_rows(arrays, store, row)


def gather_rows(arrays: list[npt.NDArray[Any]], store: Indices, row: Indices) -> npt.NDArray[Any]:
    """`gather` for fixed columns: [B, *shape]."""
    if len(arrays) == 1:
        return arrays[0][row]
    batch = np.empty((len(row), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for index in np.unique(store):
        chosen = np.nonzero(store == index)[0]
        batch[chosen] = arrays[index][row[chosen]]
    return batch
