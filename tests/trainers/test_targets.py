"""Target networks follow as configured, also through a checkpoint, and histograms stand for values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tests.trainers.algorithms_helpers import GRID, SMALL, algorithm_config, batch_for
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import build_algorithm
from trainers.algorithms.values import Values
from trainers.checkpoint import Progress, restore, save_checkpoint
from trainers.distributed import WorkerContext
from trainers.learner import Learner

Q_LEARNERS = pytest.mark.parametrize("name", ["bcq", "cql", "iql"])


def learner(name: str, **options: Any) -> Learner:
    algorithm = build_algorithm(GRID, algorithm_config(name, **options), SMALL, seed=0)
    return Learner(algorithm, grid_experiment(Path("unused")).train, WorkerContext())


def source(algorithm: Any) -> torch.nn.Module:
    module: torch.nn.Module = algorithm.critic if hasattr(algorithm, "critic") else algorithm.acting.network
    return module


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double()


def step(one: Learner, number: int) -> None:
    one.step(batch_for(one.algorithm, GRID, 8, seed=number))


@Q_LEARNERS
def test_polyak_targets_go_a_share_of_the_way_in_every_step(name: str) -> None:
    one = learner(name, target_update="polyak", target_rate=0.25)
    expected = flat(source(one.algorithm))
    assert torch.equal(flat(one.algorithm.target), expected), "equal at first"
    for number in range(5):
        step(one, number)
        expected = 0.75 * expected + 0.25 * flat(source(one.algorithm))
        torch.testing.assert_close(flat(one.algorithm.target), expected, rtol=1e-5, atol=1e-7)


@Q_LEARNERS
def test_copied_targets_stand_still_and_jump(name: str) -> None:
    one = learner(name, target_update="copy", target_period=3)
    before = flat(one.algorithm.target)
    for number in range(1, 8):
        step(one, number)
        if number % 3 == 0:
            before = flat(source(one.algorithm))
        assert torch.equal(flat(one.algorithm.target), before), number
        assert torch.equal(before, flat(source(one.algorithm))) == (number % 3 == 0)


def test_copies_keep_their_rhythm_through_a_checkpoint(tmp_path: Path) -> None:
    options = {"target_update": "copy", "target_period": 3}
    config = dataclasses.replace(grid_experiment(Path("unused")), algorithm=algorithm_config("cql", **options))
    whole, first, second = (learner("cql", **options) for _ in range(3))
    for number in range(7):
        step(whole, number)
    for number in range(4):
        step(first, number)
    restore(save_checkpoint(tmp_path, first, Progress(learner_step=4), config, GRID), second)
    for number in range(4, 7):
        step(second, number)
    assert torch.equal(flat(second.algorithm.target), flat(whole.algorithm.target))


def test_a_histogram_is_the_normal_distribution_around_its_target() -> None:
    values = Values(20, "huber", spread=0.75)
    values.set_bounds(-2.0, 2.0)
    low, high = values.bounds.tolist()
    assert low < -2
    assert high > 2
    edges = np.linspace(low, high, 21)
    targets = torch.tensor([-1.7, 0.0, 0.33, 2.0])
    for target, found in zip(targets.tolist(), values.histogram(targets), strict=True):
        mass = np.diff(norm.cdf(edges, target, 0.75 * (edges[1] - edges[0])))
        np.testing.assert_allclose(found.numpy(), mass / mass.sum(), atol=1e-5)


def test_the_mean_of_a_fitted_histogram_is_its_target() -> None:
    values = Values(41, "huber")
    values.set_bounds(-1.0, 3.0)
    targets = torch.linspace(-1, 3, 9)
    outputs = values.histogram(targets).clamp(min=1e-30).log()
    torch.testing.assert_close(values.of(outputs), targets, atol=5e-3, rtol=0)
    assert (values.loss(outputs, targets) <= values.loss(outputs + torch.randn(9, 41), targets)).all()


def test_histograms_of_actions_beyond_the_candidates_have_no_value() -> None:
    values = Values(5, "huber")
    outputs = torch.zeros(1, 3, 5)
    outputs[0, 2] = -torch.inf
    assert torch.isneginf(values.of(outputs)).tolist() == [[False, False, True]]


def test_the_range_of_histograms_comes_from_the_data(grid_data: Path) -> None:
    from data.dataset import Dataset

    algorithm = learner("cql", bins=10, reward_scale=10.0, discount=1.0).algorithm
    algorithm.read_data(Dataset.open(grid_data))
    low, high = algorithm.acting.values.bounds.tolist()
    assert low == pytest.approx(-2.0), "no return is negative; two bins of margin"
    assert high == pytest.approx(12.0)
