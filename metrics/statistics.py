"""Bootstrap intervals of aggregate statistics: pure functions of arrays ``[runs, tasks]``.

The stratified bootstrap follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (NeurIPS 2021), as do the aggregates of `metrics.aggregates`, which are named here as well.
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
from metrics.aggregates import (
    STATISTICS,
    Array,
    PairedStatistic,
    Statistic,
    cvar,
    difference,
    iqm,
    level_cvar,
    mean,
    median,
    optimality_gap,
    probability_of_improvement,
)

__all__ = [
    "STATISTICS",
    "Array",
    "Interval",
    "PairedStatistic",
    "Statistic",
    "checked_scores",
    "cvar",
    "difference",
    "gap_interval",
    "iqm",
    "level_bootstrap",
    "level_cvar",
    "level_resamples",
    "mean",
    "median",
    "optimality_gap",
    "paired_bootstrap",
    "paired_difference",
    "probability_of_improvement",
    "stratified_bootstrap",
    "stratified_resamples",
]

Indices = npt.NDArray[np.int64]
_CHUNK_ELEMENTS = 2_000_000
_NOTHING: Array = np.empty(0)


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
    array = checked_scores(scores)
    _check_options(num_resamples, confidence)
    point = statistic(array)
    values, reason = stratified_resamples(array, statistic, rng, num_resamples)
    return _interval(point, values, confidence, reason)


def stratified_resamples(
    array: Array, statistic: Statistic, rng: np.random.Generator, num_resamples: int
) -> tuple[Array, str]:
    """The statistic of every resample, [num_resamples, ...], or the reason why there is none."""
    runs, tasks = array.shape
    if runs < 2:
        return _NOTHING, "one run per task: nothing to resample"

    def resample(count: int) -> Array:
        picks = rng.integers(runs, size=(count, runs, tasks))
        return statistic(array[picks, np.arange(tasks)])

    return np.concatenate([resample(count) for count in _chunks(num_resamples, array.size)]), ""


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
    array = checked_scores(scores)
    _check_options(num_resamples, confidence)
    point = statistic(array)
    values, reason = level_resamples(array, statistic, rng, num_resamples)
    return _interval(point, values, confidence, reason)


def level_resamples(
    array: Array, statistic: Statistic, rng: np.random.Generator, num_resamples: int
) -> tuple[Array, str]:
    """The statistic of every resample of `level_bootstrap`, or the reason why there is none."""
    seeds, levels = array.shape
    if levels < 2:
        return _NOTHING, _too_few_levels(levels)

    def resample(count: int) -> Array:
        return statistic(_crossed(array, _draw(rng, count, seeds), _draw(rng, count, levels)))

    return np.concatenate([resample(count) for count in _chunks(num_resamples, array.size)]), ""


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
    a, b = checked_scores(train), checked_scores(heldout)
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
    x, y = checked_scores(a), checked_scores(b)
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


def checked_scores(scores: npt.ArrayLike) -> Array:
    """Scores as an array [runs, tasks].

    Raises:
        UsageError: If they are anything else, or not all finite.
    """
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
    _check_options(num_resamples, confidence)
    values = np.empty(0) if reason else np.concatenate([resample(n) for n in _chunks(num_resamples, elements)])
    return _interval(point, values, confidence, reason)


def _interval(point: Array, values: Array, confidence: float, reason: str) -> Interval:
    if reason:
        return Interval(float(point), math.nan, math.nan, confidence, reason)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(point), float(low), float(high), confidence)


def _check_options(num_resamples: int, confidence: float) -> None:
    if not 0 < confidence < 1 or num_resamples < 1:
        raise UsageError(
            f"confidence is {confidence} and num_resamples {num_resamples}; "
            "allowed: a confidence between 0 and 1 and at least one resample."
        )


def _chunks(total: int, elements: int) -> Sequence[int]:
    """Resamples per call, so that one call holds a bounded number of scores in memory."""
    chunk = max(1, _CHUNK_ELEMENTS // elements)
    return [min(chunk, total - start) for start in range(0, total, chunk)]
