"""However a command ends, none of its processes remains, and the same command goes on where it was."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.collect import CollectConfig, collect
from data.dataset import Dataset
from tests.chaos.processes import Command, wait_for
from tests.conftest import REPOSITORY
from tests.search.test_sweep import SMALL
from tests.trainers.helpers import record_grid

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]

CONFIG = CollectConfig(
    env="grid/default",
    source="grid-expert",
    options={"noise": 0.2},
    num_levels=200,
    min_transitions=60_000,
    num_envs=4,
)
COLLECT = ("collect", "grid-expert", "num_levels=200", "min_transitions=60000", "num_envs=4", "num_actors=2")
NAN_ENV = '''
"""A grid whose reward is no number on one level."""
import dataclasses
from functools import partial

import numpy as np

from envs.grid import VARIANTS, GridVectorEnv, make_spec
from envs.registry import register

config = dataclasses.replace(VARIANTS["grid/default"], name="broken/grid")


class Broken(GridVectorEnv):
    def _advance(self, actions, active):
        moved = super()._advance(actions, active)
        return moved._replace(rewards=np.where(self._levels == 7, np.nan, moved.rewards))


register(config.name, partial(make_spec, config), partial(Broken, config))
'''
FEW = ("evaluation.num_train_levels=4", "evaluation.num_validation_levels=4", "evaluation.num_envs=4")
Start = Callable[..., Command]
ENDS = {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 130), "SIGKILL": (signal.SIGKILL, -9)}


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts commands; a test that failed leaves nothing of them behind."""
    commands: list[Command] = []

    def start(*words: object, cwd: Path = REPOSITORY) -> Command:
        commands.append(Command(*words, cwd=cwd))
        return commands[-1]

    yield start
    for command in commands:
        command.kill()


def begun(out: Path) -> Callable[[], bool]:
    """Whether a collection has written something."""
    return lambda: any(path.stat().st_size for path in out.parent.glob(f".{out.name}.partial-*/observation*.bin"))


@pytest.mark.parametrize("end", ENDS)
def test_an_interrupted_collection_leaves_no_process_and_goes_on(start: Start, end: str, tmp_path: Path) -> None:
    out, (number, code) = tmp_path / "data", ENDS[end]
    command = start(*COLLECT, "--out", out)
    wait_for(begun(out), command)
    assert any("EnvActor" in name for name in command.alive()), "the processes are not found"
    command.process.send_signal(number)
    ended, said = command.end()
    assert ended == code, said[-2000:]
    assert command.left() == []
    assert code < 0 or "Run the same command again" in said
    going_on = start(*COLLECT, "--out", out)
    assert going_on.end()[0] == 0
    assert going_on.left() == []
    undisturbed = collect(dataclasses.replace(CONFIG, num_actors=0), tmp_path / "undisturbed")
    assert Dataset.open(out).fingerprint == undisturbed.fingerprint


def test_the_second_ctrl_c_does_not_wait_for_the_clean_up(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = start(*COLLECT, "--out", out)
    wait_for(begun(out), command)
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    command.process.send_signal(signal.SIGINT)
    started_s = time.monotonic()
    code, said = command.end()
    assert code == 130
    assert "Stopped at once" in said or time.monotonic() - started_s < 1.0, "it was quicker than the second signal"
    assert command.left(within_s=5.0) == []


def test_an_error_in_an_actor_leaves_no_process_and_no_dataset(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken_grid.py").write_text(NAN_ENV)
    words = ("collect", "grid-expert", "env=broken/grid", "source=random", "options={}", "num_actors=2")
    command = start(*words, "--plugin", "broken_grid", "--out", tmp_path / "data", cwd=tmp_path)
    code, said = command.end()
    assert code == 1
    assert "gengap: 'broken/grid' gave the reward nan on level 7 at step 1 of the episode" in said
    assert not (tmp_path / "data").exists()
    assert command.left() == []


@pytest.mark.parametrize("end", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_interrupted_training_with_two_workers_leaves_no_process(start: Start, end: str, tmp_path: Path) -> None:
    record_grid(tmp_path / "grid")
    number, code = ENDS[end]
    words = ("train", "grid-bc", "train.learner_steps=100000", "train.evaluate_every=50", "train.num_workers=2", *FEW)
    command = start(*words, "tracking.wandb=offline", "--data", tmp_path / "grid", "--out", tmp_path / "run")
    wait_for((tmp_path / "run" / "checkpoints" / "last").exists, command)
    assert any("RayTrainWorker" in name for name in command.alive()), "the processes are not found"
    command.process.send_signal(number)
    ended, said = command.end()
    assert ended == code, said[-2000:]
    assert command.left() == []


def test_a_study_stopped_at_once_leaves_no_process_and_goes_on(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "study"
    words = ("sweep", "grid-diversity", *SMALL, "scheduler=none", "--out", out)
    command = start(*words)
    wait_for(lambda: any(out.glob("trials/*/result.json")), command)
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    command.process.send_signal(signal.SIGINT)
    assert command.end()[0] == 130
    assert command.left(within_s=5.0) == []
    finished = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/result.json")}
    going_on = start(*words)
    code, said = going_on.end(timeout_s=250)
    assert code == 0, said[-2000:]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert (out / "report" / "index.html").exists()
    assert going_on.left() == []
