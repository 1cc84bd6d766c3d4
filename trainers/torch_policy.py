"""A network as an `actors.policy.Policy`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actors.policy import BatchedColumn, PolicyInput
from envs.spec import EnvSpec
from trainers.config import Precision
from trainers.networks.inputs import collate
from trainers.precision import autocast, place

PART_ROWS = 16
"""Fits the caches of a core; convolutions over 64 frames at once are slower, frame by frame."""


class TorchPolicy:
    """Acts with a network; the network's parameters are used as they are at the time of the call.

    Args:
        network: Observations to logits [B, A]. Moved to ``device``; its training mode is left alone.
        spec: The environment it acts in.
        policy_id: Identifies parameters and settings; recorded with every episode.
        device: Where it computes.
        precision: "auto" is bfloat16 autocast where that is native.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: EnvSpec,
        policy_id: str,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        self.network = place(network, device)
        self.spec = spec
        self.policy_id = policy_id
        self.device = torch.device(device)
        self.precision: Precision = precision

    @property
    def max_slots(self) -> int | None:
        """More slots than this gain nothing: they only stand idle when the last long episodes are played."""
        fixed = not any(column.ragged for column in self.spec.observation_columns.values())
        return PART_ROWS if self.device.type == "cpu" and fixed else None

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]; -inf beyond a row's candidates.

        On a CPU larger batches of arrays are computed in parts of `PART_ROWS` rows, and only running rows: at the end
        of an evaluation few slots still play. A row's answer is that of a part of this shape, whoever else is in it.
        """
        rows, size = _running_rows(inputs), len(inputs)
        if self.device.type != "cpu" or size <= PART_ROWS or rows is None:
            return self._log_probs(inputs.observations)
        wanted = np.resize(rows, -(-len(rows) // PART_ROWS) * PART_ROWS)
        parts = [
            self._log_probs({name: column[part] for name, column in inputs.observations.items()})
            for part in wanted.reshape(-1, PART_ROWS)
        ]
        found = np.concatenate(parts)[: len(rows)]
        log_probs = np.full((size, found.shape[1]), -np.log(found.shape[1]), dtype=np.float32)
        log_probs[rows] = found
        return log_probs

    def _log_probs(self, observations: Mapping[str, BatchedColumn]) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network(collate(dict(observations), self.device))
        log_probs: npt.NDArray[np.float32] = torch.log_softmax(logits.float(), dim=1).cpu().numpy()
        return log_probs


def _running_rows(inputs: PolicyInput) -> npt.NDArray[np.intp] | None:
    """The rows whose answer counts; None where rows are texts, whose shape depends on what they are batched with."""
    if not all(isinstance(column, np.ndarray) for column in inputs.observations.values()):
        return None
    running = np.arange(len(inputs)) if inputs.running is None else np.flatnonzero(inputs.running)
    return running if len(running) else np.zeros(1, dtype=np.intp)
