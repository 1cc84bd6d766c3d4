"""The range that values of a dataset can have."""

from __future__ import annotations

from data.dataset import Dataset
from data.returns import returns_to_go
from trainers.algorithms.q_policy import QConfig
from trainers.algorithms.values import Values


def read_bounds(values: Values, view: Dataset, config: QConfig) -> None:
    """Let histograms span the discounted returns to go that the data holds, and 0, which an end is worth."""
    if values.bins == 1:
        return
    seen = returns_to_go(view.steps("rewards") * config.reward_scale, view.episode_starts, config.discount)
    values.set_bounds(min(0.0, float(seen.min())), max(0.0, float(seen.max())))
