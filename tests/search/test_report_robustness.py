"""A report shows what a study's policies do under changes, and what selection rules would have cost, if it is there."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.files import atomic_write_json
from envs.errors import UsageError
from metrics.figure import FILE, PHONE, WIDE
from metrics.ledger import LEDGER
from metrics.robustness_plot import robustness_figure
from metrics.table import EvaluationTable
from search.findings import build_findings
from search.headline import add_headline
from search.level_scores import Bootstrap
from search.regret import rule_regrets
from search.report import write_report
from search.report_commands import add_report_arguments, run_report
from search.report_sections import build_sections
from search.robustness import OF_RUN, robustness_table
from search.study import REGRETS_FILE, read_study
from tests.search.played_study import NUM_VALIDATION, write_played_study
from tests.search.synthetic_study import CHANGES, changed_rows, open_table, sealed_rows, trial_specs, write_study

FEW = Bootstrap(num_resamples=100)


def section_of(directory: Path, short: str) -> Any:
    findings = add_headline(build_findings(read_study(directory), FEW))
    return next((s for s in build_sections(findings, ["robustness_0"]) if s.short == short), None)


def test_seeds_of_a_configuration_share_a_curve_and_a_trial_played_by_hand_has_its_own(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    pair = [spec for spec in trial_specs() if spec.config_id == trial_specs()[0].config_id]
    for spec in pair:
        table = changed_rows(spec.trial_id, spec.seed, config_id=spec.config_id)
        table.write(robustness_table(directory, spec.trial_id))
    by_hand = trial_specs()[-1].trial_id
    for trial in (by_hand, pair[0].trial_id):  # of the second one the study's own table counts
        changed_rows(f"{trial}/step-600", 0).write(directory / "trials" / trial / OF_RUN)
    findings = build_findings(read_study(directory), FEW)
    shared, single = findings["robustness"]
    assert (shared["policy"], len(shared["policies"])) == (pair[0].config_id, 2)
    assert (single["policy"], single["policies"]) == (by_hand, [f"{by_hand}/step-600"])
    for entry, (_, _, share) in zip(shared["curve"], CHANGES, strict=True):
        assert entry["normalized_return"]["point"] == pytest.approx(2 * share - 1, abs=0.04)
    page = write_report(directory, FEW)
    assert page.with_name("robustness_0.png").exists()
    assert page.with_name("robustness_1.png").exists()
    table = section_of(directory, "Robustness").table
    rows_by_change = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    lost = {(row["policy"], row["change"]): row["lost"] for row in rows_by_change}
    assert lost[pair[0].config_id, "blur, strength 3"].startswith("+0.80 [")
    assert lost[pair[0].config_id, "shop-I1"] == lost[by_hand, "unchanged"] == "—"


def test_a_study_without_them_says_how_to_get_them(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    assert section_of(directory, "Robustness").table is None  # the picture's name alone keeps it
    assert section_of(directory, "Rules") is None
    left_out = "\n".join(section_of(directory, "Left out").lines)
    assert "gengap report DIR --robustness" in left_out
    assert "gengap rules DIR --test" in left_out


def test_regrets_that_were_found_are_a_section(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    everything = open_table().append(sealed_rows({spec.trial_id for spec in trial_specs()}))
    entries = rule_regrets(everything, bootstrap=FEW)
    atomic_write_json(directory / REGRETS_FILE, {"mode": "sampled", "rules": entries})
    section = section_of(directory, "Rules")
    assert len(section.table.rows) == len(entries)
    assert any("looks at the test" in row[1] for row in section.table.rows)
    assert "nothing may be chosen by it" in section.note
    groups = list(dict.fromkeys(row[0] for row in section.table.rows))
    assert groups == ["10 levels", "100 levels", "1000 levels", "all"]
    page = write_report(directory, FEW)
    assert page.with_name("regrets.png").exists()
    assert "gengap rules DIR" not in "\n".join(section_of(directory, "Left out").lines)


def test_the_middle_and_the_worst_levels_are_told(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    findings = build_findings(read_study(directory), FEW)
    entry = findings["levels"][-1]
    scores = read_study(directory).table.where(role="test", mode="sampled", policy=entry["policies"])
    by_level = scores.frame.groupby("level")["normalized_return"].mean()
    found = entry["aggregates"]["test"]
    assert found["median"]["point"] == pytest.approx(by_level.median())
    assert found["optimality_gap"]["point"] == pytest.approx(1 - by_level.mean())
    assert found["level_cvar"]["point"] == pytest.approx(np.sort(by_level)[: len(by_level) // 10].mean())
    note = section_of(directory, "Worst levels").note
    assert "scores above one of 10 with probability 0." in note


def test_the_ledger_shows_what_each_read_was_of(tmp_path: Path) -> None:
    table = section_of(write_study(tmp_path / "study"), "Sealed test").table
    row = dict(zip(table.header, table.rows[-1], strict=True))
    assert row["data"] == "data-1000"
    assert row["reads before"] == "5 (0 of this policy)"
    assert row["read"] == "first read"


@pytest.mark.parametrize("shape", [FILE, WIDE, PHONE], ids=["file", "wide", "phone"])
def test_both_parts_of_the_picture_fit_every_place(shape: Any) -> None:
    value = {"point": 0.5, "low": 0.4, "high": 0.6, "reason": ""}
    entries = [
        {"family": family, "strength": strength, "mode": "sampled", "normalized_return": value}
        for family, strength, _ in CHANGES
    ]
    lines, shifts = robustness_figure(entries, title="a policy", shape=shape).axes
    assert lines.get_xlabel().startswith("strength (0")
    assert [text.get_text() for text in shifts.get_yticklabels()] == ["shop-I1"]
    assert (lines.get_subplotspec().colspan == shifts.get_subplotspec().colspan) == (shape == PHONE)


@pytest.mark.slow
def test_the_selected_configuration_is_played_under_changes_once(tmp_path: Path) -> None:
    directory = write_played_study(tmp_path / "study")
    header = json.loads((directory / "study.json").read_text())
    # The played study has one data set for all level counts; a sweep has one each.
    shutil.move(directory / "data", tmp_path / "data")
    for count in header["level_counts"]:
        shutil.copytree(tmp_path / "data", directory / "data" / f"levels-{count}")
    config = json.loads((directory / "config.json").read_text()) | {"num_transitions": 40}
    (directory / "config.json").write_text(json.dumps(config))
    parser = argparse.ArgumentParser()
    add_report_arguments(parser)
    args = parser.parse_args([str(directory), "--robustness", "--resamples", "50"])
    run_report(args)
    selection = json.loads((directory / "selection.json").read_text())
    tables = sorted((directory / "robustness").glob("*.parquet"))
    assert [path.stem for path in tables] == [f"{selection['overall']}-seed-{seed}" for seed in (0, 1)]
    for path in tables:
        frame = EvaluationTable.read(path).frame
        assert set(frame["role"]) == {"validation"}
        assert (frame.groupby(["family", "strength"])["level"].nunique() == NUM_VALIDATION).all()
        assert set(frame["config_id"]) == {selection["overall"]}
    assert not (directory / LEDGER).exists()
    report = json.loads((directory / "report" / "report.json").read_text())
    assert len(report["robustness"]) == 1
    written = [path.stat().st_mtime_ns for path in tables]
    run_report(args)
    assert [path.stat().st_mtime_ns for path in tables] == written


def test_a_study_that_selected_nothing_has_nothing_to_play(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    (directory / "selection.json").unlink()
    parser = argparse.ArgumentParser()
    add_report_arguments(parser)
    with pytest.raises(UsageError, match="selected nothing yet"):
        run_report(parser.parse_args([str(directory), "--robustness"]))


def test_a_part_of_a_study_names_the_study(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    with pytest.raises(UsageError, match=f"part of the study {directory.resolve()}"):
        write_report(directory / "trials" / trial_specs()[0].trial_id)
