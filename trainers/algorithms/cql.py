"""Conservative Q-learning for discrete actions (Kumar et al. 2020), on top of double DQN."""

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
from trainers.algorithms.bounds import read_bounds
from trainers.algorithms.q_policy import GreedyConfig, Q, QPolicy
from trainers.algorithms.targets import TargetNetwork
from trainers.algorithms.values import Values, bootstrapped, chosen
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import HeadSpec, TensorObservations, build_value_network


@dataclass(frozen=True, kw_only=True)
class CQLConfig(GreedyConfig):
    """Options of conservative Q-learning."""

    alpha: float = 1.0
    """Weight of the conservative term; large values come near to behavioral cloning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0:
            raise UsageError(f"alpha is {self.alpha}; it must be 0 or more.")


class CQL(Algorithm):
    """Conservative double DQN, fixed actions or candidates.

    With Q the network, Q' its target, d = 1 where the episode terminated,

        a* = argmax_a Q(o', a)                          among the actions that o' offers,
        y  = r + discount (1 - d) Q'(o', a*),
        td = mean Huber(Q(o, a) - y),
        conservative = mean [ log sum_b exp Q(o, b)  -  Q(o, a) ],
        total = td + alpha * conservative.
    """

    needs_successors = True

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        self.config = read_options(CQLConfig, options, "cql")
        heads = {Q: HeadSpec(of="actions", outputs=self.config.bins)}
        values = Values(self.config.bins, "huber", self.config.spread)
        self.acting = QPolicy(build_value_network(spec, network, heads, "features"), values, self.config)
        self.target = TargetNetwork(
            self.acting.network, self.config.target_update, self.config.target_rate, self.config.target_period
        )

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total``, ``td`` and ``conservative``; ``q`` is the mean value of the recorded actions."""
        values = self.acting.values
        outputs = self.acting.network(batch.observations)[Q]
        q = values.of(outputs)  # [B, A]
        taken = chosen(q, batch.actions)
        td = values.loss(chosen(outputs, batch.actions), self.backup(batch)).mean()
        conservative = (torch.logsumexp(q, dim=1) - taken).mean()
        total = td + self.config.alpha * conservative
        return {"total": total, "td": td, "conservative": conservative, "q": taken.detach().mean()}

    @torch.no_grad()
    def backup(self, batch: TensorBatch) -> Tensor:
        """The target y of every row [B]."""
        assert batch.next_observations is not None
        best = self.acting.q(batch.next_observations).argmax(1)
        following = self.acting.values.of(self.target.network(batch.next_observations)[Q])
        rewards = batch.rewards * self.config.reward_scale
        return bootstrapped(rewards, batch.terminated, self.config.discount, chosen(following, best))

    def judged(self, observations: TensorObservations) -> dict[str, Tensor]:
        """Action values [B, A]."""
        return {Q: self.acting.q(observations)}

    def read_data(self, view: Dataset) -> None:
        """The range of the histograms."""
        super().read_data(view)
        read_bounds(self.acting.values, view, self.config)

    def after_step(self) -> None:
        """The target follows."""
        self.target.follow(self.acting.network)

    def policy(self) -> QPolicy:
        """What acts."""
        return self.acting
