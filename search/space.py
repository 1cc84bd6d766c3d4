"""What a study tries: the grid of level counts, mixtures, learning rates and seeds, and each trial's experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.spec import LevelSet
from metrics.protocols import is_shift
from search.config import SweepConfig, slug
from search.strata import mixture_levels, mixture_weights, strata_of
from search.variants import TRANSITIONS, axis_of, transitions_of
from trainers.config import ExperimentConfig

DIVERGED = "diverged.json"
"""In the folder of a trial that diverged: why."""
STOPPED = "stopped.json"
"""In the folder of a trial that was stopped early: at which learner step."""


@dataclass(frozen=True)
class TrialSpec:
    """One point of the grid."""

    num_levels: int
    learning_rate: float
    seed: int
    mixture: str = ""
    """Name of the mixture over strata, or of the variant; empty in a study without either."""

    @property
    def data_id(self) -> str:
        """Names the data that it learns from."""
        return f"levels-{self.num_levels}" + (f"-{slug(self.mixture)}" if self.mixture else "")

    @property
    def config_id(self) -> str:
        """Names the configuration: everything but the seed."""
        return f"{self.data_id}-lr-{self.learning_rate:g}"

    @property
    def trial_id(self) -> str:
        """Names the trial; also its folder and its W&B run."""
        return f"{self.config_id}-seed-{self.seed}"


def trial_specs(config: SweepConfig) -> list[TrialSpec]:
    """Every point of the grid; the seeds of one configuration follow each other."""
    return [
        TrialSpec(num_levels, learning_rate, seed, mixture)
        for num_levels in config.level_counts
        for mixture in config.arms
        for learning_rate in config.learning_rates
        for seed in config.seeds
    ]


def param_space(groups: Sequence[Sequence[TrialSpec]]) -> dict[str, Any]:
    """Groups of points as Tune's search space: one trial for each, named by its first point."""
    from ray import tune

    return {"trial": tune.grid_search([dataclasses.asdict(group[0]) for group in groups])}


def trial_groups(config: SweepConfig) -> list[list[TrialSpec]]:
    """The points that each of Tune's trials trains: one, or all seeds of a configuration."""
    groups: dict[str, list[TrialSpec]] = {}
    for spec in trial_specs(config):
        groups.setdefault(spec.config_id if config.seeds_together else spec.trial_id, []).append(spec)
    return list(groups.values())


def group_of(config: SweepConfig, params: Mapping[str, Any]) -> list[TrialSpec]:
    """The points that the trial with a point of `param_space` trains."""
    first = TrialSpec(**params["trial"])
    (specs,) = (group for group in trial_groups(config) if group[0] == first)
    return specs


def data_specs(config: SweepConfig) -> list[TrialSpec]:
    """One trial for each dataset of the study, in grid order."""
    return list({spec.data_id: spec for spec in reversed(trial_specs(config))}.values())[::-1]


def collected_levels(config: SweepConfig, spec: TrialSpec) -> LevelSet:
    """The levels that are recorded for a trial: the first training levels of the study's protocol and its mixture."""
    env = config.experiment.env
    mixture = spec.mixture if config.strata else ""
    return mixture_levels(config.judge.protocol, env, config.strata, mixture, spec.num_levels)


def dataset_path(study_dir: Path, spec: TrialSpec) -> Path:
    """Where the dataset of a trial lies; trials that differ in learning rate, seed and size only share it."""
    sized = axis_of([spec.mixture]) == TRANSITIONS
    return study_dir / "data" / (dataclasses.replace(spec, mixture="") if sized else spec).data_id


def trial_path(study_dir: Path, trial_id: str) -> Path:
    """Where a trial keeps its history, checkpoints and result."""
    return study_dir / "trials" / trial_id


def has_diverged(study_dir: Path, spec: TrialSpec) -> bool:
    """Whether a trial ended because its loss was no longer a finite number."""
    return (trial_path(study_dir, spec.trial_id) / DIVERGED).exists()


def has_stopped(study_dir: Path, spec: TrialSpec) -> bool:
    """Whether a trial was stopped early."""
    return (trial_path(study_dir, spec.trial_id) / STOPPED).exists()


def experiment_of(config: SweepConfig, spec: TrialSpec, study_dir: Path) -> ExperimentConfig:
    """The complete experiment of one trial, at the study's fixed number of transitions."""
    base = config.experiment
    data = dataclasses.replace(
        base.data,
        datasets=(str(dataset_path(study_dir, spec)),),
        num_levels=spec.num_levels,
        max_transitions=transitions_of(spec.mixture, config.num_transitions),
        strata=config.strata,
        strata_weights=_weights(config, spec),
    )
    train = dataclasses.replace(base.train, learning_rate=spec.learning_rate)
    evaluation = base.evaluation
    if is_shift(config.judge.protocol):  # what is held out must be the same during the search and after it
        evaluation = dataclasses.replace(evaluation, protocol=config.judge.protocol)
    return dataclasses.replace(base, name=spec.trial_id, seed=spec.seed, data=data, train=train, evaluation=evaluation)


def _weights(config: SweepConfig, spec: TrialSpec) -> dict[str, float]:
    if not config.strata:
        return {}
    strata = strata_of(config.judge.protocol, config.experiment.env, config.strata)
    return mixture_weights(spec.mixture, list(strata))
