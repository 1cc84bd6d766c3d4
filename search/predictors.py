"""Which measure of the data predicts return on unseen levels, and the gap, over the mixtures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.measures import MEASURES
from metrics.correlation import rank_correlation
from metrics.power import smallest_correlation
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
    """Rank correlation of every measure with the mean validation return and the gap, over the data sets of a study.

    The outcome of a data set is the mean over all policies trained on it, whatever their other settings, and over the
    levels. Test levels are not looked at.

    Args:
        study: With evaluations.
        mode: Action mode of the outcome.
        rng: Of the intervals.
        options: `num_resamples` and `confidence`.

    Returns:
        As `rank_measures`.
    """
    outcomes = _outcomes(study, mode)
    known = [record for record in study.datasets if record.measures]
    records = [record for record in known if (record.num_levels, record.mixture) in outcomes]
    reached = [outcomes[record.num_levels, record.mixture] for record in records]
    return rank_measures([record.measures for record in records], reached, rng, **options)


def rank_measures(
    measures: Sequence[Mapping[str, float]],
    reached: Sequence[tuple[float, float]],
    rng: np.random.Generator,
    **options: Any,
) -> list[dict[str, Any]]:
    """Rank correlations over mixtures.

    Args:
        measures: Of each mixture; what one lacks is left out.
        reached: Its mean return on validation levels, and on its own training levels.
        rng: Of the intervals.
        options: `num_resamples` and `confidence`.

    Returns:
        One entry per measure with ``name``, ``says``, ``num_mixtures``, ``correlation`` with the validation return and
        ``gap_correlation`` with train minus validation (intervals as JSON), the strongest of the former first; nothing
        for fewer than three mixtures.
    """
    if len(measures) < 3:
        return []
    returns = [validation for validation, _ in reached]
    gaps = [train - validation for validation, train in reached]
    entries = []
    for name, says in {**COUNTS, **MEASURES}.items():
        if not all(name in record for record in measures):
            continue
        values = [record[name] for record in measures]
        entries.append(
            {
                "name": name,
                "says": says,
                "num_mixtures": len(measures),
                "correlation": _correlation(values, returns, rng, options),
                "gap_correlation": _correlation(values, gaps, rng, options),
            }
        )
    return sorted(entries, key=lambda entry: -abs(entry["correlation"]["point"] or 0.0))


def resolved(entries: Sequence[Mapping[str, Any]], key: str = "correlation") -> list[Mapping[str, Any]]:
    """The measures whose correlation excludes zero and is at least what so many mixtures can detect, strongest first.

    The threshold allows for the number of measures that were tried (Bonferroni).
    """
    if not entries or entries[0]["num_mixtures"] < 4:
        return []
    least = smallest_correlation(entries[0]["num_mixtures"], 1 - 0.05 / len(entries))
    found = [e for e in entries if e[key]["low"] is not None and e[key]["low"] * e[key]["high"] > 0]
    return sorted((e for e in found if abs(e[key]["point"]) >= least), key=lambda e: -abs(e[key]["point"]))


def _correlation(
    values: Sequence[float], outcomes: Sequence[float], rng: np.random.Generator, options: Mapping[str, Any]
) -> dict[str, Any]:
    interval = rank_correlation(values, outcomes, rng, **options)
    return interval.to_json() | ({"point": None} if np.isnan(interval.point) else {})


def _outcomes(study: Study, mode: ActionMode) -> dict[tuple[int, str], tuple[float, float]]:
    """Mean validation and training return of each data set."""
    frame = study.table.frame
    if frame.empty:
        return {}
    played = frame[(frame["mode"] == mode) & frame["role"].isin([Role.VALIDATION.value, Role.TRAIN.value])]
    by_policy = played.groupby(["policy", "role"])["normalized_return"].mean()
    reached: dict[tuple[int, str], list[list[float]]] = {}
    for trial in study.trials:
        keys = [(trial.trial_id, role.value) for role in (Role.VALIDATION, Role.TRAIN)]
        if all(key in by_policy for key in keys):
            reached.setdefault((trial.num_levels, trial.mixture), []).append([float(by_policy[k]) for k in keys])
    means = {key: np.mean(values, axis=0) for key, values in reached.items()}
    return {key: (float(mean[0]), float(mean[1])) for key, mean in means.items()}
