"""Rank correlation between a property of data and what was reached with it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from envs.errors import UsageError
from metrics.statistics import Interval

FEWEST = 5
"""Mixtures below which no interval is formed."""


def rank_correlation(
    values: npt.ArrayLike,
    outcomes: npt.ArrayLike,
    rng: np.random.Generator,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Spearman's rank correlation, ties averaged, with a percentile interval that resamples mixtures.

    Resamples in which one of the two is constant say nothing and are left out.

    Args:
        values: [n] one number per mixture.
        outcomes: [n] what was reached with it.
        rng: The interval depends on it and on the arguments alone.
        num_resamples: Bootstrap resamples.
        confidence: Coverage, in (0, 1).

    Raises:
        UsageError: If there is not one outcome for each value, or one is not finite.
    """
    left, right = np.asarray(values, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1 or not np.isfinite([left, right]).all():
        raise UsageError(
            f"A rank correlation needs one finite outcome for each value; got {left.shape} and {right.shape}."
        )
    point = float(_spearman(left[None], right[None])[0]) if len(left) else math.nan
    missing = _no_interval(left, right)
    if missing:
        return Interval(point, math.nan, math.nan, confidence, missing)
    picks = rng.integers(len(left), size=(num_resamples, len(left)))
    resampled = _spearman(left[picks], right[picks])
    low, high = np.nanquantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(point, float(low), float(high), confidence)


def _no_interval(values: npt.NDArray[np.float64], outcomes: npt.NDArray[np.float64]) -> str:
    """Why there is no interval; empty where there is one."""
    if len(values) < FEWEST:
        return f"{len(values)} mixtures; an interval needs {FEWEST}"
    if np.ptp(values) == 0 or np.ptp(outcomes) == 0:
        return "the same for all mixtures"
    return ""


def _spearman(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of each row of [k, n]; NaN where one of the two is constant."""
    x, y = (rankdata(rows, axis=1) for rows in (left, right))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    power = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    products = (x * y).sum(axis=1)
    return np.where(power > 0, products / np.where(power > 0, power, 1.0), np.nan)
