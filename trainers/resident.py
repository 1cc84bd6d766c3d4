"""The whole data in a device's memory: images as bytes, each stored once, and batches gathered where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from data.dataset import Dataset
from data.files import format_bytes
from envs.console import say
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.batches import TensorBatch, to_tensors
from trainers.config import TrainConfig
from trainers.distributed import WorkerContext
from trainers.networks import TensorObservations

Indices = npt.NDArray[np.int64]

SHARE = 0.6
"""Of the free memory that data may take; the rest is for networks, their activations and batches."""
_CHUNK = 4096
_COLUMNS = ("actions", "rewards", "terminated", "truncated", "levels", "timesteps", "behavior_log_probs")


class ResidentRows:
    """The transitions of a view on a device.

    Observations of an episode lie one after the other, so that the next one of a transition is the row after it.

    Args:
        view: Data with fixed columns only.
        device: Where it is copied to.
        successors: Whether the last observations of episodes are needed.
    """

    def __init__(self, view: Dataset, device: torch.device, successors: bool) -> None:
        self.num_bytes = resident_bytes(view, successors)
        self._device, self._successors = device, successors
        starts, known = view.episode_starts, _final_rows(view, successors)
        position = np.repeat(np.arange(view.num_episodes), np.diff(starts))
        rows = np.arange(len(view)) + (np.cumsum(known) - known)[position]  # [N] of the observations
        self._rows = torch.from_numpy(rows).to(device)
        ends = np.zeros(len(view), dtype=np.bool_)
        ends[starts[1:] - 1] = True
        self._known = torch.from_numpy(~ends | (known[position] > 0)).to(device)
        self._frames = {
            name: torch.empty(
                (len(view) + int(known.sum()), *column.shape), dtype=getattr(torch, column.dtype), device=device
            )
            for name, column in view.env.observation_columns.items()
        }
        self._columns = self._read(view)
        if successors:
            self._read_ends(view, (starts[1:] - 1)[known > 0])

    def rows(self, indices: Indices) -> TensorBatch:
        """The transitions at `indices` [B], as `TrainingData.rows` reads them from the disk."""
        chosen = torch.from_numpy(indices).to(self._device, non_blocking=True)
        rows = self._rows[chosen]
        columns: dict[str, Any] = {name: column[chosen] for name, column in self._columns.items()}
        if self._successors:
            known = columns["successor_known"] = self._known[chosen]
            columns["next_observations"] = {name: frames[rows + known] for name, frames in self._frames.items()}
        observations: TensorObservations = {name: frames[rows] for name, frames in self._frames.items()}
        return TensorBatch(observations=observations, **columns)

    def _read(self, view: Dataset) -> dict[str, Tensor]:
        """Copy the observations of all transitions; returns their other columns."""
        parts: dict[str, list[Tensor]] = {name: [] for name in _COLUMNS}
        for start in range(0, len(view), _CHUNK):
            index = np.arange(start, min(start + _CHUNK, len(view)))
            batch = to_tensors(view.batch(index))
            self._write(self._rows[index[0] : index[-1] + 1], batch.observations)
            for name in _COLUMNS:
                if (column := getattr(batch, name)) is not None:
                    parts[name].append(column)
        return {name: torch.cat(columns).to(self._device) for name, columns in parts.items() if columns}

    def _read_ends(self, view: Dataset, last: Indices) -> None:
        for index in np.array_split(last, -(-len(last) // _CHUNK)) if len(last) else []:
            batch = to_tensors(view.batch(index, successors=True))
            self._write(self._rows[torch.from_numpy(index).to(self._device)] + 1, batch.next_observations or {})

    def _write(self, rows: Tensor, observations: dict[str, Any]) -> None:
        for name, values in observations.items():
            self._frames[name][rows] = values.to(self._device)


def make_resident(view: Dataset, config: TrainConfig, context: WorkerContext, successors: bool) -> ResidentRows | None:
    """The data on the worker's device if the config wants it there; what "auto" decides is said.

    Raises:
        UsageError: If it must be there and does not fit.
    """
    wish, device = config.resident, context.device
    if wish == "never" or (wish == "auto" and device.type != "cuda"):
        return None
    try:
        check_resident(view.env)
        needed, free = resident_bytes(view, successors), free_bytes(device)
        if needed > SHARE * free:
            raise UsageError(
                f"The data takes {format_bytes(needed)} of memory, and {SHARE:.0%} of the {format_bytes(free)} that "
                f"are free on {device} may be used. Set train.resident=never, or learn from less with "
                "data.max_transitions."
            )
    except UsageError as error:
        if wish == "always":
            raise
        _say(context, f"Data: read from the disk. {error}")
        return None
    _say(context, f"Data: {format_bytes(needed)} in the memory of {device}, of {format_bytes(free)} free")
    return ResidentRows(view, device, successors)


def check_resident(spec: EnvSpec) -> None:
    """Refuse observations that cannot be gathered on a device.

    Raises:
        UsageError: For texts.
    """
    ragged = [name for name, column in spec.observation_columns.items() if column.ragged]
    if ragged:
        raise UsageError(
            f"Rows of {ragged[0]!r} differ in length; only fixed columns are kept in a device's memory. Set "
            "train.resident=never."
        )


def resident_bytes(view: Dataset, successors: bool) -> int:
    """What the rows of a view take on a device."""
    columns = view.env.observation_columns.values()
    frame = sum(int(np.prod(column.shape)) * np.dtype(column.dtype).itemsize for column in columns)
    frames = len(view) + int(_final_rows(view, successors).sum())
    step = 8 + 4 + 1 + 1 + 8 + 8 + 8 + 1  # columns, row of the observation, and whether the next one is known
    has_log_probs = view.batch([0]).behavior_log_probs is not None
    return frames * frame + len(view) * (step + (4 * view.env.num_actions if has_log_probs else 0))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be used there."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _final_rows(view: Dataset, successors: bool) -> npt.NDArray[np.int64]:
    """Which episodes [E] keep the observation after their last transition: 0 or 1."""
    known = view.episodes["final_observation_known"]
    return known.astype(np.int64) if successors else np.zeros(len(known), dtype=np.int64)


def _say(context: WorkerContext, text: str) -> None:
    if context.is_first:
        say(text)
