"""The process of a trial is killed while it trains: Tune starts it again, and the study is as if nothing had been."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from search.phases import collect_datasets
from search.recipes import build_sweep
from search.space import trial_specs
from search.tuning import run_trials
from tests.chaos.same import assert_same_run
from tests.search.test_sweep import SMALL

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]


class Killer(threading.Thread):
    """Kills the process of one trial as soon as that has a checkpoint."""

    def __init__(self, study: Path) -> None:
        super().__init__(daemon=True)
        self.killed: list[str] = []
        self._study = study

    def run(self) -> None:
        while not (begun := [path for path in self._study.glob("trials/*/checkpoints/last") if path.exists()]):
            time.sleep(0.01)
        for child in psutil.Process().children(recursive=True):
            if "run_trial" in child.name() or "ImplicitFunc" in child.name():
                os.kill(child.pid, signal.SIGKILL)
                self.killed.append(begun[0].parent.parent.name)


def searched(study: Path, killer: Killer | None) -> list[dict[str, Any]]:
    config = build_sweep("grid-diversity", [*SMALL, "scheduler=none", "experiment.tracking.wandb=disabled"])
    config = dataclasses.replace(config, max_concurrent_trials=1)
    study.mkdir()
    collect_datasets(dataclasses.replace(config, num_actors=2), study)
    if killer is not None:
        killer.start()
    return run_trials(config, study)


@pytest.mark.usefixtures("ray_cluster")
def test_a_study_whose_trial_was_killed_has_the_trials_of_an_undisturbed_one(tmp_path: Path) -> None:
    killer = Killer(tmp_path / "b")
    records = [searched(tmp_path / "a", None), searched(tmp_path / "b", killer)]
    assert killer.killed, "no trial was killed"
    assert records[0] == records[1]
    config = build_sweep("grid-diversity", [*SMALL])
    for spec in trial_specs(config):
        assert_same_run(*(tmp_path / study / "trials" / spec.trial_id for study in ("a", "b")))
