"""Early stopping that compares only trials of the same data, and configurations by the mean of their seeds."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from metrics.history import read_history, series
from search.config import SweepConfig
from search.space import TrialSpec, has_diverged, trial_groups, trial_path
from search.study import HISTORY_FILE
from trainers.reporter import WORST

METRIC = "eval/validation/normalized_return"
TIME_ATTRIBUTE = "learner_step"

Report = tuple[dict[str, Any], int, float]
"""Config of one of Tune's trials, learner step, score."""


class GroupedScheduler(FIFOScheduler):
    """One scheduler per group of trials.

    Few training levels always validate worse than many; a single ASHA would stop exactly the trials that the curve
    over the number of levels needs.

    Args:
        group_of: Maps a trial's config to its group.
        build: Makes the scheduler of one group.
        last_step: A trial that got there ends by itself. Stopped from outside at its last report, it would leave no
            result.
    """

    def __init__(
        self, group_of: Callable[[dict[str, Any]], Any], build: Callable[[], TrialScheduler], last_step: int
    ) -> None:
        super().__init__()
        self._group_of, self._build, self._last_step = group_of, build, last_step
        self._schedulers: dict[Any, TrialScheduler] = {}
        self._search_properties: tuple[Any, ...] = (None, None)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Remember what Tune optimizes; every group is told."""
        self._search_properties = (metric, mode)
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Hand the trial to its group."""
        self._scheduler(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The group's decision."""
        decision: str = self._scheduler(trial).on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if result[TIME_ATTRIBUTE] >= self._last_step else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tell the group."""
        self._scheduler(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Tell the group."""
        self._scheduler(trial).on_trial_remove(tune_controller, trial)

    def recall(self, reports: Iterable[Report]) -> None:
        """Learn what trials reported to an earlier scheduler of the same study, so that later ones compare with it."""
        self.set_search_properties(METRIC, "max")
        for config, step, score in reports:
            trial = SimpleNamespace(trial_id=_name_of(config), config=config, is_finished=lambda: False)
            self.on_trial_add(None, trial)
            self.on_trial_result(None, trial, {TIME_ATTRIBUTE: step, METRIC: score})

    def _scheduler(self, trial: Any) -> TrialScheduler:
        group = self._group_of(trial.config)
        if group not in self._schedulers:
            self._schedulers[group] = self._build()
            self._schedulers[group].set_search_properties(*self._search_properties)
        return self._schedulers[group]


class SeedGroups(FIFOScheduler):
    """The seeds of one configuration are judged and stopped together, by their mean.

    The decision about a step falls when the last seed has reported it; each seed ends at its next report. A lucky or
    unlucky seed alone decides nothing. A configuration of which a seed failed is not judged.

    Args:
        config_of: Maps a trial's config to the name of its configuration.
        num_seeds: Trials of each configuration.
        inner: Decides about configurations, each of which it sees as one trial.
    """

    def __init__(self, config_of: Callable[[dict[str, Any]], str], num_seeds: int, inner: TrialScheduler) -> None:
        super().__init__()
        self._config_of, self._num_seeds, self._inner = config_of, num_seeds, inner
        self._groups: dict[str, Any] = {}  # configuration -> the trial that stands for it
        self._scores: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
        self._stopped: set[str] = set()
        self._metric = METRIC

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Remember what Tune optimizes."""
        self._metric = metric or METRIC
        return bool(self._inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """The first seed of a configuration makes it known."""
        name = self._config_of(trial.config)
        if name not in self._groups:
            self._groups[name] = SimpleNamespace(trial_id=name, config=trial.config, is_finished=lambda: False)
            self._inner.on_trial_add(tune_controller, self._groups[name])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a seed if its configuration was judged to be among the worse ones."""
        name, step = self._config_of(trial.config), int(result[TIME_ATTRIBUTE])
        scores = self._scores[name, step]
        scores[_name_of(trial.config)] = float(result[self._metric])  # a resumed trial has another of Tune's ids
        if len(scores) == self._num_seeds:
            mean = {**result, self._metric: sum(scores.values()) / len(scores)}
            if self._inner.on_trial_result(tune_controller, self._groups[name], mean) == self.STOP:
                self._stopped.add(name)
        return self.STOP if name in self._stopped else self.CONTINUE


def data_of(config: dict[str, Any]) -> str:
    """The group of a trial: its number of levels and its mixture."""
    return TrialSpec(**config["trial"]).data_id


def config_of(config: dict[str, Any]) -> str:
    """The configuration of a trial: everything but its seed."""
    return TrialSpec(**config["trial"]).config_id


def build_scheduler(config: SweepConfig, reports: Iterable[Report] = ()) -> TrialScheduler:
    """The scheduler that the study names.

    Args:
        config: The study.
        reports: What its trials have reported before.
    """
    if config.scheduler == "none":
        return FIFOScheduler()
    train = config.experiment.train
    num_seeds = 1 if config.seeds_together else len(config.seeds)  # of one configuration, as Tune sees it
    scheduler = halving(data_of, config_of, num_seeds, train.learner_steps, train.evaluate_every)
    scheduler.recall(reports)
    return scheduler


def earlier_reports(config: SweepConfig, study_dir: Path) -> list[Report]:
    """What the trials of a study have reported so far, in the order of learner steps.

    Seeds that train together report the mean of those that have not diverged.
    """
    reports: list[Report] = []
    for group in trial_groups(config):
        folders = [trial_path(study_dir, spec.trial_id) for spec in group if not has_diverged(study_dir, spec)]
        scores = [reported_scores(folder) for folder in folders]
        steps = set[int].intersection(*map(set[int], scores)) if scores else set[int]()
        params = {"trial": dataclasses.asdict(group[0])}
        reports += [(params, step, statistics.fmean(each[step] for each in scores)) for step in steps]
    return sorted(reports, key=lambda report: report[1])


def reported_scores(run_dir: Path) -> dict[int, float]:
    """Learner step -> score, as a trial has reported it to Tune; empty for one that has not begun."""
    path = run_dir / HISTORY_FILE
    if not path.exists():
        return {}
    steps, values = series(read_history(path), METRIC)
    return {step: value if math.isfinite(value) else WORST for step, value in zip(steps, values, strict=True)}


def _name_of(config: dict[str, Any]) -> str:
    return json.dumps(config["trial"], sort_keys=True)


def halving(
    group_of: Callable[[dict[str, Any]], Any],
    config_of: Callable[[dict[str, Any]], str],
    num_seeds: int,
    learner_steps: int,
    evaluate_every: int,
) -> GroupedScheduler:
    """Asynchronous successive halving (Li et al. 2020, "ASHA") of configurations within each group.

    Args:
        group_of: Trials of different groups are never compared.
        config_of: Trials of the same configuration are judged as one.
        num_seeds: Trials of each configuration.
        learner_steps: Of a whole trial.
        evaluate_every: Learner steps between reports; the first one is the first that can stop a configuration.
    """

    def build() -> TrialScheduler:
        inner = AsyncHyperBandScheduler(
            time_attr=TIME_ATTRIBUTE,
            max_t=learner_steps + 1,
            grace_period=evaluate_every or learner_steps,
            reduction_factor=2,
        )
        return SeedGroups(config_of, num_seeds, inner)

    return GroupedScheduler(group_of, build, learner_steps)
