"""Implicit Q-learning for discrete actions (Kostrikov et al. 2022), also with one value per group of levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.dataset import Dataset
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.algorithms.base import Algorithm, read_options
from trainers.algorithms.bounds import read_bounds
from trainers.algorithms.q_policy import QConfig
from trainers.algorithms.targets import TargetNetwork
from trainers.algorithms.values import Values, bootstrapped, chosen
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import HeadSpec, PolicyNetwork, Sharing, TensorObservations, build_policy_network
from trainers.networks import build_value_network as build_critic

_Q = ("q1", "q2")


@dataclass(frozen=True, kw_only=True)
class IQLConfig(QConfig):
    """Options of implicit Q-learning."""

    expectile: float = 0.8
    """Of the action values, that the state value is."""
    beta: float = 3.0
    """Inverse temperature: how much better actions count more in cloning."""
    max_weight: float = 100.0
    """Of a row in cloning."""
    sharing: Sharing = "features"
    """What the heads of both action values and the state value share, see `ValueNetwork`; the policy shares nothing."""
    level_groups: int = 1
    """State values, one per group of neighboring training levels of equal size (IQL-nV, Wang et al. 2025)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.expectile < 1:
            raise UsageError(f"expectile is {self.expectile}; it must be between 0 and 1.")
        if self.beta < 0 or self.max_weight <= 0 or self.level_groups < 1:
            raise UsageError(
                f"beta is {self.beta}, max_weight {self.max_weight} and level_groups {self.level_groups}; allowed: "
                "0 or more, positive, and 1 or more."
            )


class IQL(Algorithm):
    """Implicit Q-learning, fixed actions or candidates.

    With V the state value of the row's group of levels, Q1 and Q2 the action values, Q1' and Q2' their targets, d = 1
    where the episode terminated,

        u = min(Q1', Q2')(o, a) - V(o),
        value  = mean |expectile - 1(u < 0)| u^2,
        y = r + discount (1 - d) V(o'),
        q      = mean (Q1(o, a) - y)^2 + mean (Q2(o, a) - y)^2,
        policy = - mean min(exp(beta u), max_weight) log pi(a | o),
        total  = value + q + policy.

    Gradients pass neither through u in `policy`, nor through y, nor through the targets. All parts use the same
    parameters; where one optimizer after the other steps, as often published, y already has the new V.
    """

    needs_successors = True
    first_levels: Tensor  # int64 [groups - 1], where the second and every later group begins

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        config = self.config = read_options(IQLConfig, options, "iql")
        heads = {name: HeadSpec(of="actions", outputs=config.bins) for name in _Q}
        heads["v"] = HeadSpec(of="state", outputs=config.level_groups)
        self.actor = build_policy_network(spec, network)
        self.critic = build_critic(spec, network, heads, config.sharing)
        self.target = TargetNetwork(self.critic, config.target_update, config.target_rate, config.target_period)
        self.values = Values(config.bins, "squared", config.spread)
        self.register_buffer("first_levels", torch.zeros(config.level_groups - 1, dtype=torch.int64))

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total``, ``value``, ``q`` and ``policy``; ``weight`` is the mean weight of a row in cloning."""
        outputs = self.critic(batch.observations)
        value = self._of_group(outputs["v"], batch)
        advantage = self._judge(batch) - value
        asymmetric = torch.where(advantage < 0, 1 - self.config.expectile, self.config.expectile)
        value_loss = (asymmetric * advantage.square()).mean()
        targets = self.backup(batch)
        q_loss = torch.stack(
            [self.values.loss(chosen(outputs[name], batch.actions), targets).mean() for name in _Q]
        ).sum()
        weight = (self.config.beta * advantage.detach()).exp().clamp(max=self.config.max_weight)
        log_probs = torch.log_softmax(self.actor(batch.observations), dim=1)
        policy_loss = -(weight * chosen(log_probs, batch.actions)).mean()
        return {
            "total": value_loss + q_loss + policy_loss,
            "value": value_loss,
            "q": q_loss,
            "policy": policy_loss,
            "weight": weight.mean(),
        }

    @torch.no_grad()
    def backup(self, batch: TensorBatch) -> Tensor:
        """The target y of every row [B]."""
        assert batch.next_observations is not None
        following = self._of_group(self.critic(batch.next_observations, ["v"])["v"], batch)
        rewards = batch.rewards * self.config.reward_scale
        return bootstrapped(rewards, batch.terminated, self.config.discount, following)

    @torch.no_grad()
    def _judge(self, batch: TensorBatch) -> Tensor:
        """min(Q1', Q2') of the recorded actions, [B]."""
        outputs = self.target.network(batch.observations, _Q)
        return torch.minimum(*(chosen(self.values.of(outputs[name]), batch.actions) for name in _Q))

    def _of_group(self, values: Tensor, batch: TensorBatch) -> Tensor:
        """The value [B] of each row's group of levels, of [B, groups]."""
        if self.config.level_groups == 1:
            return values.squeeze(1)
        assert batch.levels is not None
        return chosen(values, torch.bucketize(batch.levels, self.first_levels, right=True))

    def judged(self, observations: TensorObservations) -> dict[str, Tensor]:
        """State values [B, groups] and action values [B, A]."""
        outputs = self.critic(observations)
        return {"v": outputs["v"], **{name: self.values.of(outputs[name]) for name in _Q}}

    def read_data(self, view: Dataset) -> None:
        """The range of the histograms, and the levels at which groups begin."""
        super().read_data(view)
        read_bounds(self.values, view, self.config)
        groups = self.config.level_groups
        if groups > len(view.levels):
            raise UsageError(f"level_groups is {groups}, but the data has {len(view.levels)} levels; lower it.")
        firsts = [int(part[0]) for part in np.array_split(view.levels, groups)[1:]]
        self.first_levels.copy_(torch.tensor(firsts, dtype=torch.int64))

    def after_step(self) -> None:
        """The targets follow."""
        self.target.follow(self.critic)

    def policy(self) -> PolicyNetwork:
        """The network that acts."""
        return self.actor
