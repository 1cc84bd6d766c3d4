"""What a study tries: the grid of level counts, learning rates and seeds, and each trial's experiment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.protocols import is_shift
from search.config import SweepConfig
from trainers.config import ExperimentConfig


@dataclass(frozen=True)
class TrialSpec:
    """One point of the grid."""

    num_levels: int
    learning_rate: float
    seed: int

    @property
    def config_id(self) -> str:
        """Names the configuration: everything but the seed."""
        return f"levels-{self.num_levels}-lr-{self.learning_rate:g}"

    @property
    def trial_id(self) -> str:
        """Names the trial; also its folder and its W&B run."""
        return f"{self.config_id}-seed-{self.seed}"


def trial_specs(config: SweepConfig) -> list[TrialSpec]:
    """Every point of the grid; the seeds of one configuration follow each other."""
    return [
        TrialSpec(num_levels, learning_rate, seed)
        for num_levels in config.level_counts
        for learning_rate in config.learning_rates
        for seed in config.seeds
    ]


def param_space(config: SweepConfig) -> dict[str, Any]:
    """The same grid as Tune's search space."""
    from ray import tune

    return {"trial": tune.grid_search([dataclasses.asdict(spec) for spec in trial_specs(config)])}


def dataset_path(study_dir: Path, num_levels: int) -> Path:
    """Where the dataset of one level count lies."""
    return study_dir / "data" / f"levels-{num_levels}"


def trial_path(study_dir: Path, trial_id: str) -> Path:
    """Where a trial keeps its history, checkpoints and result."""
    return study_dir / "trials" / trial_id


def experiment_of(config: SweepConfig, spec: TrialSpec, study_dir: Path) -> ExperimentConfig:
    """The complete experiment of one trial, at the study's fixed number of transitions."""
    base = config.experiment
    data = dataclasses.replace(
        base.data,
        datasets=(str(dataset_path(study_dir, spec.num_levels)),),
        num_levels=spec.num_levels,
        max_transitions=config.num_transitions,
    )
    train = dataclasses.replace(base.train, learning_rate=spec.learning_rate)
    evaluation = base.evaluation
    if is_shift(config.judge.protocol):  # what is held out must be the same during the search and after it
        evaluation = dataclasses.replace(evaluation, protocol=config.judge.protocol)
    return dataclasses.replace(base, name=spec.trial_id, seed=spec.seed, data=data, train=train, evaluation=evaluation)
