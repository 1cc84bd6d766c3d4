"""Aggregates of scores.

After Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021). Every
aggregate reduces the last two axes, so a stack of resamples ``[..., runs, tasks]`` is reduced in one call.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Maps [..., runs, tasks] to [...]."""
PairedStatistic = Callable[[Array, Array], Array]
"""Maps [..., runs of a, tasks] and [..., runs of b, tasks] to [...]."""


def mean(scores: Array) -> Array:
    """Mean of [..., runs, tasks]."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def median(scores: Array) -> Array:
    """Median over tasks of the mean over runs, of [..., runs, tasks]."""
    return np.asarray(np.median(scores.mean(axis=-2), axis=-1))


def iqm(scores: Array) -> Array:
    """Interquartile mean: the mean of the middle half of all runs of all tasks, of [..., runs, tasks]."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1))


def optimality_gap(scores: Array, optimum: float = 1.0) -> Array:
    """By how much [..., runs, tasks] falls short of `optimum` on average; scores above it count as `optimum`."""
    return np.asarray(optimum - np.minimum(scores, optimum).mean(axis=(-2, -1)))


def cvar(scores: Array, fraction: float = 0.1) -> Array:
    """Conditional value at risk: the mean of the worst `fraction` of all runs of all tasks, of [..., runs, tasks].

    Where `fraction` does not fall on a whole number of scores, the last one counts in part (Rockafellar and Uryasev,
    "Conditional Value-at-Risk for General Loss Distributions", 2002).

    Raises:
        UsageError: If `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"cvar was asked for the worst fraction {fraction}; allowed: above 0, up to 1.")
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    share = fraction * ordered.shape[-1]
    weights = np.clip(share - np.arange(ordered.shape[-1]), 0.0, 1.0)
    return np.asarray(ordered @ weights / weights.sum())


def level_cvar(scores: Array, fraction: float = 0.1) -> Array:
    """The mean of the worst `fraction` of levels: `cvar` over tasks of the mean over runs, of [..., runs, tasks].

    Levels are ranked by what was played on them, so with one random episode a level it lies below the truth.
    """
    return cvar(scores.mean(axis=-2, keepdims=True), fraction)


def probability_of_improvement(a: Array, b: Array) -> Array:
    """Mean over tasks of P(a run of `a` scores above a run of `b`), ties counting half.

    Args:
        a: Scores [..., runs of a, tasks].
        b: Scores [..., runs of b, tasks].
    """
    wins = np.sign(a[..., :, None, :] - b[..., None, :, :])  # [..., runs of a, runs of b, tasks]
    return np.asarray((wins.mean(axis=(-3, -2, -1)) + 1.0) / 2.0)


def difference(a: Array, b: Array, statistic: Statistic = mean) -> Array:
    """``statistic(a) - statistic(b)``, of [..., runs, tasks]."""
    return np.asarray(statistic(a) - statistic(b))


STATISTICS: dict[str, Statistic] = {
    "mean": mean,
    "median": median,
    "iqm": iqm,
    "optimality_gap": optimality_gap,
    "cvar": cvar,
    "level_cvar": level_cvar,
}
