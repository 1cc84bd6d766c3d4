"""Gradient alignment: more of what moves the parameters the way the target would (DoGE)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.schedule import GroupStatistics, Weights
from envs.errors import UsageError
from trainers.mixtures.simplex_steps import exponentiated, smoothed
from trainers.options import read_options


@dataclass(frozen=True, kw_only=True)
class GradientAlignmentConfig:
    """Options of gradient alignment."""

    update_every: int = 50
    """Learner steps between updates; each takes a backward pass per group and one for the target."""
    step_size: float = 1.0
    """Learning rate over mu: how far one update goes."""
    clip: float = 5.0
    """Largest score of one update, either way."""
    smoothing: float = 1e-3
    """Share of equal weights in every update."""

    def __post_init__(self) -> None:
        positive = self.step_size > 0 and self.clip > 0
        if self.update_every < 1 or not positive or not 0 <= self.smoothing < 1:
            raise UsageError(f"{self}: update_every from 1, step_size and clip above 0, smoothing from 0 and below 1.")


class GradientAlignment:
    """Exponentiated gradient steps on how well each group's gradient serves the target.

    With g_k the gradient of group k's loss and g_T the target's (`mixing.target`; without one the mean over all
    groups),

        s_k = clip(<g_k, g_T> / mean_j |g_j|),   w <- softmax(log w + eta s),   w <- (1 - c) w + c / S.

    The answer is the average of w over the run, which is recorded. Source: Fan, Pagliardini and Jaggi 2024, "DoGE"
    (ICML; arXiv 2310.15393), with the scale of the scores as in the comparison of Chen et al. 2024 (2411.05735).
    """

    needs = frozenset({"alignments", "gradient_norms"})

    def __init__(self, initial: Weights, options: Mapping[str, Any]) -> None:
        self.config = read_options(GradientAlignmentConfig, options, "mixture controller", "gradient-alignment")

    @property
    def interval(self) -> int:
        """Learner steps until the next update."""
        return self.config.update_every

    def update(self, statistics: GroupStatistics) -> Weights:
        """The weights [S] from the next learner step on."""
        assert statistics.alignments is not None
        assert statistics.gradient_norms is not None
        scores = statistics.alignments / max(float(statistics.gradient_norms.mean()), 1e-12)
        scores = np.clip(scores, -self.config.clip, self.config.clip)
        moved = exponentiated(statistics.weights, self.config.step_size * scores)
        return smoothed(moved, np.full(len(moved), 1 / len(moved)), self.config.smoothing)

    def state(self) -> dict[str, Any]:
        """Nothing: the weights themselves are kept by the schedule."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""
