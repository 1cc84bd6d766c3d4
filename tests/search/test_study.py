"""A study directory is read as written; damage and absence are said clearly; status counts what exists."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from envs.errors import RunError, UsageError
from search.status import status, status_lines
from search.study import read_study
from tests.search.synthetic_study import LEVEL_COUNTS, TRANSITIONS, trial_specs, write_study


@pytest.fixture(scope="module")
def study_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "maze-diversity")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_everything_written_is_read(study_dir: Path) -> None:
    study = read_study(study_dir)
    assert study.level_counts == LEVEL_COUNTS
    assert {trial.trial_id for trial in study.trials} == {spec.trial_id for spec in trial_specs()}
    assert study.dataset(100).realised_transitions == TRANSITIONS  # type: ignore[union-attr]
    assert study.dataset(7) is None
    assert study.selection is not None
    assert study.selection.overall == "levels-1000-lr-0.001"
    assert [record["policy_id"] for record in study.ledger] == [
        policy for choice in study.selection.choices for policy in choice.policies
    ]
    assert study.table.roles == ["train", "validation", "test"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.name = "other"  # type: ignore[misc]


def test_history_and_tracker_of_a_trial(study_dir: Path) -> None:
    study = read_study(study_dir)
    first, second = study.trials[:2]
    assert [row["learner_step"] for row in study.history(first.trial_id)] == list(range(0, 601, 100))
    assert study.history("no-such-trial") == []
    assert study.tracker(first) == "https://wandb.ai/lab/gengap/runs/abc"
    assert study.tracker(second) == f"trials/{second.trial_id}/wandb"


def test_an_unfinished_study_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"name": "young", "env": "grid/default"}))
    study = read_study(tmp_path)
    assert (study.selection, len(study.table), study.trials, study.ledger) == (None, 0, (), ())


def test_keys_of_a_later_version_are_ignored(study_dir: Path, tmp_path: Path) -> None:
    value = json.loads((study_dir / "study.json").read_text())
    value["trials"][0]["new_key"] = 1
    (tmp_path / "study.json").write_text(json.dumps(value))
    assert len(read_study(tmp_path).trials) == len(trial_specs())


def test_a_directory_without_a_study_names_those_nearby(study_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"has no study\.json.*maze-diversity"):
        read_study(study_dir.parent)
    with pytest.raises(UsageError, match=r"is no directory.*maze-diversity"):
        read_study(study_dir.parent / "maze-divercity")


def test_damaged_files_are_one_clear_line(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    whole = (directory / "evaluations.parquet").read_bytes()
    (directory / "evaluations.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"evaluations\.parquet cannot be read"):
        read_study(directory)
    (directory / "evaluations.parquet").write_bytes(whole)
    (directory / "study.json").write_text('{"name": "maze')
    with pytest.raises(RunError, match=r"study\.json cannot be read"):
        read_study(directory)
    (directory / "study.json").write_text("{}")
    with pytest.raises(RunError, match="lacks something"):
        read_study(directory)


def test_status_of_a_study_counts_what_exists(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    for spec in trial_specs()[:3]:
        (directory / "trials" / spec.trial_id / "result.json").unlink()
    (directory / "trials" / trial_specs()[0].trial_id / "metrics.jsonl").unlink()
    trials = json.loads((directory / "study.json").read_text())["trials"]
    trials[0]["status"], trials[1]["status"] = "waiting", "stopped early"
    edit(directory / "study.json", trials=[trial for trial in trials if trial != trials[2]])
    value = status(directory)
    states = [run["state"] for run in value["runs"]]
    assert states[:3] == ["waiting", "stopped early", "begun"]
    assert set(states[3:]) == {"finished"}
    assert value["phases"]["search"] == "10 of 12 trials"
    assert value["phases"]["collect"] == "0 of 3 datasets"
    assert value["phases"]["test"] == "6 reads of the sealed test"
    assert not value["finished"]
    assert value["next"] == f"gengap sweep --resume {directory}"
    text = "\n".join(status_lines(value))
    assert "step 600 of 600" in text
    assert "last wrote" in text
    json.dumps(value, allow_nan=False)


def test_status_of_one_run_and_of_nothing(study_dir: Path, tmp_path: Path) -> None:
    value = status(study_dir / "trials" / trial_specs()[0].trial_id)
    assert (value["runs"][0]["state"], value["runs"][0]["learner_step"]) == ("finished", 600)
    assert status_lines(value)
    with pytest.raises(UsageError, match="neither a study"):
        status(tmp_path)
