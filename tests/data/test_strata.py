"""Mixtures over strata: equal to mixtures over datasets that were split by hand, and shared out exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.mixture import Mixture
from data.strata import apportion, group_by_tag
from envs import registry
from envs.errors import UsageError
from envs.grid import VARIANTS, make_level
from envs.registry import level_tags
from envs.shop.world.goals import world
from tests.data.helpers import PIXELS, make_episode, write

FEW = settings(max_examples=40, deadline=None)
THIRDS = {value: [level for level in range(24) if level % 3 == int(value)] for value in "012"}

weights_over = st.fixed_dictionaries({name: st.integers(0, 5) for name in "abcd"})


@pytest.fixture(scope="module", autouse=True)
def _tagged() -> Any:
    """Levels of the test environment are tagged with their rest by three."""
    patch = pytest.MonkeyPatch()
    entry = registry.Entry(lambda: PIXELS, Any, lambda level: {"third": level % 3, "all": "same"})
    patch.setitem(registry._ENTRIES, PIXELS.name, entry)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 levels x 5 episodes of odd lengths, twice as long in the first third."""
    episodes = [
        make_episode(level=level, episode=episode, length=(1 + (7 * level + 3 * episode) % 11) * (1 + (level % 3 == 0)))
        for level in range(24)
        for episode in range(5)
    ]
    return write(tmp_path_factory.mktemp("strata") / "data", episodes)


def by_all_quotients(weights: dict[str, int], limits: dict[str, int], total: int) -> dict[str, int]:
    """The same apportionment, from the sorted list of every quotient."""
    quotients = [
        (-weights[name] / (2 * turn + 1), name) for name in limits for turn in range(limits[name]) if weights[name]
    ]
    taken = [name for _, name in sorted(quotients)[:total]]
    return {name: taken.count(name) for name in limits}


@given(
    weights=weights_over, limits=st.fixed_dictionaries({n: st.integers(0, 9) for n in "abcd"}), total=st.integers(0, 40)
)
def test_apportion_takes_the_largest_quotients(weights: dict[str, int], limits: dict[str, int], total: int) -> None:
    counts = apportion(weights, limits, total)
    assert counts == by_all_quotients(weights, limits, total)
    assert sum(counts.values()) == min(total, sum(limits[name] for name in limits if weights[name]))
    more = apportion(weights, limits, total + 1)
    assert all(more[name] >= counts[name] for name in counts)


def test_apportion_gives_even_shares() -> None:
    everything = dict.fromkeys("abc", 100)
    assert apportion({"a": 0.5, "b": 0.25, "c": 0.25}, everything, 40) == {"a": 20, "b": 10, "c": 10}
    assert apportion(dict.fromkeys("abc", 1 / 3), everything, 3) == {"a": 1, "b": 1, "c": 1}


@FEW
@given(
    shares=st.tuples(*[st.integers(0, 4)] * 3).filter(any),
    budget=st.integers(1, 150),
    order=st.sampled_from(["random", "stratified"]),
    data=st.data(),
)
def test_strata_equal_datasets_that_were_split_by_hand(
    dataset: Dataset, shares: tuple[int, ...], budget: int, order: Any, data: st.DataObject
) -> None:
    weights = {name: share / sum(shares) for name, share in zip("012", shares, strict=True)}
    used = {name: THIRDS[name] for name in "012" if weights[name]}
    num_levels = data.draw(st.integers(1, sum(map(len, used.values()))))
    counts = apportion(weights, {name: len(levels) for name, levels in used.items()}, num_levels)
    by_hand = {name: dataset.select(levels[: counts[name]]) for name, levels in used.items() if counts[name]}
    total = sum(weights[name] for name in by_hand)
    budget = min(budget, sum(map(len, by_hand.values())))

    settings = {"max_transitions": budget, "episode_order": order}
    expected = Mixture(weights={name: weights[name] / total for name in by_hand}, **settings).realise(by_hand)
    mixture = Mixture(weights=weights, strata="third", num_levels=num_levels, **settings)
    realised = mixture.realise({"any": dataset.select(range(10)), "name": dataset.select(range(10, 24))})

    assert realised.view.fingerprint == expected.view.fingerprint
    assert len(realised.view) == budget
    assert realised.group_sizes == expected.group_sizes
    np.testing.assert_allclose(realised.weights or (), expected.weights or ())
    recorded = {
        name: {k: v for k, v in part.items() if k != "dataset"} for name, part in realised.report["sources"].items()
    }
    for name, part in recorded.items():
        assert part["levels"] <= counts[name]
        assert part == pytest.approx({k: v for k, v in expected.report["sources"][name].items() if k != "dataset"})
    assert sum(part["transitions"] for part in recorded.values()) == budget


def test_batches_are_drawn_by_the_weights_of_the_strata(dataset: Dataset) -> None:
    weights = {"0": 0.7, "1": 0.2, "2": 0.1}
    realised = Mixture(weights=weights, strata="third", num_levels=12, max_transitions=150).realise({"x": dataset})
    sampler = realised.sampler(1000, 0)
    levels = np.concatenate([realised.view.batch(sampler.indices(step)).level for step in range(20)])
    for value, weight in weights.items():
        assert (levels % 3 == int(value)).mean() == pytest.approx(weight, abs=0.02)
    assert realised.report["strata"] == "third"
    assert realised.report["num_strata"] == 3
    assert realised.report["effective_strata"] == pytest.approx(np.exp(-sum(w * np.log(w) for w in weights.values())))


def test_without_weights_strata_are_only_recorded(dataset: Dataset) -> None:
    realised = Mixture(strata="third", num_levels=12).realise({"x": dataset})
    assert realised.schedule is None
    assert realised.view.levels.tolist() == list(range(12))
    assert realised.view.fingerprint == Mixture(num_levels=12).realise({"x": dataset}).view.fingerprint
    assert {name: part["levels"] for name, part in realised.report["sources"].items()} == {"0": 4, "1": 4, "2": 4}


def test_few_levels_leave_nothing_to_light_strata(dataset: Dataset) -> None:
    weights = {"0": 0.8, "1": 0.1, "2": 0.1}
    realised = Mixture(weights=weights, strata="third", num_levels=2).realise({"x": dataset})
    assert list(realised.report["sources"]) == ["0"]
    assert realised.weights == (1.0,)
    assert realised.view.levels.tolist() == [0, 3]


def test_wrong_use_is_answered(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"tag of .* 'thrid'\. Did you mean 'third'"):
        Mixture(strata="thrid").realise({"x": dataset})
    with pytest.raises(UsageError, match=r"recorded third in the mixture weights 'x'.*Allowed: 0, 1, 2"):
        Mixture(strata="third", weights={"x": 1.0}).realise({"x": dataset})
    with pytest.raises(UsageError, match="asks for 9 levels; the datasets hold 8"):
        Mixture(strata="third", weights={"1": 1.0}, num_levels=9).realise({"x": dataset})
    with pytest.raises(UsageError, match=r"'procgen/maze' have no tags.*tagged are: .*grid/default.*shop/default"):
        level_tags("procgen/maze", [0], "theme")


def test_tags_are_the_factors_of_the_grid_and_the_strata_of_the_shop(tmp_path: Path) -> None:
    levels = range(50)
    made = [make_level(VARIANTS["grid/default"], level) for level in levels]
    assert level_tags("grid/default", levels, "chain") == [len(level.items) for level in made]
    assert level_tags("grid/default", levels, "theme") == [level.theme for level in made]
    departments = [world("shop/3k").goal(level).department for level in levels]
    assert level_tags("shop/3k", levels, "department") == departments
    groups = group_by_tag("shop/3k", list(levels), "department")
    assert list(groups) == sorted(set(departments))
    assert groups["home"] == [level for level, name in zip(levels, departments, strict=True) if name == "home"]
