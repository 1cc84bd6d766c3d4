"""Several workers: the same learning as one, and the path through Ray Train."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.multiprocessing

from envs.errors import RunError, UsageError
from metrics.history import read_history, series
from tests.trainers.helpers import final_parameters, grid_experiment, two_rank_worker
from trainers.checkpoint import load_policy
from trainers.config import ExperimentConfig
from trainers.launch import preflight, run_inline
from trainers.launch_ray import run_distributed
from trainers.reporter import NullReporter


def assert_close(first: Path, second: Path) -> None:
    a, b = final_parameters(first), final_parameters(second)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=2e-4)


def assert_same_losses(first: Path, second: Path, rtol: float) -> None:
    for name in ("train/loss/total", "train/loss/entropy"):
        expected, found = (series(read_history(run / "metrics.jsonl"), name) for run in (first, second))
        assert found[0] == expected[0]
        np.testing.assert_allclose(found[1], expected[1], rtol=rtol)


def test_two_ranks_with_half_the_batch_are_one_rank_with_the_whole(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, learner_steps=20, evaluate_every=10)
    one = run_inline(config, tmp_path / "one")
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    torch.multiprocessing.spawn(two_rank_worker, (rendezvous, config, tmp_path / "two"), nprocs=2)
    assert_close(one.last, tmp_path / "two" / "checkpoints" / "last")
    assert_same_losses(tmp_path / "one", tmp_path / "two", rtol=1e-4)
    names = [{name for row in read_history(tmp_path / run / "metrics.jsonl") for name in row} for run in ("one", "two")]
    assert names[0] == names[1], "every evaluation metric is there, though each rank plays half the levels"


@pytest.mark.parametrize(
    ("changes", "resources", "message"),
    [
        ({"num_workers": 4}, {"CPU": 2.0}, r"4 workers need 4 CPUs, but the cluster has 2.*train\.num_workers"),
        ({"num_workers": 2, "threads_per_worker": 2}, {"CPU": 3.0}, "need 4 CPUs"),
        ({"num_workers": 2, "use_gpu": True}, {"CPU": 8.0, "GPU": 1.0}, r"2 GPUs, but the cluster has 1"),
    ],
)
def test_what_cannot_be_placed_is_refused(
    grid_data: Path, changes: dict[str, Any], resources: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preflight(grid_experiment(grid_data, **changes), resources)


class Recorder(NullReporter):
    """Keeps the reports; may kill a worker when the first one comes."""

    def __init__(self, kill_a_worker: bool = False) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self._kill = kill_a_worker

    def report(self, learner_step: int, metrics: Any, checkpoint: Path) -> None:
        self.reports.append((learner_step, dict(metrics)))
        if self._kill:
            self._kill = False
            os.kill(worker_pid(), signal.SIGKILL)


def worker_pid() -> int:
    """A Ray Train worker of the cluster that this process started."""
    titles = {child.pid: "".join(child.cmdline()) for child in psutil.Process().children(recursive=True)}
    return next(pid for pid, title in titles.items() if "RayTrainWorker" in title)


def two_workers(config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, num_workers=2))


@pytest.mark.ray
@pytest.mark.slow
def test_ray_train_learns_the_same_and_survives_the_death_of_a_worker(
    grid_data: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    config = grid_experiment(grid_data, learner_steps=60, evaluate_every=20)
    run_inline(config, tmp_path / "one")
    recorder = Recorder(kill_a_worker=True)
    two = run_distributed(two_workers(config), tmp_path / "two", reporter=recorder)
    assert two.learner_step == 60
    assert_same_losses(tmp_path / "one", tmp_path / "two", rtol=2e-3)
    assert load_policy(two.best).spec.name == "grid/default"
    rows = read_history(tmp_path / "two" / "metrics.jsonl")
    steps = [row["learner_step"] for row in rows]
    assert steps == [row["learner_step"] for row in read_history(tmp_path / "one" / "metrics.jsonl")]
    assert '"event": "resume"' in (tmp_path / "two" / "metrics.jsonl").read_text(), "the worker was not killed"
    reported = [step for step, _ in recorder.reports]
    assert sorted(set(reported)) == [20, 40, 60], "evaluations only, and none lost"
    assert reported == sorted(reported)


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_begun_alone_goes_on_with_two_workers(grid_data: Path, tmp_path: Path, ray_cluster: Any) -> None:
    config = grid_experiment(grid_data, learner_steps=20, evaluate_every=10)
    whole = run_inline(config, tmp_path / "whole")

    def stop(policy: Any, learner_step: int) -> dict[str, float]:
        if learner_step == 20:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run_inline(config, tmp_path / "parts", evaluate=stop)
    parts = run_distributed(two_workers(config), tmp_path / "parts")
    assert_close(whole.last, parts.last)
    assert_same_losses(tmp_path / "whole", tmp_path / "parts", rtol=1e-4)


@pytest.mark.ray
@pytest.mark.slow
def test_an_error_in_a_worker_reaches_the_caller_as_one_line(grid_data: Path, tmp_path: Path, ray_cluster: Any) -> None:
    config = two_workers(grid_experiment(grid_data, learning_rate=1e30))
    with pytest.raises(RunError, match=r"Lower train\.learning_rate"):
        run_distributed(config, tmp_path, max_failures=0)
