"""A study as a frozen dataclass."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from envs.errors import UsageError
from search.variants import check_variants
from trainers.config import EvaluationConfig, ExperimentConfig

FULL_JUDGE = EvaluationConfig(
    num_train_levels=100, num_validation_levels=100, num_test_levels=200, modes=("sampled", "greedy"), num_envs=100
)
"""What is played after a search unless a recipe plays less."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A study: data diversity x hyperparameters x seeds, at a fixed number of transitions."""

    name: str
    experiment: ExperimentConfig
    collect_source: str
    collect_options: dict[str, float | int | str | bool] = field(default_factory=dict)
    level_counts: tuple[int, ...] = (10, 100, 1000)
    num_transitions: int = 20_000
    """Realised transitions of every level count, exactly."""
    strata: str = ""
    """Tag that divides the training levels into strata, for example "department" in the shop; empty for none."""
    mixtures: tuple[str, ...] = ("natural",)
    """Mixtures over the strata, each tried at every level count: "natural" takes levels as they come, "uniform" as many
    of each stratum, "home" that stratum alone, "home:2+grocery:1" these by weight. Levels, transitions and draws are
    all shared out so."""
    variants: tuple[str, ...] = ()
    """A second axis beside the level counts, in increasing order, each value tried at every count: "transitions=5000"
    learns from so many in place of `num_transitions`, any other name is an option of the source, as "noise=0.4"; see
    `search.variants`. Then one level count is enough. Empty, or no strata."""
    learning_rates: tuple[float, ...] = (5e-4, 1e-3)
    seeds: tuple[int, ...] = (0, 1)
    seeds_together: bool = False
    """Train all seeds of a configuration in one trial, see `experiment.train.together`; early stopping then judges a
    configuration by the mean over its seeds. Needs one worker."""
    judge: EvaluationConfig = field(default_factory=lambda: FULL_JUDGE)
    """What is played after the search; `experiment.evaluation` is what is played during it."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a trial is judged: the last, as in the paper, or the one that validated best while training.

    The best of a few noisy evaluations is often an early one, which has not learned its own training levels yet.
    """
    scheduler: Literal["none", "asha"] = "asha"
    selection_rule: str = "validation"
    """Name in `search.selection.RULES`."""
    robustness: bool = False
    """Also play the selected configuration on validation levels under visual changes, and on the shifts that begin in
    its environment; the report then shows its robustness curve."""
    retrain_workers: int = 2
    max_concurrent_trials: int = 0
    """0: as many as the cluster has CPUs for."""
    num_actors: int = 2
    """Collector and evaluator actors."""

    def __post_init__(self) -> None:
        check_variants(self.variants)
        if self.variants and self.strata:
            raise UsageError(f"variants is {self.variants} and strata {self.strata!r}; a study has one of them.")
        if len(self.level_counts) < (1 if self.variants else 2) or sorted(set(self.level_counts)) != list(
            self.level_counts
        ):
            raise UsageError(
                f"level_counts is {self.level_counts}; give at least two different counts in increasing order."
            )
        if not self.mixtures or len({slug(name) for name in self.mixtures}) < len(self.mixtures):
            raise UsageError(f"mixtures is {self.mixtures}; give at least one, and none twice.")
        if not self.learning_rates or _repeats(self.learning_rates):
            raise UsageError(f"learning_rates is {self.learning_rates}; give at least one, and none twice.")
        if any(not 0 < rate < math.inf for rate in self.learning_rates):
            raise UsageError(f"learning_rates is {self.learning_rates}; each must be a positive number.")
        if len(self.seeds) < 2 or _repeats(self.seeds):
            raise UsageError(
                f"seeds is {self.seeds}; an interval needs at least two seeds, and none twice, for example (0, 1)."
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """What is tried at every level count: mixtures over strata, variants, or nothing but the data as it is."""
        return self.mixtures if self.strata else self.variants or ("",)


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")


def _repeats(values: Sequence[float]) -> bool:
    return len(set(values)) < len(values)
