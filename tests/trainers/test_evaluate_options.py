"""`gengap evaluate`: chosen splits and levels, best and last weights, changed conditions, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import gengap
from data.episode import EpisodeResult
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.ledger import Ledger, ledger_of, ledger_table
from metrics.protocol import Role, strict
from metrics.robustness import shift_conditions, visual_conditions
from metrics.robustness_plot import robustness_figure
from metrics.table import EvaluationTable
from tests.trainers.helpers import grid_experiment
from trainers.chosen_levels import parse_splits, split_levels, with_levels
from trainers.evaluation import SCORE
from trainers.launch import run_inline

SPEC = make_spec("grid/default")
PROTOCOL = strict(SPEC, LevelSet.range("grid/default", 0, 8), num_validation=4, num_test=4)
SMALL = ["num_train_levels=4", "num_validation_levels=4", "num_test_levels=4", "num_envs=4", "num_actors=0"]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        gengap.main(list(words))
    return int(ended.value.code or 0)


@pytest.fixture
def trained(grid_data: Path, tmp_path: Path) -> Path:
    """A run whose best and last weights differ."""
    config = grid_experiment(grid_data, learner_steps=6, evaluate_every=2)
    run_inline(config, tmp_path / "run", evaluate=lambda policy, step: {SCORE: {2: 0.1, 4: 0.9, 6: 0.2}[step]})
    return tmp_path / "run"


def test_splits_are_read_and_the_test_stays_sealed() -> None:
    assert parse_splits(None, PROTOCOL, test=False) == [Role.TRAIN, Role.VALIDATION]
    assert parse_splits(None, PROTOCOL, test=True) == [Role.TRAIN, Role.VALIDATION, Role.TEST]
    assert parse_splits("validation, train", PROTOCOL, test=False) == [Role.TRAIN, Role.VALIDATION]
    assert parse_splits("test", PROTOCOL, test=True) == [Role.TEST]
    for text, test, message in (
        ("validaton", False, "Did you mean 'validation'"),
        ("test", False, "say why: --test"),
        ("train", True, "leaves it out"),
        (",", False, "names no split"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_splits(text, PROTOCOL, test=test)


def test_levels_are_read_and_sealed_ones_are_refused_for_other_splits() -> None:
    other = with_levels(PROTOCOL, split_levels(["validation=50:53", "train=0:8"]))
    assert other.split(Role.VALIDATION).levels.levels == (50, 51, 52)
    assert other.name == "strict, other levels"
    assert with_levels(PROTOCOL, split_levels(["train=0:8"])) == PROTOCOL
    for words, message in (
        (["validation"], "write SPLIT=LEVELS"),
        (["validaton=1"], "Did you mean 'validation'"),
        (["test=1", "test=2"], "twice"),
        (["validation=2000000:2000002"], "belongs to the sealed test"),
        (["validation=2000900"], "belongs to the sealed test"),
        (["validation=x"], "names no levels"),
        (["train_heldout=5"], "Did you mean"),
    ):
        with pytest.raises(UsageError, match=message):
            with_levels(PROTOCOL, split_levels(words))


def test_returns_that_are_no_numbers_are_refused() -> None:
    results = [
        EpisodeResult(
            env="grid/default", level=level, episode=0, terminated=True, truncated=False, episode_return=value, length=3
        )
        for level, value in ((3, 1.0), (4, float("nan")), (5, float("inf")))
    ]
    with pytest.raises(RunError, match=r"2 of 3 episodes of 'p' .* level 4 of 'grid/default'"):
        EvaluationTable.from_results(results, spec=SPEC, protocol=PROTOCOL, role=Role.TRAIN, mode="sampled", policy="p")


def test_one_ledger_per_study_and_another_name_for_the_same_network_is_a_repeated_read(tmp_path: Path) -> None:
    trial = tmp_path / "study" / "trials" / "a"
    trial.mkdir(parents=True)
    assert ledger_of(trial) == trial / "ledger.jsonl"
    (tmp_path / "study" / "study.json").write_text("{}")
    ledger = Ledger(ledger_of(trial))
    assert ledger.path == tmp_path / "study" / "ledger.jsonl"
    first = ledger.issue("a", "c", "d", "validation", "selected", protocol="strict", network="policy-1")
    other = ledger.issue("b", "c", "d", "validation", "selected", network="policy-2")
    again = ledger.issue("copy/of-a", "c", "d", "by hand", "curious", network="policy-1")
    assert [p.repeated for p in (first, other, again)] == [False, False, True]
    header, rows = ledger_table(ledger.records())
    told = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["reads before"], row["read"]) for row in told] == [
        ("0 (0 of this policy)", "first read"),
        ("1 (0 of this policy)", "first read"),
        ("2 (1 of this policy)", "REPEATED READ"),
    ]
    names = ("protocol", "configuration", "data", "rule")
    assert [told[0][name] for name in names] == ["strict", "c", "d", "validation"]


def test_conditions_cover_every_change_and_the_shifts_of_the_environment() -> None:
    split = PROTOCOL.split(Role.VALIDATION)
    conditions = visual_conditions(split, ("blur", "fog"))
    assert [(c.family, c.strength) for c in conditions] == [
        ("none", 0),
        *(("blur", s) for s in (1, 2, 3)),
        *(("fog", s) for s in (1, 2, 3)),
    ]
    assert {c.split.levels.levels for c in conditions} == {split.levels.levels}
    with pytest.raises(UsageError, match="Did you mean 'blur'"):
        visual_conditions(split, ("blurr",))
    shop = make_spec("shop/default")
    shifts = shift_conditions(shop, LevelSet.range("shop/default", 0, 30), Role.VALIDATION, 5)
    assert [c.family for c in shifts] == [f"shop-I{i}" for i in range(9)]
    assert "training levels are of the kind that is held out" in shifts[3].note
    assert "training levels are of the kind" not in shifts[0].note


def test_best_and_last_weights_are_judged_under_one_protocol(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", str(trained), *SMALL, "--splits", "validation", "--json", "--test", "x") == 2
    assert "leaves it out" in capsys.readouterr().err
    assert run("evaluate", str(trained), *SMALL, "--test", "both weights", "--json") == 0
    captured = capsys.readouterr()
    printed = json.loads(captured.out.splitlines()[-1])
    assert "at least 500 test episodes" in captured.out + captured.err
    assert list(printed["policies"]) == ["run/step-00000004", "run/step-00000006"]
    assert printed["policy"] == "run/step-00000004"
    assert printed["protocol"] == "strict"
    table = EvaluationTable.read(Path(printed["table"]))
    assert table.frame.groupby("policy")["weights"].first().to_dict() == {
        "run/step-00000004": "best",
        "run/step-00000006": "last",
    }
    assert len(Ledger(trained / "ledger.jsonl").permits()) == 2
    statistics = json.loads(Path(printed["statistics"]).read_text())
    assert statistics["protocol"]["weights"] == ["best", "last"]
    for entry in statistics["statistics"]:
        assert all(value["reason"] or value["low"] is not None for value in entry["statistics"].values())

    last = str(trained / "checkpoints" / "last")
    assert run("evaluate", last, *SMALL, "--splits", "validation", "--levels", "validation=70:73", "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["protocol"] == "strict, other levels"
    assert printed["eval/validation/num_levels"] == 3
    assert list(printed["policies"]) == ["run/step-00000006"]


def test_a_run_is_judged_although_its_data_is_gone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained / "checkpoints" / "last" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "data": {**config["data"], "datasets": ["gone"]}}))
    last = str(trained / "checkpoints" / "last")
    assert run("evaluate", last, *SMALL) == 1
    assert "--levels train=0:200" in capsys.readouterr().err
    assert run("evaluate", last, *SMALL, "--levels", "train=0:6") == 0


def test_a_robustness_curve_has_a_table_a_picture_and_no_test(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(trained), *SMALL, "--robustness", "blur", "--test", "curious") == 2
    assert "plays no test levels" in capsys.readouterr().err
    assert run("evaluate", str(trained), *SMALL, "--robustness", "num_validation_level=2") == 2
    assert "Did you mean 'num_validation_levels'" in capsys.readouterr().err
    assert run("evaluate", str(trained), *SMALL, "modes=('greedy',)", "--robustness", "blur", "--json") == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    curve = printed["curve"]
    assert [(e["family"], e["strength"]) for e in curve] == [
        ("none", 0), ("blur", 1), ("blur", 2), ("blur", 3), ("grid-variants", 1),
    ]  # fmt: skip
    assert curve[0]["loss"] is None
    assert curve[4]["loss"] is None
    assert all(np.isfinite(e["normalized_return"]["point"]) for e in curve)
    table = EvaluationTable.read(Path(printed["table"]))
    assert set(table.frame["env"]) == {
        "grid/default",
        "grid/distractors",
        *(f"grid/default+blur-{s}" for s in (1, 2, 3)),
    }
    assert not (table.frame["role"] == "test").any()
    assert Path(printed["pictures"][0]).stat().st_size > 5_000
    assert not (trained / "ledger.jsonl").exists()
    with pytest.raises(UsageError, match="without entries"):
        robustness_figure([], title="nothing")


def test_evaluators_and_actors_may_change_when_a_run_goes_on(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, learner_steps=2)
    run_inline(config, tmp_path, evaluate=lambda policy, step: {})
    changed = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, num_actors=7))
    assert run_inline(changed, tmp_path, evaluate=lambda policy, step: {}).learner_step == 2


def test_what_is_no_run_is_said_to_be_none(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", str(trained.parent), *SMALL) == 2
    assert f"no run, but there are some in it: {trained}" in capsys.readouterr().err
    assert run("evaluate", str(trained / "config.json"), *SMALL) == 2
    assert "is a file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("evaluate", str(tmp_path / "empty"), *SMALL) == 2
    assert "train it first" in capsys.readouterr().err
    assert run("evaluate", str(trained), "num_validation_levels=0") == 2
    assert "num_validation_levels is 0; it must be at least 1" in capsys.readouterr().err
