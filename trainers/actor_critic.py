"""A policy and a value function over one encoder, and how PPO updates them from fragments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from envs.seeding import rng_for
from envs.spec import EnvSpec
from trainers.config import NetworkConfig, Precision
from trainers.device import to_device
from trainers.fragment import Fragment, Rows
from trainers.networks import PolicyNetwork, TensorObservations, build_policy_network
from trainers.ppo import PPOConfig, RewardScale, advantages, ppo_losses
from trainers.precision import autocast, compile_errors, compiled, place


class ActorCritic(nn.Module):
    """Logits and values from the same features.

    ``policy`` is the policy network; its parameters carry the prefix ``policy.`` in checkpoints.
    """

    def __init__(self, policy: PolicyNetwork, hidden_size: int) -> None:
        super().__init__()
        self.policy = policy
        self.value = nn.Linear(hidden_size, 1)
        nn.init.orthogonal_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, observations: TensorObservations) -> tuple[Tensor, Tensor]:
        """Float32 logits [B, A] and values [B]."""
        features, logits = self.policy.score(observations)
        with torch.autocast(features.device.type, enabled=False):
            values: Tensor = self.value(features.float()).squeeze(1)
        return logits, values


def build_actor_critic(spec: EnvSpec, network: NetworkConfig, seed: int) -> ActorCritic:
    """A freshly initialized actor-critic; the seed determines it and the caller's generators are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ActorCritic(build_policy_network(spec, network), network.hidden_size)


class PPOLearner:
    """An actor-critic with its optimizer and reward scale; `update` is one round of PPO."""

    def __init__(
        self,
        module: ActorCritic,
        config: PPOConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        compile: bool = False,
    ) -> None:
        self.module = place(module, device)
        self._forward = compiled(self.module) if compile else self.module
        self.config = config
        self.seed = seed
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.optimizer = torch.optim.Adam(
            module.parameters(), lr=config.learning_rate, eps=config.adam_epsilon, fused=True
        )
        self.rewards = RewardScale(config.discount)
        self.updates = 0
        self.learner_step = 0

    def update(self, fragments: Sequence[Fragment], progress: float = 0.0) -> dict[str, float]:
        """Learn from fragments that these parameters played, or those of an update or two before.

        Args:
            fragments: At least one; they need not be of equal size.
            progress: Fraction of the training that is done, for the learning rate.

        Returns:
            Means of the losses over all minibatches, by name.
        """
        batch = self._prepare(fragments)
        self._set_learning_rate(progress)
        sums: dict[str, Tensor] = {}  # on the device, so that no minibatch waits for the one before
        order = rng_for(self.seed, "minibatches", self.updates)
        for _ in range(self.config.epochs):
            for chosen in np.array_split(order.permutation(len(batch["actions"])), self.config.minibatches):
                for name, loss in self._step(fragments, batch, np.sort(chosen)).items():
                    sums[name] = sums[name] + loss if name in sums else loss
        self.updates += 1
        return {name: float(total) / (self.config.epochs * self.config.minibatches) for name, total in sums.items()}

    def _prepare(self, fragments: Sequence[Fragment]) -> dict[str, Tensor]:
        """Everything but the observations, flattened over time, environments and fragments: [N]."""
        config, parts = self.config, []
        for fragment in fragments:
            rewards = fragment.rewards
            if config.normalize_rewards:
                ended = fragment.terminated | fragment.truncated
                rewards = self.rewards.scale(rewards, ended, (fragment.stream, fragment.incarnation))
            advantage = advantages(
                rewards,
                fragment.values,
                fragment.last_values,
                fragment.terminated,
                fragment.truncated,
                fragment.bootstrap_values,
                discount=config.discount,
                trace_decay=config.trace_decay,
            )
            parts.append((fragment, advantage))
        columns: dict[str, list[npt.NDArray[Any]]] = {
            "actions": [fragment.actions.astype(np.int64) for fragment, _ in parts],
            "log_probs": [fragment.log_probs for fragment, _ in parts],
            "values": [fragment.values for fragment, _ in parts],
            "advantage": [advantage for _, advantage in parts],
            "returns": [advantage + fragment.values for fragment, advantage in parts],
        }
        batch = {name: _flat(arrays, self.device) for name, arrays in columns.items()}
        batch["advantage"] = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-5)
        return batch

    def _step(
        self, fragments: Sequence[Fragment], batch: dict[str, Tensor], chosen: npt.NDArray[np.int64]
    ) -> dict[str, Tensor]:
        observations = to_device(_rows(fragments, chosen), self.device)
        index = torch.from_numpy(chosen).to(self.device)
        rows = {name: column[index] for name, column in batch.items()}
        with autocast(self.device, self.precision), compile_errors():
            logits, values = self._forward(observations)
        losses = ppo_losses(
            logits,
            values,
            rows["actions"],
            rows["log_probs"],
            rows["values"],
            rows["advantage"],
            rows["returns"],
            self.config,
        )
        self.optimizer.zero_grad(set_to_none=True)
        with compile_errors():
            losses["total"].backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.learner_step += 1
        return {name: loss.detach() for name, loss in losses.items()}

    def _set_learning_rate(self, progress: float) -> None:
        fraction = 1 - (1 - self.config.final_learning_rate_fraction) * min(1.0, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * fraction


def _flat(arrays: list[npt.NDArray[Any]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([array.reshape(-1) for array in arrays])).to(device)


def _rows(fragments: Sequence[Fragment], chosen: npt.NDArray[np.int64]) -> Rows:
    """Observations of the chosen rows; the fragments' frames are never copied as a whole.

    Args:
        fragments: Whose rows are counted one fragment after the other.
        chosen: Ascending row numbers [N].
    """
    pieces: list[Rows] = []
    start = 0
    for fragment in fragments:
        size = fragment.actions.size
        inside = chosen[(chosen >= start) & (chosen < start + size)] - start
        pieces.append({name: _pick(column, inside) for name, column in fragment.observations.items()})
        start += size
    return {name: _join([piece[name] for piece in pieces]) for name in pieces[0]}


def _pick(column: Any, rows: npt.NDArray[np.int64]) -> Any:
    if isinstance(column, tuple):
        return tuple(column[row] for row in rows)
    return column[torch.from_numpy(rows).to(column.device)] if isinstance(column, Tensor) else column[rows]


def _join(columns: list[Any]) -> Any:
    if len(columns) == 1:
        return columns[0]
    if isinstance(columns[0], tuple):
        return tuple(row for column in columns for row in column)
    return torch.cat(columns) if isinstance(columns[0], Tensor) else np.concatenate(columns)
