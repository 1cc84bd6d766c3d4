"""Mixtures that nobody searched for, which most published methods fail to beat (Chen et al. 2024, arXiv 2411.05735)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.errors import UsageError
from search.mixtures.base import Problem, Proposal, Proposer
from search.simplex import Weights


class Fixed(Proposer):
    """The same weights in every trial; only the other dimensions are searched, at random."""

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        super().__init__(problem, options)
        if options:
            raise UsageError(f"{type(self).__name__} has no options, but {sorted(options)[0]!r} was given.")
        self._weights = self.weights()

    def weights(self) -> Weights:
        """The weights [K]."""
        raise NotImplementedError

    def propose(self, number: int) -> Proposal:
        """The mixture of a number."""
        return self.proposal(number, self._weights)


class Natural(Fixed):
    """Every transition equally often: weights by size."""

    def weights(self) -> Weights:
        """The weights [K]."""
        return self.problem.simplex.admit(self.problem.natural)


class Uniform(Fixed):
    """Exactly equal weights.

    Raises:
        UsageError: If a source holds too little for that, naming it.
    """

    def weights(self) -> Weights:
        """The weights [K]."""
        simplex = self.problem.simplex
        return simplex.check(dict.fromkeys(simplex.names, 1 / len(simplex.names)))


class Stratified(Fixed):
    """Equal weights as far as the sources reach; what one lacks is shared by the others."""

    def weights(self) -> Weights:
        """The weights [K]."""
        simplex = self.problem.simplex
        return simplex.admit(np.full(len(simplex.names), 1 / len(simplex.names)))
