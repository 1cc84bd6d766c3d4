"""A whole node goes: what was there is played or learned again elsewhere, and the end is the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch.multiprocessing

from actors.collect import CollectConfig, collect
from data.dataset import Dataset
from tests.chaos.same import assert_same_run
from tests.conftest import REPOSITORY
from tests.trainers.helpers import grid_experiment, record_grid, two_rank_worker

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]

CONFIG = CollectConfig(
    env="grid/default", source="grid-expert", options={"noise": 0.2}, num_levels=60, min_transitions=20_000, num_envs=4
)
CLUSTER = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
health = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": health}
)
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, namespace="gengap", log_to_driver=False, logging_level="ERROR")
killed = []
def kill_second():
    killed.append(time.monotonic())
    cluster.remove_node(second, allow_graceful=False)
"""
COLLECTOR = """
from dataclasses import replace
from actors.collect import collect
from tests.chaos.test_nodes import CONFIG
def progress(done, *_):
    if not killed and done > 3000:
        kill_second()
collect(replace(CONFIG, num_actors=2), Path(sys.argv[1]), progress)
print("took", time.monotonic() - killed[0], flush=True)
ray.shutdown()
cluster.shutdown()
"""
TRAINER = """
from tests.chaos.test_nodes import experiment
from trainers.launch_ray import run_distributed
from trainers.reporter import NullReporter
class Killer(NullReporter):
    def report(self, learner_step, metrics, checkpoint):
        if learner_step == 20 and not killed:
            kill_second()
            cluster.add_node(num_cpus=1)
config = experiment(Path(sys.argv[1]))
result = run_distributed(config, Path(sys.argv[2]), reporter=Killer())
print("took", time.monotonic() - killed[0], result.learner_step, flush=True)
ray.shutdown()
cluster.shutdown()
"""


def experiment(data: Path) -> object:
    return grid_experiment(data, learner_steps=60, evaluate_every=20, num_workers=2)


def run(code: str, *words: object) -> str:
    command = [sys.executable, "-c", CLUSTER + code, *map(str, words)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "took" in done.stdout, "no node was lost"
    return done.stderr


def test_a_lost_node_changes_nothing_in_a_dataset(tmp_path: Path) -> None:
    said = run(COLLECTOR, tmp_path / "disturbed")
    assert "died and is replaced" in said or "failed and is replaced" in said
    undisturbed = collect(dataclasses.replace(CONFIG, num_actors=0), tmp_path / "undisturbed")
    assert Dataset.open(tmp_path / "disturbed").fingerprint == undisturbed.fingerprint


def test_training_that_lost_a_node_ends_as_two_undisturbed_workers_do(tmp_path: Path) -> None:
    record_grid(tmp_path / "grid")
    run(TRAINER, tmp_path / "grid", tmp_path / "disturbed")
    arguments = (f"file://{tmp_path / 'rendezvous'}", experiment(tmp_path / "grid"), tmp_path / "undisturbed")
    torch.multiprocessing.spawn(two_rank_worker, arguments, nprocs=2)
    assert_same_run(tmp_path / "undisturbed", tmp_path / "disturbed")
