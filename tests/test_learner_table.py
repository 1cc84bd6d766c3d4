"""The command behind the learners' tables: resumable, sealed until a reason is given, and strict about what counts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learner_table, learner_worlds
from benchmarks.learner_markdown import markdown, verdict
from benchmarks.learner_worlds import WORLDS, experiment_of
from metrics.ledger import Ledger


def line(algorithm: str, returns: list[float], *, track: str = "ours", seed: int = 0) -> dict[str, Any]:
    played = {"sampled": returns, "greedy": returns}
    names = {"kind": "open", "world": "grid", "algorithm": algorithm, "track": track, "seed": seed}
    numbers = {"data_return": 0.9, "data_episodes": 3, "data_transitions": 30, "learner_steps": 5}
    return {**names, **numbers, "returns": {"train": played, "validation": played}}


@pytest.mark.parametrize(
    ("cloned", "guessed", "expected"),
    [
        ([0.9] * 20, [0.0, 0.2] * 10, "yes"),
        ([0.5] * 20, [0.0, 0.2] * 10, "undertrained"),  # under 60 % of 0.9
        ([0.7] * 20, [0.0, 1.0] * 10, "undertrained"),  # inside the random policy's interval
    ],
)
def test_a_row_counts_where_cloning_beats_chance_and_nears_its_data(
    cloned: list[float], guessed: list[float], expected: str
) -> None:
    lines = [line("random", guessed), line("bc", cloned), line("cql", [1.0] * 20)]
    assert verdict(lines, "ours") == expected
    assert verdict(lines, "paper") == "?"
    lost = [*lines, line("iql", guessed)]
    assert verdict(lost, "ours", "iql") == ("at chance" if expected == "yes" else expected)
    rows = [row for row in markdown(lines, ["grid"]) if "`cql`" in row]
    assert rows[0].endswith(f"| {expected} |")


def test_differences_to_cloning_are_paired_by_level() -> None:
    clone = [0.0, 1.0] * 20
    lines = [line("random", clone), line("bc", clone), line("cql", [value + 0.25 for value in clone])]
    row = next(row for row in markdown(lines, ["grid"]) if "`cql`" in row)
    assert "+0.25 [+0.25, +0.25]" in row  # every level differs by the same, so there is nothing to be unsure of


def test_the_published_track_keeps_its_settings_but_for_size() -> None:
    config = experiment_of(WORLDS["coinrun"], "bcq", "paper", 0, ("data",))
    assert config.network.pixels == "raw"
    assert config.network.encoder == "small"
    assert config.train.learning_rate == 5e-4
    assert config.algorithm.options["target_update"] == "copy"
    assert config.algorithm.options["target_period"] == config.train.learner_steps // 10
    assert config.evaluation.protocol == "strict"
    windows = experiment_of(WORLDS["coinrun"], "bct", "paper", 0, ("data",))
    assert windows.train.batch_size == 64 // 30
    shop = experiment_of(WORLDS["shop"], "cql", "paper", 0, ("data",))
    assert (shop.algorithm.options["alpha"], shop.algorithm.options["reward_scale"]) == (4.0, 10.0)
    assert shop.network.encoder == "cross"


@pytest.mark.slow
def test_a_table_is_made_once_and_the_test_read_with_a_permit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = WORLDS["grid"]
    small = {name: dataclasses.replace(c, num_levels=4, min_transitions=40) for name, c in grid.collections.items()}
    sizes = {"learner_steps": 2, "batch_size": 8, "num_train_levels": 3, "num_heldout_levels": 4}
    world = dataclasses.replace(grid, collections=small, algorithms={"ours": ("bc", "iql"), "paper": ("bct",)}, **sizes)
    monkeypatch.setitem(learner_worlds.WORLDS, "grid", world)
    monkeypatch.setattr(learner_table.os, "nice", lambda step: 15)
    words = ["grid", "--seeds", "2", "--out", str(tmp_path)]
    learner_table.main(words)
    lines = learner_table.read_lines(tmp_path)
    assert [(x["algorithm"], x["track"], x["seed"]) for x in lines] == [
        ("random", "ours", 0),
        *(
            (name, track, seed)
            for seed in (0, 1)
            for name, track in (("bc", "ours"), ("iql", "ours"), ("bct", "paper"))
        ),
    ]
    assert not (tmp_path / "ledger.jsonl").exists()

    # A line torn by a crash is made again, and only that one.
    path = tmp_path / "lines.jsonl"
    whole = path.read_text()
    path.write_text(whole[: whole.rindex('{"kind"') + 50])
    learner_table.main(words)
    again = learner_table.read_lines(tmp_path)
    assert again[:-1] == lines[:-1]
    assert again[-1]["returns"] == lines[-1]["returns"]

    for _ in range(2):
        learner_table.main([*words, "--test", "a test of the table"])
    permits = Ledger(tmp_path / "ledger.jsonl").permits()
    assert len(permits) == 7
    assert not any(permit.repeated for permit in permits)
    assert all(len(x["returns"]["test"]["sampled"]) == 4 for x in learner_table.read_lines(tmp_path)[7:])
    capsys.readouterr()
    learner_table.main([*words, "--table"])
    shown = capsys.readouterr().out
    assert shown.count("| ours | `bc` | 2 |") == 1
    assert json.loads(shown.splitlines()[-1])["lines"] == 14
