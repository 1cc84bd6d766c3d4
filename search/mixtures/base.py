"""What proposers of mixtures share: a problem, and the trials asked and told so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from search.dimensions import Dimension, Value, draw
from search.simplex import Simplex


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched."""

    simplex: Simplex
    natural: tuple[float, ...]
    """[K] shares of the transitions that each source holds."""
    dimensions: tuple[Dimension, ...] = ()
    num_trials: int = 32
    """How many mixtures will be asked for."""
    num_objectives: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One mixture to try, with the values of the other dimensions."""

    number: int
    weights: tuple[float, ...]  # [K]
    values: Mapping[str, Value] = field(default_factory=dict)
    numbers: tuple[float, ...] = ()
    """How the proposer encoded the weights, if it did."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        lists = {"weights": list(self.weights), "numbers": list(self.numbers)}
        return {"number": self.number, "values": dict(self.values), **lists}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Proposal:
        """The inverse of `to_json`."""
        return cls(
            number=value["number"],
            weights=tuple(value["weights"]),
            values=dict(value["values"]),
            numbers=tuple(value["numbers"]),
        )


@dataclass(frozen=True)
class Observation:
    """What came of a proposal."""

    proposal: Proposal
    losses: tuple[float, ...]
    """One per objective, to be made small; not finite where training failed."""

    @property
    def failed(self) -> bool:
        """Whether there is nothing to learn from it but that it failed."""
        return not all(math.isfinite(loss) for loss in self.losses)


class Proposer:
    """Asked for mixtures, told what came of them.

    What is asked next depends on the problem, the options and what was asked and told before, and on nothing else: a
    search that was killed goes on by `restore`. A subclass says what `propose` does; where its answer is not the best
    mixture tried, also what it would `recommend`.
    """

    multi_objective: ClassVar[bool] = False
    """Whether it understands more than one objective."""

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        if problem.num_objectives > 1 and not self.multi_objective:
            raise UsageError(
                f"{type(self).__name__} makes one number small, and {problem.num_objectives} objectives were given; "
                "leave one, or use the proposer 'tpe'."
            )
        self.problem = problem
        self.asked: list[Proposal] = []
        self.history: list[Observation] = []

    def ask(self) -> Proposal:
        """The next mixture to try."""
        proposal = self.propose(len(self.asked))
        self.asked.append(proposal)
        return proposal

    def tell(self, proposal: Proposal, losses: Sequence[float]) -> None:
        """What came of a proposal, in any order.

        Raises:
            UsageError: If there is not one loss per objective.
        """
        if len(losses) != self.problem.num_objectives:
            raise UsageError(f"{len(losses)} losses were told of {self.problem.num_objectives} objectives; give each.")
        self.history.append(Observation(proposal, tuple(float(loss) for loss in losses)))

    def restore(self, asked: Sequence[Proposal], history: Sequence[Observation]) -> None:
        """Go on from what was asked and told before."""
        self.asked, self.history = list(asked), list(history)

    def propose(self, number: int) -> Proposal:
        """The mixture of a number, from 0."""
        raise NotImplementedError

    def recommend(self) -> Proposal:
        """The mixture to train with: the best that was tried, by the first objective.

        Raises:
            UsageError: If no trial succeeded.
        """
        return min(self.successes(), key=lambda observation: observation.losses[0]).proposal

    def successes(self) -> list[Observation]:
        """The trials to learn from.

        Raises:
            UsageError: If there is none.
        """
        found = [observation for observation in self.history if not observation.failed]
        if not found:
            raise UsageError(f"None of {len(self.history)} trials succeeded; look at their errors and search again.")
        return found

    def proposal(self, number: int, weights: npt.ArrayLike, values: Mapping[str, Value] | None = None) -> Proposal:
        """Weights [K] with the other dimensions drawn at random, or as given.

        Values of a number are the same for every proposer of a study: arms differ in their mixtures alone.
        """
        drawn = draw(self.problem.dimensions, self.problem.seed, number) if values is None else values
        return Proposal(number=number, weights=tuple(float(w) for w in np.asarray(weights)), values=drawn)


def excesses(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far losses [n] are above the least, in units of the median's distance from it: 0 the best, 1 the median.

    Mixtures of few sources can be worse by orders of magnitude than good ones; a fit must not follow only them.
    """
    least = float(losses.min())
    unit = max(float(np.median(losses)) - least, 1e-12)
    return (losses - least) / unit
