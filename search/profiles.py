"""Performance profiles of a study: on which share of the levels a policy scores above a value, with a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_THRESHOLDS = 81
TOO_FEW_VALUES = 3
"""With fewer different scores a profile says what the mean says."""

Scores = npt.NDArray[np.float64]


def shared_thresholds(scores: Sequence[Scores]) -> npt.NDArray[np.float64] | None:
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
    return np.concatenate([[below], values])


def profile(
    scores: Scores, thresholds: npt.NDArray[np.float64], rng: np.random.Generator, options: Mapping[str, Any]
) -> dict[str, list[float]]:
    """The share of scores above each threshold, and a band that resamples train seeds and levels, crossed.

    Args:
        scores: [runs, L].
        thresholds: [T], increasing.
        rng: Of the band.
        options: ``num_resamples`` and ``confidence``.

    Returns:
        ``{"thresholds", "shares", "low", "high"}``, each [T]. Pointwise: the band covers each share by itself.
    """
    above = (scores[:, :, None] > thresholds).astype(np.float64)  # [runs, L, T]
    runs, levels, _ = above.shape
    # How often a resample holds each run and each level: weights instead of copies.
    seeds = rng.multinomial(runs, np.full(runs, 1 / runs), size=options["num_resamples"]) / runs  # [resamples, runs]
    drawn = rng.multinomial(levels, np.full(levels, 1 / levels), size=options["num_resamples"]) / levels
    shares = sum(seeds[:, run, None] * (drawn @ above[run]) for run in range(runs))
    tail = (1.0 - options["confidence"]) / 2.0
    low, high = np.quantile(shares, [tail, 1.0 - tail], axis=0)
    return {
        "thresholds": thresholds.tolist(),
        "shares": above.mean(axis=(0, 1)).tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }
