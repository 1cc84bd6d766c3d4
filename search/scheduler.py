"""Early stopping that compares only trials of the same data: number of levels and mixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.config import SweepConfig
from search.space import TrialSpec

METRIC = "eval/validation/normalized_return"
TIME_ATTRIBUTE = "learner_step"


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

    def _scheduler(self, trial: Any) -> TrialScheduler:
        group = self._group_of(trial.config)
        if group not in self._schedulers:
            self._schedulers[group] = self._build()
            self._schedulers[group].set_search_properties(*self._search_properties)
        return self._schedulers[group]


def data_of(config: dict[str, Any]) -> str:
    """The group of a trial: its number of levels and its mixture."""
    return TrialSpec(**config["trial"]).data_id


def build_scheduler(config: SweepConfig) -> TrialScheduler:
    """The scheduler that the study names."""
    if config.scheduler == "none":
        return FIFOScheduler()
    steps = config.experiment.train.learner_steps
    grace = config.experiment.train.evaluate_every or steps

    def build() -> TrialScheduler:
        return AsyncHyperBandScheduler(
            time_attr=TIME_ATTRIBUTE, max_t=steps + 1, grace_period=grace, reduction_factor=2
        )

    return GroupedScheduler(data_of, build, steps)
