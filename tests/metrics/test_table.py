from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.episode import EpisodeResult
from envs.errors import RunError, UsageError
from envs.seeding import rng_for
from envs.spec import EnvSpec, LevelSet
from metrics import protocol as protocols
from metrics.protocol import EvaluationProtocol, Role
from metrics.statistics import iqm
from metrics.table import KEY_COLUMNS, EvaluationTable, summarize

SPEC = EnvSpec("grid/default", {}, 5, 50, 2**31 - 1, {"official": (5.0, 10.0), "paper": (0.0, 20.0)})
PROTOCOL = protocols.strict(
    SPEC,
    LevelSet.range(SPEC.name, 0, 8),
    num_validation=6,
    num_test=5,
    episodes_per_level=3,
    modes=("sampled", "greedy"),
)


def played(role: Role, mode: Any, policy: str = "p", seed: int = 0) -> list[EpisodeResult]:
    rng = rng_for("returns", role.value, mode, policy, seed)
    jobs = PROTOCOL.split(role).jobs(mode)
    return [EpisodeResult(SPEC.name, lv, ep, float(rng.uniform(5, 10)), 9, True, False) for lv, ep in jobs]


def table_of(role: Role, mode: Any = "sampled", policy: str = "p", seed: int = 0, **extra: Any) -> EvaluationTable:
    results = played(role, mode, policy, seed)
    return EvaluationTable.from_results(
        results, spec=SPEC, protocol=PROTOCOL, role=role, mode=mode, policy=policy, train_seed=seed, extra=extra
    )


def full_table(policies: int = 2) -> EvaluationTable:
    return EvaluationTable.concat(
        table_of(role, mode, f"p{seed}", seed)
        for role in PROTOCOL.roles
        for mode in PROTOCOL.modes
        for seed in range(policies)
    )


def test_rows_do_not_depend_on_the_order_of_play() -> None:
    results = played(Role.TEST, "sampled")
    tables = [
        EvaluationTable.from_results(
            order, spec=SPEC, protocol=PROTOCOL, role=Role.TEST, mode="sampled", policy="p"
        ).frame
        for order in (results, results[::-1])
    ]
    pd.testing.assert_frame_equal(*tables)


def test_scores_average_repeats_on_each_level() -> None:
    table = EvaluationTable.concat([table_of(Role.TEST, policy="b", seed=1), table_of(Role.TEST, policy="a")])
    expected = []
    for policy, seed in (("a", 0), ("b", 1)):
        results = played(Role.TEST, "sampled", policy, seed)
        by_level = [[r.episode_return for r in results if r.level == lv] for lv in PROTOCOL.split(Role.TEST).levels]
        expected.append([(sum(values) / 3 - 5.0) / 5.0 for values in by_level])
    np.testing.assert_allclose(table.scores(Role.TEST), expected)
    raw = table.scores("test", metric="episode_return", policy="a")
    np.testing.assert_allclose(raw, np.array(expected[:1]) * 5 + 5)


def test_the_protocols_normalization_table_is_used() -> None:
    paper = EvaluationProtocol("paper", PROTOCOL.splits, normalization="paper")
    results = played(Role.TEST, "sampled")
    table = EvaluationTable.from_results(results, spec=SPEC, protocol=paper, role=Role.TEST, mode="sampled", policy="p")
    np.testing.assert_allclose(table.frame["normalized_return"], table.frame["episode_return"] / 20)


def test_a_repeated_key_is_refused() -> None:
    table = table_of(Role.TRAIN)
    with pytest.raises(UsageError, match="24 evaluation rows appear twice"):
        table.append(table)


def test_a_run_that_lacks_a_level_is_named() -> None:
    table = EvaluationTable.concat([table_of(Role.TRAIN, policy="a"), table_of(Role.TRAIN, policy="b")])
    frame = table.frame
    holed = EvaluationTable(frame[~((frame.policy == "b") & (frame.level == 3))])
    with pytest.raises(UsageError, match="'b'"):
        holed.scores(Role.TRAIN)


def test_missing_evaluations_and_columns_are_answered() -> None:
    with pytest.raises(UsageError, match=r"it holds roles \['train'\]"):
        table_of(Role.TRAIN).scores(Role.TEST)
    with pytest.raises(UsageError, match="Did you mean 'policy'"):
        table_of(Role.TRAIN).where(polcy="p")
    with pytest.raises(UsageError, match="missing:"):
        EvaluationTable(table_of(Role.TRAIN).frame.drop(columns="train_seed"))


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_a_written_table_reads_back_equal(name: str, tmp_path: Path) -> None:
    table = table_of(Role.TRAIN, num_levels=10, learning_rate=0.1 + 0.2, config_id="c").append(full_table())
    path = table.write(tmp_path / "deep" / name)
    pd.testing.assert_frame_equal(EvaluationTable.read(path).frame, table.frame)
    assert [file.name for file in path.parent.iterdir()] == [name]
    empty = EvaluationTable.empty().write(tmp_path / name)
    assert len(EvaluationTable.read(empty)) == 0


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table_of(Role.TRAIN).write(tmp_path / "table.parquet")
    before = path.read_bytes()

    def torn(frame: pd.DataFrame, target: Path, **options: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", torn)
    with pytest.raises(OSError, match="No space"):
        full_table().write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"not a table"])
def test_a_damaged_file_is_named(damage: bytes, tmp_path: Path) -> None:
    for name in ("table.parquet", "table.csv"):
        (tmp_path / name).write_bytes(damage)
        with pytest.raises((RunError, UsageError), match=name):
            EvaluationTable.read(tmp_path / name)
    with pytest.raises(RunError, match="cannot be read"):
        EvaluationTable.read(tmp_path / "missing.parquet")
    with pytest.raises(UsageError, match=r"\.parquet or \.csv"):
        EvaluationTable.empty().write(tmp_path / "table.xlsx")


def test_summary_names_and_values() -> None:
    table = full_table()
    flat = summarize(table)
    assert all(math.isfinite(value) for value in flat.values())
    scores = {role: table.scores(role) for role in PROTOCOL.roles}
    assert flat["eval/validation/normalized_return"] == pytest.approx(scores[Role.VALIDATION].mean())
    assert flat["eval/validation/iqm"] == pytest.approx(iqm(scores[Role.VALIDATION]))
    gap = scores[Role.TRAIN].mean() - scores[Role.VALIDATION].mean()
    assert flat["eval/gap/validation"] == pytest.approx(gap)
    assert flat["eval/gap/validation_low"] <= gap <= flat["eval/gap/validation_high"]
    greedy = table.scores(Role.TEST, "greedy").mean()
    assert flat["eval/test/greedy_normalized_return"] == pytest.approx(greedy)
    assert flat["eval/gap/greedy_test"] == pytest.approx(table.scores(Role.TRAIN, "greedy").mean() - greedy)
    assert flat["eval/train/num_levels"] == 8
    assert "eval/gap/train" not in flat


def test_summary_repeats_and_has_no_test_without_test_rows() -> None:
    table = EvaluationTable.concat([table_of(Role.TRAIN), table_of(Role.VALIDATION)])
    assert summarize(table) == summarize(EvaluationTable(table.frame.sample(frac=1, random_state=0)))
    assert not [name for name in summarize(table) if "test" in name]
    assert summarize(EvaluationTable.empty()) == {}


def test_an_interval_that_cannot_be_formed_is_left_out() -> None:
    frame = table_of(Role.TRAIN).frame
    flat = summarize(EvaluationTable(frame[frame.level == 0]))
    assert "eval/train/normalized_return" in flat
    assert "eval/train/normalized_return_low" not in flat


def test_episode_metrics_and_unbounded_environments() -> None:
    unbounded = EnvSpec(SPEC.name, {}, 5, 50, 2**31 - 1)
    result = EpisodeResult(SPEC.name, 0, 0, 7.0, 3, False, True, {"success": 1.0})
    table = EvaluationTable.from_results(
        [result], spec=unbounded, protocol=PROTOCOL, role=Role.TRAIN, mode="greedy", policy="p"
    )
    row = table.frame.iloc[0]
    assert (row["success"], row["normalized_return"], row["truncated"]) == (1.0, 7.0, True)
    assert set(table.frame.columns[: len(KEY_COLUMNS)]) == set(KEY_COLUMNS)
