"""Behavioral cloning: maximum likelihood of the recorded actions (Pomerleau, 1991)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data.dataset import Dataset
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.algorithms.base import Algorithm, read_options
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import PolicyNetwork, build_policy_network, entropy


@dataclass(frozen=True, kw_only=True)
class BCConfig:
    """Options of behavioral cloning."""

    entropy_bonus: float = 0.0
    """Weight of the policy's entropy in nats; above 0 keeps it from growing certain of few examples."""
    distillation: float = 0.0
    """Share of the loss, from 0 to 1, that follows the stored probabilities of the behavior policy instead of the
    actions that were drawn from them; the data must have been recorded with log_probs."""

    def __post_init__(self) -> None:
        if self.entropy_bonus < 0:
            raise UsageError(f"entropy_bonus is {self.entropy_bonus}; it must be 0 or more.")
        if not 0 <= self.distillation <= 1:
            raise UsageError(f"distillation is {self.distillation}; it must be from 0 to 1.")


class BC(Algorithm):
    """Behavioral cloning with any policy network, fixed actions or candidates.

    With a the recorded action, p the behavior policy that drew it, w the distillation and h the entropy bonus,

        total = mean over the batch of  -(1 - w) log pi(a | o)  -  w sum_b p(b | o) log pi(b | o)  -  h H(pi(. | o)).
    """

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        self.config = read_options(BCConfig, options, "bc")
        self.network = build_policy_network(spec, network)

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total``, ``negative_log_likelihood`` and ``entropy`` (all nats); ``distillation`` where it is on."""
        logits = self.network(batch.observations)  # [B, A]
        log_probs = torch.log_softmax(logits, dim=1)
        likelihood = -log_probs.gather(1, batch.actions[:, None]).mean()
        spread = entropy(logits).mean() if self.config.entropy_bonus else entropy(logits.detach()).mean()
        losses = {"negative_log_likelihood": likelihood, "entropy": spread}
        imitation, share = likelihood, self.config.distillation
        if share:
            losses["distillation"] = cross_entropy(log_probs, batch).mean()
            imitation = (1 - share) * likelihood + share * losses["distillation"]
        return {"total": imitation - self.config.entropy_bonus * spread, **losses}

    def read_data(self, view: Dataset) -> None:
        """Refuse data without the probabilities that are asked for."""
        super().read_data(view)
        if self.config.distillation and view.batch([0]).behavior_log_probs is None:
            raise UsageError(
                "distillation follows the behavior policy's probabilities, but a dataset does not store them; collect "
                "it with options.log_probs=true, or set algorithm.options.distillation=0."
            )

    def policy(self) -> PolicyNetwork:
        """The network that acts."""
        return self.network


def cross_entropy(log_probs: Tensor, batch: TensorBatch) -> Tensor:
    """-sum_b p(b | o) log pi(b | o) in nats [B], with p the stored probabilities."""
    assert batch.behavior_log_probs is not None
    stored = batch.behavior_log_probs[:, : log_probs.shape[1]]
    possible = (stored > -torch.inf) & (log_probs > -torch.inf)
    return -(stored.exp() * log_probs.masked_fill(~possible, 0.0)).sum(1)
