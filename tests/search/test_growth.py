"""Trials are added to a study: which may be, and that nothing that was made is made again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from envs.errors import UsageError
from search.config import SweepConfig
from search.growth import grow_study
from search.mixture_arms import Arms
from search.mixture_config import MixtureSearchConfig
from search.mixture_sweep import open_mixture_study
from search.recipes import build_study, build_sweep
from search.report_provenance import failures_section, ledger_section
from search.selection import Selection
from search.space import STOPPED, TrialSpec, experiment_of, trial_groups, trial_path, trial_specs
from search.study import read_study, set_aside
from search.study_log import locked
from search.sweep import open_study, read_config, retrained_policy
from search.tuning import pending_groups
from tests.search.synthetic_study import write_study
from tests.search.test_mixture_search import SIZES, finish
from tests.trainers.helpers import grid_experiment
from trainers.config import ExperimentConfig
from trainers.run_files import found_datasets, prepare_run


def record(spec: TrialSpec) -> dict[str, Any]:
    return {
        "trial_id": spec.trial_id,
        "config_id": spec.config_id,
        "num_levels": spec.num_levels,
        "learning_rate": spec.learning_rate,
        "train_seed": spec.seed,
        "status": "stopped early",
    }


def grid_study(folder: Path, *words: str, ended: bool = True) -> SweepConfig:
    config = build_sweep("grid-diversity", ["scheduler=none", "level_counts=2,16", "learning_rates=1e-3", *words])
    folder.mkdir(exist_ok=True)
    log = open_study(config, folder, "gengap sweep grid-diversity")
    if ended:
        log.add(trials=[record(spec) for spec in trial_specs(config)])
    return config


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seeds=0,2", r"seeds is \[0, 1\] in this study and \[0, 2\] was given; trials can be added"),
        ("learning_rates=2e-3", "trials can be added, not taken"),
        ("num_transitions=3000", "'num_transitions' cannot change .* Allowed to grow: level_counts, mixtures"),
        ("experiment.train.learner_steps=9", "'experiment' cannot change"),
        ("level_counts=2,16,17", "levels that the study did not have"),
        ("seds=0,1,2", "Did you mean 'seeds'"),
    ],
)
def test_what_would_not_compare_is_refused(tmp_path: Path, word: str, message: str) -> None:
    config = grid_study(tmp_path)
    with pytest.raises(UsageError, match=message):
        grow_study(tmp_path, [word], "")
    assert read_config(tmp_path) == config
    assert read_study(tmp_path).grown == ()


def test_a_search_that_has_not_ended_or_stops_early_cannot_grow(tmp_path: Path) -> None:
    grid_study(tmp_path / "a", ended=False)
    with pytest.raises(UsageError, match="has not ended"):
        grow_study(tmp_path / "a", ["seeds=0,1,2"], "")
    grid_study(tmp_path / "b", "scheduler=asha")
    with pytest.raises(UsageError, match="seeds cannot grow under scheduler=asha"):
        grow_study(tmp_path / "b", ["seeds=0,1,2"], "")
    grow_study(tmp_path / "b", ["learning_rates=1e-3,2e-3"], "")


def test_nobody_grows_a_study_that_runs(tmp_path: Path) -> None:
    grid_study(tmp_path)
    with locked(tmp_path), pytest.raises(UsageError, match="Another process works on"):
        grow_study(tmp_path, ["seeds=0,1,2"], "")


def test_only_what_was_added_is_left_to_run(tmp_path: Path) -> None:
    config = grid_study(tmp_path, "seeds=0,1")
    for spec in trial_specs(config)[:-1]:
        trial_path(tmp_path, spec.trial_id).mkdir(parents=True)
        (trial_path(tmp_path, spec.trial_id) / "result.json").write_text("{}")
    last = trial_specs(config)[-1]
    trial_path(tmp_path, last.trial_id).mkdir(parents=True)
    (trial_path(tmp_path, last.trial_id) / STOPPED).write_text("{}")

    grown = grow_study(tmp_path, ["seeds=1,0,2", "level_counts=2,8,16"], "gengap sweep --resume x seeds=1,0,2")
    assert isinstance(grown, SweepConfig)
    assert read_config(tmp_path) == grown
    added = {group[0].trial_id for group in pending_groups(grown, tmp_path)}
    assert added == {spec.trial_id for spec in trial_specs(grown)} - {spec.trial_id for spec in trial_specs(config)}
    assert len(added) == 5
    assert len(trial_groups(grown)) == 9
    (entry,) = read_study(tmp_path).grown
    assert entry["changes"] == {"level_counts": [[2, 16], [2, 8, 16]], "seeds": [[0, 1], [1, 0, 2]]}
    assert entry["test_reads"] == 0
    open_study(grown, tmp_path, "")  # its own configuration from now on
    assert len(read_study(tmp_path).grown) == 1


def test_how_the_machine_is_used_may_change_without_a_record(tmp_path: Path) -> None:
    grid_study(tmp_path, ended=False)
    assert grow_study(tmp_path, ["max_concurrent_trials=1"], "").max_concurrent_trials == 1
    assert read_study(tmp_path).grown == ()


def test_a_report_says_that_trials_were_added_when_the_test_was_known(tmp_path: Path) -> None:
    directory = write_study(tmp_path / "study")
    value = json.loads((directory / "study.json").read_text())
    entry = {"at": "2026-01-02T03:04:05+00:00", "changes": {"seeds": [[0], [0, 1]]}, "test_reads": 3}
    failed = {"trial": "levels-10-lr-0.001-seed-0", "at": entry["at"], "error": "OSError: gone", "retried": True}
    (directory / "study.json").write_text(json.dumps(value | {"grown": [entry]}))
    (directory / "failures.jsonl").write_text(json.dumps(failed) + "\n" + '{"torn')
    study = read_study(directory)
    findings = {"ledger": study.ledger, "grown": study.grown, "failures": study.failures}
    warning = ledger_section(findings).warning
    assert "added at 2026-01-02 03:04:05 UTC (seeds [0] to [0, 1]), when the test had been read 3 times" in warning
    table = failures_section(findings).table
    assert table is not None
    assert table.rows == [["2026-01-02 03:04:05 UTC", failed["trial"], "tried again", "OSError: gone"]]


def test_what_is_set_aside_stays(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "file").write_text(content)
        set_aside(tmp_path, [tmp_path / "file"])
    assert [path.read_text() for path in sorted((tmp_path / "superseded").glob("*/file"))] == ["first", "second"]


def mixture_study(folder: Path, **changes: Any) -> MixtureSearchConfig:
    config = build_study("grid-mixtures", ["num_proposals=2", "arms.search=random", "confirm_seeds=100,101,102,103"])
    assert isinstance(config, MixtureSearchConfig)
    return dataclasses.replace(config, **changes)


def search_all(config: MixtureSearchConfig, folder: Path, best: int) -> Arms:
    """Every configuration is tried; the one with the number `best` is the best of its arm."""
    arms = Arms(config, folder, SIZES)
    while trials := arms.next_trials():
        for trial in trials:
            finish(folder, trial, best / 10 if trial.number == best else 0.0)
            arms.end(trial)
    return arms


def test_added_proposals_go_on_and_a_new_answer_has_its_own_runs(tmp_path: Path) -> None:
    config = mixture_study(tmp_path)
    open_mixture_study(config, tmp_path, "")
    first = search_all(config, tmp_path, best=1).confirming()
    assert Arms(config, tmp_path, SIZES).confirming() == first, "asked again it answers the same"

    grown = grow_study(tmp_path, ["num_proposals=4", "arms.law=law"], "")
    assert isinstance(grown, MixtureSearchConfig)
    arms = search_all(grown, tmp_path, best=1)
    assert {name: len(proposer.asked) for name, proposer in arms.proposers.items()} == dict.fromkeys(grown.arms, 4)
    again = [trial for trial in arms.confirming() if trial.arm != "law"]
    assert again == first, "the same answer is not run again"
    assert arms.superseded() == []

    more = grow_study(tmp_path, ["num_proposals=5", "confirm_seeds=100,101,102,103,104"], "")
    assert isinstance(more, MixtureSearchConfig)
    arms = search_all(more, tmp_path, best=4)
    answers = {trial.trial_id for trial in arms.confirming() if trial.arm == "search"}
    assert answers == {f"search-confirmed-2-seed-{seed}" for seed in range(100, 105)}
    assert {trial.trial_id for trial in arms.superseded()} >= {
        f"search-confirmed-seed-{seed}" for seed in range(100, 104)
    }
    assert [entry["changes"] for entry in read_study(tmp_path).grown][1]["num_proposals"] == [4, 5]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("num_proposals=1", "num_proposals is 2 .* and 1 was given"),
        ("arms.search=law", "not taken away or changed"),
        ("seeds=0,1,2", "Allowed to grow: num_proposals, arms, confirm_seeds"),
    ],
)
def test_a_mixture_search_grows_only_where_it_compares(tmp_path: Path, word: str, message: str) -> None:
    open_mixture_study(mixture_study(tmp_path), tmp_path, "")
    with pytest.raises(UsageError, match=message):
        grow_study(tmp_path, [word], "")


def test_a_trial_goes_on_in_a_study_that_was_moved(tmp_path: Path) -> None:
    def at(study: Path, name: str = "levels-2") -> ExperimentConfig:
        return grid_experiment(study / "data" / name)

    old, new = tmp_path / "old", tmp_path / "far" / "new"
    (old / "data" / "levels-2").mkdir(parents=True)
    prepare_run(at(old), old / "trials" / "a", resume=True)
    new.parent.mkdir()
    old.rename(new)
    assert found_datasets(at(old).data.datasets, new / "trials" / "a") == at(new).data.datasets
    prepare_run(at(new), new / "trials" / "a", resume=True)
    with pytest.raises(UsageError, match=r"holds another experiment: data\.datasets"):
        prepare_run(at(new, "levels-6"), new / "trials" / "a", resume=True)
    with pytest.raises(UsageError, match=r"holds another experiment: data\.datasets"):
        prepare_run(at(tmp_path / "elsewhere"), new / "trials" / "a", resume=True)


def test_a_retrained_policy_of_an_earlier_selection_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = grid_study(tmp_path, "learning_rates=1e-3,2e-3")
    specs = {spec.config_id: spec for spec in trial_specs(config)}
    made: list[str] = []

    def retrain(config: SweepConfig, study_dir: Path, config_id: str) -> None:
        made.append(config_id)
        run_dir = study_dir / "retrained"
        run_dir.mkdir()
        experiment = experiment_of(config, specs[config_id], study_dir)
        (run_dir / "config.json").write_text(json.dumps(dataclasses.asdict(experiment)))
        (run_dir / "result.json").write_text("{}")
        (study_dir / "evaluations").mkdir(exist_ok=True)
        (study_dir / "evaluations" / "retrained.train-validation.parquet").write_text(config_id)

    monkeypatch.setattr("search.sweep.retrain", retrain)
    monkeypatch.setattr("search.sweep.trial_policy", lambda *args: args[2].config_id)
    for wanted in ("levels-2-lr-0.001", "levels-2-lr-0.001", "levels-16-lr-0.001", "levels-16-lr-0.002"):
        selection = Selection(rule="validation", visible_roles=("validation",), overall=wanted)
        assert retrained_policy(config, tmp_path, selection) == wanted
    assert made == ["levels-2-lr-0.001", "levels-16-lr-0.001", "levels-16-lr-0.002"]
    aside = sorted((tmp_path / "superseded").glob("*/retrained.train-validation.parquet"))
    assert [path.read_text() for path in aside] == made[:2]
    assert (tmp_path / "evaluations" / "retrained.train-validation.parquet").read_text() == made[2]
