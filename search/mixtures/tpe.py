"""Optuna's tree-structured Parzen estimator over encoded mixtures, for one objective or several."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import UsageError
from envs.seeding import derive_seed
from search.dimensions import Value
from search.mixtures.base import Problem, Proposal, Proposer
from search.simplex import Encoding
from trainers.options import read_options

_PREFIX = "mixture/"


@dataclass(frozen=True, kw_only=True)
class TPEConfig:
    """Options of the Parzen estimator."""

    encoding: Encoding = "dirichlet"
    """How weights become numbers; see `search.simplex.Simplex.from_numbers`."""
    num_random: int = 10
    """Trials at random before the estimator is asked."""
    multivariate: bool = True
    """Whether numbers are modelled together."""

    def __post_init__(self) -> None:
        if self.num_random < 1:
            raise UsageError(f"num_random is {self.num_random}; it must be at least 1.")


class ParzenEstimator(Proposer):
    """Optuna's TPE (Bergstra et al. 2011; several objectives: Ozaki et al. 2022) over weights and dimensions together.

    The study is built anew from what was told for every question, so a killed search goes on as if nothing had been;
    mixtures that are still being tried count as asked, with the worst loss so far, so that two at a time differ.
    """

    multi_objective = True

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        super().__init__(problem, options)
        self.config = read_options(TPEConfig, options, "mixture proposer", "tpe")
        _optuna()

    def propose(self, number: int) -> Proposal:
        """What the estimator suggests."""
        trial = self._study(number).ask()
        simplex = self.problem.simplex
        count, low, high = simplex.bounds(self.config.encoding)
        numbers = [trial.suggest_float(f"{_PREFIX}{index}", low, high) for index in range(count)]
        values: dict[str, Value] = {}
        for dimension in self.problem.dimensions:
            if dimension.active(values):
                values[dimension.name] = dimension.suggest(trial)
        weights = simplex.from_numbers(numbers, self.config.encoding)
        return Proposal(number=number, weights=tuple(weights.tolist()), values=values, numbers=tuple(numbers))

    def front(self) -> list[Proposal]:
        """With several objectives: the proposals that no other one beats in all of them."""
        told = self.successes()
        return [a.proposal for a in told if not any(_dominates(b.losses, a.losses) for b in told)]

    def _study(self, number: int) -> Any:
        optuna = _optuna()
        conditional = any(dimension.when for dimension in self.problem.dimensions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=derive_seed("tpe", self.problem.seed, number) % 2**32,
                n_startup_trials=self.config.num_random,
                multivariate=self.config.multivariate,
                group=self.config.multivariate and conditional,
                constant_liar=True,
            )
        study = optuna.create_study(directions=["minimize"] * self.problem.num_objectives, sampler=sampler)
        losses = {observation.proposal.number: observation.losses for observation in self.history}
        for proposal in self.asked[:number]:
            study.add_trial(self._trial(optuna, proposal, losses.get(proposal.number)))
        return study

    def _trial(self, optuna: Any, proposal: Proposal, losses: tuple[float, ...] | None) -> Any:
        numbers = {**{f"{_PREFIX}{i}": value for i, value in enumerate(proposal.numbers)}, **proposal.values}
        distributions = {name: self._distribution(optuna, name) for name in numbers}
        finished = losses is not None and all(np.isfinite(losses))
        states = optuna.trial.TrialState
        state = states.COMPLETE if finished else states.RUNNING if losses is None else states.FAIL
        return optuna.trial.create_trial(
            state=state,
            params=numbers,
            distributions=distributions,
            values=list(losses) if finished and losses else None,
        )

    def _distribution(self, optuna: Any, name: str) -> Any:
        if name.startswith(_PREFIX):
            _, low, high = self.problem.simplex.bounds(self.config.encoding)
            return optuna.distributions.FloatDistribution(low, high)
        dimension = next(d for d in self.problem.dimensions if d.name == name)
        if dimension.kind == "choice":
            return optuna.distributions.CategoricalDistribution(dimension.choices)
        if dimension.kind == "int":
            return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high))
        return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "log")


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "The proposer 'tpe' needs Optuna, which is not installed; install gengap[optuna], or use another proposer."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
