"""A tiny study whose policies were really trained and really played, in seconds and without Ray."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from actors.evaluate import evaluate
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.config import SweepConfig
from search.selection import select_configurations
from search.space import trial_path, trial_specs
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.config import EvaluationConfig
from trainers.evaluation import protocol_of
from trainers.launch import run

LEVEL_COUNTS = (2, 6)
NUM_VALIDATION = 12


def write_played_study(directory: Path) -> Path:
    """Record, train two level counts x two seeds, play train and validation, select; the test stays sealed."""
    directory.mkdir(parents=True)
    record_grid(directory / "data", levels=range(max(LEVEL_COUNTS)))
    base = grid_experiment(directory / "data", learner_steps=40)
    judge = EvaluationConfig(
        num_train_levels=6, num_validation_levels=NUM_VALIDATION, num_test_levels=4, num_envs=8, modes=("sampled",)
    )
    config = SweepConfig(
        name="played", experiment=base, collect_source="grid-expert", level_counts=LEVEL_COUNTS,
        learning_rates=(1e-3,), judge=judge,
    )  # fmt: skip
    tables = []
    for spec in trial_specs(config):
        data = dataclasses.replace(base.data, num_levels=spec.num_levels)
        experiment = dataclasses.replace(base, name=spec.trial_id, seed=spec.seed, data=data)
        run(experiment, trial_path(directory, spec.trial_id))
        protocol = protocol_of(judge, make_spec(base.env), LevelSet.range(base.env, 0, spec.num_levels))
        table = evaluate(
            trial_path(directory, spec.trial_id) / "checkpoints" / "last",
            protocol,
            roles=[Role.TRAIN, Role.VALIDATION],
            seed=base.seed,
            num_envs=judge.num_envs,
            policy_name=spec.trial_id,
            train_seed=spec.seed,
            extra={"config_id": spec.config_id, "num_levels": spec.num_levels},
        )
        tables.append(table)
    table = EvaluationTable.concat(tables)
    table.write(directory / "evaluations.parquet")
    _write(directory / "selection.json", select_configurations(table, "validation").to_json())
    _write(directory / "config.json", dataclasses.asdict(config))
    header = {"name": "played", "env": base.env, "level_counts": list(LEVEL_COUNTS), "seeds": [0, 1]}
    _write(directory / "study.json", header)
    return directory


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
