"""Test rows that were read stay readable, whatever is evaluated afterwards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from metrics.table import EvaluationTable
from trainers.sealed_rows import write_keeping_test


def table(
    roles: tuple[str, ...], *, levels: int = 3, policy: str = "p", worth: float = 1.0, **extra: float
) -> EvaluationTable:
    rows = [
        {
            "protocol": "strict",
            "role": role,
            "env": "grid/default",
            "level": level,
            "episode": 0,
            "mode": mode,
            "policy": policy,
            "train_seed": 0,
            "episode_return": worth * level,
            "normalized_return": worth * level,
            "length": 5,
            "terminated": True,
            "truncated": False,
            "success": 1.0,
            **extra,
        }
        for role in roles
        for level in range(levels)
        for mode in ("sampled", "greedy")
    ]
    return EvaluationTable(pd.DataFrame(rows), ["success"])


def test_an_evaluation_without_the_test_keeps_the_rows_that_were_read(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.parquet"
    write_keeping_test(table(("train", "validation", "test")), path)
    written = write_keeping_test(table(("train", "validation"), levels=2), path)
    again = EvaluationTable.read(path)
    assert again.frame.equals(written.frame)
    assert (again.frame["role"] == "test").sum() == 6
    assert (again.frame["role"] == "train").sum() == 4
    assert again.episode_metrics == ("success",)
    write_keeping_test(table(("train", "validation", "test"), levels=2), path)
    assert (EvaluationTable.read(path).frame["role"] == "test").sum() == 6
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("change", [{"policy": "q"}, {"worth": 2.0}, {"temperature": 2.0}])
@pytest.mark.parametrize("roles", [("train",), ("train", "test")])
def test_test_rows_of_something_else_are_kept_beside_it(
    tmp_path: Path, roles: tuple[str, ...], change: dict[str, float]
) -> None:
    path = tmp_path / "evaluations.parquet"
    first = write_keeping_test(table(("train", "test")), path)
    second = table(roles, **change)  # type: ignore[arg-type]
    write_keeping_test(second, path)
    assert EvaluationTable.read(path).frame.equals(second.frame)
    assert EvaluationTable.read(tmp_path / "evaluations-1.parquet").frame.equals(first.frame)
    write_keeping_test(table(("train",), policy="r"), path)
    assert (tmp_path / "evaluations-2.parquet").exists() == ("test" in roles)


def test_a_table_that_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.parquet"
    path.write_bytes(b"damaged")
    write_keeping_test(table(("train",)), path)
    assert (tmp_path / "evaluations-1.parquet").read_bytes() == b"damaged"
    assert EvaluationTable.read(path).roles == ["train"]
