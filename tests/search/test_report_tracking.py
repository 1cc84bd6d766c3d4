"""A person who opens only W&B finds the numbers, the tables and the pictures of the report there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.files import atomic_write_json
from search.level_scores import Bootstrap
from search.regret import rule_regrets
from search.report import write_report
from search.report_shown import wanted_examples
from search.report_tracking import track_report
from search.robustness import robustness_table
from search.study import REGRETS_FILE, read_study
from tests.metrics.wandb_reader import read_records, read_rows
from tests.search.synthetic_study import (
    LEVEL_COUNTS,
    changed_rows,
    open_table,
    sealed_rows,
    trial_specs,
    write_study,
)

FEW = Bootstrap(num_resamples=100)
NEWER = ("robustness", "rules", "worst-levels")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A study whose report was written to W&B offline, with a transcript and an animation, and its numbers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        directory = write_study(tmp_path_factory.mktemp("tracked") / "study")
        _show(directory)
        _change_and_compare(directory)
        page = write_report(directory, FEW, wandb="offline")
        sys.modules["wandb"].teardown()  # closes the local log
        yield directory, json.loads((page.parent / "report.json").read_text())


def _show(directory: Path) -> None:
    from PIL import Image

    wanted = wanted_examples(read_study(directory))
    animated, spoken = wanted["examples"][:2]
    facts = {"replayed_return": 10.0, "replayed_length": 3, "same_as_evaluated": True}
    step = {"step": 0, "columns": {"page": ["a shop"]}, "action": "click[buy now]", "reward": 1.0}
    transcript = {"steps": [step], "num_left_out": 0, "candidate_column": None}
    examples = [animated | facts | {"file": "a.gif", "stride": 1}, spoken | facts | {"transcript": transcript}]
    (directory / "shown").mkdir()
    atomic_write_json(directory / "shown" / "shown.json", {"wanted": wanted, "examples": examples, "sheets": []})
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(directory / "shown" / "a.gif", "GIF", save_all=True, append_images=frames[1:])


def _change_and_compare(directory: Path) -> None:
    """What `sweep robustness=true` and `gengap rules` leave in a study."""
    spec = trial_specs()[0]
    changed_rows(spec.trial_id, spec.seed, config_id=spec.config_id).write(robustness_table(directory, spec.trial_id))
    everything = open_table().append(sealed_rows({spec.trial_id for spec in trial_specs()}))
    entries = rule_regrets(everything, bootstrap=FEW)
    atomic_write_json(directory / REGRETS_FILE, {"mode": "sampled", "rules": entries})


def run_of(directory: Path) -> Path:
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    return path


def test_the_gap_is_a_curve_over_the_number_of_levels(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = tracked
    rows = read_rows(run_of(directory))
    assert [row["num_levels"] for row in rows] == list(LEVEL_COUNTS)
    for row, entry in zip(rows, numbers["levels"], strict=True):
        for role in ("test", "validation"):
            gap = entry["gaps"][role]
            for name, key in (("", "point"), ("_low", "low"), ("_high", "high")):
                assert row[f"study/gap/{role}{name}"] == gap[key]
        assert row["study/train/episode_return"] == entry["returns"]["train"]["mean"]
        assert row["study/test/normalized_return"] == entry["normalized"]["test"]["mean"]


def test_the_run_belongs_to_the_study_and_says_what_was_found(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = tracked
    records = read_records(run_of(directory))
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_group, run.display_name) == ("maze-diversity", "maze-diversity report")
    assert numbers["headline"] in run.notes
    metrics = [record.metric for record in records if record.HasField("metric")]
    assert {metric.step_metric for metric in metrics if metric.glob_name == "*"} == {"num_levels"}


def test_every_panel_is_there(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = tracked
    last = read_rows(run_of(directory))[-1]
    kinds = {name.removesuffix("/_type"): value for name, value in last.items() if name.endswith("/_type")}
    pictures = {"returns", "gap", "levels_test", "levels_validation", "curves_10", "curves_100", "curves_1000"}
    pictures |= {"robustness_0", "regrets"}
    assert {name for name in kinds if name.startswith("study/pictures/")} == {f"study/pictures/{p}" for p in pictures}
    assert kinds["study/episodes/train_10"] == "video-file"
    assert kinds["study/report"] == "html-file"
    tables = {name for name, kind in kinds.items() if kind == "table-file"}
    for name in ("returns", "gap", "selection", "sealed-test", "runs", "levels-test", *NEWER):
        assert f"study/tables/{name}" in tables
    assert "study/episodes/trained-on-10-levels-loses-an-unseen-level" in tables
    assert last["study/headline"] == numbers["headline"]
    folder = run_of(directory).parent / "files"
    files = [name.removesuffix("/path") for name in last if name.endswith("/path")]
    assert set(files) >= set(kinds) - tables
    for name in files:
        assert (folder / last[f"{name}/path"]).stat().st_size == last[f"{name}/size"]


def test_tables_hold_the_reports_cells(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = tracked
    levels = table(directory, "study/tables/levels-test")
    assert levels["columns"] == ["level", "10 levels", "100 levels", "1000 levels"]
    assert [row[0] for row in levels["data"]] == numbers["per_level"]["test"]["levels"]
    assert [row[3] for row in levels["data"]] == numbers["per_level"]["test"]["normalized"][2]
    talk = table(directory, "study/episodes/trained-on-10-levels-loses-an-unseen-level")
    assert talk["data"] == [[0, "a shop", "click[buy now]", "", "1"]]
    lines = table(directory, "study/plots/gap_table")
    assert {row[1] for row in lines["data"]} == {"train minus validation", "train minus test"}
    gaps = [entry["gaps"]["test"]["point"] for entry in numbers["levels"]]
    assert [row[2] for row in lines["data"] if row[1] == "train minus test"] == gaps


def test_changes_rules_and_worst_levels_are_numbers_there_too(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = tracked
    rows = read_rows(run_of(directory))
    for row, entry in zip(rows, numbers["levels"], strict=True):
        for name in ("median", "level_cvar", "optimality_gap"):
            value = entry["aggregates"]["test"][name]
            assert (row[f"study/test/{name}"], row[f"study/test/{name}_low"]) == (value["point"], value["low"])
    (curve,) = (entry["curve"] for entry in numbers["robustness"])
    points = {(p["family"], p["strength"]): p["normalized_return"]["point"] for p in curve}
    lines = table(directory, "study/plots/robustness_0_table")["data"]
    assert [row[2] for row in lines if row[1] == "blur"] == [
        points["none", 0], *(points["blur", strength] for strength in (1, 2, 3)),
    ]  # fmt: skip
    rules = table(directory, "study/tables/rules")
    assert len(rules["data"]) == len(numbers["regrets"]["rules"])
    told = [dict(zip(rules["columns"], row, strict=True)) for row in rules["data"]]
    wanted = {(e["among"], e["rule"]): f"{e['test']:.3f}" for e in numbers["regrets"]["rules"]}
    assert {(row["among"], row["rule"].split(" (")[0]): row["test return"] for row in told} == wanted


def table(directory: Path, name: str) -> dict[str, Any]:
    folder = run_of(directory).parent / "files" / "media" / "table"
    (path,) = folder.glob(f"{name}_*.table.json")
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_a_report_that_did_not_change_is_not_sent_again(tracked: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = tracked
    write_report(directory, FEW, wandb="offline")
    assert run_of(directory).exists()  # still the only one
    record = json.loads((directory / "report" / "wandb.json").read_text())
    assert record["run_id"].startswith("maze-diversity-report-")


def test_nothing_is_sent_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(write_study(tmp_path / "study"))
    findings = {"levels": [], "headline": "", "explanation": "", "protocol": "strict", "mode": "sampled", "seeds": []}
    page = study.directory / "report" / "index.html"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track_report(study, findings, [], [], page, "disabled")
    track_report(study, findings, [], [], page, "auto")
    assert not (study.directory / "wandb").exists()
    assert not page.with_name("wandb.json").exists()
