"""Target networks: slow copies that values are bootstrapped from."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from envs.errors import UsageError

TargetUpdate = Literal["polyak", "copy"]


class TargetNetwork(nn.Module):
    """A copy of a network that follows it without gradients.

    With w the parameters of the network after a step and w' those of the copy,

        polyak:  w' <- (1 - rate) w' + rate w    after every step,
        copy:    w' <- w                         after every `period` steps.

    Args:
        source: The network; the copy starts equal to it.
        update: Which of the two.
        rate: Of "polyak", above 0 and at most 1.
        period: Of "copy", in learner steps.

    Raises:
        UsageError: If the number that the update uses is out of range.
    """

    steps: Tensor  # int64, taken so far

    def __init__(self, source: nn.Module, update: TargetUpdate, rate: float, period: int) -> None:
        super().__init__()
        if update == "polyak" and not 0 < rate <= 1:
            raise UsageError(f"target_rate is {rate}; it must be above 0 and at most 1.")
        if update == "copy" and period < 1:
            raise UsageError(f"target_period is {period}; it must be at least 1 learner step.")
        self.network = copy.deepcopy(source).requires_grad_(False)
        self.update, self.rate, self.period = update, rate, period
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, source: nn.Module) -> None:
        """Take one step after `source`."""
        self.steps += 1
        if self.update == "copy" and int(self.steps) % self.period:
            return
        rate = self.rate if self.update == "polyak" else 1.0
        own, other = list(self.network.parameters()), list(source.parameters())
        torch._foreach_lerp_(own, other, rate)  # type: ignore[arg-type]
