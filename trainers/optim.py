"""The optimizer, and the learning rate as a pure function of the learner step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from trainers.config import TrainConfig


def learning_rate_at(config: TrainConfig, learner_step: int) -> float:
    """The rate used by step `learner_step` (counted from 1): linear warm-up, then cosine decay.

    With w warm-up steps of n in total and final fraction f, after the warm-up

        rate = peak * (f + (1 - f) * (1 + cos(pi * (step - w) / (n - w))) / 2).
    """
    peak, warmup, fraction = config.learning_rate, config.warmup_steps, config.final_learning_rate_fraction
    if learner_step <= warmup:
        return peak * learner_step / warmup
    if fraction == 1.0:
        return peak
    progress = (learner_step - warmup) / max(1, config.learner_steps - warmup)
    return peak * (fraction + (1.0 - fraction) * (1.0 + math.cos(math.pi * min(1.0, progress))) / 2.0)


def build_optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) with decoupled decay; with `weight_decay` 0 it is Adam."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
