"""Several independent copies of an algorithm that act by the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.dataset import Dataset
from envs.errors import UsageError
from trainers.algorithms.base import Algorithm
from trainers.batches import TensorBatch
from trainers.networks import TensorObservations


class Ensemble(Algorithm):
    """M members that learn from the same batches without a word to each other.

    The total is the sum of the members' totals, so that each gets the gradient it would get alone (with
    `train.max_grad_norm` the norm of all together is clipped); the other losses are means over the members.

    Args:
        members: Of one algorithm, differently initialized.

    Raises:
        UsageError: For members that act with a memory.
    """

    def __init__(self, members: Sequence[Algorithm]) -> None:
        nn.Module.__init__(self)
        if members[0].window > 1:
            raise UsageError(
                f"algorithm.members is {len(members)}, but {type(members[0]).__name__} acts with a memory, which "
                "ensembles do not have; set it to 1."
            )
        self.members = nn.ModuleList(members)
        self.needs_successors = members[0].needs_successors

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses of the members by name."""
        each: list[dict[str, Tensor]] = [member(batch) for member in self.members]
        losses = {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}
        return {**losses, "total": torch.stack([losses["total"] for losses in each]).sum()}

    def read_data(self, view: Dataset) -> None:
        """Of every member."""
        for member in self._members():
            member.read_data(view)

    def after_step(self) -> None:
        """Of every member."""
        for member in self._members():
            member.after_step()

    def policy(self) -> MeanPolicy:
        """What acts; its parameters are the members'."""
        return MeanPolicy([member.policy() for member in self._members()])

    def _members(self) -> list[Algorithm]:
        return [member for member in self.members if isinstance(member, Algorithm)]


class MeanPolicy(nn.Module):
    """The mean of the probabilities of several policies, as log-probabilities [B, A]."""

    def __init__(self, policies: Sequence[nn.Module]) -> None:
        super().__init__()
        self.policies = nn.ModuleList(policies)

    def forward(self, observations: TensorObservations) -> Tensor:
        """Log (1/M) sum_m pi_m(a | o)."""
        each = torch.stack([torch.log_softmax(policy(observations), dim=1) for policy in self.policies])
        return torch.logsumexp(each, dim=0) - math.log(len(self.policies))
