"""Which measure of the data predicts return on unseen levels, over the mixtures of a study."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.measures import MEASURES
from metrics.correlation import rank_correlation
from metrics.protocol import ActionMode, Role
from search.study import Study

COUNTS = {
    "num_levels": "training levels",
    "num_episodes": "episodes",
    "effective_levels": "effective number of training levels",
    "mean_return": "mean return of the data",
    "goal_coverage_1": "share of validation goals of which every pair of values was seen once",
    "goal_coverage_3": "share of validation goals of which every pair of values was seen 3 times",
}
"""What is counted of each data set, beside `data.measures.MEASURES`."""


def predictors(study: Study, mode: ActionMode, rng: np.random.Generator, **options: Any) -> list[dict[str, Any]]:
    """Rank correlation of every measure with the mean validation return, over the data sets of a study.

    The outcome of a data set is the mean over all policies trained on it, whatever their other settings, and over the
    validation levels. Test levels are not looked at.

    Args:
        study: With evaluations.
        mode: Action mode of the outcome.
        rng: Of the intervals.
        options: `num_resamples` and `confidence`.

    Returns:
        One entry per measure with ``name``, ``says``, ``num_mixtures`` and ``correlation`` (an interval as JSON), the
        strongest first; nothing where fewer than three data sets have measures.
    """
    outcomes = _outcomes(study, mode)
    known = [record for record in study.datasets if record.measures]
    records = [record for record in known if (record.num_levels, record.mixture) in outcomes]
    if len(records) < 3:
        return []
    reached = [outcomes[record.num_levels, record.mixture] for record in records]
    entries = []
    for name, says in {**COUNTS, **MEASURES}.items():
        if not all(name in record.measures for record in records):
            continue
        values = [record.measures[name] for record in records]
        interval = rank_correlation(values, reached, rng, **options)
        correlation = interval.to_json() | ({"point": None} if np.isnan(interval.point) else {})
        entries.append({"name": name, "says": says, "num_mixtures": len(records), "correlation": correlation})
    return sorted(entries, key=lambda entry: -abs(entry["correlation"]["point"] or 0.0))


def _outcomes(study: Study, mode: ActionMode) -> dict[tuple[int, str], float]:
    frame = study.table.frame
    if frame.empty:
        return {}
    played = frame[(frame["role"] == Role.VALIDATION.value) & (frame["mode"] == mode)]
    by_policy = played.groupby("policy")["normalized_return"].mean()
    reached: dict[tuple[int, str], list[float]] = {}
    for trial in study.trials:
        if trial.trial_id in by_policy:
            reached.setdefault((trial.num_levels, trial.mixture), []).append(float(by_policy[trial.trial_id]))
    return {key: float(np.mean(values)) for key, values in reached.items()}
