"""Writes that are dropped when the power goes, that take long, or that the disk has no room for."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.collect import CollectConfig, collect
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError
from tests.chaos.same import assert_same_run
from tests.conftest import REPOSITORY
from tests.limits import small_files
from tests.trainers.helpers import grid_experiment, record_grid
from trainers.launch import run_inline
from trainers.loop import SCORE

pytestmark = pytest.mark.chaos

CONFIG = CollectConfig(
    env="grid/default",
    source="grid-expert",
    options={"noise": 0.2},
    num_levels=30,
    min_transitions=4_000,
    num_actors=0,
    num_envs=4,
)
COLLECTOR = """
import sys
from functools import partial
from pathlib import Path
import actors.collect
import data.append
from data.writer import DatasetWriter
from tests.chaos.storage import PowerLoss
from tests.chaos.test_storage import CONFIG
root, strike_at = Path(sys.argv[1]), int(sys.argv[2])
actors.collect.DatasetWriter = partial(DatasetWriter, commit_every_s=0.2)
data.append.FLUSH_BYTES = 1 << 16  # some of it is with the system and not yet on the disk
disk = PowerLoss(root, delay_s=0.02)
def progress(done, *_):
    if done > strike_at:
        disk.strike()
actors.collect.collect(CONFIG, root / "data", progress)
"""
TRAINER = """
import sys
from pathlib import Path
from tests.chaos.storage import PowerLoss
from tests.chaos.test_storage import experiment, falling
from trainers.launch import run_inline
data, root, strike_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
disk = PowerLoss(root)
def evaluate(policy, step):
    if step == strike_at:
        disk.strike()
    return falling(policy, step)
run_inline(experiment(data), root, evaluate=evaluate)
"""


def falling(policy: Any, learner_step: int) -> dict[str, float]:
    return {SCORE: 1.0 - learner_step / 100}


def experiment(data: Path) -> Any:
    return grid_experiment(data, evaluate_every=10, checkpoint_every=5, log_every=2)


def struck(code: str, *words: object) -> int:
    """Bytes that a process lost with the power."""
    command = [sys.executable, "-c", code, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_a_collection_survives_power_losses_that_drop_every_write_since_the_last_sync(tmp_path: Path) -> None:
    undisturbed = collect(CONFIG, tmp_path / "undisturbed")
    rng, root = np.random.default_rng(3), tmp_path / "struck"
    root.mkdir()
    lost = [struck(COLLECTOR, root, at) for at in np.sort(rng.integers(300, 3_800, size=3))]
    assert max(lost) > 0, "nothing was ever dropped"
    kept: list[float] = []
    survived = collect(CONFIG, root / "data", lambda done, total=None, note="": kept.append(done))
    assert kept[0] > 500, "it began anew"
    assert survived.fingerprint == undisturbed.fingerprint
    assert verify(root / "data") == []
    assert [path.name for path in root.iterdir()] == ["data"]


@pytest.mark.slow
def test_training_survives_power_losses_with_its_parameters_and_every_row(grid: Path, tmp_path: Path) -> None:
    run_inline(experiment(grid), tmp_path / "a", evaluate=falling)
    (tmp_path / "b").mkdir()
    for at in (20, 30):
        struck(TRAINER, grid, tmp_path / "b", at)
    run_inline(experiment(grid), tmp_path / "b", evaluate=falling)
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_a_slow_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = collect(dataclasses.replace(CONFIG, min_transitions=500), tmp_path / "expected")
    for name in ("fsync", "fdatasync"):
        sync = getattr(os, name)
        monkeypatch.setattr(os, name, lambda descriptor, sync=sync: (time.sleep(0.02), sync(descriptor)))
    monkeypatch.setattr("data.append.FLUSH_BYTES", 1 << 15)
    monkeypatch.setattr(DatasetWriter.__init__, "__kwdefaults__", {"resume": False, "commit_every_s": 0.05})
    slow = collect(dataclasses.replace(CONFIG, min_transitions=500), tmp_path / "slow")
    assert slow.fingerprint == expected.fingerprint
    assert verify(tmp_path / "slow") == []


def test_training_that_finds_the_disk_full_goes_on_when_there_is_room(grid: Path, tmp_path: Path) -> None:
    run_inline(experiment(grid), tmp_path / "a", evaluate=falling)
    with ExitStack() as disk:

        def evaluate(policy: Any, learner_step: int) -> dict[str, float]:
            if learner_step == 20:
                disk.enter_context(small_files(20_000))  # room for rows of metrics, not for a checkpoint
            return falling(policy, learner_step)

        with pytest.raises(RunError, match="No space left while writing"):
            run_inline(experiment(grid), tmp_path / "b", evaluate=evaluate)
    run_inline(experiment(grid), tmp_path / "b", evaluate=falling)
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    record_grid(tmp_path / "grid", range(10), 2)
    return tmp_path / "grid"
