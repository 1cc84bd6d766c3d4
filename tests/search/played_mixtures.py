"""A tiny mixture search whose full runs were really trained and really played, in seconds and without Ray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from actors.evaluate import evaluate
from data.dataset import Dataset
from envs.registry import make_spec
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.mixture_arms import Arms, summary
from search.mixture_config import MixtureSearchConfig
from search.mixture_sweep import open_mixture_study
from search.mixture_trials import MixtureTrial, experiment_of
from search.selection import Choice, Selection
from search.space import trial_path
from tests.search.test_mixture_search import finish
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.config import EvaluationConfig
from trainers.evaluation import protocol_of
from trainers.launch import run
from trainers.training_data import open_training_data

VALIDATION = 12


def write_played_mixtures(directory: Path) -> Path:
    """Two arms of two configurations each, one full run of two seeds for each, played on train and validation."""
    sizes = {name: len(record_grid(directory / "sources" / name, levels)) for name, levels in SOURCES.items()}
    config = MixtureSearchConfig(
        name="mixtures",
        experiment=grid_experiment(directory / "data", learner_steps=10),
        sources={name: f"grid-expert levels=0:9 transitions={size}" for name, size in sizes.items()},
        num_transitions=100,
        arms={"search": "random", "even": "stratified"},
        baseline="even",
        dimensions={"train.learning_rate": "log 1e-3 2e-3"},
        num_proposals=2,
        confirm_seeds=(100, 101),
        judge=EvaluationConfig(
            num_train_levels=6, num_validation_levels=VALIDATION, num_test_levels=4, num_envs=8, modes=("sampled",)
        ),
    )
    log = open_mixture_study(config, directory, "gengap sweep")
    arms = Arms(config, directory, sizes)
    while trials := arms.next_trials():
        for trial in trials:
            finish(directory, trial, 0.1 * trial.number)
            arms.end(trial)
    confirmed = arms.confirming()
    tables = [_played(config, trial, directory) for trial in confirmed]
    EvaluationTable.concat(tables).write(directory / "evaluations.parquet")
    log.add(
        sources={name: _about(Dataset.open(directory / "sources" / name)) for name in sizes},
        configurations=summary(arms),
        confirmed=[_answer(config, name, confirmed, directory) for name in config.arms],
        compute={name: {"trials": 6.0, "transitions_seen": 100.0} for name in config.arms},
    )
    selection = Selection(
        rule="validation",
        visible_roles=("train", "validation"),
        choices=tuple(
            Choice(config_id=f"{name}-confirmed", policies=_names(confirmed, name), num_levels=9, score=0.1, reason="")
            for name in config.arms
        ),
        overall="search-confirmed",
    )
    named = [
        dataclasses.replace(choice, mixture=name) for choice, name in zip(selection.choices, config.arms, strict=True)
    ]
    _write(directory / "selection.json", dataclasses.replace(selection, choices=tuple(named)).to_json())
    return directory


SOURCES = {"near": range(6), "far": range(20, 29)}


def _played(config: MixtureSearchConfig, trial: MixtureTrial, directory: Path) -> EvaluationTable:
    experiment = experiment_of(config, trial, directory)
    run_dir = trial_path(directory, trial.trial_id)
    run(experiment, run_dir)
    levels = open_training_data(experiment).levels
    return evaluate(
        run_dir / "checkpoints" / "last",
        protocol_of(config.judge, make_spec(experiment.env), levels),
        roles=[Role.TRAIN, Role.VALIDATION],
        seed=config.experiment.seed,
        num_envs=config.judge.num_envs,
        policy_name=trial.trial_id,
        train_seed=trial.seed,
        extra={"config_id": trial.config_id, "num_levels": len(levels), "arm": trial.arm},
    )


def _about(dataset: Dataset) -> dict[str, Any]:
    return {
        "transitions": len(dataset),
        "episodes": dataset.num_episodes,
        "levels": len(dataset.levels),
        "mean_return": float(dataset.episodes["return"].mean()),
        "played_by": "solver",
        "fingerprint": dataset.fingerprint,
    }


def _answer(config: MixtureSearchConfig, name: str, trials: list[MixtureTrial], directory: Path) -> dict[str, Any]:
    first = next(trial for trial in trials if trial.arm == name)
    return {
        "arm": name,
        "how": config.arms[name],
        "config_id": first.config_id,
        "number": first.number,
        "weights": dict(zip(config.sources, first.weights, strict=True)),
        "values": dict(first.values),
        "policies": list(_names(trials, name)),
        "realised": open_training_data(experiment_of(config, first, directory)).report,
    }


def _names(trials: list[MixtureTrial], arm: str) -> tuple[str, ...]:
    return tuple(trial.trial_id for trial in trials if trial.arm == arm)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
