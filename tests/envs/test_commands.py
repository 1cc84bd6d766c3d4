"""`gengap envs`: what the commands print and return."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.audit import audit_levels, level_hashes, summarize
from envs.commands import add_arguments, read_actions, run
from envs.errors import UsageError
from envs.level_text import parse_levels
from envs.procgen import whole_level
from envs.replay import replay
from envs.spec import LevelSet


def envs(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    result = run(parser.parse_args(words))
    json.dumps(result, allow_nan=False)
    return result


def test_list_shows_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = envs("list", "procgen/bigfish")["environments"]
    assert row["max_episode_steps"] == 6000
    assert row["return_bounds"] == {"official": [1, 40], "paper": [1, 40]}
    assert "image uint8[64,64,3]" in capsys.readouterr().out
    assert len(envs("list", "procgen/*-hard")["environments"]) == 16
    with pytest.raises(UsageError, match="Did you mean 'grid/default'"):
        envs("list", "grid/defalt")


def test_list_shows_the_shifts_that_train_in_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    shifts = envs("list", "shop/default")["shifts"]
    assert [shift["name"] for shift in shifts] == [f"shop-I{number}" for number in range(9)]
    assert (shifts[8]["train"], shifts[8]["validation"], shifts[8]["test"]) == ("shop/default", "shop/3k", "shop/10k")
    assert "shop-I3                 shop/default        shop/default        sub-categories" in capsys.readouterr().out
    assert envs("list", "procgen/maze")["shifts"] == []


def test_bench_measures(capsys: pytest.CaptureFixture[str]) -> None:
    result = envs("bench", "grid/default", "--num-envs", "8", "--steps", "70", "--num-levels", "5")
    assert result["num_episodes"] >= 8
    assert result["warm_steps_per_s"] > 0
    assert "steps/s" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--steps is 0"):
        envs("bench", "grid/default", "--steps", "0")


@pytest.mark.procgen
def test_bench_compares_with_the_native_engine() -> None:
    result = envs("bench", "procgen/leaper-hard", "--num-envs", "2", "--steps", "10", "--num-levels", "2")
    assert result["native_steps_per_s"] > 0


@pytest.mark.procgen
def test_audit_finds_levels_that_look_the_same() -> None:
    result = envs("audit", "procgen/maze", "--levels", "0:200", "--against", "200:300")
    assert result["num_levels"] == 200
    assert len(result["duplicate_groups"]) > 0
    repeated = sum(len(group) - 1 for group in result["duplicate_groups"])
    assert result["num_distinct"] == 200 - repeated
    for first, *rest in result["duplicate_groups"]:
        frame = whole_level("maze", "easy", first)
        assert all((whole_level("maze", "easy", level) == frame).all() for level in rest)
    others = {whole_level("maze", "easy", level).tobytes() for level in range(200, 300)}
    assert result["seen_before"]
    assert all(whole_level("maze", "easy", level).tobytes() in others for level in result["seen_before"])


def test_hashes_do_not_depend_on_the_batch() -> None:
    levels = LevelSet.range("grid/default", 10, 25)
    assert level_hashes(levels, batch=4) == level_hashes(levels, batch=64)
    assert audit_levels(levels).seen_before is None


def test_summarize_counts_groups() -> None:
    audit = summarize([4, 5, 6, 7], ["a", "b", "a", "c"], {"c", "z"})
    assert audit == (4, 3, ((4, 6),), (7,))


def test_replay_identifies_every_observation() -> None:
    actions = [1, 2, 3, 4, 1, 2]
    first = replay("grid/default", 3, actions)
    assert replay("grid/default", 3, actions) == first
    assert replay("grid/default", 4, actions)["observations_hash"] != first["observations_hash"]
    assert replay("grid/default", 3, [0] * 6)["observations_hash"] != first["observations_hash"]
    long = replay("grid/default", 3, [0] * 100)
    assert (long["length"], long["truncated"], long["unused_actions"]) == (60, True, 40)
    with pytest.raises(UsageError, match="non-empty list"):
        replay("grid/default", 3, [])


def test_replay_reads_actions_in_three_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "actions.npy", np.array([1, 2, 3]))
    (tmp_path / "actions.json").write_text("[1, 2, 3]")
    results = [
        envs("replay", "quiz/default", "3", "--actions", text)
        for text in ("1,2,3", str(tmp_path / "actions.npy"), str(tmp_path / "actions.json"))
    ]
    assert results[0] == results[1] == results[2]
    assert envs("replay", "quiz/default", "3", "--random", "0")["length"] > 1


@pytest.mark.parametrize("text", ["", "1,x", "1.5"])
def test_wrong_actions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="actions"):
        read_actions(text)


def test_a_file_without_actions_is_refused(tmp_path: Path) -> None:
    for content in ("[]", "[0.5]", '{"a": 1}', "[[1]]"):
        (tmp_path / "actions.json").write_text(content)
        with pytest.raises(UsageError, match="actions"):
            read_actions(str(tmp_path / "actions.json"))


def test_levels_are_written_as_a_range_or_a_list() -> None:
    assert parse_levels("grid/default", "3:6") == LevelSet.of("grid/default", [3, 4, 5])
    assert parse_levels("grid/default", "7, 1,2") == LevelSet.of("grid/default", [7, 1, 2])
    assert parse_levels("grid/default", "5").levels == (5,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", "grid/default", "5", "--random", "-1"), "--random is -1"),
        (("replay", "grid/default", "5", "--actions", "4294967297"), "received 4294967297"),
        (("replay", "grid/default", "5", "--actions", "1,99999999999999999999"), "integers"),
        (("replay", "grid/default", "5", "--actions", "no.json"), "no.json: No such file"),
        (("replay", "grid/default", "5", "--actions", "no.npy"), "no.npy: No such file"),
        (("replay", "grid/default", "-5", "--actions", "1"), "level -5"),
        (("replay", "grid/default", "99999999999999999999", "--actions", "1"), "does not exist"),
        (("reward", "procgen/jumper", "nan"), "return is nan"),
        (("reward", "procgen/jumper", "1", "inf"), "return is inf"),
        (("bench", "grid/default", "--num-threads", "2"), "--num-threads is for the Procgen engine"),
        (("bench", "procgen/maze", "--num-threads", "-1"), "num_threads is -1"),
    ],
)
def test_wrong_use_is_answered(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=message):
        envs(*words)
    assert capsys.readouterr().out == ""


def test_empty_and_damaged_files_are_refused(tmp_path: Path) -> None:
    for name, content in (("a.npy", b""), ("b.npy", b"nonsense"), ("c.json", b""), ("d.json", bytes([255, 254]))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="actions"):
            read_actions(str(tmp_path / name))


def test_reward_normalizes_with_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    result = envs("reward", "procgen/jumper", "10", "3")
    assert result["normalized"]["official"] == [1, 0]
    assert result["normalized"]["paper"] == pytest.approx([1, 2 / 9])
    assert "official" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5:",
        "5-9",
        "1,1",
        "[1,2]",
        "9999999999",
        "9" * 5000,
        "a:b",
        "3:3",
        "0:9999999999",
        "9999999998:9999999999",
        "-1:4",
    ],
)
def test_wrong_level_ranges_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"(?i)level"):
        envs("audit", "grid/default", f"--levels={text}")
