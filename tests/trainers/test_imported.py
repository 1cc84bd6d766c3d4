"""Policies can be trained on imported data whose environment cannot be played here."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.interop.webshop_import import import_demonstrations
from envs.errors import UsageError
from tests.data.test_webshop_demos import row, write
from trainers.launch import run
from trainers.recipes import build_experiment

OVERRIDES = [
    "env=webshop/demonstrations",
    "train.learner_steps=4",
    "train.batch_size=8",
    "train.evaluate_every=2",
    "network.hidden_size=16",
    "tracking.wandb=disabled",
]


@pytest.fixture
def imported(tmp_path: Path) -> str:
    import_demonstrations([write(tmp_path / "demos.jsonl", *[row(rewards=[0, 0, 10])] * 3)], tmp_path / "set")
    return f"data.datasets=('{tmp_path / 'set'}',)"


def test_behavioral_cloning_of_imported_demonstrations(imported: str, tmp_path: Path) -> None:
    config = build_experiment("shop-bc", [*OVERRIDES, imported, "evaluation.protocol=none"])
    result = run(config, tmp_path / "run")
    assert (result.learner_step, result.best_step, result.metrics) == (4, 4, {})
    assert (tmp_path / "run" / "checkpoints" / "best").exists()
    longer = build_experiment("shop-bc", [*OVERRIDES, imported, "evaluation.protocol=none", "train.learner_steps=6"])
    assert run(longer, tmp_path / "again").learner_step == 6


def test_an_environment_that_cannot_be_played_says_what_to_do(imported: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be played here.*evaluation.protocol=none.*--plugin"):
        run(build_experiment("shop-bc", [*OVERRIDES, imported]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
