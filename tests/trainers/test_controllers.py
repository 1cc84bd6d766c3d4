"""Controllers of mixture weights on small problems whose best mixture is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data.schedule import ControlledSchedule, GroupStatistics, MixtureController, Weights
from envs.errors import UsageError
from trainers.mixtures import CONTROLLERS, build_controller
from trainers.mixtures.linear_law import LinearLaw, fit_law, turns

UNIFORM = np.full(3, 1 / 3)


def stepped(
    controller: MixtureController, point: np.ndarray, goals: np.ndarray, target: np.ndarray, steps: int
) -> ControlledSchedule:
    """Gradient descent on sum_k w_k |x - goal_k|^2 / 2 while the controller moves w; goals [S, d], target [d]."""
    schedule = ControlledSchedule([1 / len(goals)] * len(goals))
    for step in range(1, steps + 1):
        weights = schedule.weights(step - 1)
        point = point - 0.05 * (point - weights @ goals)
        if step % controller.interval == 0:
            gradients, wanted = point - goals, point - target
            losses = (gradients**2).sum(axis=1) / 2
            statistics = GroupStatistics(
                learner_step=step,
                weights=weights,
                losses=losses,
                reference_losses=np.zeros(len(goals)),
                target_losses=losses,
                alignments=gradients @ wanted,
                gradient_norms=np.linalg.norm(gradients, axis=1),
            )
            schedule.set(step, controller.update(statistics))
    return schedule


def test_group_dro_finds_the_weights_of_the_best_worst_group() -> None:
    # The point that is best for the worst of -1, 0.2 and 1 is 0: half the weight on each end, none in between.
    controller = build_controller("group-dro", UNIFORM, {"update_every": 1, "step_size": 0.05, "smoothing": 1e-4})
    goals = np.array([[-1.0], [0.2], [1.0]])
    average = stepped(controller, np.array([0.7]), goals, np.zeros(1), 4000).average(4000)
    np.testing.assert_allclose(average, [0.5, 0.0, 0.5], atol=0.03)


def test_gradient_alignment_finds_the_mixture_whose_optimum_is_the_target() -> None:
    # In the plane a target inside a triangle is one mixture of its corners: its barycentric coordinates.
    best, goals = np.array([0.6, 0.3, 0.1]), np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    controller = build_controller("gradient-alignment", UNIFORM, {"update_every": 1, "step_size": 0.1})
    average = stepped(controller, np.array([2.0, 2.0]), goals, best @ goals, 6000).average(6000)
    np.testing.assert_allclose(average, best, atol=0.04)


def simulate(controller: LinearLaw, effects: np.ndarray, updates: int) -> Weights:
    """Every learner step with weights w lowers the target's losses by effects @ w; effects [T, S]."""
    losses, weights = np.full(len(effects), 100.0), np.full(effects.shape[1], 1 / effects.shape[1])
    steps = controller.interval
    for _ in range(updates):
        losses = losses - steps * (effects @ weights)
        weights = controller.update(GroupStatistics(learner_step=0, weights=weights, target_losses=losses))
        steps = controller.interval
    return weights


def test_the_linear_law_measures_the_effect_of_every_group_and_follows_the_best() -> None:
    effects = np.array([[0.1, 0.4, -0.2], [0.2, 0.3, 0.0]])  # on 2 target groups; the second source serves them best
    controller = LinearLaw(UNIFORM, {"rounds": 2, "round_steps": 3, "hold_steps": 7, "step_size": 0.5})
    first = simulate(controller, effects, 1 + 2 * 3)
    assert controller.law is not None
    np.testing.assert_allclose(controller.law, 3 * effects, atol=1e-9)
    scores = effects.mean(axis=0) / np.abs(effects.mean(axis=0)).max()
    np.testing.assert_allclose(first, np.exp(0.5 * scores) / np.exp(0.5 * scores).sum())
    assert simulate(controller, effects, 20 * (1 + 2 * 3))[1] > 0.99


def test_the_linear_law_takes_turns() -> None:
    controller = LinearLaw(UNIFORM, {"rounds": 1, "round_steps": 3, "hold_steps": 7, "one_hot": 0.8})
    assert controller.interval == 7
    seen = []
    for _ in range(3):
        seen.append(controller.update(GroupStatistics(learner_step=0, weights=UNIFORM, target_losses=np.ones(3))))
        assert controller.interval == 3
    np.testing.assert_allclose(seen, turns(3, 0.8))
    held = controller.update(GroupStatistics(learner_step=0, weights=seen[-1], target_losses=np.ones(3)))
    np.testing.assert_allclose(held, UNIFORM, err_msg="no loss fell, so nothing is preferred")
    assert controller.interval == 7


def test_the_law_is_the_solution_of_its_linear_system() -> None:
    rng = np.random.default_rng(0)
    law, mixtures = rng.normal(size=(4, 5)), turns(5, 0.625)
    np.testing.assert_allclose(fit_law(law @ mixtures.T, mixtures), law, atol=1e-9)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_controller_goes_on_where_its_state_was_saved(name: str) -> None:
    """Saved after any update, the next weights are the same: what is measured is kept, too."""
    options = {"rounds": 2, "round_steps": 3, "hold_steps": 7} if name == "linear-law" else {"update_every": 5}
    rng = np.random.default_rng(1)
    through, weights = build_controller(name, UNIFORM, options), UNIFORM
    for step in range(12):
        resumed = build_controller(name, UNIFORM, options)
        resumed.load(json.loads(json.dumps(through.state())))
        assert resumed.interval == through.interval
        numbers = {
            key: rng.random(3)
            for key in ("losses", "reference_losses", "target_losses", "alignments", "gradient_norms")
        }
        statistics = GroupStatistics(learner_step=step, weights=weights, **numbers)
        expected, found = through.update(statistics), resumed.update(statistics)
        np.testing.assert_array_equal(found, expected)
        assert expected.sum() == pytest.approx(1)
        assert (expected >= 0).all()
        weights = expected


def test_group_dro_is_its_equation() -> None:
    options = {"step_size": 0.5, "smoothing": 0.1, "anchor": "initial"}
    initial = np.array([0.7, 0.2, 0.1])
    controller = build_controller("group-dro", initial, options)
    losses, reference = np.array([1.0, 2.0, 0.5]), np.array([0.6, 1.0, 0.9])
    found = controller.update(
        GroupStatistics(learner_step=1, weights=UNIFORM, losses=losses, reference_losses=reference)
    )
    moved = [w * np.exp(0.5 * max(a - b, 0.0)) for w, a, b in zip(UNIFORM, losses, reference, strict=True)]
    expected = [0.9 * value / sum(moved) + 0.1 * anchor for value, anchor in zip(moved, initial, strict=True)]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("group-drow", {}, "Did you mean 'group-dro'"),
        ("group-dro", {"stepsize": 1.0}, "Did you mean 'step_size'"),
        ("group-dro", {"smoothing": 1.0}, "below 1"),
        ("group-dro", {"anchor": "sizes"}, "Allowed: initial, uniform"),
        ("gradient-alignment", {"clip": 0.0}, "clip above 0"),
        ("linear-law", {"rounds": 0}, "rounds from 1"),
        ("linear-law", {"one_hot": 0.3}, "more than an equal share"),
        ("linear-law", {"memory": 1.0}, "below 1"),
    ],
)
def test_wrong_controllers_are_refused(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_controller(name, UNIFORM, options)
