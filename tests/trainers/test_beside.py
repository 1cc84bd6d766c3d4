"""Evaluators beside training: they change no value, the learner does not wait, and nothing is lost."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from envs.errors import RunError, UsageError
from metrics.history import read_history
from tests.trainers.helpers import final_parameters, grid_experiment, without_perf
from trainers.beside import Evaluators, Verdict
from trainers.checkpoint import checkpoint_path, load_policy, read_progress
from trainers.config import EvaluationConfig, ExperimentConfig
from trainers.evaluation import SCORE
from trainers.launch import run, run_inline
from trainers.loop import train
from trainers.reporter import NullReporter
from trainers.training_data import open_training_data

SCORES = {10: 0.2, 20: 0.9, 30: 0.3, 40: 0.4}


class Recorder(NullReporter):
    def __init__(self) -> None:
        self.reports: list[int] = []
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, learner_step: int, values: Any) -> None:
        self.rows.append((learner_step, dict(values)))

    def report(self, learner_step: int, metrics: Any, checkpoint: Path) -> None:
        assert metrics[SCORE] == SCORES[learner_step]
        assert (checkpoint / "policy.json").exists()
        self.reports.append(learner_step)


class SlowJudges:
    """Answers one checkpoint each time it was asked so often, with the scores above; a learner that waits asks on."""

    def __init__(self, patience: int) -> None:
        self._patience, self._asked = patience, 0
        self._waiting: list[tuple[int, Path]] = []
        self.judged: dict[int, str] = {}
        self.closed = False

    def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
        self._waiting.append((learner_step, checkpoint))

    def arrived(self, timeout_s: float) -> list[Verdict]:
        self._asked += 1
        if not self._waiting or self._asked < self._patience:
            return []
        self._asked = 0
        step, checkpoint = self._waiting.pop(0)
        self.judged[step] = load_policy(checkpoint).policy_id
        return [Verdict(learner_step=step, metrics={SCORE: SCORES[step]}, wall_s=1.0, lag_s=2.0)]

    def close(self) -> None:
        self.closed = True


def beside(data: Path, num_evaluators: int = 1, **train: Any) -> ExperimentConfig:
    config = grid_experiment(data, **{"evaluate_every": 10, **train})
    return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, num_evaluators=num_evaluators))


def histories(*folders: Path) -> list[list[dict[str, Any]]]:
    return [without_perf(read_history(folder / "metrics.jsonl")) for folder in folders]


def test_the_learner_goes_on_and_every_checkpoint_is_judged(grid_data: Path, tmp_path: Path) -> None:
    reporter, judges = Recorder(), SlowJudges(17)
    result = train(beside(grid_data, checkpoint_every=5), reporter, run_dir=tmp_path, judges=judges)
    assert reporter.reports == [10, 20, 30, 40]
    assert (result.best_step, result.best_score, result.metrics) == (20, 0.9, {SCORE: 0.4})
    assert load_policy(tmp_path / "checkpoints" / "best").policy_id == judges.judged[20]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if not path.is_symlink())
    assert kept == ["step-00000020", "step-00000040"]
    assert read_progress(tmp_path / "checkpoints" / "last").pending == ()
    assert judges.closed
    rows = [(step, SCORE in row) for step, row in reporter.rows]
    assert rows.index((10, True)) > rows.index((15, False)), "the learner did not wait for step 10"
    assert rows.index((10, True)) < rows.index((25, False)), "the answer was written when it came"
    assert rows.index((40, True)) == len(rows) - 1


def test_while_it_is_not_judged_a_checkpoint_is_kept_and_a_restart_judges_it(grid_data: Path, tmp_path: Path) -> None:
    class Dies(Exception):
        pass

    class Dying(SlowJudges):
        def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
            if learner_step == 30:
                raise Dies
            super().submit(learner_step, checkpoint, averaged)

    config, first = beside(grid_data), Recorder()
    with pytest.raises(Dies):
        train(config, first, run_dir=tmp_path, judges=Dying(10**6))
    assert first.reports == []
    last = checkpoint_path(tmp_path, 30)
    assert read_progress(last).pending == (10, 20, 30)
    assert all(checkpoint_path(tmp_path, step).exists() for step in (10, 20, 30))

    second = Recorder()
    result = train(config, second, run_dir=tmp_path, judges=SlowJudges(1), resume_from=last)
    assert second.reports == [10, 20, 30, 40]
    assert (result.best_step, result.best_score) == (20, 0.9)


def test_a_run_may_go_on_without_the_evaluators_it_began_with(grid_data: Path, tmp_path: Path) -> None:
    class Stops(SlowJudges):
        def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
            if learner_step == 20:
                raise KeyboardInterrupt

    undisturbed = run_inline(beside(grid_data, 0), tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(beside(grid_data), NullReporter(), run_dir=tmp_path / "b", judges=Stops(10**6))
    resumed = train(
        beside(grid_data, 0), NullReporter(), run_dir=tmp_path / "b", resume_from=checkpoint_path(tmp_path / "b", 20)
    )
    assert (resumed.best_step, resumed.best_score) == (undisturbed.best_step, undisturbed.best_score)
    assert resumed.metrics == undisturbed.metrics


def test_an_error_of_the_evaluators_ends_the_run(grid_data: Path, tmp_path: Path) -> None:
    class Failing(SlowJudges):
        def arrived(self, timeout_s: float) -> list[Verdict]:
            raise RunError("the evaluators gave up")

    judges = Failing(1)
    with pytest.raises(RunError, match="gave up"):
        train(beside(grid_data), NullReporter(), run_dir=tmp_path, judges=judges)
    assert judges.closed


def test_fewer_than_no_evaluators_are_refused() -> None:
    with pytest.raises(UsageError, match="num_evaluators is -1"):
        EvaluationConfig(num_evaluators=-1)


@pytest.mark.ray
@pytest.mark.parametrize("average", ["none", "ema"])
def test_the_number_of_evaluators_changes_no_value(
    ray_cluster: Any, grid_data: Path, tmp_path: Path, average: str
) -> None:
    numbers = (0, 1, 2) if average == "none" else (0, 1)
    results = [run_inline(beside(grid_data, number, average=average), tmp_path / str(number)) for number in numbers]
    recorded = histories(*(tmp_path / str(number) for number in numbers))
    assert all(rows == recorded[0] for rows in recorded[1:])
    assert {SCORE, f"{SCORE}_low", "eval/gap/validation_high", "eval/train/iqm"} <= recorded[0][-1].keys()
    assert [row["learner_step"] for row in recorded[0] if SCORE in row] == [10, 20, 30, 40]
    for result in results[1:]:
        assert (result.best_step, result.best_score, result.metrics) == (
            results[0].best_step,
            results[0].best_score,
            results[0].metrics,
        )
        assert all((final_parameters(result.best)[k] == v).all() for k, v in final_parameters(results[0].best).items())


@pytest.mark.ray
@pytest.mark.chaos
def test_a_killed_evaluator_loses_nothing(ray_cluster: Any, grid_data: Path, tmp_path: Path) -> None:
    config = beside(grid_data, 2)
    expected = run_inline(beside(grid_data, 0), tmp_path / "a")
    data = open_training_data(config)
    judges = Evaluators(config, data.spec, data.levels)
    pids = [info.pid for info in judges.pool.wait_until_started()]
    killer = threading.Timer(0.05, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    (tmp_path / "b").mkdir()

    class Kills:
        """Kills the actors when the first checkpoint comes."""

        def submit(self, learner_step: int, checkpoint: Path, averaged: Path | None) -> None:
            if learner_step == 10:
                killer.start()
            judges.submit(learner_step, checkpoint, averaged)

        arrived, close = staticmethod(judges.arrived), staticmethod(judges.close)

    result = train(config, NullReporter(), run_dir=tmp_path / "b", judges=Kills())
    assert judges.pool.num_replaced == 2
    assert (result.best_step, result.best_score, result.metrics) == (
        expected.best_step,
        expected.best_score,
        expected.metrics,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_evaluators_stand_beside_several_workers(ray_cluster: Any, grid_data: Path, tmp_path: Path) -> None:
    reports: dict[int, list[int]] = {}
    for number in (0, 1):
        recorder = Recorder()
        recorder.report = lambda step, metrics, checkpoint, number=number: reports.setdefault(number, []).append(step)  # type: ignore[method-assign]
        run(beside(grid_data, number, num_workers=2), tmp_path / str(number), reporter=recorder)
    assert reports[0] == reports[1] == [10, 20, 30, 40]
    before, after = histories(tmp_path / "0", tmp_path / "1")
    assert before == after
