"""A network as an `actors.policy.Policy`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from actors.policy import BatchedColumn, PolicyInput
from envs.spec import EnvSpec
from trainers.config import Precision
from trainers.memo import AnswerMemo
from trainers.networks.encoders import ImageEncoder
from trainers.networks.inputs import collate
from trainers.part_sizes import PART_ROWS, PartSizes
from trainers.precision import autocast, keep_cast, place


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
        self._sizes = PartSizes(self.network)
        self._memo: AnswerMemo | None = None

    def freeze(self) -> None:
        """Keep image encoders' weights as they are computed with, and on a CPU the answers to what was seen.

        Parameters must not change any more.
        """
        self._memo = self._new_memo()
        for module in self.network.modules():
            if isinstance(module, ImageEncoder):
                keep_cast(module, self.device, self.precision)

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """On a CPU, compute nothing twice until the end; parameters must not change meanwhile."""
        before = self._memo
        self._memo = before or self._new_memo()
        try:
            yield
        finally:
            self._memo = before

    def _new_memo(self) -> AnswerMemo | None:
        return AnswerMemo() if self.device.type == "cpu" else None

    @property
    def memoryless(self) -> bool:
        """A row's answer depends on that row alone, so episodes may change their slots."""
        return True

    @property
    def overlaps(self) -> bool:
        """While it computes elsewhere, this process can step other environments."""
        return self.device.type != "cpu" and self.memoryless

    @property
    def max_slots(self) -> int | None:
        """More slots than this gain nothing: they only stand idle when the last long episodes are played."""
        fixed = not any(column.ragged for column in self.spec.observation_columns.values())
        return PART_ROWS if self.device.type == "cpu" and fixed else None

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]; -inf beyond a row's candidates.

        On a CPU arrays are computed in parts of `PART_ROWS` rows, and only running rows: at the end of an evaluation
        few slots still play. A row's answer is that of a full part, whoever else is in it and however many they are;
        a frozen network computes it once.
        """
        columns = _arrays(inputs.observations)
        if self.device.type != "cpu" or columns is None:
            return self._log_probs(inputs.observations)
        rows = _running_rows(inputs)

        def compute(some: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
            starts = range(0, len(some), PART_ROWS)
            return np.concatenate([self._part(columns, some[at : at + PART_ROWS]) for at in starts])

        found = compute(rows) if self._memo is None else self._memo.answers(columns, rows, compute)
        if len(rows) == len(inputs):
            return found
        log_probs = np.full((len(inputs), found.shape[1]), -np.log(found.shape[1]), dtype=np.float32)
        log_probs[rows] = found
        return log_probs

    def _part(self, observations: Mapping[str, BatchedColumn], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """Of up to `PART_ROWS` rows, among others to fill the part up."""

        def answers(size: int) -> npt.NDArray[np.float32]:
            adjacent = size == len(rows) == rows[-1] - rows[0] + 1
            chosen = slice(rows[0], rows[-1] + 1) if adjacent else np.resize(rows, size)
            return self._log_probs({name: column[chosen] for name, column in observations.items()})

        if len(rows) == PART_ROWS:
            return answers(PART_ROWS)
        return answers(self._sizes.smallest(len(rows), answers))[: len(rows)]

    def _log_probs(self, observations: Mapping[str, BatchedColumn]) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.network(collate(dict(observations), self.device))
        log_probs: npt.NDArray[np.float32] = torch.log_softmax(logits.float(), dim=1).cpu().numpy()
        return log_probs


def _arrays(observations: Mapping[str, BatchedColumn]) -> dict[str, npt.NDArray[Any]] | None:
    """The columns; None where rows are texts, whose shape depends on what they are batched with."""
    arrays = {name: column for name, column in observations.items() if isinstance(column, np.ndarray)}
    return arrays if len(arrays) == len(observations) else None


def _running_rows(inputs: PolicyInput) -> npt.NDArray[np.intp]:
    """The rows whose answer counts, or some row."""
    running = np.arange(len(inputs)) if inputs.running is None else np.flatnonzero(inputs.running)
    return running if len(running) else np.zeros(1, dtype=np.intp)
