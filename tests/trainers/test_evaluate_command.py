"""`gengap evaluate RUN`: both modes, the test only with a reason that is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gengap
from metrics.ledger import Ledger
from metrics.table import EvaluationTable

pytestmark = pytest.mark.ray

SMALL = ["num_train_levels=4", "num_validation_levels=4", "num_test_levels=4"]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        gengap.main(list(words))
    return int(ended.value.code or 0)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    data, out = str(tmp_path / "data"), tmp_path / "run"
    assert run("collect", "grid-expert", "num_levels=8", "min_transitions=80", "num_actors=0", "--out", data) == 0
    fast = ["train.learner_steps=4", "train.batch_size=16", "tracking.wandb=disabled"]
    small = ["evaluation.num_train_levels=2", "evaluation.num_validation_levels=2", "evaluation.num_envs=4"]
    assert run("train", "grid-bc", "--data", data, "--out", str(out), *fast, *small) == 0
    return out


def test_a_run_is_evaluated_and_its_test_read_only_with_a_reason(
    ray_cluster: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(trained), *SMALL, "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["eval/train/num_levels"] == 4
    assert not any(name.startswith("eval/test") for name in printed)
    assert not (trained / "ledger.jsonl").exists()

    assert run("evaluate", str(trained), *SMALL, "--test", "chosen by validation") == 0
    table = EvaluationTable.read(trained / "evaluation" / "evaluations.parquet")
    assert table.roles == ["train", "validation", "test"]
    assert table.modes == ["sampled", "greedy"]
    (permit,) = Ledger(trained / "ledger.jsonl").permits()
    assert permit.reason == "chosen by validation"
    assert table.policies == [permit.policy_id]

    assert run("evaluate", str(trained), *SMALL, "--test", " ") == 2
    assert "reason" in capsys.readouterr().err


def test_a_missing_run_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", str(tmp_path / "nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err
