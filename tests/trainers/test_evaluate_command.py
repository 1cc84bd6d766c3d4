"""`gengap evaluate RUN`: both modes, the test only with a reason that is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gengap
from data.dataset import Dataset
from metrics.ledger import Ledger
from metrics.protocol import Role
from metrics.protocols import training_levels
from metrics.table import KEY_COLUMNS, EvaluationTable

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

    assert run("evaluate", str(trained), *SMALL) == 0
    again = EvaluationTable.read(trained / "evaluation" / "evaluations.parquet").frame
    keys = list(KEY_COLUMNS)
    assert again.set_index(keys).sort_index().equals(table.frame.set_index(keys).sort_index())

    for reason in (" ", ""):
        assert run("evaluate", str(trained), *SMALL, "--test", reason) == 2
        assert f"--test is {reason!r}; it needs a reason" in capsys.readouterr().err


def test_a_run_is_judged_by_a_shift_over_several_environments(
    ray_cluster: Any, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(trained), *SMALL, "--protocol", "grid-variants", "--test", "chosen by validation") == 0
    table = EvaluationTable.read(trained / "evaluation" / "grid-variants" / "evaluations.parquet")
    assert table.roles == [role.value for role in Role]
    envs = table.frame.groupby("role")["env"].first().to_dict()
    assert (envs["train_heldout"], envs["validation"]) == ("grid/default", "grid/distractors")
    assert envs["test"] == "grid/chain-3"

    assert run("evaluate", str(trained), "--protocol", "shop-I3") == 2
    assert "trains in 'shop/default', but 'grid/default' was given" in capsys.readouterr().err
    assert run("evaluate", str(trained), "--protocol", "shop-i3") == 2
    assert "Did you mean 'shop-I3'" in capsys.readouterr().err
    assert run("evaluate", str(trained), "--env", "grid/themes") == 2
    assert "leave --env out" in capsys.readouterr().err


def test_a_source_is_played_without_training(
    ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "grid-expert", "--protocol", "grid-variants", *SMALL, "num_envs=4") == 0
    table = EvaluationTable.read(Path("runs/grid-expert/evaluation/grid-variants/evaluations.parquet"))
    assert table.policies == ["grid-expert"]
    assert table.roles == ["train", "train_heldout", "validation"]
    assert table.frame["normalized_return"].min() == pytest.approx(1)
    assert run("evaluate", "random", "--env", "grid/themes", *SMALL) == 0
    assert run("evaluate", "random") == 2
    assert "choose one with --env" in capsys.readouterr().err


def test_data_is_collected_for_a_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["num_levels=5", "min_transitions=20", "num_actors=0", "num_envs=4"]
    out = tmp_path / "data"
    assert run("collect", "shop-noisy", "protocol=shop-I4", "env=shop/default", *words, "--out", str(out)) == 0
    levels = Dataset.open(out).levels.tolist()
    assert levels == list(training_levels("shop-I4", "shop/default", 5))
    assert levels != list(range(5))
    assert run("collect", "shop-noisy", "protocol=shop-I4", "first_level=3", *words, "--out", str(out)) == 2
    assert "chooses the levels itself" in capsys.readouterr().err
    assert run("collect", "shop-noisy", "protocol=shop-I44", *words, "--out", str(out)) == 2
    assert "Did you mean 'shop-I4'" in capsys.readouterr().err


def test_a_missing_run_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", str(tmp_path / "nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err
