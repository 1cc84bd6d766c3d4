"""A second set of weights: the average over the last steps of what a policy learned."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trainers.config import TrainConfig


class WeightAverage:
    """A copy of a policy whose weights are an average over learner steps.

    With w the weights after step t and m the average,

        "ema":      m <- d m + (1 - d) w    with d = min(decay, (1 + t) / (10 + t)),
        "uniform":  m = mean of w over the steps after `average_after` of all; before that, m = w.

    Args:
        policy: What `Algorithm.policy` returned; its buffers are constant and copied as they are.
        config: Kind, decay and length.
    """

    def __init__(self, policy: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.source = policy
        self.policy = copy.deepcopy(policy).requires_grad_(False)

    @torch.no_grad()
    def update(self, learner_step: int) -> None:
        """Count the weights after a learner step (from 1)."""
        own, current = list(self.policy.parameters()), list(self.source.parameters())
        torch._foreach_lerp_(own, current, self.share(learner_step))  # type: ignore[arg-type]

    def share(self, learner_step: int) -> float:
        """Which share of the average the weights of this step get when they come in."""
        if self.config.average == "ema":
            return 1 - min(self.config.average_decay, (1 + learner_step) / (10 + learner_step))
        first = int(self.config.average_after * self.config.learner_steps) + 1
        return 1 / max(1, learner_step - first + 1)


def build_average(policy: nn.Module, config: TrainConfig) -> WeightAverage | None:
    """The average that the config asks for."""
    return None if config.average == "none" else WeightAverage(policy, config)
