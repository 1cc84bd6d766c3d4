"""A mixture search shows its policies at play, and a person who opens only W&B finds its report there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metrics.table import EvaluationTable
from search.examples import choose_examples, choose_sheets
from search.level_scores import Bootstrap
from search.mixture_report import write_mixture_report
from search.showing import show_study
from search.study import read_study
from tests.metrics.wandb_reader import read_records, read_rows
from tests.search.played_mixtures import VALIDATION, write_played_mixtures

pytestmark = pytest.mark.slow
FEW = Bootstrap(num_resamples=50)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        directory = tmp_path_factory.mktemp("mixtures") / "study"
        directory.mkdir()
        write_played_mixtures(directory)
        show_study(read_study(directory))
        page = write_mixture_report(directory, FEW, wandb="offline")
        sys.modules["wandb"].teardown()  # closes the local log
        yield directory, json.loads((page.parent / "report.json").read_text())


def test_the_baseline_and_the_best_arm_are_shown(reported: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = reported
    study = read_study(directory)
    examples = choose_examples(study)
    assert {example.arm for example in examples} == {"even", numbers["best_arm"]}
    assert len({example.name for example in examples}) == len(examples) == 2 * len({e.arm for e in examples})
    assert {sheet.policy for sheet in choose_sheets(study)} == {f"{numbers['best_arm']}-confirmed-seed-100"}
    table = EvaluationTable.read(directory / "evaluations.parquet")
    for shown in numbers["shown"]["examples"]:
        (row,) = table.where(policy=shown["policy"], role=shown["role"], level=shown["level"]).frame.itertuples()
        assert shown["same_as_evaluated"]
        assert shown["replayed_return"] == row.episode_return
        assert shown["num_played"] == (VALIDATION if shown["role"] == "validation" else shown["num_played"])


def test_the_page_has_moving_pictures_and_sheets(reported: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = reported
    html = (directory / "report" / "index.html").read_text()
    assert html.count("data:image/gif;base64,") == len(numbers["shown"]["examples"])
    text = (directory / "report" / "report.md").read_text()
    assert "of the policies of the baseline and of the arm that is best on validation levels" in text
    assert "The arm even: " in text
    assert "## Levels at a glance" in text


def test_the_run_tells_of_the_search_and_of_what_was_found(reported: tuple[Path, dict[str, Any]]) -> None:
    directory, numbers = reported
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    rows = read_rows(path)
    assert [row["configurations_tried"] for row in rows] == [1, 2]
    losses = {c["number"]: c["losses"][0] for c in numbers["configurations"] if c["arm"] == "search"}
    assert [row["search/search/loss"] for row in rows] == [losses[0], losses[1]]
    assert rows[1]["search/search/best_loss"] == min(losses.values())
    last = rows[-1]
    for arm in numbers["arms"]:
        for source, weight in arm["weights"].items():
            assert last[f"study/{arm['arm']}/weight/{source}"] == weight
        summary = arm["normalized"]["validation"]
        assert last[f"study/{arm['arm']}/validation/normalized_return"] == summary["mean"]
        assert last[f"study/{arm['arm']}/validation/normalized_return_low"] == summary["low"]
    assert last["study/search/minus_baseline"] == numbers["differences"]["search"]["point"]
    kinds = {name.removesuffix("/_type"): value for name, value in last.items() if name.endswith("/_type")}
    assert {name for name in kinds if name.startswith("study/pictures/")} >= {
        "study/pictures/arms", "study/pictures/search", "study/pictures/sheet_train",
    }  # fmt: skip
    assert kinds["study/episodes/train_even"] == "video-file"
    assert kinds["study/report"] == "html-file"
    assert "study/tables/what-each-arm-found" in kinds
    (run,) = [record.run for record in read_records(path) if record.HasField("run")]
    assert (run.run_group, run.display_name) == ("mixtures", "mixtures report")
    assert numbers["headline"] in run.notes
