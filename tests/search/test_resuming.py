"""An interrupted study goes on: what is still to run, what early stopping remembers, and on how much of a cluster."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.mixture_arms import Arms
from search.mixture_trials import MixtureTrial
from search.mixture_tuning import early_stopping
from search.scheduler import METRIC, TIME_ATTRIBUTE, build_scheduler, earlier_reports
from search.space import DIVERGED, STOPPED, TrialSpec, trial_path, trial_specs
from search.status import run_status
from search.study import HISTORY_FILE, RESULT_FILE
from search.tuning import pending_groups, start_folder
from tests.conftest import REPOSITORY
from tests.search.test_mixture_search import SIZES, study
from tests.search.test_study_setup import decisions, small, trial


def leave(study_dir: Path, spec: TrialSpec | MixtureTrial, scores: dict[int, float], ended: str = "") -> None:
    """What a trial leaves that reported these scores."""
    folder = trial_path(study_dir, spec.trial_id)
    folder.mkdir(parents=True)
    rows = [{"learner_step": step, METRIC: score} for step, score in scores.items()]
    (folder / HISTORY_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    if ended:
        (folder / ended).write_text("{}")


def test_what_finished_diverged_or_was_stopped_is_not_run_again(tmp_path: Path) -> None:
    config = small()
    specs = trial_specs(config)
    assert [group[0] for group in pending_groups(config, tmp_path)] == specs
    for spec, ended in zip(specs, (RESULT_FILE, DIVERGED, STOPPED, ""), strict=False):
        leave(tmp_path, spec, {150: 0.5}, ended)
    assert [group[0] for group in pending_groups(config, tmp_path)] == specs[3:]
    states = [run_status(trial_path(tmp_path, spec.trial_id)).state for spec in specs[:5]]
    assert states == ["finished", "diverged", "stopped early", "begun", "waiting"]


def test_a_group_is_run_again_as_long_as_one_of_its_seeds_has_not_ended(tmp_path: Path) -> None:
    config = small(seeds_together=True)
    first, second, *_ = trial_specs(config)
    leave(tmp_path, first, {150: 0.5}, RESULT_FILE)
    assert pending_groups(config, tmp_path)[0] == [first, second]
    leave(tmp_path, second, {150: 0.5}, STOPPED)
    assert second not in pending_groups(config, tmp_path)[0]


def test_every_start_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = []
    for _ in range(3):
        folders.append(start_folder(tmp_path))
        folders[-1].mkdir()
    assert len(set(folders)) == 3


def test_early_stopping_remembers_what_was_reported_before_the_interruption(tmp_path: Path) -> None:
    config = small(scheduler="asha")
    good, bad = 1e-3, 3e-4
    undisturbed = build_scheduler(config)
    undisturbed.set_search_properties(METRIC, "max")
    assert decisions(undisturbed, [(2, good, 0.9), (2, bad, 0.1)]) == ["CONTINUE", "STOP"]

    for spec in trial_specs(config):
        if spec.num_levels == 2 and spec.learning_rate == good:
            leave(tmp_path, spec, {150: 0.9, 300: 0.95}, RESULT_FILE)
        if spec.num_levels == 2 and spec.learning_rate == bad and spec.seed == 0:
            leave(tmp_path, spec, {150: 0.1})
    reports = earlier_reports(config, tmp_path)
    assert [(params["trial"]["learning_rate"], step, score) for params, step, score in reports] == [
        (3e-4, 150, 0.1), (1e-3, 150, 0.9), (1e-3, 150, 0.9), (1e-3, 300, 0.95), (1e-3, 300, 0.95),
    ]  # fmt: skip
    resumed = build_scheduler(config, reports)
    resumed.set_search_properties(METRIC, "max")
    seeds = [resumed_trial(2, bad, seed) for seed in (0, 1)]
    for item in seeds:
        resumed.on_trial_add(None, item)
    again = {TIME_ATTRIBUTE: 150, METRIC: 0.1}
    assert resumed.on_trial_result(None, seeds[0], again) == "CONTINUE", "the same seed twice is no pair of seeds"
    assert resumed.on_trial_result(None, seeds[1], again) == "STOP"


def resumed_trial(*point: Any) -> Any:
    """A trial that Tune made anew, under another id."""
    item = trial(*point)
    item.trial_id = f"again-{item.trial_id}"
    item.config = {"trial": dataclasses.asdict(TrialSpec(**item.config["trial"]))}
    return item


def test_a_mixture_search_remembers_too(tmp_path: Path) -> None:
    config = study("scheduler=asha", "experiment.train.evaluate_every=50")
    arms = Arms(config, tmp_path, SIZES)
    good, _, bad = arms.next_trials(), arms.next_trials(), arms.next_trials()
    assert good[0].arm == bad[0].arm, "arms take turns; only trials of the same one are compared"
    first = config.experiment.train.evaluate_every
    for item, score in ((good[0], 0.9), (good[1], 0.9), (bad[0], 0.1)):
        leave(tmp_path, item, {first: score})
    scheduler = early_stopping(config, Arms(config, tmp_path, SIZES), tmp_path)
    assert scheduler is not None
    scheduler.set_search_properties(METRIC, "max")
    last = SimpleNamespace(trial_id="again", config={"trial": dataclasses.asdict(bad[1])}, is_finished=lambda: False)
    scheduler.on_trial_add(None, last)
    assert scheduler.on_trial_result(None, last, {TIME_ATTRIBUTE: first, METRIC: 0.1}) == "STOP"


def test_seeds_that_train_together_are_judged_by_their_one_report(tmp_path: Path) -> None:
    config = small(scheduler="asha", seeds_together=True)
    scheduler = build_scheduler(config)
    scheduler.set_search_properties(METRIC, "max")
    made = []
    for rate, score in ((1e-3, 0.9), (3e-4, 0.1)):
        item = trial(2, rate)
        scheduler.on_trial_add(None, item)
        made.append(scheduler.on_trial_result(None, item, {TIME_ATTRIBUTE: 150, METRIC: score}))
    assert made == ["CONTINUE", "STOP"]
    first, second, *_ = trial_specs(config)
    leave(tmp_path, first, {150: 0.2, 300: 0.3})
    leave(tmp_path, second, {150: 0.6})
    assert [(step, score) for _, step, score in earlier_reports(config, tmp_path)] == [(150, pytest.approx(0.4))]


STARTS = """
import json, sys, time
from pathlib import Path
from unittest import mock
import ray
from ray import tune
from search.recipes import build_sweep
from search.space import group_of, trial_path
from search.tuning import TrialProgress, run_trials
study, cpus, slots, interrupted = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "interrupted"
seen = set()
def on_step_end(self, iteration, trials, **_):
    seen.add(sum(trial.status == "RUNNING" for trial in trials))
def on_trial_complete(self, *_, **__):
    if interrupted:
        raise KeyboardInterrupt
def pretended(params, config, study_dir):
    (spec,) = group_of(config, params)
    folder = trial_path(study_dir, spec.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    for step in (20, 40):
        time.sleep(1 + 2 * spec.seed)
        tune.report({"eval/validation/normalized_return": 0.5, "learner_step": step})
    (folder / "result.json").write_text("{}")
ray.init(num_cpus=cpus, resources={"train_driver": slots}, include_dashboard=True, log_to_driver=False)
words = ["scheduler=none", "experiment.train.num_workers=2", "level_counts=2,6", "learning_rates=1e-3"]
with (
    mock.patch.multiple(TrialProgress, on_step_end=on_step_end, on_trial_complete=on_trial_complete),
    mock.patch("search.tuning.run_trial", pretended),
):
    try:
        records = run_trials(build_sweep("grid-diversity", words), study)
    except KeyboardInterrupt:
        records = []
ray.shutdown()
print(json.dumps({"statuses": [record["status"] for record in records], "most": max(seen, default=0)}))
"""


def searched(study: Path, cpus: int, slots: int, mode: str) -> dict[str, Any]:
    """One start, on a cluster of its own, of a search whose trials only wait for worker groups, as Tune sees them."""
    command = [sys.executable, "-c", STARTS, str(study), str(cpus), str(slots), mode]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "0"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_study_goes_on_with_as_many_trials_as_the_new_cluster_takes(tmp_path: Path) -> None:
    before = searched(tmp_path, 6, 8, "interrupted")
    assert before == {"statuses": [], "most": 3}, "groups of two, and Tune sees none of their CPUs"
    after = searched(tmp_path, 2, 8, "to the end")
    assert after == {"statuses": ["finished"] * 4, "most": 1}
