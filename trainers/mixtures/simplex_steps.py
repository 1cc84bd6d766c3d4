"""Steps on the simplex that controllers share."""

from __future__ import annotations

import numpy as np

from data.schedule import Weights


def exponentiated(weights: Weights, scores: Weights) -> Weights:
    """w_k exp(s_k) / sum, [S]; a weight of zero stays zero."""
    with np.errstate(divide="ignore"):
        logits = np.log(weights) + scores
    moved: Weights = np.exp(logits - logits.max())
    return moved / moved.sum()


def smoothed(weights: Weights, anchor: Weights, share: float) -> Weights:
    """(1 - c) w + c a, [S]."""
    return (1 - share) * weights + share * anchor
