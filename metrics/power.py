"""What a comparison can detect, from the spread of a pilot: stated before the comparison is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from metrics.statistics import checked_scores

_COUNTED = 3
"""The crossed bootstrap of `metrics.statistics` counts what runs and levels leave unexplained three times (Owen 2007,
"The pigeonhole bootstrap", theorem 2): once with the runs, once with the levels, once with both."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of scores [runs, levels], as far as levels do not explain them."""

    runs: float
    """Of the true mean of a run over all levels."""
    rest: float
    """Of a score around its run and its level, luck of the episode included."""

    @classmethod
    def of(cls, scores: npt.ArrayLike) -> Spread:
        """From a pilot: the two-way analysis of variance with one observation in each cell.

        Raises:
            UsageError: If there are fewer than two runs or two levels.
        """
        array = checked_scores(scores)
        runs, levels = array.shape
        if runs < 2 or levels < 2:
            raise UsageError(f"A pilot of {runs} runs on {levels} levels shows no spread; give two of each or more.")
        by_run, by_level = array.mean(axis=1, keepdims=True), array.mean(axis=0, keepdims=True)
        left = array - by_run - by_level + array.mean()
        rest = float((left**2).sum() / ((runs - 1) * (levels - 1)))
        between = float(by_run.var(ddof=1))
        return cls(runs=math.sqrt(max(0.0, between - rest / levels)), rest=math.sqrt(rest))


@dataclass(frozen=True, kw_only=True)
class Design:
    """A comparison of two groups of runs on the same levels, before it is made."""

    spread: Spread
    num_runs: int
    """Of each group."""
    num_levels: int
    confidence: float = 0.95
    power: float = 0.8
    """Probability that the interval excludes zero."""

    @property
    def smallest_difference(self) -> float:
        """The difference of means that `paired_difference` tells from zero with the probability `power`.

        z times the standard error that the interval is as wide as, plus z times the true one. That the groups differ by
        more on some levels than on others is not in a pilot of one group; where they do, less can be detected.
        """
        interval = NormalDist().inv_cdf((1 + self.confidence) / 2) * self._error(_COUNTED)
        return interval + NormalDist().inv_cdf(self.power) * self._error(1)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "spread_of_runs": self.spread.runs,
            "spread_of_rest": self.spread.rest,
            "num_runs": self.num_runs,
            "num_levels": self.num_levels,
            "confidence": self.confidence,
            "power": self.power,
            "smallest_difference": self.smallest_difference,
        }

    def _error(self, counted: int) -> float:
        rest = counted * self.spread.rest**2 / (self.num_runs * self.num_levels)
        return math.sqrt(2 * (self.spread.runs**2 / self.num_runs + rest))


def smallest_correlation(num_points: int, confidence: float = 0.95, power: float = 0.8) -> float:
    """The rank correlation that so many points tell from zero with this probability.

    Fisher's z with the standard error 1.03 / sqrt(n - 3) of Spearman's coefficient (Fieller, Hartley and Pearson 1957).

    Raises:
        UsageError: If there are fewer than four points.
    """
    if num_points < 4:
        raise UsageError(f"A correlation of {num_points} points has no standard error; give four or more.")
    z = NormalDist().inv_cdf((1 + confidence) / 2) + NormalDist().inv_cdf(power)
    return float(np.tanh(z * math.sqrt(1.06 / (num_points - 3))))
