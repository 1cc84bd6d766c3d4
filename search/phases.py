"""The phases of a study before and after the search. Each keeps what it made, so an interrupted study goes on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.collect import CollectConfig, collect
from data.goals import coverage_of
from envs.console import Progress, say
from envs.errors import RunError
from envs.spec import LevelSet
from metrics.protocol import Role
from search.config import SweepConfig
from search.selection import find_rule, needs_crafted
from search.space import (
    TrialSpec,
    collected_levels,
    data_specs,
    dataset_path,
    experiment_of,
    has_diverged,
    trial_path,
    trial_specs,
)
from search.study import CONFIG_FILE, RANDOM_POLICY, read_json
from search.variants import options_of, recorded_transitions_of
from trainers.config import EvaluationConfig
from trainers.evaluation import protocol_of
from trainers.launch import run
from trainers.training_data import TrainingData, open_training_data

EXTRA_DATA = 1.1
"""So many times the trained transitions are recorded in a study that selects by crafted shifts."""
RETRAINED = "retrained"
"""Name of the policy that is trained again on several workers."""


@dataclass(frozen=True, kw_only=True)
class StudyPolicy:
    """One policy to judge."""

    name: str
    """Trial id, "retrained" or "random"."""
    checkpoint: Path | None
    """None for the random policy."""
    levels: LevelSet
    """The training levels of its data."""
    num_levels: int
    train_seed: int = 0
    columns: dict[str, float | int | str] = dataclasses.field(default_factory=dict)
    """Constant columns of its rows in the evaluation table."""


def collect_datasets(config: SweepConfig, study_dir: Path) -> list[dict[str, Any]]:
    """One dataset per level count and mixture, of at least the study's number of transitions; existing ones are kept.

    Levels are the first ones of the same list, so larger sets contain the smaller ones.
    """
    records = []
    for spec in data_specs(config):
        path = dataset_path(study_dir, spec)
        if not path.exists():
            _collect(config, spec, path)
        records.append(_realised(config, study_dir, spec))
    return records


def _realised(config: SweepConfig, study_dir: Path, spec: TrialSpec) -> dict[str, Any]:
    """What a trial really learns from."""
    data = open_training_data(experiment_of(config, spec, study_dir))
    view = data.view
    strata = {"mixture": spec.mixture, **({"strata": data.report["sources"]} if config.strata else {})}
    return {
        "num_levels": spec.num_levels,
        "realised_levels": len(view.levels),
        "realised_transitions": view.num_transitions,
        "num_episodes": view.num_episodes,
        "fingerprint": view.fingerprint,
        "mean_return": float(view.episodes["return"].mean()),
        "measures": measures_of(config.judge, data),
        **strata,
    }


def measures_of(judge: EvaluationConfig, data: TrainingData) -> dict[str, float]:
    """Counts and measures of what is learned from, by name; goals are those of the validation levels."""
    wanted = protocol_of(judge, data.spec, data.levels).split(Role.VALIDATION).levels
    prefix = "data/diversity/"
    return {
        **{name.removeprefix(prefix): value for name, value in data.diversity.items() if name.startswith(prefix)},
        **coverage_of(data.spec.name, data.levels.levels, wanted.env, wanted.levels),
    }


def recorded_transitions(config: SweepConfig) -> int:
    """What is recorded of every level count: more than is trained on, where the rule needs episodes that are not."""
    extra = EXTRA_DATA if needs_crafted(find_rule(config.selection_rule)) else 1.0
    return math.ceil(extra * recorded_transitions_of(config.variants, config.num_transitions))


def _collect(config: SweepConfig, spec: TrialSpec, path: Path) -> None:
    wanted = CollectConfig(
        env=config.experiment.env,
        source=config.collect_source,
        levels=collected_levels(config, spec),
        min_transitions=recorded_transitions(config),
        options=options_of(spec.mixture if config.variants else "", config.collect_options),
        num_actors=config.num_actors,
    )
    label = f"collect {spec.num_levels} levels" + (f" ({spec.mixture})" if spec.mixture else "")
    with Progress(label, recorded_transitions(config), "transitions") as progress:
        collect(wanted, path, progress=progress.update)


def retrain(config: SweepConfig, study_dir: Path, config_id: str) -> Path:
    """Train the selected configuration again, sharded over workers by Ray Train; returns its run directory."""
    spec = next(spec for spec in trial_specs(config) if spec.config_id == config_id)
    experiment = experiment_of(config, spec, study_dir)
    train = dataclasses.replace(experiment.train, num_workers=config.retrain_workers)
    run_dir = study_dir / RETRAINED
    say(f"Retrain: {config_id} on {config.retrain_workers} workers")
    run(dataclasses.replace(experiment, name=RETRAINED, train=train), run_dir, group=config.name)
    return run_dir


def retrained_as(config: SweepConfig, study_dir: Path, spec: TrialSpec) -> bool:
    """Whether the retrained run is of a trial's configuration; told by what configurations differ in, not by paths."""
    stored = read_json(study_dir / RETRAINED / CONFIG_FILE)
    wanted = experiment_of(config, spec, study_dir)
    return _told_apart_by(stored) == _told_apart_by(dataclasses.asdict(wanted))


def _told_apart_by(experiment: Mapping[str, Any]) -> list[Any]:
    data = experiment["data"]
    folders = [Path(path).name for path in data["datasets"]]
    options = [data[name] for name in ("num_levels", "max_transitions", "strata_weights")]
    return [folders, *options, experiment["train"]["learning_rate"]]


def policies_of(config: SweepConfig, study_dir: Path) -> list[StudyPolicy]:
    """The random policy, then the policy of every trial that did not diverge."""
    largest = collected_levels(config, data_specs(config)[-1])
    random = StudyPolicy(name=RANDOM_POLICY, checkpoint=None, levels=largest, num_levels=len(largest))
    trained = [spec for spec in trial_specs(config) if not has_diverged(study_dir, spec)]
    return [random, *(trial_policy(config, study_dir, spec) for spec in trained)]


def trial_policy(config: SweepConfig, study_dir: Path, spec: TrialSpec, run_dir: Path | None = None) -> StudyPolicy:
    """The judged checkpoint of a trial, or of the retrained run in `run_dir`.

    Raises:
        RunError: If the trial left no checkpoint.
    """
    folder = run_dir or trial_path(study_dir, spec.trial_id)
    checkpoint = folder / "checkpoints" / config.checkpoint
    if not checkpoint.exists():
        raise RunError(f"The trial {spec.trial_id} left no checkpoint {checkpoint}; run the same command again.")
    columns: dict[str, float | int | str] = {"num_levels": spec.num_levels, "learning_rate": spec.learning_rate}
    if spec.mixture:
        columns["mixture"] = spec.mixture
    return StudyPolicy(
        name=folder.name,
        checkpoint=checkpoint.resolve(),
        # Where the budget ends before the last level, not all that were recorded are learned from.
        levels=open_training_data(experiment_of(config, spec, study_dir)).levels,
        num_levels=spec.num_levels,
        train_seed=spec.seed,
        # The retrained policy is no trial: without a configuration no rule can select it.
        columns=columns | ({"config_id": spec.config_id} if run_dir is None else {"config_id": ""}),
    )
