"""Regression over random mixtures (RegMix): predict the loss of any mixture from those tried."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

from envs.errors import UsageError
from envs.seeding import derive_seed, rng_for
from search.dimensions import Value, draw, features
from search.mixtures.base import Problem, Proposal, Proposer, excesses
from search.mixtures.random_search import spread_sample
from trainers.options import read_options

Rows = npt.NDArray[np.float64]
_MOST_SCALES = 12


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """Options of the regression."""

    model: Literal["process", "trees"] = "process"
    """"trees": boosted trees, as published, for hundreds of trials; "process": a Gaussian process, for tens."""
    num_random: int = 0
    """Trials at random before the model is asked; 0: half of them."""
    simulated: int = 10_000
    """Random mixtures whose loss is predicted; 100,000 in the paper."""
    averaged: int = 128
    """The answer is the mean of so many best predicted ones."""

    def __post_init__(self) -> None:
        if self.num_random < 0 or not 1 <= self.averaged <= self.simulated:
            raise UsageError(f"{self}: num_random from 0, averaged from 1 to simulated.")


class Regression(Proposer):
    """Tries random mixtures, fits their losses, and averages the mixtures that are predicted to be best.

    Source: Liu et al. 2024, "RegMix" (arXiv 2407.01492): Dirichlet draws around the natural shares, a regression from
    weights to loss, many simulated mixtures, the mean of the best. Ours also regresses on the other dimensions, and
    after the random trials tries what it would recommend, which then joins the data.
    """

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        super().__init__(problem, options)
        self.config = read_options(RegressionConfig, options, "mixture proposer", "regression")
        self._num_random = self.config.num_random or max(2, problem.num_trials // 2)

    def propose(self, number: int) -> Proposal:
        """Random at first, then what is predicted to be best."""
        if number < self._num_random or len([o for o in self.history if not o.failed]) < 2:
            rng = rng_for("regression", self.problem.seed, number)
            return self.proposal(number, spread_sample(rng, self.problem.simplex, np.array(self.problem.natural))[0])
        return self._predicted(number)

    def recommend(self) -> Proposal:
        """The mixture that is predicted to be best, whether it was tried or not."""
        if len(self.successes()) < 2:
            return super().recommend()
        return self._predicted(len(self.asked))

    def _predicted(self, number: int) -> Proposal:
        problem = self.problem
        rng = rng_for("regression candidates", problem.seed, number)
        weights = spread_sample(rng, problem.simplex, np.array(problem.natural), self.config.simulated)
        values = self._candidate_values(number, len(weights))
        losses = self._fit().predict(np.hstack([weights, self._features(values)]))
        best = np.argsort(losses, kind="stable")[: self.config.averaged]
        mean = weights[best].mean(axis=0)
        return self.proposal(number, problem.simplex.admit(mean / mean.sum()), values[int(best[0])])

    def _candidate_values(self, number: int, count: int) -> list[Mapping[str, Value]]:
        """The other dimensions of each candidate; few distinct ones, because a draw takes longer than a prediction."""
        if not self.problem.dimensions:
            return [{}] * count
        drawn = [draw(self.problem.dimensions, self.problem.seed, "candidate", number, index) for index in range(64)]
        return [drawn[index % len(drawn)] for index in range(count)]

    def _features(self, values: list[Mapping[str, Value]]) -> Rows:
        return np.stack([features(self.problem.dimensions, value) for value in values])

    def _fit(self) -> Any:
        told = self.successes()
        weights = np.array([observation.proposal.weights for observation in told])
        inputs = np.hstack([weights, self._features([observation.proposal.values for observation in told])])
        seed = derive_seed("regression model", self.problem.seed) % 2**31
        model = build_model(self.config.model, inputs.shape[1], seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound: too little data to tell
            return model.fit(inputs, np.log1p(excesses(np.array([o.losses[0] for o in told]))))


def build_model(name: str, num_features: int, seed: int) -> Any:
    """An untrained regression of scikit-learn; a process has a length scale for each feature while they are few."""
    if name == "trees":
        from sklearn.ensemble import GradientBoostingRegressor

        return GradientBoostingRegressor(
            learning_rate=0.01, n_estimators=1000, validation_fraction=0.1, n_iter_no_change=50, random_state=seed
        )
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scales = np.full(num_features if num_features <= _MOST_SCALES else 1, 0.5)
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.05, 20.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1e1))
    return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)
