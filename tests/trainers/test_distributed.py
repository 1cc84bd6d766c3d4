"""Several workers: the same learning as one, and the path through Ray Train."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.multiprocessing

from actors.evaluate import evaluate
from actors.placement import Cluster
from actors.policy import RandomPolicy
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.spec import LevelSet
from metrics.history import read_history, series
from metrics.table import summarize
from tests.trainers.algorithms_helpers import algorithm_config
from tests.trainers.helpers import (
    final_parameters,
    grid_experiment,
    two_rank_evaluation,
    two_rank_worker,
    two_rank_worker_of_several,
)
from trainers.algorithms import ALGORITHMS
from trainers.checkpoint import load_policy
from trainers.config import AugmentationConfig, EvaluationConfig, ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import InlineEvaluation, protocol_of
from trainers.launch import preflight, run_inline
from trainers.launch_ray import explain, run_distributed
from trainers.loop import DivergedError
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


def test_two_ranks_evaluate_a_shift_over_several_environments_as_one(grid_data: Path, tmp_path: Path) -> None:
    evaluation = EvaluationConfig(protocol="grid-variants", num_train_levels=5, num_validation_levels=3, num_envs=4)
    config = dataclasses.replace(grid_experiment(grid_data), evaluation=evaluation)
    levels, spec = LevelSet.range("grid/default", 0, 9), make_spec("grid/default")
    alone = InlineEvaluation(config, spec, levels, WorkerContext())(RandomPolicy(spec), 1)
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    torch.multiprocessing.spawn(two_rank_evaluation, (rendezvous, config, levels, tmp_path), nprocs=2)
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [alone, alone]
    assert [alone[f"eval/{role}/num_levels"] for role in ("train", "train_heldout", "validation")] == [5, 3, 3]
    assert {"eval/gap/train_heldout", "eval/gap/validation"} <= alone.keys()
    assert not [name for name in alone if "test" in name]
    table = evaluate("random", protocol_of(evaluation, spec, levels, training=True))
    assert summarize(table) == alone


def experiments(grid_data: Path) -> dict[str, ExperimentConfig]:
    """Every algorithm, with what else happens between ranks: accumulation, changed images, averages, ensembles."""
    changes: dict[str, dict[str, Any]] = {
        "bc": {"augmentation": AugmentationConfig(shift=2, cutout=3)},
        "bcq": {"accumulation_steps": 2},
        "cql": {"average": "ema", "average_decay": 0.8},
        "iql": {"augmentation": AugmentationConfig(shift=2, consistency=0.5), "max_grad_norm": 0.5},
    }
    plain = {name: grid_experiment(grid_data, learner_steps=8, **changes.get(name, {})) for name in ALGORITHMS}
    plain = {name: dataclasses.replace(e, algorithm=algorithm_config(name)) for name, e in plain.items()}
    ensemble = dataclasses.replace(plain["cql"], algorithm=algorithm_config("cql", members=2))
    return {**plain, "ensemble": ensemble}


def test_two_ranks_are_one_rank_for_every_algorithm(grid_data: Path, tmp_path: Path) -> None:
    configs = experiments(grid_data)
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    arguments = (rendezvous, configs, tmp_path / "two")
    torch.multiprocessing.spawn(two_rank_worker_of_several, arguments, nprocs=2)
    for name, config in configs.items():
        one = run_inline(config, tmp_path / "one" / name, evaluate=lambda policy, step: {})
        assert_close(one.last, tmp_path / "two" / name / "checkpoints" / "last")
        if one.averaged:
            assert_close(one.averaged, tmp_path / "two" / name / "checkpoints" / "averaged")


@pytest.mark.parametrize(
    ("changes", "resources", "message"),
    [
        (
            {"num_workers": 4},
            {"CPU": 2.0},
            r"4 workers need 1 CPU each.* 2 of them fit\. Set train\.num_workers to at most 2",
        ),
        ({"num_workers": 2, "threads_per_worker": 2}, {"CPU": 3.0}, r"need 2 CPU each.* 1 of them fit"),
        (
            {"num_workers": 2, "use_gpu": True},
            {"CPU": 8.0, "GPU": 1.0},
            r"1 CPU, 1 GPU each.* at most 1",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(
    grid_data: Path, changes: dict[str, Any], resources: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        preflight(grid_experiment(grid_data, **changes), Cluster.of(resources))


class Recorder(NullReporter):
    """Keeps the reports; kills a worker when the one of a given step comes first."""

    def __init__(self, kill_a_worker_at: int) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self._kill_at: int | None = kill_a_worker_at

    def report(self, learner_step: int, metrics: Any, checkpoint: Path) -> None:
        self.reports.append((learner_step, dict(metrics)))
        if learner_step == self._kill_at:
            self._kill_at = None
            os.kill(worker_pid(), signal.SIGKILL)


def worker_pid() -> int:
    """A Ray Train worker of the cluster that this process started."""
    titles = {child.pid: "".join(child.cmdline()) for child in psutil.Process().children(recursive=True)}
    return next(pid for pid, title in titles.items() if "RayTrainWorker" in title)


def interrupt_at_40(policy: Any, learner_step: int) -> dict[str, float]:
    if learner_step == 40:
        raise KeyboardInterrupt
    return {"eval/validation/normalized_return": 0.0}


def two_workers(config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, num_workers=2))


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_begun_alone_goes_on_with_two_workers_and_survives_the_death_of_one(
    grid_data: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    config = grid_experiment(grid_data, learner_steps=60, evaluate_every=20)
    run_inline(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_inline(config, tmp_path / "parts", evaluate=interrupt_at_40)
    recorder = Recorder(kill_a_worker_at=40)
    parts = run_distributed(two_workers(config), tmp_path / "parts", reporter=recorder)
    assert parts.learner_step == 60
    assert load_policy(parts.best).spec.name == "grid/default"
    # Twenty steps alone, twenty more with two workers and a kill: rounding grows with every Adam step.
    assert_same_losses(tmp_path / "whole", tmp_path / "parts", rtol=5e-3)
    assert (tmp_path / "parts" / "metrics.jsonl").read_text().count('"event": "resume"') == 2
    reported = [step for step, _ in recorder.reports]
    assert sorted(set(reported)) == [20, 40, 60], "evaluations only, and none is lost"
    assert reported == sorted(reported)


@pytest.mark.ray
@pytest.mark.slow
def test_workers_that_find_no_place_end_the_run_with_the_remedy(
    grid_data: Path, tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray_cluster.remote(num_cpus=3)
    class Occupant:
        def ready(self) -> None: ...

    occupant = Occupant.remote()
    ray_cluster.get(occupant.ready.remote())
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "2")
    try:
        with pytest.raises(RunError, match=r"no free place in the cluster.*lower train\.num_workers"):
            run_distributed(two_workers(grid_experiment(grid_data)), tmp_path)
    finally:
        ray_cluster.kill(occupant)


def test_the_error_of_a_worker_is_told_as_its_own() -> None:
    from ray.train import WorkerGroupError

    ours = DivergedError("Lower train.learning_rate.")
    assert explain(WorkerGroupError("long traceback", {0: ValueError("late"), 1: ours})) is ours
    other = explain(WorkerGroupError("long traceback", {0: ValueError("broken")}))
    assert str(other) == "Distributed training failed: ValueError: broken"
