"""Mixture weights as a search space: always feasible, encoded without loss, proxies that repeat data alike."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.mixture import Mixture
from envs.errors import UsageError
from search.simplex import Simplex, proxy_fraction
from tests.data.helpers import make_episode, write

FEW = settings(max_examples=60, deadline=None)
SIZES = st.lists(st.integers(1, 1000), min_size=1, max_size=12)


def simplex_of(sizes: list[int], share: float, floor: float) -> Simplex:
    """With a budget and a minimum that the sizes allow."""
    budget = max(1, int(share * sum(sizes)))
    minimum = floor * min(1 / len(sizes), min(sizes) / budget)
    return Simplex.of_sizes({f"s{i}": size for i, size in enumerate(sizes)}, budget, minimum)


def assert_allowed(weights: np.ndarray, simplex: Simplex) -> None:
    assert weights.sum() == pytest.approx(1)
    assert (weights >= simplex.minimum - 1e-9).all()
    assert (weights <= simplex.upper + 1e-9).all()


@FEW
@given(
    sizes=SIZES,
    share=st.floats(0.01, 1),
    floor=st.floats(0, 1),
    concentration=st.floats(0.01, 20),
    seed=st.integers(0, 99),
)
def test_every_draw_is_feasible(sizes: list[int], share: float, floor: float, concentration: float, seed: int) -> None:
    simplex = simplex_of(sizes, share, floor)
    weights = simplex.sample(np.random.default_rng(seed), concentration)
    assert_allowed(weights, simplex)
    simplex.check(simplex.named(weights))


@FEW
@given(sizes=SIZES, share=st.floats(0.01, 1), floor=st.floats(0, 0.9), data=st.data())
def test_every_encoding_decodes_to_what_is_feasible(
    sizes: list[int], share: float, floor: float, data: st.DataObject
) -> None:
    simplex = simplex_of(sizes, share, floor)
    encoding = data.draw(st.sampled_from(["dirichlet", "ilr", "softmax"]))
    count, low, high = simplex.bounds(encoding)
    numbers = data.draw(st.lists(st.floats(low, high), min_size=count, max_size=count))
    assert_allowed(simplex.from_numbers(numbers, encoding), simplex)


@FEW
@given(sizes=SIZES, floor=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_log_ratios_lose_nothing(sizes: list[int], floor: float, seed: int) -> None:
    simplex = Simplex(names=tuple(map(str, range(len(sizes)))), minimum=floor / len(sizes))
    weights = simplex.sample(np.random.default_rng(seed), 2.0)
    np.testing.assert_allclose(simplex.decode(simplex.encode(weights)), weights, atol=1e-7)


def test_log_ratios_are_isometric() -> None:
    """Distances are those of centered log weights (Aitchison's), which does not depend on the order of sources."""
    simplex, rng = Simplex(names=("a", "b", "c", "d")), np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.dirichlet(np.ones(4), size=2)
        logs = [np.log(w) - np.log(w).mean() for w in (first, second)]
        distance = np.linalg.norm(simplex.encode(first) - simplex.encode(second))
        assert distance == pytest.approx(np.linalg.norm(logs[0] - logs[1]))


def test_uniform_numbers_make_all_mixtures_alike() -> None:
    """A flat Dirichlet's marginal is Beta(1, K - 1): P(w < x) = 1 - (1 - x)^(K - 1)."""
    simplex, rng = Simplex(names=tuple("abcde")), np.random.default_rng(0)
    draws = np.array([simplex.from_numbers(rng.random(5), "dirichlet") for _ in range(4000)])
    for x in (0.05, 0.2, 0.5):
        np.testing.assert_allclose((draws < x).mean(axis=0), 1 - (1 - x) ** 4, atol=0.03)


def test_sixty_four_sources_are_feasible_at_once() -> None:
    sizes = {f"s{i}": 100 + i for i in range(64)}
    simplex = Simplex.of_sizes(sizes, sum(sizes.values()) * 9 // 10)
    assert_allowed(simplex.sample(np.random.default_rng(0), 0.1), simplex)


@pytest.mark.parametrize(
    ("sizes", "budget", "minimum", "message"),
    [
        ({"a": 10, "b": 500}, 600, 0.0, r"hold 510, 90 too few \(least of all 'a': 10\)"),
        ({"a": 10, "b": 500}, 400, 0.1, r"asks for 40 of 400 transitions from 'a'; it holds 10, 30 too few"),
        ({"a": 10, "b": 500}, 400, 0.6, "may be at most 0.5"),
        ({}, None, 0.0, "at least one source"),
    ],
)
def test_what_no_mixture_can_fulfil_names_the_source(
    sizes: dict[str, int], budget: int | None, minimum: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Simplex.of_sizes(sizes, budget, minimum)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 0.5, "b": 0.6}, "sum to 1.1"),
        ({"a": 0.5, "c": 0.5}, r"must be of \['a', 'b'\]"),
        ({"a": -0.5, "b": 1.5}, "not negative"),
        ({"a": math.nan, "b": 1.0}, "must be of"),
        ({"a": 0.3, "b": 0.7}, "The weight 0.3 of 'a' is 0.2 outside"),
        ({"a": 0.01, "b": 0.99}, "The weight 0.01 of 'a' is 0.01 outside"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Simplex.of_sizes({"a": 10, "b": 500}, 100, 0.02).check(weights)


@settings(max_examples=12, deadline=None)
@given(weight=st.floats(0.1, 0.9), proxy=st.integers(20, 100), scarce=st.integers(20, 120))
def test_a_proxy_repeats_every_source_as_often_as_the_full_run(
    tmp_path_factory: pytest.TempPathFactory, weight: float, proxy: int, scarce: int
) -> None:
    place, budget, full = tmp_path_factory.mktemp("proxy"), 400, 100
    sizes = {"scarce": scarce, "ample": 600}
    assume(weight * budget <= 600)
    datasets = {
        name: write(place / name, [make_episode(level=i, length=10) for i in range(size // 10 + 1)])
        for name, size in sizes.items()
    }
    fraction = proxy_fraction(proxy, full)
    weights = {"scarce": 1 - weight, "ample": weight}
    chosen = {
        "full": (Mixture(weights=weights, max_transitions=budget), full),
        "proxy": (Mixture(weights=weights, max_transitions=round(fraction * budget), source_fraction=fraction), proxy),
    }
    repeated = {}
    for name, (mixture, steps) in chosen.items():
        sources = mixture.realise(datasets).report["sources"]
        repeated[name] = [steps * weights[source] / sources[source]["transitions"] for source in sizes]
    # Whole transitions: a source of n has n f plus or minus one.
    np.testing.assert_allclose(repeated["proxy"], repeated["full"], rtol=0.15)


def test_without_matching_a_proxy_repeats_less(tmp_path: Path) -> None:
    """What the fraction is for: the scarce source of the short run would look five times as fresh."""
    datasets = {"scarce": write(tmp_path / "a", [make_episode(level=0, length=50)])}
    plain = Mixture(weights={"scarce": 1.0}).realise(datasets).report["sources"]["scarce"]["transitions"]
    matched = Mixture(weights={"scarce": 1.0}, source_fraction=proxy_fraction(20, 100)).realise(datasets)
    assert (plain, matched.report["sources"]["scarce"]["transitions"]) == (50, 10)


def test_a_proxy_is_shorter() -> None:
    with pytest.raises(UsageError, match="it is shorter"):
        proxy_fraction(101, 100)
