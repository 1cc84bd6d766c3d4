"""Comparisons are paired by level and find a known difference; sides are studies, trials, tables or level counts."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from envs.errors import RunError, UsageError
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.compare import compare, compare_lines
from search.level_scores import Bootstrap
from tests.search.synthetic_study import NO_EFFECT, Truth, rows, write_study

FEW = Bootstrap(num_resamples=300)


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "maze")


def only(value: dict[str, object], role: str, mode: str = "sampled") -> dict[str, object]:
    (row,) = [r for r in value["comparisons"] if (r["role"], r["mode"]) == (role, mode)]  # type: ignore[attr-defined]
    return row  # type: ignore[no-any-return]


def test_the_difference_of_two_level_counts_is_the_true_one(study_dir: Path) -> None:
    value = compare(f"{study_dir}:10", f"{study_dir}:1000", FEW)
    row = only(value, "test")
    truth = Truth()
    assert row["difference"]["point"] == pytest.approx(10 * (truth.test[2] - truth.test[0]))  # type: ignore[index]
    assert row["difference"]["low"] > 0  # type: ignore[index]
    assert row["verdict"] == "B is better"
    assert row["num_levels"] == 120
    assert row["num_runs"] == {"a": 2, "b": 2}
    json.dumps(value, allow_nan=False)


def test_swapping_the_sides_turns_the_sign(study_dir: Path) -> None:
    there = only(compare(f"{study_dir}:10", f"{study_dir}:1000", FEW), "test")
    back = only(compare(f"{study_dir}:1000", f"{study_dir}:10", FEW), "test")
    assert back["difference"]["point"] == pytest.approx(-there["difference"]["point"])  # type: ignore[index]
    assert back["verdict"] == "A is better"
    assert back["levels_better"] == {"a": there["levels_better"]["b"], "b": there["levels_better"]["a"]}  # type: ignore[index]


def test_only_levels_that_both_played_count(study_dir: Path) -> None:
    # Ten training levels against a thousand: 10 and 50 of them were played.
    assert only(compare(f"{study_dir}:10", f"{study_dir}:1000", FEW), "train")["num_levels"] == 10


def test_two_trials_by_folder(study_dir: Path) -> None:
    folders = [study_dir / "trials" / f"levels-100-lr-{rate}-seed-0" for rate in ("0.0005", "0.001")]
    row = only(compare(str(folders[0]), str(folders[1]), FEW), "validation")
    assert (row["a"], row["b"]) == (folders[0].name, folders[1].name)
    assert row["difference"]["point"] == pytest.approx(1.0)  # type: ignore[index]


def test_two_studies_are_compared_at_every_common_level_count(study_dir: Path, tmp_path: Path) -> None:
    other = write_study(tmp_path / "flat", NO_EFFECT)
    value = compare(str(study_dir), str(other), FEW)
    test = [row for row in value["comparisons"] if row["role"] == "test"]
    assert [row["difference"]["point"] for row in test] == pytest.approx([1.0, -0.5, -3.0])
    assert "at 1000 levels" in "\n".join(compare_lines(value))


def test_tables_without_a_study(tmp_path: Path) -> None:
    from metrics.protocol import Role

    for name, success in (("a", 0.5), ("b", 0.5)):
        EvaluationTable(rows(name, Role.VALIDATION, success)).write(tmp_path / f"{name}.parquet")
    row = only(compare(str(tmp_path / "a.parquet"), f"{tmp_path / 'b.parquet'}:b", FEW), "validation")
    assert row["difference"]["point"] == 0  # type: ignore[index]
    assert row["verdict"] == "not resolved"
    assert row["probability_b_is_better"]["point"] == 0.5  # type: ignore[index]


def test_runs_are_compared_where_they_were_evaluated(tmp_path: Path) -> None:
    from metrics.protocol import Role

    for name, success in (("a", 0.25), ("b", 0.75)):
        (tmp_path / name).mkdir()
        table = EvaluationTable(rows(name, Role.VALIDATION, success))
        if name == "b":
            table.write(tmp_path / name / "evaluation" / "paper" / "evaluations.parquet")
            with pytest.raises(UsageError, match=r"other protocols only; give .*/evaluation/paper/"):
                compare(str(tmp_path / "a"), str(tmp_path / name), FEW)
        else:
            with pytest.raises(UsageError, match=r"`gengap evaluate .*/a`"):
                compare(str(tmp_path / name), str(tmp_path), FEW)
        table.write(tmp_path / name / "evaluation" / "evaluations.parquet")
    row = only(compare(str(tmp_path / "a"), f"{tmp_path / 'b'}:b", FEW), "validation")
    assert row["difference"]["point"] > 0  # type: ignore[index]
    assert row["a"] == str(tmp_path / "a")


def test_splits_that_lie_in_different_environments_are_not_compared(tmp_path: Path) -> None:
    from metrics.protocol import Role

    for name, env in (("a", "shop/3k"), ("b", "shop/catalogue-b")):
        shared, shifted = rows(name, Role.TRAIN, 0.5), rows(name, Role.VALIDATION, 0.5)
        table = EvaluationTable(pd.concat([shared, shifted.assign(env=env)]))
        table.write(tmp_path / f"{name}.parquet")
        EvaluationTable(shifted.assign(env=env)).write(tmp_path / f"{name}-only.parquet")
    value = compare(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), FEW)
    assert [row["role"] for row in value["comparisons"]] == ["train"]
    with pytest.raises(UsageError, match="different environments"):
        compare(str(tmp_path / "a-only.parquet"), str(tmp_path / "b-only.parquet"), FEW)


def test_intervals_repeat_with_the_seed_and_change_with_it(study_dir: Path) -> None:
    sides = (f"{study_dir}:10", f"{study_dir}:100")
    assert compare(*sides, FEW) == compare(*sides, FEW)
    assert compare(*sides, FEW) != compare(*sides, Bootstrap(seed=1, num_resamples=300))


def test_wrong_use_is_answered(study_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean '1000'"):
        compare(f"{study_dir}:100000", str(study_dir))
    with pytest.raises(UsageError, match="does not exist"):
        compare(str(tmp_path / "nothing"), str(study_dir))
    with pytest.raises(UsageError, match="Both sides are"):
        compare(f"{study_dir}:10", f"{study_dir}:10")
    with pytest.raises(UsageError, match=r"neither study\.json nor evaluations\.parquet"):
        compare(str(tmp_path), str(study_dir))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match="no evaluation table"):
        compare(str(tmp_path / "notes.txt"), str(study_dir))


def test_one_sentence_answers_whether_b_is_better_on_unseen_levels(study_dir: Path, tmp_path: Path) -> None:
    better = compare(f"{study_dir}:10", f"{study_dir}:1000", FEW)
    assert better["answer"].startswith("B (")
    assert "is better than A" in better["answer"]
    assert "on 120 unseen levels (test, sampled actions)" in better["answer"]
    assert "paired level by level" in better["answer"]
    assert compare_lines(better)[-1] == better["answer"]
    assert "is worse than A" in compare(f"{study_dir}:1000", f"{study_dir}:10", FEW)["answer"]

    EvaluationTable(rows("a", Role.TRAIN, 0.5)).write(tmp_path / "a.parquet")
    EvaluationTable(rows("b", Role.TRAIN, 0.5)).write(tmp_path / "b.parquet")
    only_train = compare(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), FEW)
    assert "nothing can be said about unseen ones" in only_train["answer"]
    for name, count in (("c", 1), ("d", 1)):
        EvaluationTable(rows(name, Role.VALIDATION, 0.5, num_played=count)).write(tmp_path / f"{name}.parquet")
    one = compare(str(tmp_path / "c.parquet"), str(tmp_path / "d.parquet"), FEW)
    assert "one level: nothing to resample" in one["answer"]


def test_best_and_last_weights_of_a_run_are_not_two_runs(tmp_path: Path) -> None:
    for run, best in (("a", 0.4), ("b", 0.6)):
        frames = [rows(f"{run}/{w}", Role.VALIDATION, s, weights=w) for w, s in (("best", best), ("last", 0.1))]
        EvaluationTable(pd.concat(frames)).write(tmp_path / f"{run}.parquet")
    row = only(compare(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), FEW), "validation")
    assert row["num_runs"] == {"a": 1, "b": 1}
    assert row["difference"]["point"] == pytest.approx(2.0)  # type: ignore[index]


def test_levels_that_not_everybody_played_are_said_to_be_left_out(study_dir: Path, tmp_path: Path) -> None:
    for name, count in (("whole", 60), ("half", 30)):
        EvaluationTable(rows(name, Role.VALIDATION, 0.5, num_played=count)).write(tmp_path / f"{name}.parquet")
    found = compare(str(tmp_path / "half.parquet"), str(tmp_path / "whole.parquet"), FEW)
    assert only(found, "validation")["num_levels_left_out"] == {"a": 0, "b": 30}
    assert any("30 validation levels (sampled actions) are left out" in line for line in compare_lines(found))
    whole = compare(f"{study_dir}:10", f"{study_dir}:1000", FEW)
    assert only(whole, "test")["num_levels_left_out"] == {"a": 0, "b": 0}
    assert not any("left out" in line for line in compare_lines(whole))


def test_tables_that_mean_nothing_are_refused(study_dir: Path, tmp_path: Path) -> None:
    broken = rows("a", Role.VALIDATION, 0.5)
    broken.loc[7, "episode_return"] = float("nan")
    broken.to_parquet(tmp_path / "nan.parquet")
    with pytest.raises(RunError, match=r"1 of 60 episodes of .*nan\.parquet' .* level 1000007"):
        compare(str(tmp_path / "nan.parquet"), str(study_dir))
    EvaluationTable.empty().write(tmp_path / "empty.parquet")
    with pytest.raises(UsageError, match="holds no episode"):
        compare(str(tmp_path / "empty.parquet"), str(study_dir))
