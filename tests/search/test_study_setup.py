"""What a study tries, what it refuses, and how early stopping compares."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from actors.placement import Cluster
from envs.errors import RunError, UsageError
from search.config import SweepConfig
from search.placing import concurrent_trials, trial_resources
from search.preflight import check_names, check_study, study_bytes
from search.recipes import RECIPES, build_sweep
from search.scheduler import METRIC, TIME_ATTRIBUTE, build_scheduler
from search.space import dataset_path, experiment_of, param_space, trial_groups, trial_specs
from search.study_log import StudyLog
from search.sweep import locked, open_study, read_config
from search.tuning import read_result, run_trial
from tests.trainers.helpers import record_grid
from trainers.reporter import NullReporter

QUICK = (
    "train.learner_steps=8",
    "train.evaluate_every=4",
    "train.batch_size=8",
    "evaluation.num_train_levels=2",
    "evaluation.num_validation_levels=2",
    "tracking.wandb=disabled",
)


def small(**changes: Any) -> SweepConfig:
    return dataclasses.replace(build_sweep("grid-diversity"), **changes)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_and_survives_json(name: str, tmp_path: Path) -> None:
    config = build_sweep(name)
    check_names(config)
    open_study(config, tmp_path, "command")
    assert read_config(tmp_path) == config


def test_every_level_count_gets_the_same_number_of_transitions(tmp_path: Path) -> None:
    config = small()
    experiments = [experiment_of(config, spec, tmp_path) for spec in trial_specs(config)]
    assert {e.data.max_transitions for e in experiments} == {config.num_transitions}
    assert {e.data.num_levels for e in experiments} == set(config.level_counts)
    assert len({e.name for e in experiments}) == 3 * 2 * 2


def test_seeds_share_the_name_of_their_configuration() -> None:
    specs = trial_specs(small(seeds=(0, 1, 2)))
    groups: dict[str, set[int]] = {}
    for spec in specs:
        groups.setdefault(spec.config_id, set()).add(spec.seed)
    assert set(map(frozenset, groups.values())) == {frozenset({0, 1, 2})}


def test_seeds_train_together_in_one_process_only() -> None:
    experiment = build_sweep("grid-diversity", ["experiment.train.num_workers=2"]).experiment
    with pytest.raises(UsageError, match="trains in one process"):
        check_names(small(seeds_together=True, experiment=experiment))


def test_seeds_that_train_together_are_one_trial_with_a_result_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = build_sweep("grid-diversity", [f"experiment.{word}" for word in QUICK]).experiment
    config = small(experiment=experiment, level_counts=(2, 4), num_transitions=60, seeds_together=True)
    assert len(param_space(trial_groups(config))["trial"]["grid_search"]) == 4, "two level counts and two rates"
    assert len(param_space(trial_groups(small()))["trial"]["grid_search"]) == 12
    first = trial_specs(config)[0]
    record_grid(dataset_path(tmp_path, first), levels=range(2), episodes=10)
    reports: list[tuple[int, float]] = []

    class Recorder(NullReporter):
        def report(self, learner_step: int, metrics: Mapping[str, float], checkpoint: Path) -> None:
            reports.append((learner_step, metrics[METRIC]))

    monkeypatch.setattr("search.tuning.TuneReporter", Recorder)
    run_trial({"trial": dataclasses.asdict(first)}, config, tmp_path)
    results = [read_result(tmp_path, spec) for spec in trial_specs(config)]
    assert [result is not None for result in results] == [True, True] + 6 * [False]
    scores = [result["metrics"][METRIC] for result in results if result is not None]
    assert reports == [(4, pytest.approx(reports[0][1])), (8, pytest.approx(sum(scores) / 2))]
    run_trial({"trial": dataclasses.asdict(first)}, config, tmp_path)
    assert len(reports) == 2, "what is finished is not trained again"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level_counts": (5,)}, "at least two"),
        ({"level_counts": (9, 5)}, "increasing"),
        ({"level_counts": (5, 5, 9)}, "increasing"),
        ({"seeds": (0,)}, "two seeds"),
        ({"seeds": (0, 0)}, "none twice"),
        ({"seeds": (0, 1, 0)}, "none twice"),
        ({"learning_rates": (1e-3, 1e-3)}, "none twice"),
        ({"learning_rates": ()}, "at least one"),
        ({"learning_rates": (1e-3, float("nan"))}, "positive"),
        ({"mixtures": ("natural", "natural")}, "none twice"),
    ],
)
def test_a_study_without_contrast_or_intervals_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_another_study_in_the_directory_is_refused(tmp_path: Path) -> None:
    open_study(small(), tmp_path, "")
    with pytest.raises(UsageError, match="another study"):
        open_study(small(num_transitions=7), tmp_path, "")


def test_a_second_process_on_the_same_study_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="Another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_resumed_study_keeps_its_beginning_and_adds_up_times(tmp_path: Path) -> None:
    StudyLog(tmp_path, {"name": "a"}).add(created="then")
    for _ in range(2):
        StudyLog(tmp_path, {"name": "a"}).record_time("search", 1.5)
    value = json.loads((tmp_path / "study.json").read_text())
    assert value["created"] == "then"
    assert value["timings_s"] == {"search": 3.0}


def test_a_cluster_that_is_too_small_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2 workers need 1 CPU each.* Set retrain_workers to at most 1"):
        check_study(small(), tmp_path, Cluster.of({"CPU": 1.0}))


def test_a_full_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.files.free_bytes", lambda path: study_bytes(small()) - 1)
    with pytest.raises(RunError, match="are free on its disk"):
        check_study(small(), tmp_path, Cluster.of({"CPU": 8.0}))


def test_an_unknown_environment_is_answered_with_the_closest() -> None:
    config = build_sweep("maze-diversity", ["experiment.env=procgen/mase"])
    with pytest.raises(UsageError, match="Did you mean 'procgen/maze'"):
        check_names(config)


def test_trials_with_a_worker_group_hold_no_cpu_and_never_exceed_the_cluster() -> None:
    one = small()
    two = dataclasses.replace(
        one,
        experiment=dataclasses.replace(one.experiment, train=dataclasses.replace(one.experiment.train, num_workers=2)),
    )
    cluster = Cluster.of({"CPU": 5.0, "memory": 1e9})
    assert trial_resources(one, cluster) == {"CPU": 1.0}
    assert trial_resources(two, cluster)["CPU"] == 0
    assert [concurrent_trials(config, cluster) for config in (one, two)] == [5, 2]
    assert concurrent_trials(dataclasses.replace(one, max_concurrent_trials=3), cluster) == 3


def trial(num_levels: int, learning_rate: float = 1e-3, seed: int = 0) -> Any:
    return SimpleNamespace(
        trial_id=f"{num_levels}-{learning_rate}-{seed}",
        config={"trial": {"num_levels": num_levels, "learning_rate": learning_rate, "seed": seed}},
        is_finished=lambda: False,
    )


def report(scheduler: TrialScheduler, item: Any, score: float, learner_step: int = 150) -> str:
    result = {TIME_ATTRIBUTE: learner_step, METRIC: score, "training_iteration": 1}
    decision: str = scheduler.on_trial_result(None, item, result)
    return decision


def decisions(scheduler: TrialScheduler, scores: list[tuple[int, float, float]], learner_step: int = 150) -> list[str]:
    """(level count, learning rate, score) -> the decision about a configuration once both its seeds have reported."""
    made = []
    for num_levels, rate, score in scores:
        seeds = [trial(num_levels, rate, seed) for seed in (0, 1)]
        for item in seeds:
            scheduler.on_trial_add(None, item)
        made.append([report(scheduler, item, score, learner_step) for item in seeds][-1])
    return made


def test_few_levels_are_not_stopped_for_being_worse_than_many() -> None:
    scheduler = build_scheduler(small(scheduler="asha"))
    scheduler.set_search_properties(METRIC, "max")
    assert decisions(scheduler, [(128, 1e-3, 0.9), (2, 1e-3, 0.1)]) == ["CONTINUE", "CONTINUE"]
    assert decisions(scheduler, [(2, 3e-4, 0.05)]) == ["STOP"]


def test_one_scheduler_for_all_would_stop_them() -> None:
    scheduler: Any = build_scheduler(small(scheduler="asha"))
    scheduler._group_of = lambda config: "all"
    scheduler.set_search_properties(METRIC, "max")
    assert decisions(scheduler, [(128, 1e-3, 0.9), (2, 1e-3, 0.1)]) == ["CONTINUE", "STOP"]


def test_a_trial_that_reached_its_last_step_is_left_to_write_its_result() -> None:
    scheduler = build_scheduler(small(scheduler="asha"))
    scheduler.set_search_properties(METRIC, "max")
    assert decisions(scheduler, [(2, 1e-3, 0.9), (2, 3e-4, 0.1)], learner_step=299) == ["CONTINUE", "STOP"]
    assert decisions(scheduler, [(2, 1e-2, 0.8), (2, 2e-2, 0.05)], learner_step=300) == ["CONTINUE", "CONTINUE"]


def test_seeds_are_stopped_by_their_mean_and_never_by_one_of_them() -> None:
    scheduler = build_scheduler(small(scheduler="asha"))
    scheduler.set_search_properties(METRIC, "max")
    assert decisions(scheduler, [(2, 1e-3, 0.5)]) == ["CONTINUE"]
    mixed, worse = [trial(2, 2e-3, seed) for seed in (0, 1)], [trial(2, 3e-3, seed) for seed in (0, 1)]
    for item in (*mixed, *worse):
        scheduler.on_trial_add(None, item)
    assert report(scheduler, mixed[0], 0.1) == "CONTINUE", "an unlucky seed waits for the other"
    assert report(scheduler, mixed[1], 1.0) == "CONTINUE", "the mean is better than 0.5"
    assert report(scheduler, worse[0], 0.9) == "CONTINUE"
    assert report(scheduler, worse[1], 0.0) == "STOP", "the mean is worse, whatever the lucky seed"
    assert report(scheduler, worse[0], 0.9, 200) == "STOP", "its sibling ends at its next report"
    assert report(scheduler, mixed[0], 0.1, 200) == "CONTINUE"
