"""Checkpoints are complete, atomic, and read back exactly."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.policy import PolicyInput
from envs.errors import RunError
from envs.registry import make_spec
from tests.limits import small_files
from tests.trainers.helpers import grid_experiment, random_batch
from trainers.algorithms import build_algorithm
from trainers.checkpoint import (
    Progress,
    best_checkpoint,
    checkpoint_path,
    latest_checkpoint,
    load_policy,
    policy_id,
    resolve_pointer,
    restore,
    save_checkpoint,
    write_pointer,
)
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.learner import Learner

SPEC = make_spec("grid/default")


@pytest.fixture
def config() -> ExperimentConfig:
    return grid_experiment(Path("unused"))


def make_learner(config: ExperimentConfig, steps: int = 3, hidden_size: int = 32) -> Learner:
    network = dataclasses.replace(config.network, hidden_size=hidden_size)
    learner = Learner(build_algorithm(SPEC, config.algorithm, network, 0), config.train, WorkerContext())
    for step in range(steps):
        learner.step(random_batch(SPEC, 8, seed=step))
    return learner


def save(run_dir: Path, learner: Learner, config: ExperimentConfig, **progress: float) -> Path:
    return save_checkpoint(run_dir, learner, Progress(learner_step=learner.learner_step, **progress), config, SPEC)


def test_a_restored_learner_goes_on_bit_for_bit(tmp_path: Path, config: ExperimentConfig) -> None:
    learner = make_learner(config)
    path = save(tmp_path, learner, config, loss_sums={"total": 3.0, "#steps": 2.0}, best_step=3, best_score=0.5)
    other = make_learner(config, steps=1)
    progress = restore(path, other)
    assert (progress.learner_step, progress.best_score, progress.loss_sums["total"]) == (3, 0.5, 3.0)
    for one in (learner, other):
        one.step(random_batch(SPEC, 8, seed=9))
    assert policy_id(learner.algorithm) == policy_id(other.algorithm)


def test_a_loaded_policy_acts_as_the_trained_one(tmp_path: Path, config: ExperimentConfig) -> None:
    learner = make_learner(config)
    path = save(tmp_path, learner, config)
    policy = load_policy(path)
    assert policy.spec == SPEC
    assert policy.policy_id == policy_id(learner.algorithm.policy())
    batch = random_batch(SPEC, 5)
    images = {"image": batch.observations["image"].numpy()}
    inputs = PolicyInput(images, np.ones(5, np.bool_), np.full(5, -1, np.int32), np.zeros(5, np.float32))
    policy.precision = "float32"
    expected = torch.log_softmax(learner.algorithm.policy()(batch.observations), 1)
    np.testing.assert_allclose(policy.act(inputs), expected.detach().numpy(), rtol=1e-5)


def test_loading_leaves_the_global_generator_alone(tmp_path: Path, config: ExperimentConfig) -> None:
    path = save(tmp_path, make_learner(config), config)
    state = torch.random.get_rng_state()
    load_policy(path)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_last_and_the_best_stay_and_others_go(tmp_path: Path, config: ExperimentConfig) -> None:
    learner = make_learner(config, steps=1)
    for best_step in (1, 2, 2, 2):
        save(tmp_path, learner, config, best_step=best_step)
        learner.step(random_batch(SPEC, 8))
    assert latest_checkpoint(tmp_path) == checkpoint_path(tmp_path, 4).resolve()
    assert best_checkpoint(tmp_path) == checkpoint_path(tmp_path, 2).resolve()
    assert len([path for path in (tmp_path / "checkpoints").iterdir() if not path.is_symlink()]) == 2


@pytest.mark.parametrize("killed_at", ["os.replace", "trainers.checkpoint._link", "trainers.checkpoint.prune"])
def test_a_killed_save_leaves_a_whole_checkpoint(
    tmp_path: Path, config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    learner = make_learner(config)
    before = save(tmp_path, learner, config)
    learner.step(random_batch(SPEC, 8))
    with monkeypatch.context() as patch:
        patch.setattr(killed_at, die)
        with pytest.raises(Killed):
            save(tmp_path, learner, config)
    last = latest_checkpoint(tmp_path)
    assert last == (checkpoint_path(tmp_path, 4) if killed_at.endswith(".prune") else before).resolve()
    restore(last, make_learner(config))
    assert save(tmp_path, learner, config).resolve() == latest_checkpoint(tmp_path), "the next save works"
    hidden = [path for path in (tmp_path / "checkpoints").iterdir() if path.name.startswith(".") and path.is_dir()]
    assert hidden == [], "leftovers are removed"


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, config: ExperimentConfig, name: str) -> None:
    path = save(tmp_path, make_learner(config), config)
    os.truncate(path / name, 40)
    with pytest.raises(RunError, match=r"step-00000003 cannot be read"):
        restore(path, make_learner(config))


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, config: ExperimentConfig) -> None:
    path = save(tmp_path, make_learner(config), config)
    with pytest.raises(RunError, match="another network"):
        restore(path, make_learner(config, hidden_size=16))


def test_a_checkpoint_cannot_run_code(tmp_path: Path, config: ExperimentConfig) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    path = save(tmp_path, make_learner(config), config)
    torch.save(Malicious(), path / "optimizer.pt")
    with pytest.raises(RunError):
        restore(path, make_learner(config))
    assert not (tmp_path / "harm").exists()


def test_pointers_lead_to_checkpoints_and_to_the_last_one_when_theirs_was_pruned(
    tmp_path: Path, config: ExperimentConfig
) -> None:
    learner, pointer = make_learner(config), tmp_path / "pointer"
    pointer.mkdir()
    write_pointer(pointer, save(tmp_path, learner, config), 3)
    assert resolve_pointer(pointer) == checkpoint_path(tmp_path, 3).resolve()
    learner.step(random_batch(SPEC, 8))
    save(tmp_path, learner, config, best_step=4)
    assert resolve_pointer(pointer) == checkpoint_path(tmp_path, 4).resolve()
    assert load_policy(pointer).policy_id == policy_id(learner.algorithm.policy())
    with pytest.raises(RunError, match="no checkpoint at"):
        load_policy(tmp_path / "nowhere")


@pytest.mark.parametrize("limit", [500, 12_000, 40_000])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, config: ExperimentConfig, limit: int) -> None:
    small, large = make_learner(config, steps=1, hidden_size=1), make_learner(config)
    kept = save(tmp_path, small, config)
    with small_files(limit), pytest.raises(RunError, match=r"No space left while writing .*step-00000003"):
        save(tmp_path, large, config)
    assert latest_checkpoint(tmp_path) == kept
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best", "last", kept.name]
