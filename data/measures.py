"""Measures of diversity and quality of a view, at an equal number of draws, by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.batch import Batch
from data.coverage import distinct_share, seen_share
from data.dataset import Dataset
from data.disparity import disparity, predictability, shortcut_index
from data.probes import ProbeRows, fitted_errors, probe
from data.quality import difficulty, norm_changes
from data.spectrum import coherence, cosine_kernel, vendi_score
from envs.seeding import rng_for

NUM_DRAWS = 256
_FEWEST = 24  # draws of a source that say something of it

MEASURES = {
    "state_vendi": "effective number of states among the draws (Vendi score)",
    "gradient_vendi": "effective number of policy gradients among the draws (G-Vendi)",
    "gradient_coherence": "how many draws a gradient step on one of them helps (m-coherence)",
    "distinct_states": "share of the draws that are a coarse state of their own",
    "state_coverage": "probability that a further draw is a coarse state seen before",
    "difficulty_spread": "standard deviation of the distance to the nearest cluster, in units of its mean",
    "nod": "mean norm of the change by a step on one draw (DONOD); fixed actions only",
    "don": "mean change of the norm by that step (DONOD); fixed actions only",
    "source_vendi": "mean Vendi score of the sources, each at as many draws as the least drawn one",
    "source_disparity": "mean energy coefficient between the sources, 0 (alike) to 1",
    "source_predictability": "how well what is seen tells the source, 0 to 1",
    "shortcut_index": "sources that are narrow and easily told apart, 0 to 1",
}
"""Name -> what it says. The last four exist where there are two sources or more."""


@dataclass(frozen=True)
class Draws:
    """Transitions drawn as a learner draws them."""

    batch: Batch
    rows: ProbeRows


def draw(view: Dataset, episode_weights: npt.ArrayLike | None = None, num_draws: int = NUM_DRAWS) -> Draws:
    """Draw transitions with replacement, the same ones each time for the same view and weights.

    Args:
        view: Where from.
        episode_weights: [E] probability of a draw from each episode; None draws every transition equally often.
        num_draws: n.
    """
    lengths = view.episodes["length"]
    shares = lengths if episode_weights is None else np.asarray(episode_weights, dtype=np.float64)
    uniform = rng_for("measures", view.fingerprint).random((2, num_draws))
    ends = np.cumsum(shares / shares.sum())
    episode = np.minimum(np.searchsorted(ends, uniform[0], side="right"), len(lengths) - 1)
    within = np.minimum((uniform[1] * lengths[episode]).astype(np.int64), lengths[episode] - 1)
    batch = view.batch(view.episode_starts[episode] + within)
    return Draws(batch, probe(view.env, batch))


def measure(
    view: Dataset, episode_weights: npt.ArrayLike | None = None, num_draws: int = NUM_DRAWS
) -> dict[str, float]:
    """Every measure that this view has, by its name in `MEASURES`.

    Args:
        view: What to measure.
        episode_weights: [E] probability of a draw from each episode; None draws every transition equally often.
        num_draws: At which all measures are taken; two views are compared at the same number only.
    """
    draws = draw(view, episode_weights, num_draws)
    rows = draws.rows
    gram = rows.gram
    values = {
        "state_vendi": vendi_score(cosine_kernel(rows.features)),
        "gradient_vendi": vendi_score(_normalized(gram)),
        "gradient_coherence": coherence(gram),
        "distinct_states": distinct_share(rows.cells),
        "state_coverage": seen_share(rows.cells),
        "difficulty_spread": float(np.std(difficulty(rows.features))),
    }
    if view.env.candidate_column is None:
        values |= _norms(rows)
    values |= _sources(rows, draws.batch.source_id)
    # The last bits depend on how many threads a linear algebra library used.
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def _norms(rows: ProbeRows) -> dict[str, float]:
    weights, errors = fitted_errors(rows)
    if not weights.any():  # one state alone: there is nothing to fit
        return {}
    don, nod = norm_changes(rows.features, errors, weights)
    return {"nod": float(nod.mean()), "don": float(don.mean())}


def _sources(rows: ProbeRows, source_id: npt.NDArray[np.int64]) -> dict[str, float]:
    kinds, counts = np.unique(source_id, return_counts=True)
    kept = kinds[counts >= _FEWEST]
    if len(kept) < 2:
        return {}
    chosen = np.isin(source_id, kept)
    features, labels = rows.features[chosen], source_id[chosen]
    equal = int(counts[counts >= _FEWEST].min())
    within = float(np.mean([_vendi(features[labels == kind][:equal]) for kind in kept]))
    predictable = predictability(features, labels)
    return {
        "source_vendi": within,
        "source_disparity": disparity(features, labels),
        "source_predictability": predictable,
        "shortcut_index": shortcut_index(predictable, within, _pooled(features, labels, equal)),
    }


def _pooled(features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], equal: int) -> float:
    """Vendi score of as many rows as one source has, of all sources in equal parts."""
    kinds = np.unique(labels)
    parts = [features[labels == kind][: -(-equal // len(kinds))] for kind in kinds]
    return _vendi(np.concatenate(parts))


def _vendi(rows: npt.NDArray[np.float64]) -> float:
    return vendi_score(cosine_kernel(rows))


def _normalized(gram: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Products divided by the lengths; a row of zeros is like every other row of zeros and nothing else."""
    lengths = np.sqrt(np.clip(np.diag(gram), 0.0, None))
    scale = np.where(lengths > 0, lengths, 1.0)
    kernel: npt.NDArray[np.float64] = gram / scale[:, None] / scale[None, :]
    empty = lengths == 0
    kernel[np.ix_(empty, empty)] = 1.0
    return kernel
