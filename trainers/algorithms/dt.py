"""Decision transformer (Chen et al. 2021): cloning that is told which return is to come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.dataset import Dataset
from data.returns import returns_to_go
from envs.errors import UsageError
from trainers.algorithms.bct import BCT, BCTConfig


@dataclass(frozen=True, kw_only=True)
class DTConfig(BCTConfig):
    """Options of the decision transformer."""

    target_multiple: float = 1.0
    """The return asked for when acting, in multiples of the highest in the data."""
    scaled_returns: bool = True
    """Whether returns are divided by the greatest absolute one in the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not np.isfinite(self.target_multiple):
            raise UsageError(f"target_multiple is {self.target_multiple}; it must be finite.")


class DT(BCT):
    """Return-conditioned cloning from windows of K steps, images and fixed actions.

    With R_k the undiscounted sum of the rewards from step k to the end of the episode,

        total = mean over windows of  -1/n sum_{k <= n} log pi(a_k | R_1, o_1, a_1, ..., R_k, o_k).

    When acting, R_1 = target_multiple * max return of the data and R_{k+1} = R_k - r_k.
    """

    conditioned = True
    name = "dt"
    options_of = DTConfig

    def read_data(self, view: Dataset) -> None:
        """The scale of returns, and the return to ask for."""
        super().read_data(view)
        assert isinstance(self.config, DTConfig)
        to_go = returns_to_go(view.steps("rewards"), view.episode_starts)
        if self.config.scaled_returns:
            self.model.return_scale.fill_(max(float(np.abs(to_go).max()), 1e-6))
        self.model.target_return.fill_(self.config.target_multiple * float(view.episodes["return"].max()))
