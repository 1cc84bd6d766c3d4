"""What the data of each configuration of a mixture search is like, and what was reached with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.mixture_arms import Arms, summary
from search.mixture_config import RETURN, MixtureSearchConfig
from search.mixture_trials import MixtureTrial, experiment_of
from search.phases import measures_of
from search.predictors import rank_measures
from search.space import trial_path
from search.study import RESULT_FILE
from search.tuning import TRAIN_METRIC
from trainers.training_data import open_training_data


def measured_summary(config: MixtureSearchConfig, arms: Arms, study_dir: Path) -> list[dict[str, Any]]:
    """Every configuration that was tried, with the measures of its data and the returns that its seeds reached.

    ``measures`` and ``reached`` (mean normalized return on validation and on training levels, over seeds) are there
    where every seed has finished.
    """
    trials: dict[tuple[str, int], list[MixtureTrial]] = {}
    for trial in arms.trials():
        trials.setdefault((trial.arm, trial.number), []).append(trial)
    records = summary(arms)
    for record in records:
        seeds = trials[record["arm"], record["number"]]
        if reached := _reached(seeds, study_dir):
            data = open_training_data(experiment_of(config, seeds[0], study_dir))
            record |= {"measures": measures_of(config.judge, data), "reached": reached}
    return records


def mixture_predictors(
    configurations: Iterable[Mapping[str, Any]], rng: np.random.Generator, **options: Any
) -> list[dict[str, Any]]:
    """`rank_measures` over the configurations of all arms, which must not differ in anything but their data."""
    known = [c for c in configurations if c.get("measures") and not c["values"]]
    return rank_measures([c["measures"] for c in known], [tuple(c["reached"]) for c in known], rng, **options)


def _reached(trials: Sequence[MixtureTrial], study_dir: Path) -> list[float]:
    paths = [trial_path(study_dir, trial.trial_id) / RESULT_FILE for trial in trials]
    if not all(path.exists() for path in paths):
        return []
    metrics = [json.loads(path.read_text())["metrics"] for path in paths]
    if not all(name in one for one in metrics for name in (RETURN, TRAIN_METRIC)):
        return []
    return [float(np.mean([one[name] for one in metrics])) for name in (RETURN, TRAIN_METRIC)]
