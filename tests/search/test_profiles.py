from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.profiles import MAX_THRESHOLDS, profile, shared_thresholds

OPTIONS = {"num_resamples": 400, "confidence": 0.95}


@given(st.integers(1, 3), st.integers(1, 12), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_shares_are_counted_and_lie_in_their_band(runs: int, levels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).choice([0.0, 0.25, 0.5, 1.0], size=(runs, levels))
    thresholds = np.array([-0.1, 0.0, 0.25, 0.6, 1.0])
    found = profile(scores, thresholds, np.random.default_rng(seed), OPTIONS)
    for index, threshold in enumerate(thresholds):
        counted = sum(value > threshold for row in scores.tolist() for value in row) / scores.size
        assert found["shares"][index] == pytest.approx(counted)
        assert found["low"][index] <= counted + 1e-9
        assert found["high"][index] >= counted - 1e-9
    np.testing.assert_allclose([found[key][0] for key in ("shares", "low", "high")], 1.0)
    assert found["shares"][-1] == 0.0


def test_the_band_is_that_of_resampled_seeds_and_levels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((3, 40)) + 0.3 * rng.random((3, 1))
    found = profile(scores, np.array([0.6]), np.random.default_rng(1), {"num_resamples": 4000, "confidence": 0.9})
    shares = []
    for _ in range(4000):  # the same, spelled out
        seeds, levels = rng.integers(3, size=3), rng.integers(40, size=40)
        shares.append(np.mean([[scores[s, level] > 0.6 for level in levels] for s in seeds]))
    np.testing.assert_allclose([found["low"][0], found["high"][0]], np.quantile(shares, [0.05, 0.95]), atol=0.02)


def test_thresholds_are_the_values_that_occur_or_evenly_spaced() -> None:
    few = shared_thresholds([np.array([[0.0, 1.0]]), np.array([[0.5, 1.0, 0.5]])])
    assert few is not None
    np.testing.assert_allclose(few, [-0.02, 0.0, 0.5, 1.0])
    many = shared_thresholds([np.linspace(0, 1, 500)[None]])
    assert many is not None
    assert len(many) == MAX_THRESHOLDS
    assert many[0] < 0
    assert many[-1] == 1.0


def test_a_game_that_is_won_or_lost_has_no_profile() -> None:
    assert shared_thresholds([np.array([[-1.0, 1.0, 1.0]])]) is None
    assert shared_thresholds([]) is None
