"""The problems that proposers and controllers are compared on have the best mixtures that they say they have."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.mixture_controllers import LEARNING_RATE, follow
from envs.seeding import rng_for
from search.mixtures.synthetic import LinearSources
from trainers.mixtures import CONTROLLERS, build_controller


@pytest.mark.parametrize("seed", range(4))
def test_no_mixture_on_a_grid_is_better_than_the_best_for_target_or_worst_group(seed: int) -> None:
    sources = LinearSources.made(3, seed)
    steps = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    regrets = np.array([sources.regret(weights) for weights in grid])
    losses = np.array([sources.worst_loss(weights) for weights in grid])
    assert sources.regret(sources.best) == pytest.approx(0, abs=1e-12)
    assert sources.worst_loss(sources.best) < losses.min() + 1e-9
    for values in (regrets, losses):
        assert np.abs(grid[values.argmin()] - sources.best).max() < 0.011, "the best is where the grid says"


def test_training_by_the_best_mixture_teaches_the_target() -> None:
    sources, rng = LinearSources.made(8, 1), rng_for("test")
    learned = np.zeros(7)
    for _ in range(400):
        groups = rng.choice(8, 4096, p=sources.best)
        inputs, wanted = sources.rows(rng, sources.goals[groups])
        learned = learned - LEARNING_RATE * inputs.T @ (inputs @ learned - wanted) / len(wanted)
    assert np.abs(learned - sources.target).max() < 0.05
    assert np.abs(sources.goals - sources.target).max() > 0.5


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_ends_nearer_to_the_best_than_equal_weights(name: str) -> None:
    sources, equal = LinearSources.made(4, 0), np.full(4, 0.25)
    answer = follow(build_controller(name, equal, {}), sources, 4000, seed=0).average(4000)
    assert sources.regret(answer) < sources.regret(equal)
