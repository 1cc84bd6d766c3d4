"""A loss of mixtures whose best one is known in closed form: for tests and benchmarks of proposers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.seeding import rng_for
from search.simplex import Weights

_FREE = 0.5


@dataclass(frozen=True)
class PowerLaw:
    """L(w) = sum_k c_k (w_k + e)^-b: every source has its own diminishing return.

    With the multiplier of sum w = 1 the best mixture is w_k + e = (1 + K e) c_k^(1 / (1 + b)) / sum, as long as no
    weight is negative.
    """

    scales: Weights  # [K] c
    exponent: float = 0.5

    @classmethod
    def made(cls, num_sources: int, seed: int = 0, spread: float = 1.2) -> PowerLaw:
        """A random problem: the larger the spread, the farther is the best mixture from equal weights."""
        scales = np.exp(spread * rng_for("power law", num_sources, seed).standard_normal(num_sources))
        # What is worth less than e is raised to where its best weight is zero.
        law = cls(scales)
        while law.best.min() < 0:
            law = cls(np.where(law.best < 0, law.scales * 1.5, law.scales))
        return law

    @property
    def best(self) -> Weights:
        """The best mixture [K]."""
        parts: Weights = self.scales ** (1 / (1 + self.exponent))
        free = self._free
        return (1 + len(parts) * free) * parts / parts.sum() - free

    def loss(self, weights: npt.ArrayLike) -> float:
        """Of a mixture [K]."""
        return float((self.scales * (np.asarray(weights) + self._free) ** -self.exponent).sum())

    def regret(self, weights: npt.ArrayLike) -> float:
        """By how much a mixture's loss is above the best one's."""
        return self.loss(weights) - self.loss(self.best)

    @property
    def _free(self) -> float:
        """What a source is worth without any weight, as weight: others teach it in part."""
        return _FREE / len(self.scales)
