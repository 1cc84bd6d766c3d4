"""Aggregate statistics of scores and their bootstrap intervals: pure functions of arrays ``[runs, tasks]``.

Aggregates and the stratified bootstrap follow Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (NeurIPS 2021). Every aggregate reduces the last two axes, so a stack of resamples
``[..., runs, tasks]`` is reduced in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Statistic = Callable[[Array], Array]
"""Maps [..., runs, tasks] to [...]."""
PairedStatistic = Callable[[Array, Array], Array]
"""Maps [..., runs of a, tasks] and [..., runs of b, tasks] to [...]."""
_CHUNK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A point value and its confidence interval; where none can be formed, the ends are NaN and `reason` says why."""

    point: float
    low: float
    high: float
    confidence: float = 0.95
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; missing ends become null."""
        ends = {"low": None, "high": None} if self.reason else {"low": self.low, "high": self.high}
        return {"point": self.point, **ends, "confidence": self.confidence, "reason": self.reason}

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; False where there is no interval."""
        return not self.reason and not self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.point:.3f}" if self.reason else f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
}


def stratified_bootstrap(
    scores: npt.ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval where each task (column) is a stratum whose runs are resampled by themselves.

    For a fixed set of tasks, such as the 16 games; `level_bootstrap` is for tasks that are themselves a sample.

    Args:
        scores: [runs, tasks].
        statistic: Reduces the last two axes.
        rng: The interval depends on it and on the arguments alone.
        num_resamples: Bootstrap resamples.
        confidence: Coverage, in (0, 1).
    """
    array = _checked(scores)
    runs, tasks = array.shape

    def resample(count: int) -> Array:
        picks = rng.integers(runs, size=(count, runs, tasks))
        return statistic(array[picks, np.arange(tasks)])

    reason = "" if runs > 1 else "one run per task: nothing to resample"
    return _percentile_interval(statistic(array), resample, array.size, num_resamples, confidence, reason)


def level_bootstrap(
    scores: npt.ArrayLike,
    statistic: Statistic,
    rng: np.random.Generator,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval that resamples train seeds and levels, crossed (Owen, "The pigeonhole bootstrap", 2007).

    Repeats on one level are no unit of their own; average them first. With one seed only levels are resampled, and
    the interval says nothing about training again.

    `scores` is [seeds, levels]; other arguments as for `stratified_bootstrap`.
    """
    array = _checked(scores)
    seeds, levels = array.shape

    def resample(count: int) -> Array:
        return statistic(_crossed(array, _draw(rng, count, seeds), _draw(rng, count, levels)))

    return _percentile_interval(
        statistic(array), resample, array.size, num_resamples, confidence, _too_few_levels(levels)
    )


def gap_interval(
    train: npt.ArrayLike,
    heldout: npt.ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = mean,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The generalization gap: ``statistic(train) - statistic(heldout)`` of the same policies.

    Both sets of levels are resampled by themselves, the train seeds together. `train` is [seeds, training levels] and
    `heldout` [seeds, held-out levels], with the same policy in the same row; other arguments as for
    `stratified_bootstrap`.

    Raises:
        UsageError: If the numbers of seeds differ.
    """
    a, b = _checked(train), _checked(heldout)
    if len(a) != len(b):
        raise UsageError(
            f"The gap needs the same policies on both splits; got {len(a)} on training levels and {len(b)} held out."
        )

    def resample(count: int) -> Array:
        seeds = _draw(rng, count, len(a))
        left = _crossed(a, seeds, _draw(rng, count, a.shape[1]))
        return statistic(left) - statistic(_crossed(b, seeds, _draw(rng, count, b.shape[1])))

    point = statistic(a) - statistic(b)
    reason = _too_few_levels(min(a.shape[1], b.shape[1]))
    return _percentile_interval(point, resample, a.size + b.size, num_resamples, confidence, reason)


def paired_bootstrap(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: PairedStatistic,
    rng: np.random.Generator,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Compare two configurations level by level: the same levels are drawn for both, train seeds for each by itself.

    `a` is [seeds of a, levels] and `b` [seeds of b, levels], with the same level in the same column; `statistic` is
    for example `difference` or `probability_of_improvement`; other arguments as for `stratified_bootstrap`.

    Raises:
        UsageError: If the numbers of levels differ.
    """
    x, y = _checked(a), _checked(b)
    if x.shape[1] != y.shape[1]:
        raise UsageError(
            f"A paired comparison needs the same levels on both sides; got {x.shape[1]} and {y.shape[1]} levels."
        )

    def resample(count: int) -> Array:
        levels = _draw(rng, count, x.shape[1])
        left = _crossed(x, _draw(rng, count, len(x)), levels)
        return statistic(left, _crossed(y, _draw(rng, count, len(y)), levels))

    size = max(x.size + y.size, len(x) * y.size)
    return _percentile_interval(statistic(x, y), resample, size, num_resamples, confidence, _too_few_levels(x.shape[1]))


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    rng: np.random.Generator,
    statistic: Statistic = mean,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """``statistic(a) - statistic(b)`` on the same levels; arguments as for `paired_bootstrap`."""
    return paired_bootstrap(a, b, partial(difference, statistic=statistic), rng, num_resamples, confidence)


def _checked(scores: npt.ArrayLike) -> Array:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise UsageError(f"Scores have the shape {array.shape}; a non-empty array [runs, tasks] is needed.")
    if not np.isfinite(array).all():
        raise UsageError("Scores hold values that are not finite; evaluate the missing levels or leave them out.")
    return array


def _draw(rng: np.random.Generator, count: int, size: int) -> Indices:
    return rng.integers(size, size=(count, size))


def _crossed(array: Array, rows: Indices, columns: Indices) -> Array:
    resampled: Array = array[rows[:, :, None], columns[:, None, :]]  # [resamples, runs, tasks]
    return resampled


def _too_few_levels(levels: int) -> str:
    return "" if levels > 1 else "one level: nothing to resample"


def _percentile_interval(
    point: Array,
    resample: Callable[[int], Array],
    elements: int,
    num_resamples: int,
    confidence: float,
    reason: str,
) -> Interval:
    if not 0 < confidence < 1 or num_resamples < 1:
        raise UsageError(
            f"confidence is {confidence} and num_resamples {num_resamples}; "
            "allowed: a confidence between 0 and 1 and at least one resample."
        )
    if reason:
        return Interval(float(point), math.nan, math.nan, confidence, reason)
    values = np.concatenate([resample(count) for count in _chunks(num_resamples, elements)])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(point), float(low), float(high), confidence)


def _chunks(total: int, elements: int) -> Sequence[int]:
    """Resamples per call, so that one call holds a bounded number of scores in memory."""
    chunk = max(1, _CHUNK_ELEMENTS // elements)
    return [min(chunk, total - start) for start in range(0, total, chunk)]
