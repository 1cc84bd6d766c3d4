"""What the report shows of a policy was really played, is typical, and never touches the sealed test."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import search.examples
import search.showing
from envs.errors import RunError
from metrics.ledger import SealedTestError
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.examples import SHEET_LEVELS, WON, choose_examples, choose_sheets
from search.level_scores import Bootstrap
from search.recipes import build_sweep
from search.report import write_report
from search.report_shown import episodes_section, read_shown
from search.showing import first_frames, show_study
from search.study import read_study
from tests.search.played_study import LEVEL_COUNTS, NUM_VALIDATION, write_played_study
from tests.search.synthetic_study import FIRST_LEVEL, write_study

FEW = Bootstrap(num_resamples=100)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_played_study(tmp_path_factory.mktemp("played") / "study")


@pytest.fixture(scope="module")
def shown(played: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(show_study(read_study(played)).read_text())
    return value


def test_the_examples_are_the_best_of_train_and_the_worst_of_validation(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "study"))
    examples = choose_examples(study)
    assert [(e.num_levels, e.role) for e in examples] == [
        (10, "train"), (10, "validation"), (1000, "train"), (1000, "validation"),
    ]  # fmt: skip
    for example in examples:
        rows = study.table.where(policy=example.policy, role=example.role, mode="sampled").frame
        best = rows["normalized_return"].max() if example.role == "train" else rows["normalized_return"].min()
        assert example.normalized_return == best
        assert example.num_alike == int((rows["normalized_return"] == best).sum())
        assert example.num_played == len(rows)


def test_of_equal_levels_the_one_of_median_length_is_shown(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    frame = EvaluationTable.read(directory / "evaluations.parquet").frame
    frame["length"] = np.arange(len(frame))[::-1]
    EvaluationTable(frame).write(directory / "evaluations.parquet")
    study = read_study(directory)
    for example in choose_examples(study):
        rows = study.table.where(policy=example.policy, role=example.role, mode="sampled").frame
        alike = rows[rows["normalized_return"] == example.normalized_return]["length"].sort_values().tolist()
        assert example.length == alike[(len(alike) - 1) // 2]


def test_no_test_level_is_ever_chosen(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "study"))
    assert "test" in study.table.roles
    levels = [e.level for e in choose_examples(study)] + [level for s in choose_sheets(study) for level in s.levels]
    assert max(levels) < FIRST_LEVEL[Role.TEST]
    only_test = EvaluationTable(study.table.frame[study.table.frame["role"] == "test"])
    only_test.write(study.directory / "evaluations.parquet")
    assert choose_examples(read_study(study.directory)) == []


def test_a_test_level_would_be_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(write_study(tmp_path / "study"))
    object.__setattr__(study, "config", dataclasses.asdict(build_sweep("grid-diversity")))
    monkeypatch.setattr(search.examples, "UNSEEN_ROLES", (Role.TEST,))
    with pytest.raises(SealedTestError):
        show_study(study)
    assert not (study.directory / "shown").exists()


def test_a_sheet_counts_what_was_won_on_all_levels(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "study"))
    train, validation = choose_sheets(study)
    assert (train.role, validation.role) == ("train", "validation")
    assert len(validation.levels) == SHEET_LEVELS
    rows = study.table.where(policy=validation.policy, role="validation", mode="sampled").frame
    assert validation.num_won == int((rows["normalized_return"] >= WON).sum()) == 36  # 0.6 of 60
    by_level = dict(zip(rows["level"], rows["episode_return"], strict=True))
    assert [by_level[level] for level in validation.levels] == list(validation.episode_returns)


def test_what_is_shown_came_out_as_it_was_judged(played: Path, shown: dict[str, Any]) -> None:
    table = EvaluationTable.read(played / "evaluations.parquet")
    assert len(shown["examples"]) == 2 * len(LEVEL_COUNTS)
    for example in shown["examples"]:
        assert example["same_as_evaluated"]
        (row,) = table.where(policy=example["policy"], role=example["role"], level=example["level"]).frame.itertuples()
        assert (example["replayed_return"], example["replayed_length"]) == (row.episode_return, row.length)
        with Image.open(played / "shown" / example["file"]) as gif:
            frames = 1 + -(-example["replayed_length"] // example["stride"])
            assert gif.n_frames <= frames  # type: ignore[attr-defined]  # PIL merges frames that do not differ
            assert gif.n_frames > 1  # type: ignore[attr-defined]


def test_a_replay_that_comes_out_otherwise_says_so(played: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(played, copy)
    frame = EvaluationTable.read(copy / "evaluations.parquet").frame
    EvaluationTable(frame.assign(length=frame["length"] + 1)).write(copy / "evaluations.parquet")
    record = json.loads(show_study(read_study(copy)).read_text())
    assert not any(example["same_as_evaluated"] for example in record["examples"])
    section = episodes_section({"shown": read_shown(read_study(copy))}, [])
    assert all("came out otherwise" in scene.caption for scene in section.scenes)


def test_sheets_hold_the_first_frames_of_their_levels(played: Path, shown: dict[str, Any]) -> None:
    assert [sheet["role"] for sheet in shown["sheets"]] == ["train", "validation"]
    for sheet in shown["sheets"]:
        strip = np.asarray(Image.open(io.BytesIO((played / "shown" / sheet["file"]).read_bytes())))
        frames = np.split(strip, len(sheet["levels"]), axis=1)
        np.testing.assert_array_equal(frames, first_frames(sheet["env"], sheet["levels"], "image"))
        assert len({frame.tobytes() for frame in frames}) > 1


def test_what_was_shown_is_not_played_again_until_the_selection_changes(
    played: Path, shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("played again")

    monkeypatch.setattr(search.showing, "_keep_example", refuse)
    study = read_study(played)
    assert show_study(study) == played / "shown" / "shown.json"
    other = study.table.frame.assign(episode_return=-study.table.frame["episode_return"])
    EvaluationTable(other.assign(normalized_return=other["episode_return"])).write(played / "other.parquet")
    changed = EvaluationTable.read(played / "other.parquet")
    object.__setattr__(study, "table", changed)
    assert read_shown(study) is None
    with pytest.raises(AssertionError, match="played again"):
        show_study(study)


def test_the_report_shows_them(played: Path, shown: dict[str, Any]) -> None:
    page = write_report(played, FEW)
    html, markdown = page.read_text(), (page.parent / "report.md").read_text()
    assert html.count("data:image/gif;base64,") == len(shown["examples"])
    for example in shown["examples"]:
        gif = f"episode_{example['role']}_{example['num_levels']}.gif"
        assert (page.parent / gif).read_bytes() == (played / "shown" / example["file"]).read_bytes()
        assert gif in markdown
        assert f"the {example['num_played']:,} {example['role']} levels that it played" in html
    assert f"of {NUM_VALIDATION} validation levels; it wins" in html
    assert "--animate" not in html


def test_a_lost_checkpoint_and_an_unfinished_study_are_said(played: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(played, copy)
    shutil.rmtree(copy / "shown", ignore_errors=True)
    shutil.rmtree(copy / "trials")
    with pytest.raises(RunError, match="without --animate"):
        show_study(read_study(copy))
    EvaluationTable(pd.DataFrame(EvaluationTable.empty().frame)).write(copy / "evaluations.parquet")
    with pytest.raises(RunError, match="nothing to show"):
        show_study(read_study(copy))
