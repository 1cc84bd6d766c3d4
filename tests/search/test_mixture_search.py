"""A study that searches mixtures: equal compute, no look at the test, and nothing lost by a kill."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from data.dataset import Dataset
from envs.errors import UsageError
from envs.overrides import config_from_json
from metrics.table import EvaluationTable
from search.mixture_arms import LOG_FILE, Arms
from search.mixture_config import MixtureSearchConfig, losses_of
from search.mixture_recipes import MIXTURE_RECIPES
from search.mixture_sweep import open_mixture_study, read_mixture_config, record_sources
from search.mixture_trials import MixtureTrial, check_mixture_study, experiment_of, trial_losses
from search.recipes import build_study
from search.space import trial_path
from search.studies import read_any_config
from trainers.training_data import open_training_data

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"clean-few": 2_000, "noisy-many": 3_000, "aimless": 4_000}
SMALL = [
    "sources.clean-few=grid-expert levels=0:4 transitions=200",
    "sources.noisy-many=grid-expert?noise=0.4 levels=1000:1030 transitions=200",
    "sources.aimless=random levels=2000:2010 transitions=200",
    "num_transitions=150",
    "num_proposals=2",
    "proxy_steps=20",
    "confirm_seeds=100,101",
    "pilot_seeds=200,201",
    "experiment.train.learner_steps=40",
    "experiment.train.evaluate_every=10",
    "experiment.train.batch_size=16",
    "experiment.evaluation.num_train_levels=4",
    "experiment.evaluation.num_validation_levels=8",
    "judge.num_train_levels=4",
    "judge.num_validation_levels=8",
    "judge.num_test_levels=8",
    "judge.num_envs=8",
]

GAMES = ["experiment.data.other_envs=grid/distractors", "experiment.evaluation.each_env=true", "minimum_weight=0.05"]


def study(*words: str) -> MixtureSearchConfig:
    config = build_study("grid-mixtures", words)
    assert isinstance(config, MixtureSearchConfig)
    return config


def finish(study_dir: Path, trial: MixtureTrial, score: float) -> None:
    """What a training leaves of itself."""
    folder = trial_path(study_dir, trial.trial_id)
    folder.mkdir(parents=True)
    row = {"learner_step": 150, "transitions_seen": 9600, "eval/validation/normalized_return": score}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    result = {"metrics": {"eval/validation/normalized_return": score}, "transitions_seen": 9600, "wall_s": 2.0}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.parametrize("name", MIXTURE_RECIPES)
def test_a_recipe_is_complete_and_survives_json(name: str, tmp_path: Path) -> None:
    config = build_study(name)
    assert isinstance(config, MixtureSearchConfig)
    check_mixture_study(config)
    open_mixture_study(config, tmp_path, "command")
    assert read_mixture_config(tmp_path) == read_any_config(tmp_path) == config
    with pytest.raises(UsageError, match="another study"):
        open_mixture_study(dataclasses.replace(config, num_proposals=9), tmp_path, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["objectives=eval/test/normalized_return"],
            "of the split 'test', which the search may not see under the rule",
        ),
        (["objectives=eval/gap/test"], "of the split 'test'"),
        (["selection_rule=train"], "'validation', which the search may not see under the rule 'train'"),
        (["selection_rule=oracle", "objectives=eval/test/normalized_return"], "the test is played once"),
        (["objectives=eval/validaton/normalized_return"], "Did you mean 'validation'"),
        (["objectives=cost/walls"], "Did you mean 'cost/wall_s'"),
        (["arms.search=regresion"], "Did you mean 'regression'"),
        (["arms.search=regression model"], "has no value"),
        (["arms.search=regression mixing.controler=linear-law"], "Did you mean 'mixing.controller'"),
        (["baseline=equal"], "it must be one of the arms"),
        (["experiment.data.other_envs=grid/distractors"], "could leave out 'grid/default'"),
        (["objectives=eval/validation/normalized_return/mean_over_envs"], "It needs experiment.data.other_envs"),
        (
            [*GAMES, "objectives=eval/validation/normalized_return/grid-chain-3"],
            "ends in one of: mean_over_envs, grid-d",
        ),
        (["sources.aimless=random levels=0:9 transitions=9 env=grid/chain-3"], "plays 'grid/chain-3'; allowed"),
        (["dimensions.train.learning_rat=log 1e-4 1e-2"], r"Did you mean 'train\.learning_rate'"),
        (["dimensions.train.learner_steps=int 100 200"], "equal compute"),
        (["confirm_seeds=1,2"], "confirm with fresh ones"),
        (["pilot_seeds=200"], "two or more that nothing else uses"),
        (["pilot_seeds=200,107"], "two or more that nothing else uses"),
        (["proxy_steps=451"], "at most as long as a full run"),
        (["sources.aimless=random levels=0:10"], "transitions=N"),
        (["sources.aimless=grid-exprt levels=0:10 transitions=5"], "Did you mean 'grid-expert'"),
        (["sources.aimless=grid-expert?nois=1 levels=0:10 transitions=5"], "Did you mean 'noise'"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_starts(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_mixture_study(study(*words))


def test_a_budget_that_a_source_cannot_fill_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"asks for 400 of 2000 transitions from 'small'; it holds 300, 100 too few"):
        Arms(study("minimum_weight=0.2"), tmp_path, {"small": 300, "large": 5000})
    with pytest.raises(UsageError, match="The arm 'stratified' has the same weights in all of its 16 trials"):
        Arms(dataclasses.replace(study(), dimensions={}), tmp_path, SIZES)


def test_arms_take_turns_and_share_what_is_not_their_mixture(tmp_path: Path) -> None:
    arms, seen = Arms(study(), tmp_path, SIZES), []
    while trials := arms.next_trials():
        assert [trial.seed for trial in trials] == [0, 1]
        seen.append(trials[0])
        for trial in trials:
            finish(tmp_path, trial, 0.5)
            arms.end(trial)
    assert [trial.arm for trial in seen] == ["search", "stratified"] * 16, "equal compute"
    by_arm = {name: [trial for trial in seen if trial.arm == name] for name in arms.proposers}
    for number, (searched, equal) in enumerate(zip(by_arm["search"], by_arm["stratified"], strict=True)):
        assert searched.number == equal.number == number
        assert equal.weights == pytest.approx((1 / 3,) * 3)
        if number < 4:  # the regression chooses its own after its random trials
            assert searched.values == equal.values, "the same learning rates for both"
    confirming = arms.confirming()
    assert [(trial.arm, trial.seed) for trial in confirming] == [
        (arm, seed) for arm in ("search", "stratified") for seed in range(100, 108)
    ]


def test_proposers_hear_the_mean_of_the_seeds_and_failures_once_all_have_ended(tmp_path: Path) -> None:
    arms = Arms(study(), tmp_path, SIZES)
    first, second = arms.next_trials()
    finish(tmp_path, first, 0.8)
    arms.end(first)
    assert arms.proposers["search"].history == []
    finish(tmp_path, second, 0.4)
    arms.end(second)
    assert arms.proposers["search"].history[0].losses == pytest.approx((-0.6,))
    for trial in arms.next_trials():
        arms.end(trial)  # nothing on disk: it failed
    assert arms.proposers["stratified"].history[0].failed


def test_a_killed_search_knows_what_was_asked_and_what_ended(tmp_path: Path) -> None:
    arms = Arms(study(), tmp_path, SIZES)
    (a, b), (c, d) = arms.next_trials(), arms.next_trials()
    for trial in (a, b, c):
        finish(tmp_path, trial, 0.5)
        arms.end(trial)
    with (tmp_path / LOG_FILE).open("a") as stream:
        stream.write('{"event": "asked", "arm": "sea')  # torn by a kill
    again = Arms(study(), tmp_path, SIZES)
    assert again.unfinished() == [d]
    assert again.proposers["search"].history == arms.proposers["search"].history
    finish(tmp_path, d, 0.7)
    again.end(d)
    assert again.unfinished() == []
    assert again.next_trials() == Arms(study(), tmp_path, SIZES).unfinished()


def test_a_trial_is_a_proxy_of_the_full_run_and_repeats_each_source_alike(tmp_path: Path) -> None:
    config = study(*SMALL, "num_transitions=450")
    record_sources(config, tmp_path)
    # More of the first source than it holds: it is repeated, by the proxy as much as by the full run.
    trial = MixtureTrial(arm="search", number=0, seed=0, weights=(0.8, 0.1, 0.1), values={"train.learning_rate": 2e-3})
    full = dataclasses.replace(trial, kind="confirmed")
    epochs = {}
    for name, one in (("proxy", trial), ("full", full)):
        experiment = experiment_of(config, one, tmp_path)
        assert experiment.train.learning_rate == 2e-3
        assert experiment.train.learner_steps == {"proxy": 20, "full": 40}[name]
        data = open_training_data(experiment)
        assert data.view.num_transitions == {"proxy": 225, "full": 450}[name]
        epochs[name] = [source["epochs"] for source in data.report["sources"].values()]
    assert epochs["proxy"] == pytest.approx(epochs["full"], rel=0.05)


def test_losses_are_made_small_whatever_is_wanted(tmp_path: Path) -> None:
    names = ("eval/validation/normalized_return", "eval/gap/validation", "cost/wall_s")
    assert losses_of(names, dict(zip(names, (0.7, 0.2, 5.0), strict=True))) == (-0.7, 0.2, 5.0)
    assert math.isnan(losses_of(names, {})[0])
    config = study("objectives=eval/validation/normalized_return,cost/transitions_seen", "arms.search=tpe")
    (trial, _) = Arms(config, tmp_path, SIZES).next_trials()
    finish(tmp_path, trial, 0.25)
    assert trial_losses(config, trial, tmp_path) == (-0.25, 9600)
    (trial_path(tmp_path, trial.trial_id) / "result.json").unlink()
    assert trial_losses(config, trial, tmp_path) == (-0.25, 9600), "stopped early: what it reached counts"
    (trial_path(tmp_path, trial.trial_id) / "diverged.json").write_text("{}")
    assert trial_losses(config, trial, tmp_path) == (math.inf, math.inf)


def test_an_arm_may_bring_a_controller(tmp_path: Path) -> None:
    config = study("arms.moving=stratified mixing.controller=linear-law mixing.probe_size=64")
    trial = MixtureTrial(arm="moving", number=0, seed=0, weights=(0.2, 0.3, 0.5))
    assert experiment_of(config, trial, tmp_path).mixing.controller == "linear-law"
    plain = dataclasses.replace(trial, arm="stratified")
    assert experiment_of(config, plain, tmp_path).mixing.controller == "none"


def start(out: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from gengap import main; main()", "sweep", "grid-mixtures", *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [*command, "--out", str(out), "--json", *words],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_killed_study_resumes_to_a_sealed_report(tmp_path: Path) -> None:
    out, words = tmp_path / "study", ["arms.search=random", "scheduler=asha", "max_concurrent_trials=2"]
    process = start(out, *words)
    deadline = time.monotonic() + 200
    while len(list(out.glob("trials/*/result.json"))) < 3:
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.communicate()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/result.json")}

    process = start(out, *words)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "nothing finished was run again"
    result = json.loads(stdout.splitlines()[-1])
    report = json.loads((out / "report" / "report.json").read_text())
    assert result["headline"] == report["headline"]
    assert {arm["arm"] for arm in report["arms"]} == {"search", "stratified"}
    assert {arm: spent["trials"] for arm, spent in report["compute"].items()} == dict.fromkeys(report["compute"], 6.0)
    for arm in report["arms"]:
        assert set(arm["returns"]) == {"train", "validation", "test"}
        assert arm["returns"]["test"]["low"] <= arm["returns"]["test"]["mean"] <= arm["returns"]["test"]["high"]
        assert sum(arm["weights"].values()) == pytest.approx(1)
    assert set(report["differences"]) == {"search"}
    assert report["design"]["pilot_runs"] == 2
    assert report["design"]["num_levels"] == 8
    first_trial = min((out / "trials").glob("*-000-seed-0/metrics.jsonl"), key=lambda path: path.stat().st_mtime)
    assert datetime.fromisoformat(report["design"]["stated_at"]).timestamp() < first_trial.stat().st_mtime
    measured = [entry for entry in report["configurations"] if "measures" in entry]
    assert measured, "of those that early stopping did not end"
    assert all(len(entry["reached"]) == 2 and entry["measures"]["state_vendi"] >= 1 for entry in measured)
    table = EvaluationTable.read(out / "evaluations.parquet")
    tested = set(table.where(role="test").policies)
    assert tested == {f"{arm}-confirmed-seed-{seed}" for arm in report["compute"] for seed in (100, 101)}
    assert len((out / "ledger.jsonl").read_text().splitlines()) == len(tested)
    assert Dataset.open(out / "sources" / "aimless").env.name == "grid/default"
    text = (out / "report" / "report.md").read_text()
    assert "## What each arm found" in text
    assert (out / "report" / "index.html").stat().st_size > 10_000
    config = json.loads((out / "config.json").read_text())
    assert config_from_json(MixtureSearchConfig, config).arms["search"] == "random"
    _add_trials(out)


def _add_trials(out: Path) -> None:
    """A proposal for each arm, and a seed for each answer: nothing else is run, and new answers have new names."""
    finished = {path: path.read_text() for path in out.glob("trials/*/result.json")}
    command = [sys.executable, "-c", "from gengap import main; main()", "sweep", "--resume", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    added = [*command, "num_proposals=3", "confirm_seeds=100,101,102"]
    done = subprocess.run(added, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.read_text() for path in finished} == finished, "nothing finished was run again"
    new = {path.parent.name for path in out.glob("trials/*") if path / "result.json" not in finished}
    searched = {f"{arm}-002-seed-{seed}" for arm in ("search", "stratified") for seed in (0, 1)}
    assert searched <= {path.name for path in out.glob("trials/*")}
    assert new
    events = [json.loads(line) for line in (out / LOG_FILE).read_text().splitlines()]
    report = json.loads((out / "report" / "report.json").read_text())
    for arm in report["arms"]:
        answers = sum(event["event"] == "answered" and event["arm"] == arm["arm"] for event in events)
        suffix = f"-{answers}" if answers > 1 else ""
        assert arm["policies"] == [f"{arm['arm']}-confirmed{suffix}-seed-{seed}" for seed in (100, 101, 102)]
        full = 2 * 3 + 3 * answers if answers > 1 else 2 * 3 + 3
        assert report["compute"][arm["arm"]]["trials"] <= full
    assert [entry["changes"]["num_proposals"] for entry in report["grown"]] == [[2, 3]]
    assert "when the test had been read 4 times" in (out / "report" / "report.md").read_text()
