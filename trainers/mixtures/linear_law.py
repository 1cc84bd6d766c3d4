"""The on-line linear law: measure within the run what a little of each group does to each loss (Aioli)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.schedule import GroupStatistics, Weights
from envs.errors import UsageError
from trainers.mixtures.simplex_steps import exponentiated
from trainers.options import read_options

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinearLawConfig:
    """Options of the linear law."""

    rounds: int = 4
    """How often every group has its turn before the law is fitted."""
    round_steps: int = 4
    """Learner steps of one turn."""
    hold_steps: int = 250
    """Learner steps with the weights that the law gave, before it is measured again."""
    one_hot: float = 0.625
    """Weight of the group whose turn it is; the others share the rest."""
    step_size: float = 0.2
    """eta; 0.1 to 0.5 in the paper."""
    memory: float = 0.0
    """Share of the earlier law in each new one, from 0 and below 1."""

    def __post_init__(self) -> None:
        whole = min(self.rounds, self.round_steps, self.hold_steps) >= 1
        if not whole or not 0 < self.one_hot <= 1 or not self.step_size > 0 or not 0 <= self.memory < 1:
            raise UsageError(
                f"{self}: steps and rounds from 1, one_hot in (0, 1], step_size above 0, memory from 0 and below 1."
            )


class LinearLaw:
    """Fits the drops of the target's losses as a linear function of the weights, then moves along it.

    In turn j of a round the mixture is p^j (`one_hot` of group j) for `round_steps` steps, and the loss of target
    group i falls by d_ij. Averaged over the rounds, the law d_ij = sum_m A_im p^j_m is solved for A, and

        w_j <- w_j exp(eta a_j / max |a|) / sum,   a_j = mean_i A_ij,

    holds for `hold_steps` steps. Source: Chen et al. 2024, "Aioli" (arXiv 2411.05735), algorithm 1; a is divided by
    the largest entry that was measured in the run so far, so that eta means the same for any loss, and so that a policy
    that has stopped learning, whose drops are noise, moves nothing.
    """

    needs = frozenset({"target_losses"})

    def __init__(self, initial: Weights, options: Mapping[str, Any]) -> None:
        self.config = read_options(LinearLawConfig, options, "mixture controller", "linear-law")
        if len(initial) > 1 and self.config.one_hot <= 1 / len(initial):
            raise UsageError(
                f"one_hot is {self.config.one_hot}; it must be more than an equal share of {len(initial)} groups, "
                f"{1 / len(initial):.3g}."
            )
        self._held = np.array(initial)
        self._turn = -1  # -1: the weights hold; else how many turns of the measurement are over
        self._before: Weights | None = None  # [T] losses when the turn began
        self._drops = np.zeros((0, len(initial)))  # [T, S] sums over rounds
        self._law: Matrix | None = None  # [T, S]
        self._largest = 1e-12  # max |a| of all laws

    @property
    def interval(self) -> int:
        """Learner steps until the next update: a short turn while measuring, else as long as the weights hold."""
        return self.config.hold_steps if self._turn < 0 else self.config.round_steps

    @property
    def law(self) -> Matrix | None:
        """A [T, S], once it has been measured."""
        return self._law

    def update(self, statistics: GroupStatistics) -> Weights:
        """The weights [S] from the next learner step on."""
        losses, num_groups = statistics.target_losses, len(self._held)
        assert losses is not None
        if self._turn < 0:
            self._turn, self._drops = 0, np.zeros((len(losses), num_groups))
        else:
            assert self._before is not None
            self._drops[:, self._turn % num_groups] += self._before - losses
            self._turn += 1
        self._before = losses
        if self._turn < self.config.rounds * num_groups:
            return turns(num_groups, self.config.one_hot)[self._turn % num_groups]
        self._turn = -1
        return self._follow(self._drops / self.config.rounds)

    def _follow(self, drops: Matrix) -> Weights:
        law = fit_law(drops, turns(len(self._held), self.config.one_hot))
        kept = 0.0 if self._law is None else self.config.memory
        self._law = law if self._law is None else kept * self._law + (1 - kept) * law
        effect = self._law.mean(axis=0)
        self._largest = max(self._largest, float(np.abs(effect).max()))
        self._held = exponentiated(self._held, self.config.step_size * effect / self._largest)
        return self._held

    def state(self) -> dict[str, Any]:
        """Where in its measurement it is."""
        return {
            "held": self._held.tolist(),
            "turn": self._turn,
            "before": None if self._before is None else self._before.tolist(),
            "drops": self._drops.tolist(),
            "law": None if self._law is None else self._law.tolist(),
            "largest": self._largest,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._held, self._turn = np.array(state["held"]), int(state["turn"])
        self._before = None if state["before"] is None else np.array(state["before"])
        self._drops = np.array(state["drops"]).reshape(-1, len(self._held))
        self._law = None if state["law"] is None else np.array(state["law"])
        self._largest = float(state.get("largest", 1e-12))  # older checkpoints have none


def turns(num_groups: int, one_hot: float) -> Matrix:
    """The mixtures of one round, [S, S]: row j is mostly group j."""
    if num_groups == 1:
        return np.ones((1, 1))
    rest = (1 - one_hot) / (num_groups - 1)
    return np.full((num_groups, num_groups), rest) + np.eye(num_groups) * (one_hot - rest)


def fit_law(drops: Matrix, mixtures: Matrix) -> Matrix:
    """A [T, S] with drops [T, R] = A mixtures^T for mixtures [R, S], by least squares."""
    solution: Matrix = np.linalg.lstsq(mixtures, drops.T, rcond=None)[0].T
    return solution
