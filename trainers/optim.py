"""The optimizer, and the learning rate as a pure function of the learner step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from trainers.config import TrainConfig


def learning_rate_at(config: TrainConfig, learner_step: int) -> float:
    """The rate used by step `learner_step` (counted from 1): linear warm-up, then a decay that never rises again.

    With w warm-up steps of n in total, final fraction f and p = (step - w) / (n - w), after the warm-up

        "cosine":  rate = peak * (f + (1 - f) * (1 + cos(pi p)) / 2),
        "linear":  rate = peak * (f + (1 - f) * (1 - p)).
    """
    peak, warmup, fraction = config.learning_rate, config.warmup_steps, config.final_learning_rate_fraction
    if learner_step <= warmup:
        return peak * learner_step / warmup
    if fraction == 1.0:
        return peak
    progress = min(1.0, (learner_step - warmup) / max(1, config.learner_steps - warmup))
    left = 1.0 - progress if config.decay == "linear" else (1.0 + math.cos(math.pi * progress)) / 2.0
    return peak * (fraction + (1.0 - fraction) * left)


def build_optimizer(config: TrainConfig, module: nn.Module) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) with decoupled decay of linear and convolutional weights; with 0 it is Adam."""
    decayed = (
        {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
        if config.weight_decay
        else set()
    )
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if id(p) in decayed], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if id(p) not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (0.9, config.second_moment_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let a GPU read learning rate and step counts from its own memory, so that a recorded step sees new ones."""
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), device=device)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over saved moments and step counts; how this run computes, and its learning rate, stay its own."""
    groups = [
        {**saved, "capturable": group["capturable"], "lr": group["lr"]}
        for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})
