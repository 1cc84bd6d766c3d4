"""Proposers of mixtures between trials, by name; each sees validation results only.

To add one: a file with a config and a subclass of `search.mixtures.base.Proposer`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from envs.errors import unknown_name
from search.mixtures.base import Observation, Problem, Proposal, Proposer
from search.mixtures.baselines import Natural, Stratified, Uniform
from search.mixtures.law import ExponentialLaw
from search.mixtures.random_search import RandomSearch
from search.mixtures.regression import Regression
from search.mixtures.tpe import ParzenEstimator

PROPOSERS: dict[str, Callable[[Problem, Mapping[str, Any]], Proposer]] = {
    "natural": Natural,
    "uniform": Uniform,
    "stratified": Stratified,
    "random": RandomSearch,
    "tpe": ParzenEstimator,
    "regression": Regression,
    "law": ExponentialLaw,
}
"""Name -> what makes one from the problem and its options."""

BASELINES = ("natural", "uniform", "stratified")

__all__ = ["BASELINES", "PROPOSERS", "Observation", "Problem", "Proposal", "Proposer", "build_proposer"]


def build_proposer(name: str, problem: Problem, options: Mapping[str, Any] | None = None) -> Proposer:
    """The proposer of that name.

    Raises:
        UsageError: For an unknown name or option, or a problem that it cannot solve.
    """
    if name not in PROPOSERS:
        raise unknown_name("mixture proposer", name, PROPOSERS)
    return PROPOSERS[name](problem, options or {})
