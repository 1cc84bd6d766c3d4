"""Problems whose best mixture is known: for tests and benchmarks of proposers and controllers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.seeding import rng_for
from search.simplex import Weights

_FREE = 0.5
_MOST = 0.4


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


@dataclass(frozen=True)
class LinearSources:
    """Sources that each teach a linear learner something else, and a target that only one mixture of them teaches.

    Source k shows y = <x, g_k> + noise with x ~ N(0, I); its loss at v is |v - g_k|^2 / 2 and a constant, so training
    by w ends at sum_k w_k g_k. The goals g_k lie on a sphere around the target t with sum_k b_k (g_k - t) = 0, so b is
    the only mixture that ends at t (there are as many sources as dimensions, and one). Every group's loss is the same
    at t and t is within the goals, so no other point has a lower worst loss: b is the best for the worst group, too.
    """

    goals: Weights  # [K, K - 1]
    target: Weights  # [K - 1]
    best: Weights  # [K]
    noise: float = 0.1

    @classmethod
    def made(cls, num_sources: int, seed: int = 0) -> LinearSources:
        """A random problem. No weight is above 0.4: the others could not balance one of more than a half."""
        rng = rng_for("linear sources", num_sources, seed)
        best = rng.dirichlet(np.ones(num_sources))
        while best.max() > _MOST:
            best = rng.dirichlet(np.ones(num_sources))
        directions = rng.standard_normal((num_sources, num_sources - 1))
        for _ in range(10_000):
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            rest = best @ directions
            if np.abs(rest).max() < 1e-12:
                break
            directions -= np.outer(best, rest) / (best @ best)
        target = rng.standard_normal(num_sources - 1)
        return cls(target + directions, target, best)

    def rows(self, rng: np.random.Generator, goals: Weights) -> tuple[Weights, Weights]:
        """Inputs [B, d] and what is to be learned of them [B], one row for each of the goals [B, d]."""
        inputs = rng.standard_normal(goals.shape)
        wanted: Weights = (inputs * goals).sum(axis=1) + self.noise * rng.standard_normal(len(goals))
        return inputs, wanted

    def regret(self, weights: npt.ArrayLike) -> float:
        """The target's loss where training by a mixture [K] ends, above that of the best one."""
        return float(((np.asarray(weights) @ self.goals - self.target) ** 2).sum() / 2)

    def worst_loss(self, weights: npt.ArrayLike) -> float:
        """The loss of the worst group where training by a mixture [K] ends, without the constant."""
        return float(((np.asarray(weights) @ self.goals - self.goals) ** 2).sum(axis=1).max() / 2)
