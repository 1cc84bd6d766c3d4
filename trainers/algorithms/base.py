"""What every algorithm is: a module from a batch to named losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from data.dataset import Dataset
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import TensorObservations
from trainers.options import OptionsT
from trainers.options import read_options as read_named_options

RELABELED = "-relabeled"
"""Ends the names of sources whose stored actions are not those that were played."""


class Algorithm(nn.Module):
    """Named losses of a batch. It never steps an optimizer, so any wrapper for distributed training fits it.

    A subclass is built as ``Algorithm(spec, network, options)`` and may own further networks beside the policy's. A
    loss is a mean over the rows (or windows) of the batch, so that the mean over equal shares is that of the whole.
    """

    needs_successors = False
    """Whether batches must carry the next observations; the actions of the data must then be those played."""

    window = 1
    """Consecutive transitions per drawn item; above 1 rows come in windows, `TensorBatch.window`."""

    clamped_windows = False
    """Whether windows are moved back from the ends of their episodes."""

    consistency = 0.0
    """Weight of the divergence on `TensorBatch.changed`; set from the experiment's augmentation."""

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__()

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Scalar losses by name; the gradient of ``"total"`` is followed, the others are shown."""
        raise NotImplementedError

    def policy(self) -> nn.Module:
        """What acts: a module from observations to logits [B, A], or a `SequenceModel`."""
        raise NotImplementedError

    def judged(self, observations: TensorObservations) -> dict[str, Tensor]:
        """Values that ought not to change with the look of an image, by name: [B, ...]."""
        return {}

    def read_data(self, view: Dataset) -> None:
        """Take what is constant about the data, before the first step, into buffers that checkpoints keep.

        Raises:
            UsageError: If this algorithm cannot learn from such data.
        """
        relabeled = [source for source in view.sources if source.endswith(RELABELED)]
        if relabeled and (self.needs_successors or self.window > 1):
            raise UsageError(
                f"The source {relabeled[0]!r} stores an expert's actions in place of those played, so its rewards and "
                f"successors do not belong to them; {type(self).__name__} needs data as it was played."
            )

    def after_step(self) -> None:
        """Called after every optimizer step, for target networks and the like."""

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """`losses`, and with augmented observations in the batch the divergence on them as ``consistency``."""
        losses = self.losses(batch)
        if batch.changed is None:
            return losses
        divergence = self._divergence(batch.observations, batch.changed)
        return {**losses, "consistency": divergence, "total": losses["total"] + self.consistency * divergence}

    def _divergence(self, observations: TensorObservations, changed: TensorObservations) -> Tensor:
        """KL(pi(. | o) || pi(. | o')) / 1 + (v(o) - v(o'))^2 / 2 with o fixed and o' its augmented copy."""
        policy = self.policy()
        with torch.no_grad():
            log_probs, values = torch.log_softmax(policy(observations), 1), self.judged(observations)
        total = divergence(log_probs, torch.log_softmax(policy(changed), 1)).mean()
        for name, seen in self.judged(changed).items():
            difference = (seen - values[name]).masked_fill(values[name] == -torch.inf, 0.0)
            total = total + difference.square().mean() / 2
        return total


def divergence(log_probs: Tensor, others: Tensor) -> Tensor:
    """KL of distributions [B, A], in nats [B]; impossible actions (-inf) count nothing."""
    difference = (log_probs - others).masked_fill(log_probs == -torch.inf, 0.0)
    return (log_probs.exp() * difference).sum(1)


def read_options(kind: type[OptionsT], options: Mapping[str, Any], algorithm: str) -> OptionsT:
    """An algorithm's own config from `AlgorithmConfig.options`.

    Raises:
        UsageError: For a key that the algorithm does not read, or a value of another type.
    """
    return read_named_options(kind, options, "algorithm", algorithm)
