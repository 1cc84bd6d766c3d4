"""Weights that change while a policy learns."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sampler import BatchSampler
from data.schedule import ControlledSchedule, on_simplex
from envs.errors import UsageError

CHANGES = st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), max_size=6)


def per_step(changes: dict[int, float], steps: int) -> np.ndarray:
    """[steps] weight of the first of two groups, step by step."""
    current, weights = 0.5, []
    for step in range(steps):
        current = changes.get(step, current)
        weights.append(current)
    return np.array(weights)


@given(gaps=CHANGES, step=st.integers(0, 150))
def test_weights_and_their_average_are_those_of_a_list_step_by_step(gaps: list[tuple[int, float]], step: int) -> None:
    schedule, changes, at = ControlledSchedule([0.5, 0.5]), {}, 0
    for gap, weight in gaps:
        at += gap
        changes[at] = weight
        schedule.set(at, np.array([weight, 1 - weight]))
    expected = per_step(changes, step + 1)
    assert schedule.weights(step)[0] == expected[step]
    assert schedule.average(step)[0] == pytest.approx(expected[: max(1, step)].mean())
    again = ControlledSchedule([1.0, 0.0])
    again.load(json.loads(json.dumps(schedule.to_json())))
    assert again.weights(step).tolist() == schedule.weights(step).tolist()
    assert again.average(step).tolist() == schedule.average(step).tolist()


def test_the_sampler_draws_by_the_weights_of_its_step() -> None:
    schedule = ControlledSchedule([1.0, 0.0])
    schedule.set(10, np.array([0.0, 1.0]))
    sampler = BatchSampler([50, 50], 32, 0, schedule)
    assert [bool((sampler.indices(step) >= 50).all()) for step in (0, 9, 10, 30)] == [False, False, True, True]


@pytest.mark.parametrize("weights", [[0.5, 0.6], [-0.1, 1.1], [1.0], [np.nan, 1.0]])
def test_weights_off_the_simplex_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="one for each of 2 groups"):
        ControlledSchedule([0.5, 0.5]).set(3, np.array(weights))


def test_the_past_cannot_be_changed() -> None:
    schedule = ControlledSchedule([0.5, 0.5])
    schedule.set(10, np.array([1.0, 0.0]))
    with pytest.raises(UsageError, match="step 9 after those of step 10"):
        schedule.set(9, np.array([0.0, 1.0]))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8).filter(lambda values: sum(values) > 1e-3))
def test_normalized_amounts_are_on_the_simplex(values: list[float]) -> None:
    weights = np.array(values) / sum(values)
    assert on_simplex(weights)
    assert not on_simplex(weights * 1.01)
