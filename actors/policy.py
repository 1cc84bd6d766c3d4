"""What acts: the `Policy` protocol, and policies that need no training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from data.episode import Episode
from envs.spec import EnvSpec
from envs.text import count_texts

BatchedColumn = npt.NDArray[Any] | tuple[npt.NDArray[Any], ...]
"""A fixed column is one array [B, ...]; a ragged one is a tuple of B arrays."""


@dataclass(frozen=True)
class PolicyInput:
    """What a policy may look at, for B environments at once."""

    observations: dict[str, BatchedColumn]
    starting: npt.NDArray[np.bool_]  # [B] this row is the first of its episode: reset any memory
    previous_actions: npt.NDArray[np.int32]  # [B] -1 where starting
    previous_rewards: npt.NDArray[np.float32]  # [B] 0 where starting
    levels: npt.NDArray[np.int64] | None = None  # [B] only for privileged policies
    running: npt.NDArray[np.bool_] | None = None  # [B] rows whose answer counts; the others show anything valid

    def __len__(self) -> int:
        return len(self.starting)


class Policy(Protocol):
    """Maps observations to log-probabilities; `slots.py` alone applies mode, temperature and sampling."""

    @property
    def policy_id(self) -> str:
        """Identifies parameters and settings; recorded with every episode."""
        ...

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]; -inf beyond a row's candidates."""
        ...


class EpisodeSource(Protocol):
    """Anything that produces whole episodes: rollouts of a policy, and planners that see hidden state."""

    name: str
    privileged: bool

    def play(self, level: int, episode: int, seed: int) -> Episode:
        """The episode named by (seed, level, episode); the same arguments give the same episode, anywhere."""
        ...


@dataclass(frozen=True)
class RandomPolicy:
    """Uniform over the actions (or over each row's candidates)."""

    spec: EnvSpec
    policy_id: str = "random"

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, A]."""
        if self.spec.candidate_column is None:
            return np.full((len(inputs), self.spec.num_actions), -math.log(self.spec.num_actions), dtype=np.float32)
        rows = inputs.observations[self.spec.candidate_column]
        counts = np.array([count_texts(row) for row in rows])
        log_probs = np.full((len(inputs), int(counts.max())), -np.inf, dtype=np.float32)
        for row, count in enumerate(counts):
            log_probs[row, :count] = -np.log(count)
        return log_probs
