"""Ensembles, distillation and accumulation: each equals what it stands for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from data.dataset import Dataset
from envs.errors import UsageError
from envs.registry import make_spec
from envs.seeding import derive_seed
from tests.trainers.algorithms_helpers import BYTES, GRID, SMALL, algorithm_config, batch_for
from tests.trainers.helpers import grid_experiment
from trainers.algorithms import ALGORITHMS, Algorithm, build_algorithm
from trainers.algorithms.ensemble import Ensemble
from trainers.config import TrainConfig
from trainers.distributed import WorkerContext
from trainers.learner import Learner

TRAIN: TrainConfig = grid_experiment(Path("unused")).train


def learned(algorithm: Algorithm, train: TrainConfig = TRAIN, items: int = 8) -> Algorithm:
    learner = Learner(algorithm, train, WorkerContext())
    for step in range(4):
        learner.step(batch_for(algorithm, GRID, items, seed=step))
    return algorithm


@pytest.mark.parametrize("name", ["bc", "bcq", "cql", "iql"])
def test_members_learn_what_they_would_learn_alone(name: str) -> None:
    ensemble = learned(build_algorithm(GRID, algorithm_config(name, members=3), SMALL, seed=0))
    assert isinstance(ensemble, Ensemble)
    first = learned(build_algorithm(GRID, algorithm_config(name), SMALL, seed=0))
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(0, "network", 2))
        third = learned(ALGORITHMS[name](GRID, SMALL, {}))
    for member, alone in ((ensemble.members[0], first), (ensemble.members[2], third)):
        for a, b in zip(member.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not torch.equal(next(ensemble.members[0].parameters()), next(ensemble.members[1].parameters()))


@pytest.mark.parametrize(("env", "name"), [("grid", "bc"), ("grid", "cql"), ("quiz", "bcq"), ("quiz", "iql")])
def test_an_ensemble_acts_by_the_mean_of_its_probabilities(env: str, name: str) -> None:
    spec, network = (GRID, SMALL) if env == "grid" else (make_spec("quiz/default"), BYTES)
    ensemble = build_algorithm(spec, algorithm_config(name, members=3), network, seed=0)
    assert isinstance(ensemble, Ensemble)
    observations = batch_for(ensemble, spec, 6).observations
    each = [torch.softmax(member.policy()(observations), 1) for member in ensemble.members]
    torch.testing.assert_close(torch.softmax(ensemble.policy()(observations), 1), torch.stack(each).mean(0))


def test_an_ensemble_of_sequence_models_is_refused() -> None:
    with pytest.raises(UsageError, match="acts with a memory"):
        build_algorithm(GRID, algorithm_config("dt", members=2), SMALL, seed=0)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_one_batch(name: str, parts: int) -> None:
    whole = learned(build_algorithm(GRID, algorithm_config(name), SMALL, seed=0))
    train = dataclasses.replace(TRAIN, accumulation_steps=parts)
    pieces = learned(build_algorithm(GRID, algorithm_config(name), SMALL, seed=0), train)
    for (label, a), b in zip(whole.named_parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=3e-4, msg=label)


def test_parts_that_are_not_equal_are_refused() -> None:
    with pytest.raises(UsageError, match="divisor"):
        dataclasses.replace(TRAIN, accumulation_steps=3)
    with pytest.raises(UsageError, match="divisor"):
        dataclasses.replace(TRAIN, num_workers=4, accumulation_steps=16)


@pytest.mark.parametrize("env", ["grid", "quiz"])
def test_distillation_is_the_cross_entropy_with_the_stored_policy(env: str) -> None:
    spec, network = (GRID, SMALL) if env == "grid" else (make_spec("quiz/default"), BYTES)
    algorithm = build_algorithm(spec, algorithm_config("bc", distillation=0.25), network, seed=0)
    batch = batch_for(algorithm, spec, 8)
    logits = algorithm.policy()(batch.observations)
    possible = logits > -torch.inf
    stored = torch.full((8, spec.num_actions), -torch.inf)
    stored[:, : logits.shape[1]] = torch.log_softmax(torch.randn(logits.shape).masked_fill(~possible, -torch.inf), 1)
    losses = algorithm(dataclasses.replace(batch, behavior_log_probs=stored))
    likelihood, crossed = [], []
    for b in range(8):
        log_probs = torch.log_softmax(logits[b][possible[b]].double(), 0)
        p = stored[b][: logits.shape[1]][possible[b]].double().exp()
        crossed.append(-(p * log_probs).sum().item())
        likelihood.append(-log_probs[batch.actions[b]].item())
    assert losses["distillation"].item() == pytest.approx(np.mean(crossed), rel=1e-4)
    assert losses["total"].item() == pytest.approx(0.75 * np.mean(likelihood) + 0.25 * np.mean(crossed), rel=1e-4)


def test_distillation_needs_stored_probabilities(grid_data: Path) -> None:
    algorithm = build_algorithm(GRID, algorithm_config("bc", distillation=1.0), SMALL, seed=0)
    with pytest.raises(UsageError, match=r"options\.log_probs=true"):
        algorithm.read_data(Dataset.open(grid_data))
