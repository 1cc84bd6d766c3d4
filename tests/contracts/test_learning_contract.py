"""What learns values must beat the behavior it learned from, where good and bad episodes are mixed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.policy import Policy
from actors.rollout import play
from data.dataset import Dataset
from data.writer import DatasetWriter
from envs.grid import make_spec
from envs.registry import make_vec
from tests.trainers.helpers import GRID, grid_episode, grid_experiment
from trainers.checkpoint import load_policy
from trainers.config import AlgorithmConfig, NetworkConfig
from trainers.launch import run_inline

NUM_LEVELS = 10


@pytest.fixture(scope="module")
def mixed_data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """On every level two episodes of the disturbed solver and four of random moves."""
    path = tmp_path_factory.mktemp("mixed") / "data"
    with DatasetWriter(path, make_spec(GRID), {"command": "test"}) as writer:
        for level in range(NUM_LEVELS):
            for episode in range(6):
                writer.add(grid_episode(level, episode, noise=0.2 if episode < 2 else 1.0))
        return writer.finish()


def mean_return(policy: Policy) -> float:
    env = make_vec("grid/default", 50)
    jobs = [(level, episode) for level in range(NUM_LEVELS) for episode in range(5)]
    returns = [result.episode_return for result in play(env, policy, jobs, seed=0)]
    env.close()
    return float(np.mean(returns))


def learned(data: Dataset, folder: Path, width: int, algorithm: AlgorithmConfig, **train: Any) -> float:
    config = grid_experiment(data.info.path, batch_size=64, log_every=100, **train)
    network = NetworkConfig(encoder="small", hidden_size=width)
    config = dataclasses.replace(config, network=network, algorithm=algorithm)
    result = run_inline(config, folder, evaluate=lambda policy, step: {})
    return mean_return(load_policy(result.last))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "train", "options"),
    [
        (
            "cql",
            32,
            {"learner_steps": 700, "learning_rate": 2e-3},
            {"alpha": 0.05, "temperature": 0.03, "discount": 0.9, "target_rate": 0.05},
        ),
        (
            "iql",
            64,
            {"learner_steps": 1000, "learning_rate": 1e-3},
            {"beta": 10.0, "expectile": 0.9, "discount": 0.95, "target_rate": 0.02},
        ),
    ],
)
def test_it_beats_its_data(
    mixed_data: Dataset, tmp_path: Path, name: str, width: int, train: dict[str, Any], options: dict[str, Any]
) -> None:
    behavior = float(mixed_data.episodes["return"].mean())
    assert behavior == pytest.approx(0.533, abs=0.01)
    algorithm = AlgorithmConfig(name=name, options=options)
    assert learned(mixed_data, tmp_path, width, algorithm, **train) > behavior + 0.05
