"""The report finds the known truth, claims only what intervals allow, repeats digit by digit and needs no network."""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from envs.errors import RunError, UsageError
from metrics.figure import FILE
from metrics.ledger import Ledger
from metrics.protocol import Role
from metrics.table import EvaluationTable
from search.findings import build_findings
from search.headline import NO_EFFECT, add_headline
from search.level_scores import NORMALIZED, RAW, Bootstrap, level_scores
from search.report import write_report
from search.report_commands import add_report_arguments, run_report
from search.report_hero import build_tiles, seal_tile
from search.report_html import cell, intervals, render_html
from search.report_media import Picture
from search.report_pictures import draw_pictures
from search.report_provenance import ledger_section, selection_section
from search.report_sections import build_sections
from search.selection import select_configurations
from search.study import read_study
from tests.search.synthetic_study import (
    LEVEL_COUNTS,
    TRANSITIONS,
    Truth,
    open_table,
    rows,
    sealed_rows,
    trial_specs,
    write_study,
)
from tests.search.synthetic_study import NO_EFFECT as FLAT

FEW = Bootstrap(num_resamples=200)


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "maze-diversity")


@pytest.fixture(scope="module")
def page(study_dir: Path) -> Path:
    return write_report(study_dir, FEW)


@pytest.fixture(scope="module")
def numbers(page: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((page.parent / "report.json").read_text())
    return value


def findings_of(directory: Path) -> dict[str, Any]:
    return add_headline(build_findings(read_study(directory), FEW))


def html_of(findings: dict[str, Any]) -> str:
    """The page without pictures."""
    return render_html(findings, build_sections(findings, []), [])


def test_returns_and_gaps_are_the_true_ones(numbers: dict[str, Any]) -> None:
    truth = Truth()
    for index, (entry, count) in enumerate(zip(numbers["levels"], LEVEL_COUNTS, strict=True)):
        assert entry["num_levels"] == count
        assert entry["realised_transitions"] == TRANSITIONS
        assert entry["config_id"] == f"levels-{count}-lr-0.001"
        shares = {"train": truth.train, "validation": truth.validation, "test": truth.test}
        for role, share in shares.items():
            interval = entry["returns"][role]
            assert interval["mean"] == pytest.approx(10 * share[index])
            assert interval["low"] <= interval["mean"] <= interval["high"]
            assert entry["normalized"][role]["mean"] == pytest.approx(2 * share[index] - 1)
        assert entry["gap"]["role"] == "test"
        assert entry["gap"]["point"] == pytest.approx(2 * (truth.train[index] - truth.test[index]))
        assert entry["modes"]["greedy"]["returns"]["validation"]["mean"] == pytest.approx(10 * truth.validation[index])
    assert [numbers["gap_at_ends"][end]["num_levels"] for end in ("first", "last")] == [10, 1000]
    assert numbers["random"]["returns"]["test"]["mean"] == pytest.approx(1.0)
    difference = numbers["test_difference_of_ends"]
    assert (difference["role"], difference["resolved"]) == ("test", True)
    assert difference["point"] == pytest.approx(4.0)
    assert difference["low"] < 4.0 < difference["high"]


def test_the_headline_is_made_of_the_intervals(numbers: dict[str, Any]) -> None:
    assert re.fullmatch(
        r"Test return rises from 2\.00 \[1\.\d\d, 2\.\d\d\] at 10 levels to 6\.00 \[5\.\d\d, 6\.\d\d\] at 1,000 levels "
        r"with the same 20,000 transitions\.",
        numbers["headline"],
    )
    assert numbers["effect_detected"]


def test_a_flat_curve_is_no_effect(tmp_path: Path) -> None:
    findings = findings_of(write_study(tmp_path / "flat", FLAT))
    assert findings["headline"] == "no effect detectable at this budget"
    assert "its interval includes zero" in findings["explanation"]
    assert not findings["effect_detected"]


def test_a_policy_no_better_than_random_is_no_effect(tmp_path: Path) -> None:
    weak = Truth(train=(0.12, 0.12, 0.12), validation=(0.2, 0.4, 0.6), test=(0.2, 0.35, 0.6))
    findings = findings_of(write_study(tmp_path / "weak", weak))
    assert findings["test_difference_of_ends"]["resolved"]
    assert findings["headline"] == NO_EFFECT
    assert "does not lie above the random policy's" in findings["explanation"]


def test_a_falling_curve_falls(tmp_path: Path) -> None:
    falling = Truth(train=(0.9, 0.9, 0.9), validation=(0.6, 0.4, 0.2), test=(0.6, 0.4, 0.2))
    assert "Test return falls from 6.00" in findings_of(write_study(tmp_path / "falling", falling))["headline"]


def test_before_the_test_is_played_validation_speaks_and_says_so(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "untested", tested=False)
    findings = findings_of(directory)
    assert findings["headline"].startswith("Validation return rises")
    assert "has not been played" in findings["explanation"]
    assert findings["levels"][0]["gap"]["role"] == "validation"
    assert "not yet" in html_of(findings)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_intervals(study_dir: Path, page: Path) -> None:
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    assert {"report.md", "report.json", "index.html", "returns.png"} <= before.keys()
    write_report(study_dir, FEW)
    assert before == {path.name: path.read_bytes() for path in page.parent.iterdir()}
    other = build_findings(read_study(study_dir), Bootstrap(seed=1, num_resamples=200))
    mine = build_findings(read_study(study_dir), FEW)
    ends = [f["levels"][0]["statistics"]["test"]["iqm"] for f in (mine, other)]
    assert ends[0]["point"] == ends[1]["point"]
    levels = [f["levels"][0]["returns"]["test"] for f in (mine, other)]
    assert levels[0]["mean"] == levels[1]["mean"]
    assert (levels[0]["low"], levels[0]["high"]) != (levels[1]["low"], levels[1]["high"])


class Resources(HTMLParser):
    """Everything a browser would fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.fetched += [values[name] or "" for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link":
            self.fetched.append(values.get("href") or "")


def test_the_page_fetches_nothing(page: Path) -> None:
    text = page.read_text()
    parser = Resources()
    parser.feed(text)
    pictures = 2 + 2 + 3  # returns and gap, heat maps, curves
    assert len(parser.fetched) == 2 * pictures  # for wide pages and for phones
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.fetched)
    assert not parser.tags & {"script", "link", "iframe"}
    assert len(text) < 5_000_000
    inside = [base64.b64decode(source.partition(",")[2]).decode() for source in parser.fetched]
    for content in (text, *inside):
        assert "@import" not in content
        assert not re.search(r"url\((?!#)", content)
        assert not re.search(r"(src|href)=\"(?!data:|#|https://wandb\.ai)", content)


def test_the_page_shows_every_part(page: Path, study_dir: Path) -> None:
    html, markdown = page.read_text(), (page.parent / "report.md").read_text()
    expected = [
        "random policy", "IQM, stratified", "Generalization gap", "Level by level", "Training curves",
        "Rule “validation”",
        "Hidden from it: test", "Ledger of the sealed test", f"{100:016x}", "gengap sweep maze-diversity",
        f"gengap sweep --resume {study_dir}", "https://wandb.ai/lab/gengap/runs/abc",
        "trials/levels-10-lr-0.001-seed-1/wandb", "250.5 s", "20,000",
    ]  # fmt: skip
    for text in expected:
        assert text in html, text
        assert text in markdown, text
    assert '<a href="https://wandb.ai/lab/gengap/runs/abc">' in html
    for name in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (page.parent / name).read_bytes().startswith(b"\x89PNG")


def test_names_cannot_inject_html(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    value = json.loads((directory / "study.json").read_text()) | {"name": "<script>alert(1)</script>"}
    value["trials"][0]["status"] = "<b>failed</b>"
    (directory / "study.json").write_text(json.dumps(value))
    html = html_of(findings_of(directory))
    assert "<script>" not in html
    assert "<b>failed" not in html
    assert cell('https://x"onclick="y') == '<a href="https://x&#34;onclick=&#34;y">https://x&#34;onclick=&#34;y</a>'


def test_repeated_reads_of_the_test_are_flagged(study_dir: Path, tmp_path: Path) -> None:
    assert not ledger_section(findings_of(study_dir)).warning
    copy = tmp_path / "study"
    shutil.copytree(study_dir, copy)
    Ledger(copy / "ledger.jsonl").issue("levels-10-lr-0.001-seed-0", "c", "d", "validation", "once more")
    html = html_of(findings_of(copy))
    assert "1 of 7 reads repeat" in html
    assert html.count("REPEATED READ") == 1


def test_an_oracle_is_called_one(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    table = open_table().append(sealed_rows({spec.trial_id for spec in trial_specs()}))
    table.write(directory / "evaluations.parquet")
    selection = select_configurations(table, "oracle")
    (directory / "selection.json").write_text(json.dumps(selection.to_json()))
    findings = findings_of(directory)
    assert "oracle" in selection_section(findings).warning
    assert "(oracle)" in html_of(findings)


def test_the_retrained_policy_stands_in_the_table(study_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study_dir, copy)
    retrained = EvaluationTable(pd.concat([rows("retrained", role, 0.5) for role in (Role.TRAIN, Role.VALIDATION)]))
    EvaluationTable.read(copy / "evaluations.parquet").append(retrained).write(copy / "evaluations.parquet")
    findings = findings_of(copy)
    assert [other["policy"] for other in findings["other_policies"]] == ["retrained"]
    assert findings["other_policies"][0]["returns"]["validation"]["mean"] == pytest.approx(5.0)
    assert findings["other_policies"][0]["returns"]["validation"]["num_runs"] == 1
    (table,) = [s.table for s in build_sections(findings, []) if s.title.startswith("Return against")]
    assert table is not None
    assert table.rows[-1][0] == "retrained"


def test_levels_that_one_seed_lacks_are_left_out_for_all() -> None:
    frame = open_table().frame
    policies = ["levels-10-lr-0.001-seed-0", "levels-10-lr-0.001-seed-1"]
    lost = (frame["policy"] == policies[1]) & (frame["level"] == 1_000_003)
    scores = level_scores(EvaluationTable(frame[~lost]), Role.VALIDATION, "sampled", RAW, policies)
    assert scores is not None
    assert scores.values.shape == (2, 59)
    assert 1_000_003 not in scores.levels
    assert level_scores(open_table(), Role.TEST, "sampled", NORMALIZED, policies) is None


def test_per_level_rows_match_the_table(numbers: dict[str, Any]) -> None:
    test = numbers["per_level"]["test"]
    assert test["num_levels"] == list(LEVEL_COUNTS)
    assert np.shape(test["normalized"]) == (3, 120)
    assert np.mean(test["normalized"], axis=1) == pytest.approx([2 * share - 1 for share in Truth().test])


def test_an_unfinished_study_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"name": "young", "env": "grid/default"}))
    with pytest.raises(RunError, match="gengap status"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()
    with pytest.raises(UsageError, match=r"no study\.json"):
        write_report(tmp_path.parent)


def test_the_command_prints_the_finding_and_returns_it(study_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_report_arguments(parser)
    value = run_report(parser.parse_args([str(study_dir), "--resamples", "200"]))
    assert capsys.readouterr().out.startswith(f"{value['headline']}\n")
    assert Path(value["page"]).exists()
    json.dumps(value, allow_nan=False)


def test_the_page_template_travels_with_the_package() -> None:
    root = Path(__file__).resolve().parents[2]
    setuptools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "search.templates" in setuptools["packages"]
    templates = root / "search" / "templates"
    shipped = {path for pattern in setuptools["package-data"]["search.templates"] for path in templates.glob(pattern)}
    assert set(templates.iterdir()) <= shipped


def with_mixtures(directory: Path, *strata: str) -> dict[str, Any]:
    """The findings as if the study had been over mixtures: all alike, and the first stratum alone."""
    findings = findings_of(directory)
    even = {name: {"weight": 1 / len(strata)} for name in strata}
    entries = [
        entry | {"mixture": name, "strata": shares}
        for entry in findings["levels"]
        for name, shares in (("uniform", even), (strata[0], {strata[0]: {"weight": 1.0}}))
    ]
    return findings | {"strata": "department", "mixtures": entries}


@pytest.mark.parametrize("strata", [("fashion", "grocery", "home"), ("a", "b", "c", "d")], ids=["three", "four"])
def test_mixtures_are_drawn_where_they_lie(study_dir: Path, strata: tuple[str, ...]) -> None:
    findings = with_mixtures(study_dir, *strata)
    pictures = draw_pictures(findings, study_dir)
    (picture,) = [picture for picture in pictures if picture.name == "mixtures"]
    assert isinstance(picture, Picture)
    axes = picture.draw(FILE).axes[0]
    assert (axes.name == "ternary") == (len(strata) == 3)
    assert "uniform at 1,000 training levels 6.00" in picture.alt
    (section,) = [s for s in build_sections(findings, [p.name for p in pictures]) if s.short == "Mixtures"]
    assert section.pictures == ["mixtures", "mixtures_levels"]


def test_returns_of_many_values_have_profiles(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    frame = EvaluationTable.read(directory / "evaluations.parquet").frame
    graded = frame["normalized_return"] / 2 + (frame["level"] % 5) / 10
    EvaluationTable(frame.assign(normalized_return=graded)).write(directory / "evaluations.parquet")
    findings = findings_of(directory)
    assert findings["profiles"]["role"] == "test"
    assert list(findings["profiles"]["lines"]) == [str(count) for count in LEVEL_COUNTS]
    policies = ["levels-10-lr-0.001-seed-0", "levels-10-lr-0.001-seed-1"]
    test = read_study(directory).table.where(role="test", policy=policies)
    line = findings["profiles"]["lines"]["10"]
    for threshold, share in zip(line["thresholds"], line["shares"], strict=True):
        assert share == pytest.approx((test.frame["normalized_return"] > threshold).mean())
    assert "profiles" in [picture.name for picture in draw_pictures(findings, directory)]


def test_panels_without_data_are_left_out_with_a_reason(study_dir: Path, tmp_path: Path) -> None:
    def left_out(directory: Path) -> str:
        findings = findings_of(directory)
        sections = build_sections(findings, [picture.name for picture in draw_pictures(findings, directory)])
        return "\n".join(line for section in sections if section.short == "Left out" for line in section.lines)

    everything = left_out(study_dir)
    assert "gengap report DIR --animate" in everything
    assert "fewer than 3 different values" in everything
    assert "Training curves" not in everything
    assert "sealed test" not in everything.replace("the sealed test is not read for it", "")
    copy = write_study(tmp_path / "untested", tested=False)
    for history in copy.glob("trials/*/metrics.jsonl"):
        history.write_text(history.read_text().splitlines()[0] + "\n")
    assert "train.evaluate_every" in left_out(copy)
    assert "has not been played yet" in left_out(copy)


def test_the_first_screen_says_the_answer_its_size_and_whether_the_test_was_sealed(
    study_dir: Path, tmp_path: Path
) -> None:
    findings = findings_of(study_dir)
    tiles = {tile.label: tile for tile in build_tiles(findings)}
    assert tiles["Test return at 1,000 levels"].value.startswith("6.00 [")
    assert "random policy 1.00 [" in tiles["Test return at 1,000 levels"].note
    assert tiles["Gap at 1,000 levels"].value.startswith("+0.20 [")
    assert tiles["Sample size"].value == "120 test levels"
    assert "2 train seeds" in tiles["Sample size"].note
    assert (tiles["Sealed test"].value, tiles["Sealed test"].flag) == ("read once each", False)
    copy = tmp_path / "study"
    shutil.copytree(study_dir, copy)
    Ledger(copy / "ledger.jsonl").issue("levels-10-lr-0.001-seed-0", "c", "d", "validation", "once more")
    assert (seal_tile(findings_of(copy)).value, seal_tile(findings_of(copy)).flag) == ("1 repeated read", True)
    assert seal_tile(findings_of(write_study(tmp_path / "untested", tested=False))).value == "not read yet"
    oracle = findings | {"selection": findings["selection"] | {"oracle": True}}
    assert seal_tile(oracle).flag


def test_a_value_and_its_interval_stay_on_one_line() -> None:
    text = intervals("from 1.34 [0.76, 1.95] (95 % interval) <b>")
    assert text == (
        'from <span class="value">1.34 <span class="ends">[0.76, 1.95]</span></span> '
        "(95\N{NO-BREAK SPACE}% interval) &lt;b&gt;"
    )
