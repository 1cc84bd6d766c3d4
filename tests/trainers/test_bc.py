"""Behavioral cloning: its equation, its gradient, and that it learns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from metrics.history import read_history, series
from tests.trainers.helpers import final_parameters, grid_experiment, random_batch
from trainers.algorithms import build_algorithm
from trainers.algorithms.bc import BC
from trainers.config import AlgorithmConfig, NetworkConfig
from trainers.launch import run_inline

NETWORK = NetworkConfig(encoder="small", hidden_size=16)


def bc(env: str = "grid/default", network: NetworkConfig = NETWORK, **options: float) -> BC:
    algorithm = build_algorithm(make_spec(env), AlgorithmConfig(name="bc", options=dict(options)), network, seed=0)
    assert isinstance(algorithm, BC)
    return algorithm


def test_the_losses_are_what_the_equation_says() -> None:
    algorithm, batch = bc(entropy_bonus=0.5), random_batch(make_spec("grid/default"), 6)
    losses = {name: loss.item() for name, loss in algorithm(batch).items()}
    logits = algorithm.policy()(batch.observations).detach().double().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    likelihood = -np.mean([np.log(row[action]) for row, action in zip(probabilities, batch.actions, strict=True)])
    entropy = -np.mean((probabilities * np.log(probabilities)).sum(1))
    assert losses["negative_log_likelihood"] == pytest.approx(likelihood, rel=1e-5)
    assert losses["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert losses["total"] == pytest.approx(likelihood - 0.5 * entropy, rel=1e-5)


def test_the_gradient_of_the_logits_is_policy_minus_action() -> None:
    algorithm, batch = bc(), random_batch(make_spec("grid/default"), 6)
    algorithm(batch)["total"].backward()
    probabilities = torch.softmax(algorithm.policy()(batch.observations), dim=1)
    taken = torch.nn.functional.one_hot(batch.actions, probabilities.shape[1])
    expected = ((probabilities - taken) / len(batch)).sum(0)
    head = algorithm.policy().head
    assert isinstance(head, torch.nn.Linear)
    assert torch.allclose(head.bias.grad, expected, atol=1e-6)


def test_candidates_beyond_a_row_cost_nothing() -> None:
    spec = make_spec("quiz/default")
    algorithm, batch = bc("quiz/default", NetworkConfig(encoder="bytes", hidden_size=16)), random_batch(spec, 12)
    logits = algorithm.policy()(batch.observations)
    assert torch.isinf(logits).any(), "the batch should have rows with fewer candidates"
    losses = algorithm(batch)
    losses["total"].backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in algorithm.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("options", "message"), [({"entropy_bonus": -1.0}, "0 or more"), ({"entropy_bonus": "a"}, "float")]
)
def test_bad_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bc(**options)


def test_the_loss_falls_on_the_grid(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, learner_steps=200, log_every=20, learning_rate=2e-3)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_levels=6))
    run_inline(config, tmp_path, evaluate=lambda policy, step: {})
    _, losses = series(read_history(tmp_path / "metrics.jsonl"), "train/loss/total")
    assert losses[0] > 1.3, "near-uniform over five actions at first"
    assert losses[-1] < 0.75 * losses[0]


def test_the_same_run_twice_gives_the_same_parameters(grid_data: Path, tmp_path: Path) -> None:
    config = grid_experiment(grid_data, learner_steps=15)
    results = [run_inline(config, tmp_path / name, evaluate=lambda policy, step: {}) for name in ("a", "b")]
    first, second = (final_parameters(result.last) for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)
