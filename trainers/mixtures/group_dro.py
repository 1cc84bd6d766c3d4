"""Group-DRO on excess loss: more of what the policy has most left to learn from (DoReMi; Re-Mix)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from data.schedule import GroupStatistics, Weights
from envs.errors import UsageError
from trainers.mixtures.simplex_steps import exponentiated, smoothed
from trainers.options import read_options


@dataclass(frozen=True, kw_only=True)
class GroupDROConfig:
    """Options of group-DRO."""

    update_every: int = 50
    """Learner steps between updates."""
    step_size: float = 1.0
    """eta. 1 in DoReMi; 0.2 or 1 in Re-Mix."""
    smoothing: float = 1e-3
    """c: share of the anchor in every update. 1e-3 in DoReMi; 5e-3 or 5e-2 in Re-Mix."""
    anchor: Literal["uniform", "initial"] = "uniform"
    """Equal weights (DoReMi), or those that the mixture began with (Re-Mix)."""

    def __post_init__(self) -> None:
        if self.update_every < 1 or not self.step_size > 0 or not 0 <= self.smoothing < 1:
            raise UsageError(f"{self}: update_every from 1, step_size above 0, smoothing from 0 and below 1.")


class GroupDRO:
    """Exponentiated gradient ascent on the excess loss of each group.

    With l_k and r_k the losses of policy and reference on the same rows of group k, and a the anchor,

        lambda_k = max(l_k - r_k, 0),   w_k <- w_k exp(eta lambda_k) / sum,   w <- (1 - c) w + c a.

    The answer is the average of w over the run, which is recorded; train again with it. Sources: Xie et al. 2023,
    "DoReMi" (arXiv 2305.10429), algorithm 1; Hejna et al. 2024, "Re-Mix" (2408.14037). Without `mixing.reference` r is
    0: group-DRO itself (Sagawa et al. 2020).
    """

    needs = frozenset({"losses", "reference_losses"})

    def __init__(self, initial: Weights, options: Mapping[str, Any]) -> None:
        self.config = read_options(GroupDROConfig, options, "mixture controller", "group-dro")
        uniform = np.full(len(initial), 1 / len(initial))
        self._anchor = uniform if self.config.anchor == "uniform" else np.array(initial)

    @property
    def interval(self) -> int:
        """Learner steps until the next update."""
        return self.config.update_every

    def update(self, statistics: GroupStatistics) -> Weights:
        """The weights [S] from the next learner step on."""
        assert statistics.losses is not None
        reference = 0.0 if statistics.reference_losses is None else statistics.reference_losses
        excess = np.maximum(statistics.losses - reference, 0.0)
        moved = exponentiated(statistics.weights, self.config.step_size * excess)
        return smoothed(moved, self._anchor, self.config.smoothing)

    def state(self) -> dict[str, Any]:
        """Nothing: the weights themselves are kept by the schedule."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""
