"""The exponential mixing law: a parametric loss of the weights, fitted to random mixtures and minimized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from envs.errors import UsageError
from envs.seeding import rng_for
from search.mixtures.base import Problem, Proposal, Proposer, excesses
from search.mixtures.random_search import spread_sample
from search.simplex import Simplex, Weights
from trainers.options import read_options

Rows = npt.NDArray[np.float64]
_LIGHT = 0.02


@dataclass(frozen=True, kw_only=True)
class LawConfig:
    """Options of the mixing law."""

    domains: int = 0
    """M, implicit validation domains; 0: as many as there are sources."""
    num_random: int = 0
    """Trials at random before the law is asked; 0: half of them."""
    ridge: float = 0.1
    """Weight of squared interactions in the fit, against a variance of the losses of 1."""

    def __post_init__(self) -> None:
        if self.domains < 0 or self.num_random < 0 or not self.ridge > 0:
            raise UsageError(f"{self}: domains and num_random from 0, ridge above 0.")


class ExponentialLaw(Proposer):
    """Fits L(w) = c + sum_i k_i exp(sum_j t_ij w_j) with k_i > 0, and minimizes it over the allowed mixtures.

    The law is that of Ye et al. 2024, "Data Mixing Laws" (arXiv 2403.16952), with implicit domains i where only their
    sum is seen; it is convex in w. The fit is ridge regression towards the law in which domain i is served by source i
    alone, so that few trials do not invent interactions. Other dimensions are those of the best trial.
    """

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        super().__init__(problem, options)
        self.config = read_options(LawConfig, options, "mixture proposer", "law")
        self._num_random = self.config.num_random or max(2, problem.num_trials // 2)

    def propose(self, number: int) -> Proposal:
        """Random at first, then the law's minimum."""
        if number < self._num_random or len([o for o in self.history if not o.failed]) < 2:
            rng = rng_for("law", self.problem.seed, number)
            return self.proposal(number, spread_sample(rng, self.problem.simplex, np.array(self.problem.natural))[0])
        return self._minimum(number)

    def recommend(self) -> Proposal:
        """The law's minimum, whether it was tried or not."""
        if len(self.successes()) < 2:
            return super().recommend()
        return self._minimum(len(self.asked))

    def _minimum(self, number: int) -> Proposal:
        told, size = self.successes(), len(self.problem.simplex.names)
        weights = np.array([observation.proposal.weights for observation in told])
        losses = np.array([observation.losses[0] for observation in told])
        law = fit_law(weights, losses, self.config.domains or size, self.config.ridge)
        return self.proposal(number, law.minimum(self.problem.simplex), super().recommend().values)


@dataclass(frozen=True)
class Law:
    """The fitted law of standardized losses, without its constant."""

    log_scales: Weights  # [M] ln k_i
    exponents: Rows  # [M, K] t_ij

    def value(self, weights: Rows) -> npt.NDArray[np.float64]:
        """The law at mixtures [n, K], [n]."""
        total: npt.NDArray[np.float64] = np.exp(self.log_scales + weights @ self.exponents.T).sum(axis=1)
        return total

    def minimum(self, simplex: Simplex) -> Weights:
        """The allowed mixture [K] with the least loss; the law is convex, so there is no other minimum."""

        def loss(weights: Weights) -> tuple[float, Weights]:
            terms = np.exp(self.log_scales + self.exponents @ weights)  # [M]
            return float(terms.sum()), terms @ self.exponents

        size = len(simplex.names)
        found = minimize(
            loss,
            simplex.admit(np.full(size, 1 / size)),
            jac=True,
            method="SLSQP",
            bounds=[(simplex.minimum, limit) for limit in simplex.upper],
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(size)},
            options={"maxiter": 500},
        )
        weights = np.clip(found.x, simplex.minimum, simplex.upper)
        # The admitted point of an already allowed one would be drawn towards equal weights by the minimum.
        return weights / weights.sum()


def fit_law(weights: Rows, losses: npt.NDArray[np.float64], num_domains: int, ridge: float) -> Law:
    """The law of mixtures [n, K] with losses [n], by regularized least squares; bad mixtures count less."""
    size, far = weights.shape[1], excesses(losses)
    counts = 1 / (1 + far) ** 2
    counts /= counts.sum()
    center = float(counts @ far)
    targets = (far - center) / max(float(np.sqrt(counts @ (far - center) ** 2)), 1e-12)
    own = np.zeros((num_domains, size))
    own[np.arange(num_domains), np.arange(num_domains) % size] = 1.0
    prior = np.concatenate([np.zeros(num_domains), -size / 2 * own.reshape(-1)])
    # Scales and what a source does for its own domain are nearly free, interactions are not.
    penalty = ridge * np.concatenate([np.full(num_domains, _LIGHT), np.where(own > 0, _LIGHT, 1.0).reshape(-1)])

    def objective(parameters: Weights) -> tuple[float, Weights]:
        law = _law(parameters, num_domains, size)
        terms = np.exp(law.log_scales + weights @ law.exponents.T)  # [n, M]
        predicted = terms.sum(axis=1)
        # The constant c that fits best is the difference of the means.
        errors = predicted - counts @ predicted - targets
        slopes = (2 * counts * errors)[:, None] * terms  # [n, M]; the mean's share cancels: errors average to zero
        distance = parameters - prior
        gradient = np.concatenate([slopes.sum(axis=0), (slopes.T @ weights).reshape(-1)])
        return float(counts @ errors**2 + penalty @ distance**2), gradient + 2 * penalty * distance

    found = minimize(objective, prior, jac=True, method="L-BFGS-B", bounds=[(-15.0, 15.0)] * len(prior))
    return _law(found.x, num_domains, size)


def _law(parameters: Weights, num_domains: int, size: int) -> Law:
    return Law(parameters[:num_domains], parameters[num_domains:].reshape(num_domains, size))
