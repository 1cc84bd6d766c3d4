"""Acting by values: a policy whose most probable action has the highest value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from envs.errors import UsageError
from trainers.algorithms.targets import TargetUpdate
from trainers.algorithms.values import Values
from trainers.networks import TensorObservations, ValueNetwork

Q, IMITATION = "q", "imitation"


@dataclass(frozen=True, kw_only=True)
class QConfig:
    """Options that all learners of action values share."""

    discount: float = 0.99
    reward_scale: float = 1.0
    """Rewards are multiplied by it."""
    target_update: TargetUpdate = "polyak"
    target_rate: float = 0.005
    """"polyak": how far the target goes towards the network in each step."""
    target_period: int = 1000
    """"copy": learner steps between copies."""
    bins: int = 1
    """1 fits values as numbers; more fit them as histograms of so many bins (HL-Gauss)."""
    spread: float = 0.75
    """Width of a target in its histogram, in bins."""

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise UsageError(f"discount is {self.discount}; it must be from 0 to 1.")
        if self.reward_scale <= 0:
            raise UsageError(f"reward_scale is {self.reward_scale}; it must be positive.")


@dataclass(frozen=True, kw_only=True)
class GreedyConfig(QConfig):
    """Options of learners that act by their values."""

    acting: Literal["softmax", "epsilon"] = "softmax"
    """Sampled actions: from softmax(Q / temperature), or the best one but for a share `epsilon` of any."""
    temperature: float = 1.0
    epsilon: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0 or not 0 <= self.epsilon < 1:
            raise UsageError(
                f"temperature is {self.temperature} and epsilon {self.epsilon}; allowed: a positive temperature, "
                "epsilon from 0 to below 1."
            )


class QPolicy(nn.Module):
    """Observations to logits [B, A] by the values of a network's head ``q``.

    Args:
        network: Has the head ``q``, and ``imitation`` if there is a threshold.
        values: What the outputs of ``q`` mean.
        config: How to act.
        threshold: Only actions with p(a | o) / max p > threshold by the imitation head are possible; None allows all.
    """

    def __init__(
        self, network: ValueNetwork, values: Values, config: GreedyConfig, threshold: float | None = None
    ) -> None:
        super().__init__()
        self.network, self.values = network, values
        self.config, self.threshold = config, threshold

    def q(self, observations: TensorObservations) -> Tensor:
        """Values [B, A]; -inf beyond a row's candidates."""
        return self.values.of(self.network(observations, [Q])[Q])

    def forward(self, observations: TensorObservations) -> Tensor:
        """Logits whose softmax is the sampled policy, and whose greatest entry is the greedy one."""
        outputs = self.network(observations)
        values = self.values.of(outputs[Q])
        if self.threshold is not None:
            values = values.masked_fill(~allowed(outputs[IMITATION], self.threshold), -torch.inf)
        if self.config.acting == "softmax":
            return values / self.config.temperature
        return epsilon_greedy(values, self.config.epsilon)


def allowed(imitation: Tensor, threshold: float) -> Tensor:
    """Which actions have more than `threshold` times the probability of the most probable one: bool [B, A]."""
    log_probs = torch.log_softmax(imitation, dim=1)
    floor = math.log(threshold) if threshold > 0 else -math.inf
    return (log_probs - log_probs.amax(1, keepdim=True) > floor) & (imitation > -torch.inf)


def epsilon_greedy(values: Tensor, epsilon: float) -> Tensor:
    """Log-probabilities [B, A] of the best action but for a share `epsilon` of any possible one."""
    possible = values > -torch.inf
    best = torch.zeros_like(values).scatter(1, values.argmax(1, keepdim=True), 1.0)
    anything = possible / possible.sum(1, keepdim=True).clamp(min=1)
    return ((1 - epsilon) * best + epsilon * anything).log()
