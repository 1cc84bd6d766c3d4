"""Performance profiles: which share of runs reaches at least each score, with bootstrap bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from metrics.statistics import Array, Statistic, checked_scores, level_resamples, stratified_resamples

MAX_THRESHOLDS = 81
TOO_FEW_VALUES = 3
"""With fewer different scores a profile says what the mean says."""


@dataclass(frozen=True)
class Profile:
    """A profile at some thresholds; without bands `reason` says why there are none."""

    thresholds: Array  # [K]
    shares: Array  # [K]
    low: Array  # [K] NaN without bands
    high: Array  # [K]
    confidence: float = 0.95
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; missing bands become null."""
        bands = (None, None) if self.reason else (self.low.tolist(), self.high.tolist())
        return {
            "thresholds": self.thresholds.tolist(),
            "shares": self.shares.tolist(),
            "low": bands[0],
            "high": bands[1],
            "confidence": self.confidence,
            "reason": self.reason,
        }


def performance_profile(scores: npt.ArrayLike, thresholds: Sequence[float] | Array) -> Array:
    """Share of all runs of all tasks above each threshold (Agarwal et al. 2021, score distributions).

    Args:
        scores: [..., runs, tasks].
        thresholds: [K].

    Returns:
        [..., K].
    """
    array, cuts = np.asarray(scores, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    ordered = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)
    above = ordered[..., None, :] > cuts[:, None]
    return np.asarray(above.mean(axis=-1))


def shared_thresholds(scores: Sequence[Array]) -> Array | None:
    """Values at which profiles of these scores are read; None if the scores take too few values.

    Every value that occurs, or `MAX_THRESHOLDS` evenly spaced ones if there are more. The first lies below all.

    Args:
        scores: Arrays [runs, L].
    """
    values = np.unique(np.concatenate([array.ravel() for array in scores])) if scores else np.empty(0)
    if len(values) < TOO_FEW_VALUES:
        return None
    if len(values) >= MAX_THRESHOLDS:
        values = np.linspace(values[0], values[-1], MAX_THRESHOLDS - 1)
    below = values[0] - 0.02 * (values[-1] - values[0])
    return np.asarray(np.concatenate([[below], values]), dtype=np.float64)


def profile_with_bands(
    scores: npt.ArrayLike,
    thresholds: Sequence[float] | Array,
    rng: np.random.Generator,
    *,
    over_levels: bool = True,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Profile:
    """A profile with pointwise percentile bands.

    Args:
        scores: [runs, tasks].
        thresholds: [K], increasing.
        rng: The bands depend on it and on the arguments alone.
        over_levels: Tasks are a sample of levels and are drawn again, too; False draws runs within each task, for a
            fixed set of games.
        num_resamples: Bootstrap resamples.
        confidence: Coverage of each point, in (0, 1).

    Raises:
        UsageError: If there are no thresholds, or they do not increase.
    """
    array, cuts = checked_scores(scores), np.asarray(thresholds, dtype=np.float64)
    if cuts.ndim != 1 or not len(cuts) or (np.diff(cuts) <= 0).any():
        raise UsageError(f"Thresholds of a profile are an increasing list of numbers; received {cuts.tolist()[:5]}.")
    shares = performance_profile(array, cuts)
    resamples = level_resamples if over_levels else stratified_resamples
    drawn, reason = resamples(array, _shares_above(cuts), rng, num_resamples)
    if reason:
        empty = np.full(len(cuts), np.nan)
        return Profile(cuts, shares, empty, empty, confidence, reason)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Profile(cuts, shares, low, high, confidence)


def _shares_above(thresholds: Array) -> Statistic:
    def statistic(scores: Array) -> Array:
        # One threshold after the other: a comparison with all at once would hold too many numbers.
        flat = scores.reshape(*scores.shape[:-2], -1)
        return np.stack([(flat > cut).mean(axis=-1) for cut in thresholds], axis=-1)

    return statistic
