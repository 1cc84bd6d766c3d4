"""The process of W&B is killed in the middle of training: nothing is lost but its copy of what came after."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metrics.history import read_history
from tests.chaos.same import assert_same_run
from tests.conftest import REPOSITORY
from tests.metrics.wandb_reader import read_rows
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.config import TrackingConfig
from trainers.launch import run_inline
from trainers.loop import SCORE

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

TRAINER = """
import dataclasses, sys, time
from pathlib import Path
import psutil
from tests.chaos.test_tracker_process import experiment
from trainers.config import TrackingConfig
from trainers.launch import run_inline
run_dir = Path(sys.argv[2])
def evaluate(policy, step):
    if step == 20:
        while not list(run_dir.glob("wandb/offline-run-*/*.wandb")):
            time.sleep(0.01)
        time.sleep(0.5)
        services = [child for child in psutil.Process().children(recursive=True) if "wandb" in child.name()]
        assert services
        for service in services:
            service.kill()
    return {"eval/validation/normalized_return": 1.0 - step / 100}
tracking = TrackingConfig(wandb="offline", finish_timeout_s=5.0)
started = time.monotonic()
run_inline(dataclasses.replace(experiment(Path(sys.argv[1])), tracking=tracking), run_dir, evaluate=evaluate)
print("ended", flush=True)
"""


def experiment(data: Path) -> Any:
    return grid_experiment(data, evaluate_every=10, log_every=2)


def test_training_goes_on_when_the_trackers_process_is_killed(tmp_path: Path) -> None:
    record_grid(tmp_path / "grid", range(10), 2)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "grid"), str(tmp_path / "b")]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("ended\n")
    config = experiment(tmp_path / "grid")
    run_inline(config, tmp_path / "a", evaluate=lambda policy, step: {SCORE: 1.0 - step / 100})
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert config.tracking == TrackingConfig(wandb="disabled")
    steps = [row["learner_step"] for row in read_history(tmp_path / "b" / "metrics.jsonl")]
    (log,) = (tmp_path / "b").glob("wandb/offline-run-*/*.wandb")
    copied = [row["learner_step"] for row in read_rows(log)]
    assert copied == steps[: len(copied)], "what was copied is right as far as it goes"
    assert len(copied) < len(steps)
