"""Batch-constrained Q-learning for discrete actions (Fujimoto et al. 2019, "Benchmarking Batch Deep RL")."""

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
from trainers.algorithms.q_policy import IMITATION, GreedyConfig, Q, QPolicy, allowed
from trainers.algorithms.targets import TargetNetwork
from trainers.algorithms.values import Values, bootstrapped, chosen
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import HeadSpec, Sharing, TensorObservations, build_value_network


@dataclass(frozen=True, kw_only=True)
class BCQConfig(GreedyConfig):
    """Options of batch-constrained Q-learning."""

    threshold: float = 0.5
    """Actions less probable than this share of the most probable one are never taken."""
    logit_penalty: float = 0.01
    """Weight of the squared logits of the imitation head."""
    sharing: Sharing = "features"
    """What the two heads share, see `ValueNetwork`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise UsageError(f"threshold is {self.threshold}; it must be from 0 to below 1.")


class BCQ(Algorithm):
    """Double DQN that only considers actions which a cloned policy finds likely, fixed actions or candidates.

    With Q and p (the imitation head) of one network, Q' of its target, d = 1 where the episode terminated,

        A(o) = {a : p(a | o) / max_b p(b | o) > threshold},
        a*   = argmax_{a in A(o')} Q(o', a),
        y    = r + discount (1 - d) Q'(o', a*),
        total = mean Huber(Q(o, a) - y)  -  mean log p(a | o)  +  logit_penalty * mean logit^2.
    """

    needs_successors = True

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__(spec, network, options)
        config = self.config = read_options(BCQConfig, options, "bcq")
        heads = {Q: HeadSpec(of="actions", outputs=config.bins), IMITATION: HeadSpec(of="actions", gain=0.01)}
        values = Values(config.bins, "huber", config.spread)
        self.acting = QPolicy(
            build_value_network(spec, network, heads, config.sharing), values, config, config.threshold
        )
        self.target = TargetNetwork(self.acting.network, config.target_update, config.target_rate, config.target_period)

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Losses ``total``, ``td``, ``negative_log_likelihood`` and ``logits``."""
        outputs = self.acting.network(batch.observations)
        td = self.acting.values.loss(chosen(outputs[Q], batch.actions), self.backup(batch)).mean()
        logits = outputs[IMITATION]
        likelihood = -chosen(torch.log_softmax(logits, dim=1), batch.actions).mean()
        possible = logits > -torch.inf
        squares = logits.masked_fill(~possible, 0.0).square().sum(1) / possible.sum(1)
        size = squares.mean()
        total = td + likelihood + self.config.logit_penalty * size
        return {"total": total, "td": td, "negative_log_likelihood": likelihood, "logits": size}

    @torch.no_grad()
    def backup(self, batch: TensorBatch) -> Tensor:
        """The target y of every row [B]."""
        assert batch.next_observations is not None
        outputs = self.acting.network(batch.next_observations)
        q = self.acting.values.of(outputs[Q])
        best = q.masked_fill(~allowed(outputs[IMITATION], self.config.threshold), -torch.inf).argmax(1)
        following = self.acting.values.of(self.target.network(batch.next_observations, [Q])[Q])
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
