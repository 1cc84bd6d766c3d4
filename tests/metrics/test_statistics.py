from __future__ import annotations

import math
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rliable import metrics as oracle

from envs.errors import UsageError
from envs.seeding import rng_for
from metrics import statistics
from metrics.statistics import Array, Interval, Statistic

FINITE = st.floats(-100, 100, width=32)
SCORES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FINITE)
ORACLES = {
    "mean": oracle.aggregate_mean,
    "median": oracle.aggregate_median,
    "iqm": oracle.aggregate_iqm,
    "optimality_gap": oracle.aggregate_optimality_gap,
}


@pytest.mark.parametrize("name", ORACLES)
@settings(max_examples=60, deadline=None)
@given(scores=SCORES)
def test_point_values_equal_rliable(name: str, scores: Array) -> None:
    assert statistics.STATISTICS[name](scores) == pytest.approx(ORACLES[name](scores), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), tasks=st.integers(1, 6), runs=st.tuples(st.integers(1, 6), st.integers(1, 6)))
def test_probability_of_improvement_equals_rliable(data: st.DataObject, tasks: int, runs: tuple[int, int]) -> None:
    values = st.integers(0, 4).map(float)  # few values, so that ties occur
    a, b = (data.draw(hnp.arrays(np.float64, (count, tasks), elements=values)) for count in runs)
    expected = np.mean([_mann_whitney(a[:, task], b[:, task]) for task in range(tasks)])
    assert statistics.probability_of_improvement(a, b) == pytest.approx(expected)
    varied = [t for t in range(tasks) if len({*a[:, t], *b[:, t]}) > 1]
    if varied:  # rliable refuses tasks where every score is the same
        ours = statistics.probability_of_improvement(a[:, varied], b[:, varied])
        assert ours == pytest.approx(oracle.probability_of_improvement(a[:, varied], b[:, varied]))


def _mann_whitney(a: Array, b: Array) -> float:
    wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b]
    return sum(wins) / len(wins)


@settings(max_examples=60, deadline=None)
@given(scores=SCORES, fraction=st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0]))
def test_cvar_is_the_mean_of_the_worst_with_the_last_one_in_part(scores: Array, fraction: float) -> None:
    # Repeating every score 20 times makes any of these fractions a whole number of scores.
    repeated = np.sort(np.repeat(scores.ravel(), 20))
    expected = repeated[: round(fraction * len(repeated))].mean()
    assert statistics.cvar(scores, fraction) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", statistics.STATISTICS)
def test_a_stack_of_resamples_reduces_in_one_call(name: str) -> None:
    stack = np.random.default_rng(0).normal(size=(7, 3, 10))
    statistic = statistics.STATISTICS[name]
    np.testing.assert_allclose(statistic(stack), [statistic(scores) for scores in stack])


@settings(max_examples=40, deadline=None)
@given(scores=SCORES, shift=st.integers(-5, 5))
def test_location_statistics_move_with_the_scores(scores: Array, shift: int) -> None:
    for statistic in (statistics.mean, statistics.median, statistics.iqm, statistics.cvar):
        assert statistic(scores + shift) == pytest.approx(statistic(scores) + shift, abs=1e-8)
        assert scores.min() - 1e-9 <= statistic(scores) <= scores.max() + 1e-9


def scores_of(seeds: int, levels: int, mean: float = 0.5, name: str = "scores") -> Array:
    return rng_for(name, seeds, levels).normal(mean, 0.3, size=(seeds, levels))


def slow_interval(values: list[float], confidence: float) -> tuple[float, float]:
    ordered = sorted(values)

    def quantile(q: float) -> float:
        position = q * (len(ordered) - 1)
        below = math.floor(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    return quantile((1 - confidence) / 2), quantile((1 + confidence) / 2)


@pytest.mark.parametrize("statistic", [statistics.mean, statistics.iqm])
def test_level_bootstrap_equals_an_obvious_loop(statistic: Statistic) -> None:
    scores = scores_of(3, 11)
    found = statistics.level_bootstrap(scores, statistic, rng_for("loop"), num_resamples=300, confidence=0.9)
    rng = rng_for("loop")
    seeds, levels = rng.integers(3, size=(300, 3)), rng.integers(11, size=(300, 11))
    values = []
    for resample in range(300):
        drawn = [[scores[s, k] for k in levels[resample]] for s in seeds[resample]]
        values.append(float(statistic(np.array(drawn))))
    assert (found.low, found.high) == pytest.approx(slow_interval(values, 0.9))
    assert found.point == pytest.approx(float(statistic(scores)))


def test_stratified_bootstrap_equals_an_obvious_loop() -> None:
    scores = scores_of(5, 4)
    found = statistics.stratified_bootstrap(scores, statistics.iqm, rng_for("loop"), num_resamples=200)
    picks = rng_for("loop").integers(5, size=(200, 5, 4))
    values = []
    for resample in picks:
        drawn = np.array([[scores[resample[run, task], task] for task in range(4)] for run in range(5)])
        values.append(float(statistics.iqm(drawn)))
    assert (found.low, found.high) == pytest.approx(slow_interval(values, 0.95))


def test_gap_resamples_seeds_together_and_levels_apart() -> None:
    train, heldout = scores_of(4, 6, 0.9), scores_of(4, 9, 0.3)
    found = statistics.gap_interval(train, heldout, rng_for("loop"), num_resamples=200)
    rng = rng_for("loop")
    seeds, left, right = rng.integers(4, size=(200, 4)), rng.integers(6, size=(200, 6)), rng.integers(9, size=(200, 9))
    values = [
        float(
            np.mean([train[s, k] for s in seeds[r] for k in left[r]])
            - np.mean([heldout[s, k] for s in seeds[r] for k in right[r]])
        )
        for r in range(200)
    ]
    assert (found.low, found.high) == pytest.approx(slow_interval(values, 0.95))
    assert found.point == pytest.approx(train.mean() - heldout.mean())


def test_paired_difference_draws_the_same_levels_for_both() -> None:
    a, b = scores_of(2, 8), scores_of(3, 8)
    found = statistics.paired_difference(a, b, rng_for("loop"), num_resamples=200)
    rng = rng_for("loop")
    levels, left, right = rng.integers(8, size=(200, 8)), rng.integers(2, size=(200, 2)), rng.integers(3, size=(200, 3))
    values = [
        float(
            np.mean([a[s, k] for s in left[r] for k in levels[r]])
            - np.mean([b[s, k] for s in right[r] for k in levels[r]])
        )
        for r in range(200)
    ]
    assert (found.low, found.high) == pytest.approx(slow_interval(values, 0.95))


def test_pairing_levels_cancels_their_difficulty() -> None:
    difficulty = rng_for("difficulty").normal(0, 5, size=40)
    noise = rng_for("noise").normal(0, 0.1, size=(2, 40))
    a, b = (difficulty + 0.5)[None], (difficulty + noise[1])[None]
    paired = statistics.paired_difference(a, b, rng_for("paired"))
    unpaired = statistics.gap_interval(a, b, rng_for("unpaired"))
    assert paired.excludes(0.0)
    assert not unpaired.excludes(0.0)


def test_probability_of_improvement_has_an_interval() -> None:
    a, b = scores_of(4, 30, 0.8), scores_of(3, 30, 0.2)
    found = statistics.paired_bootstrap(a, b, statistics.probability_of_improvement, rng_for("improvement"))
    assert 0.5 < found.low <= found.point <= found.high <= 1.0


def test_level_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = rng_for("coverage")
    hits = []
    for trial in range(200):
        seed_effect = rng.normal(0, 0.05, size=(5, 1))
        scores = 0.5 + seed_effect + rng.normal(0, 0.3, size=(1, 60)) + rng.normal(0, 0.1, size=(5, 60))
        found = statistics.level_bootstrap(scores, statistics.mean, rng_for("trial", trial), num_resamples=300)
        hits.append(not found.excludes(0.5))
    assert 0.88 <= np.mean(hits) <= 0.99


def test_the_generator_alone_decides_the_interval() -> None:
    scores = scores_of(3, 20)
    first, again, other = (
        statistics.level_bootstrap(scores, statistics.mean, rng_for(name)) for name in ("a", "a", "b")
    )
    assert first == again
    assert first != other


def test_many_levels_are_resampled_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def spy(scores: Array) -> Array:
        sizes.append(scores.size)
        return statistics.mean(scores)

    monkeypatch.setattr(statistics, "_CHUNK_ELEMENTS", 1000)
    statistics.level_bootstrap(scores_of(2, 100), spy, rng_for("pieces"), num_resamples=33)
    assert max(sizes) <= 1000
    assert sum(sizes[1:]) == 33 * 200


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        (statistics.stratified_bootstrap(np.ones((1, 5)), statistics.mean, rng_for("x")), "one run"),
        (statistics.level_bootstrap(np.ones((5, 1)), statistics.mean, rng_for("x")), "one level"),
        (statistics.gap_interval(np.ones((5, 3)), np.ones((5, 1)), rng_for("x")), "one level"),
        (statistics.paired_difference(np.ones((5, 1)), np.ones((5, 1)), rng_for("x")), "one level"),
    ],
)
def test_where_no_interval_can_be_formed_it_says_why(interval: Interval, word: str) -> None:
    assert word in interval.reason
    assert math.isnan(interval.low)
    assert not interval.excludes(123.0)
    assert interval.to_json()["low"] is None
    assert "[" not in str(interval)


@pytest.mark.parametrize(
    "call",
    [
        lambda: statistics.level_bootstrap(np.ones(3), statistics.mean, rng_for("x")),
        lambda: statistics.level_bootstrap(np.ones((0, 3)), statistics.mean, rng_for("x")),
        lambda: statistics.level_bootstrap([[np.nan, 1.0]], statistics.mean, rng_for("x")),
        lambda: statistics.level_bootstrap(np.ones((2, 3)), statistics.mean, rng_for("x"), confidence=95),
        lambda: statistics.gap_interval(np.ones((2, 3)), np.ones((3, 3)), rng_for("x")),
        lambda: statistics.paired_difference(np.ones((2, 3)), np.ones((2, 4)), rng_for("x")),
        lambda: statistics.cvar(np.ones((2, 3)), 0.0),
    ],
)
def test_scores_that_mean_nothing_are_refused(call: partial[npt.ArrayLike]) -> None:
    with pytest.raises(UsageError):
        call()
