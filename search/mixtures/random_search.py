"""Random search over mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import UsageError
from envs.seeding import rng_for
from search.mixtures.base import Problem, Proposal, Proposer
from search.simplex import Simplex, Weights
from trainers.options import read_options

STRENGTHS = np.geomspace(0.1, 5.0, 15)
"""Of RegMix: from nearly one source at a time to nearly the prior."""


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Options of random search."""

    concentration: float = 1.0
    """Of the Dirichlet distribution: 1 makes all mixtures alike, less prefers few sources, more nearly equal ones."""

    def __post_init__(self) -> None:
        if not self.concentration > 0:
            raise UsageError(f"concentration is {self.concentration}; it must be positive.")


class RandomSearch(Proposer):
    """Independent draws from a Dirichlet distribution; the best one tried is recommended."""

    multi_objective = True

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        super().__init__(problem, options)
        self.config = read_options(RandomConfig, options, "mixture proposer", "random")

    def propose(self, number: int) -> Proposal:
        """The mixture of a number."""
        rng = rng_for("random mixture", self.problem.seed, number)
        return self.proposal(number, self.problem.simplex.sample(rng, self.config.concentration))


def spread_sample(rng: np.random.Generator, simplex: Simplex, natural: Weights, count: int = 1) -> Weights:
    """Draws as in RegMix: Dirichlet around the tempered natural shares, the strength drawn too; weights [count, K].

    alpha = strength * K * prior^0.5 / sum, with the strength from a grid: extremes and middles are both covered.
    """
    prior = np.sqrt(natural)
    strengths = STRENGTHS[rng.integers(len(STRENGTHS), size=count)]
    return simplex.sample_rows(rng, strengths[:, None] * len(prior) * prior / prior.sum())
