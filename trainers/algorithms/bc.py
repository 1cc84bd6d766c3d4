"""Behavioral cloning: maximum likelihood of the recorded actions (Pomerleau, 1991)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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

    def __post_init__(self) -> None:
        if self.entropy_bonus < 0:
            raise UsageError(f"entropy_bonus is {self.entropy_bonus}; it must be 0 or more.")


class BC(Algorithm):
    """Behavioral cloning with any policy network, fixed actions or candidates.

    With a the recorded action and h the entropy bonus,

        total = mean over the batch of  -log pi(a | o) - h * H(pi(. | o)).
    """

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        self.config = read_options(BCConfig, options, "bc")
        self.network = build_policy_network(spec, network)

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total``, ``negative_log_likelihood`` and ``entropy`` (all nats)."""
        logits = self.network(batch.observations)  # [B, A]
        log_probs = torch.log_softmax(logits, dim=1)
        likelihood = -log_probs.gather(1, batch.actions[:, None]).mean()
        spread = entropy(logits).mean() if self.config.entropy_bonus else entropy(logits.detach()).mean()
        total = likelihood - self.config.entropy_bonus * spread
        return {"total": total, "negative_log_likelihood": likelihood, "entropy": spread}

    def policy(self) -> PolicyNetwork:
        """The network that acts."""
        return self.network
