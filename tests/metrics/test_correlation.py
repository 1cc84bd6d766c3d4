from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from envs.errors import UsageError
from metrics.correlation import FEWEST, rank_correlation


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=FEWEST, max_size=20))
@settings(deadline=None, max_examples=50)
def test_the_point_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    values, outcomes = np.array(pairs, dtype=float).T
    interval = rank_correlation(values, outcomes, rng(), num_resamples=50)
    if np.ptp(values) == 0 or np.ptp(outcomes) == 0:
        assert np.isnan(interval.point)
        assert interval.reason == "the same for all mixtures"
    else:
        assert interval.point == pytest.approx(spearmanr(values, outcomes).statistic)
        assert interval.low <= interval.high


def test_a_monotone_relation_is_perfect_and_noise_is_not() -> None:
    values = np.arange(30.0)
    assert rank_correlation(values, np.exp(values), rng()).low == pytest.approx(1)
    noise = rank_correlation(values, np.random.default_rng(1).random(30), rng())
    assert noise.low < 0 < noise.high


def test_the_interval_depends_on_the_seed_alone() -> None:
    values, outcomes = np.random.default_rng(2).random((2, 12))
    assert rank_correlation(values, outcomes, rng()) == rank_correlation(values, outcomes, rng())


def test_few_mixtures_have_a_point_and_a_reason() -> None:
    interval = rank_correlation([1, 2, 3], [3, 2, 1], rng())
    assert interval.point == pytest.approx(-1)
    assert "an interval needs 5" in interval.reason


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(UsageError, match="one finite outcome"):
        rank_correlation([1, 2], [1, np.nan], rng())
    with pytest.raises(UsageError, match="one finite outcome"):
        rank_correlation([1, 2], [1], rng())
