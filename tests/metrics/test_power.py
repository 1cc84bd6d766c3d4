"""What is said to be detectable is detected as often as was said, by the interval that reports use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from envs.errors import UsageError
from metrics.correlation import rank_correlation
from metrics.power import Design, Spread, smallest_correlation
from metrics.statistics import paired_difference

LEVELS = 60


def group(
    rng: np.random.Generator, runs: int, levels: npt.NDArray[np.float64], shift: float
) -> npt.NDArray[np.float64]:
    """Scores with a spread of 0.5 between levels, 0.2 between runs and 0.9 left."""
    return shift + levels + 0.2 * rng.normal(size=(runs, 1)) + 0.9 * rng.normal(size=(runs, len(levels)))


def test_a_pilot_shows_the_spreads_that_made_it() -> None:
    rng = np.random.default_rng(0)
    spread = Spread.of(group(rng, 300, 0.5 * rng.normal(size=80), 0.0))
    assert spread.runs == pytest.approx(0.2, rel=0.15)
    assert spread.rest == pytest.approx(0.9, rel=0.05)


def test_levels_that_differ_are_no_spread() -> None:
    scores = np.tile(np.arange(5.0), (3, 1))
    assert Spread.of(scores) == Spread(runs=0.0, rest=0.0)
    assert Spread.of(scores + np.array([[0.0], [1.0], [2.0]])).runs == pytest.approx(1.0)


@pytest.mark.parametrize(("runs", "confidence"), [(6, 0.95), (10, 0.9)])
def test_the_smallest_difference_is_found_as_often_as_it_says(runs: int, confidence: float) -> None:
    rng = np.random.default_rng(1)
    design = Design(spread=Spread(runs=0.2, rest=0.9), num_runs=runs, num_levels=LEVELS, confidence=confidence)
    found = {0.0: 0, design.smallest_difference: 0}
    for _ in range(200):
        for shift in found:
            levels = 0.5 * rng.normal(size=LEVELS)
            a, b = group(rng, runs, levels, shift), group(rng, runs, levels, 0.0)
            interval = paired_difference(a, b, rng, num_resamples=200, confidence=confidence)
            found[shift] += interval.excludes(0.0)
    assert 0.72 < found[design.smallest_difference] / 200 < 0.93
    assert found[0.0] / 200 < 0.1


def test_more_of_anything_detects_less() -> None:
    def smallest(**changes: float) -> float:
        settings = {"num_runs": 4, "num_levels": 50, **changes}
        return Design(spread=Spread(runs=0.1, rest=0.5), **settings).smallest_difference  # type: ignore[arg-type]

    assert smallest(num_runs=8) < smallest()
    assert smallest(num_levels=200) < smallest()
    assert smallest(confidence=0.99) > smallest()
    assert smallest(power=0.9) > smallest()


def test_the_smallest_correlation_is_found_as_often_as_it_says() -> None:
    rng, n = np.random.default_rng(2), 64
    rho = smallest_correlation(n)
    assert rho == pytest.approx(0.353, abs=0.005)
    pearson = 2 * np.sin(np.pi * rho / 6)  # of a normal pair with this rank correlation
    found = 0
    for _ in range(150):
        x, noise = rng.normal(size=(2, n))
        y = pearson * x + np.sqrt(1 - pearson**2) * noise
        found += rank_correlation(x, y, rng, num_resamples=200).excludes(0.0)
    assert 0.7 < found / 150 < 0.95


def test_too_little_to_say_anything_is_refused() -> None:
    with pytest.raises(UsageError, match="1 runs on 5 levels"):
        Spread.of(np.zeros((1, 5)))
    with pytest.raises(UsageError, match="3 points"):
        smallest_correlation(3)
