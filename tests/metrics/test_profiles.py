"""Profiles equal rliable's; every statistic of a scorecard has an interval or says why not."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from envs.errors import UsageError
from envs.seeding import rng_for
from metrics.aggregates import STATISTICS
from metrics.panels import performance_profile as draw_profile
from metrics.profiles import MAX_THRESHOLDS, performance_profile, profile_with_bands, shared_thresholds
from metrics.scorecard import aggregate_scores, scorecard
from metrics.table import KEY_COLUMNS, EvaluationTable
from tests.metrics.rliable_library import load

oracle = load()

SCORES = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 10).map(lambda n: n / 10)
)
CUTS = [0.0, 0.1, 0.45, 0.5, 1.0]


@settings(max_examples=60, deadline=None)
@given(scores=SCORES)
def test_a_profile_equals_rliable(scores: np.ndarray) -> None:
    np.testing.assert_allclose(performance_profile(scores, CUTS), oracle.score_distributions(scores, np.array(CUTS)))


def test_bands_equal_an_obvious_loop_and_contain_the_profile() -> None:
    scores = rng_for("profile").random((4, 9))
    for over_levels in (True, False):
        found = profile_with_bands(
            scores, CUTS, rng_for("loop"), over_levels=over_levels, num_resamples=200, confidence=0.9
        )
        rng = rng_for("loop")
        values = []
        if over_levels:
            runs, levels = rng.integers(4, size=(200, 4)), rng.integers(9, size=(200, 9))
            drawn = [scores[np.ix_(runs[r], levels[r])] for r in range(200)]
        else:
            picks = rng.integers(4, size=(200, 4, 9))
            drawn = [np.take_along_axis(scores, picks[r], axis=0) for r in range(200)]
        values = np.array([[np.mean([x > cut for x in part.ravel()]) for cut in CUTS] for part in drawn])
        np.testing.assert_allclose(found.low, np.quantile(values, 0.05, axis=0))
        np.testing.assert_allclose(found.high, np.quantile(values, 0.95, axis=0))
        assert (found.low <= found.shares).all()
        assert (found.shares <= found.high).all()


def test_a_profile_without_bands_says_why_and_odd_thresholds_are_refused() -> None:
    one = profile_with_bands(np.ones((1, 5)), CUTS, rng_for("x"), over_levels=False)
    assert "one run" in one.reason
    assert one.to_json()["low"] is None
    for cuts in ([], [0.5, 0.5], [1.0, 0.0]):
        with pytest.raises(UsageError, match="increasing"):
            profile_with_bands(np.ones((2, 5)), cuts, rng_for("x"))


def test_thresholds_are_the_values_that_occur_or_evenly_spaced() -> None:
    few = shared_thresholds([np.array([[0.0, 1.0]]), np.array([[0.5, 1.0, 0.5]])])
    assert few is not None
    np.testing.assert_allclose(few, [-0.02, 0.0, 0.5, 1.0])
    many = shared_thresholds([np.linspace(0, 1, 500)[None]])
    assert many is not None
    assert len(many) == MAX_THRESHOLDS
    assert many[0] < 0
    assert many[-1] == 1.0
    assert performance_profile(np.linspace(0, 1, 500)[None], many)[[0, -1]].tolist() == [1.0, 0.0]


def test_a_game_that_is_won_or_lost_has_no_profile() -> None:
    assert shared_thresholds([np.array([[-1.0, 1.0, 1.0]])]) is None
    assert shared_thresholds([]) is None


def test_profiles_with_and_without_bands_are_drawn() -> None:
    scores = rng_for("drawn").random((2, 9))
    lines = {
        "with": profile_with_bands(scores, CUTS, rng_for("x"), num_resamples=50).to_json(),
        "without": profile_with_bands(scores[:, :1], CUTS, rng_for("x")).to_json(),
    }
    assert lines["without"]["reason"]
    axes = draw_profile(lines).axes[0]
    assert (len(axes.lines), len(axes.collections)) == (2, 1)


def table(envs: tuple[str, ...] = ("a",), levels: int = 12, seeds: int = 2) -> EvaluationTable:
    rows = []
    for env in envs:
        for seed in range(seeds):
            for role, mean in (("train", 0.8), ("test", 0.4)):
                returns = rng_for("returns", env, seed, role).normal(mean, 0.2, levels)
                for level, value in enumerate(returns):
                    rows.append(("strict", role, env, level, 0, "sampled", f"p{seed}", seed, value, value))
    frame = pd.DataFrame(rows, columns=[*KEY_COLUMNS, "episode_return", "normalized_return"])
    return EvaluationTable(frame.assign(length=1, terminated=True, truncated=False, config_id="c"))


def test_every_statistic_has_an_interval_or_the_reason_why_not() -> None:
    for entry in scorecard(table(("a", "b")), num_resamples=100) + scorecard(table(levels=1), num_resamples=100):
        assert entry["protocol"] == "strict"
        assert set(entry["statistics"]) == set(STATISTICS)
        for interval in [*entry["statistics"].values(), *([entry["gap"]] if "gap" in entry else [])]:
            assert interval["reason"] or interval["low"] <= interval["point"] <= interval["high"]
            assert math.isfinite(interval["point"])
        json.dumps(entry, allow_nan=False)
    assert all(i["reason"] for i in scorecard(table(levels=1))[0]["statistics"].values())


def test_environments_are_scored_by_themselves_and_together() -> None:
    played = table(("a", "b"))
    entries = {(e["env"], e["role"]): e for e in scorecard(played, num_resamples=50)}
    assert set(entries) == {(env, role) for env in ("a", "b", "2 environments") for role in ("train", "test")}
    both = entries["2 environments", "test"]
    means = [[played.scores("test", env=env)[seed].mean() for env in ("a", "b")] for seed in (0, 1)]
    assert both["statistics"]["iqm"]["point"] == pytest.approx(float(STATISTICS["iqm"](np.array(means))))
    assert both["resampled"] == "train seeds within each environment"
    assert entries["a", "test"]["gap"]["point"] == pytest.approx(
        played.scores("train", env="a").mean() - played.scores("test", env="a").mean()
    )
    assert scorecard(played, num_resamples=50) == scorecard(played, num_resamples=50)
    assert scorecard(played, num_resamples=50, seed=1) != scorecard(played, num_resamples=50)


def test_environments_with_different_numbers_of_seeds_have_no_aggregate() -> None:
    with pytest.raises(UsageError, match="as many train seeds"):
        aggregate_scores({"a": np.ones((2, 3)), "b": np.ones((1, 3))})
