"""The equations of proximal policy optimization, as pure functions of arrays; nothing here steps an environment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from envs.errors import UsageError
from trainers.networks.policy_network import entropy

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults are those with which the benchmark's behavior policies were trained."""

    learning_rate: float = 5e-4
    adam_epsilon: float = 1e-5
    discount: float = 0.999
    trace_decay: float = 0.95
    """Lambda of generalized advantage estimation."""
    clip: float = 0.2
    """Largest relative change of an action's probability, and largest change of a value, that is rewarded."""
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    max_grad_norm: float = 0.5
    epochs: int = 3
    """Passes over each batch of fragments."""
    minibatches: int = 8
    """Learner steps per pass."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""
    final_learning_rate_fraction: float = 1.0
    """Linear decay to this fraction of the learning rate at the end of training; 1 keeps it constant."""

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise UsageError(f"ppo.{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.discount <= 1 or not 0 <= self.trace_decay <= 1:
            raise UsageError(
                f"ppo.discount {self.discount} and ppo.trace_decay {self.trace_decay} must lie between 0 and 1."
            )


def advantages(
    rewards: Floats,
    values: Floats,
    last_values: Floats,
    terminated: Flags,
    truncated: Flags,
    bootstrap_values: Floats,
    *,
    discount: float,
    trace_decay: float,
) -> Floats:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16), with both kinds of ends.

    With v' = 0 after a termination, the bootstrap value after a truncation, and the next value otherwise:
    delta_t = r_t + discount * v' - v_t and A_t = delta_t + discount * trace_decay * (1 - ended_t) * A_{t+1}.

    Args:
        rewards: [T, B].
        values: [T, B] of the observations acted on.
        last_values: [B] of the observations after the last step.
        terminated: [T, B].
        truncated: [T, B].
        bootstrap_values: [T, B]; read where truncated: the value of the last observation known of that episode.
        discount: Per step.
        trace_decay: Lambda.

    Returns:
        [T, B]
    """
    following = np.concatenate([values[1:], last_values[None]])
    following = np.where(truncated, bootstrap_values, following) * ~terminated
    deltas = rewards + discount * following - values
    carries = discount * trace_decay * ~(terminated | truncated)
    result = np.zeros_like(deltas)
    running = np.zeros_like(deltas[0])
    for step in range(len(deltas) - 1, -1, -1):
        running = deltas[step] + carries[step] * running
        result[step] = running
    return result.astype(np.float32)


def running_returns(
    rewards: Floats, ended: Flags, start: npt.NDArray[np.float64], discount: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The discounted sum of the past rewards of the running episode: R_t = discount * R_{t-1} + r_t.

    Args:
        rewards: [T, B].
        ended: [T, B] whether step t ended its episode; the sum after it starts from zero.
        start: [B] the sum before the first step, from the fragment before.
        discount: Per step.

    Returns:
        The sums [T, B], each with its step's reward, and the start of the next fragment [B].
    """
    sums = np.zeros(rewards.shape)
    running = start
    for step in range(len(rewards)):
        sums[step] = discount * running + rewards[step]
        running = sums[step] * ~ended[step]
    return sums, running


@dataclass
class Moments:
    """Running mean and variance, merged in one pass (Chan, Golub and LeVeque 1983)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Take a non-empty array of values in."""
        count, mean = values.size, float(values.mean())
        distance = mean - self.mean
        total = self.count + count
        self.squares += float(((values - mean) ** 2).sum()) + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation; 1 before two different values were seen."""
        return float(np.sqrt(self.squares / self.count)) if self.squares > 0 else 1.0


@dataclass
class RewardScale:
    """Divides rewards by the standard deviation of the discounted return, as seen so far; ends keep their meaning."""

    discount: float
    largest: float = 10.0
    """Scaled rewards are clipped to this magnitude."""
    moments: Moments = field(default_factory=Moments)
    _running: dict[tuple[int, int], npt.NDArray[np.float64]] = field(
        default_factory=dict
    )  # (stream, incarnation) -> [B]

    def scale(self, rewards: Floats, ended: Flags, stream: tuple[int, int]) -> Floats:
        """Scaled rewards [T, B] of one fragment, after the moments have taken it in.

        Args:
            rewards: Raw, [T, B].
            ended: [T, B].
            stream: Stream and incarnation; the running sums go on from that incarnation's fragment before.
        """
        start = self._running.get(stream, np.zeros(rewards.shape[1]))
        sums, carried = running_returns(rewards, ended, start, self.discount)
        self.moments.add(sums)
        self._running = {key: value for key, value in self._running.items() if key[0] != stream[0]}
        self._running[stream] = carried
        return np.clip(rewards / (self.moments.deviation + 1e-8), -self.largest, self.largest).astype(np.float32)


def ppo_losses(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    old_log_probs: Tensor,
    old_values: Tensor,
    advantage: Tensor,
    returns: Tensor,
    config: PPOConfig,
) -> dict[str, Tensor]:
    """The losses of one minibatch (Schulman et al. 2017, equations 7 and 9; values clipped like probabilities).

    Args:
        logits: [B, A].
        values: [B].
        actions: ``int64`` [B].
        old_log_probs: Of the actions, under the policy that played them, [B].
        old_values: [B].
        advantage: Normalized over the batch, [B].
        returns: Targets of the values, [B].
        config: Clip and weights.

    Returns:
        "policy", "value", "entropy" (nats), their weighted sum "total", and the detached diagnostics "clipped"
        (fraction of actions beyond the clip) and "kl" (nats).
    """
    log_probs = torch.log_softmax(logits, dim=1).gather(1, actions[:, None]).squeeze(1)
    difference = log_probs - old_log_probs
    ratio = difference.exp()
    limited = ratio.clamp(1 - config.clip, 1 + config.clip)
    policy = -torch.minimum(ratio * advantage, limited * advantage).mean()
    near = old_values + (values - old_values).clamp(-config.clip, config.clip)
    value = 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2).mean()
    spread = entropy(logits).mean()
    return {
        "total": policy + config.value_weight * value - config.entropy_weight * spread,
        "policy": policy,
        "value": value,
        "entropy": spread,
        "clipped": (ratio.detach() != limited.detach()).float().mean(),
        "kl": (ratio.detach() - 1 - difference.detach()).mean(),
    }
