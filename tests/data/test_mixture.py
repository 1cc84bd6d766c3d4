from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.mixture import EPISODE_ORDERS, Mixture, RealisedMixture
from data.strata import divide
from envs.errors import UsageError
from envs.spec import LevelSet
from tests.data.helpers import PIXELS, TEXT, make_episode, write

FEW = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Two sources; "large" has 20 levels x 5 episodes, "small" 8 levels x 2; odd lengths."""
    place = tmp_path_factory.mktemp("mixture")
    shapes = {"large": (20, 5), "small": (8, 2)}
    return {
        name: write(
            place / name,
            [
                make_episode(level=level, episode=episode, length=1 + (7 * level + 3 * episode) % 11, source=name)
                for level in range(num_levels)
                for episode in range(num_episodes)
            ],
        )
        for name, (num_levels, num_episodes) in shapes.items()
    }


def episodes_of(view: Dataset) -> set[tuple[Any, ...]]:
    columns = (view.episodes[name].tolist() for name in ("source", "level", "episode"))
    return set(zip(*columns, strict=True))


@FEW
@given(
    order=st.sampled_from(EPISODE_ORDERS),
    num_levels=st.integers(1, 20),
    share=st.floats(0.01, 1.0),
    weight=st.one_of(st.none(), st.floats(0.05, 0.95)),
    seed=st.integers(0, 5),
)
def test_the_budget_is_exact_and_the_levels_are_the_lowest(
    datasets: dict[str, Dataset], order: Any, num_levels: int, share: float, weight: float | None, seed: int
) -> None:
    weights = {} if weight is None else {"large": weight, "small": 1 - weight}
    whole = Mixture(weights=weights, num_levels=num_levels).realise(datasets)
    budget = max(1, round(share * len(whole.view)))
    mixture = Mixture(weights=weights, num_levels=num_levels, max_transitions=budget, episode_order=order, seed=seed)
    realised = mixture.realise(datasets)
    assert len(realised.view) == sum(realised.group_sizes) == realised.report["num_transitions"] == budget
    assert set(realised.view.levels.tolist()) <= set(range(num_levels))
    assert whole.view.levels.tolist() == list(range(num_levels))
    assert sum(source["transitions"] for source in realised.report["sources"].values()) == budget
    assert sum(source["weight"] for source in realised.report["sources"].values()) == pytest.approx(1)
    assert len(episodes_of(realised.view)) == realised.view.num_episodes


@FEW
@given(fraction=st.floats(0.01, 1.0), best_of=st.sampled_from(["all", "level"]), seed=st.integers(0, 3))
def test_the_best_share_of_the_episodes_is_kept(
    datasets: dict[str, Dataset], fraction: float, best_of: Any, seed: int
) -> None:
    view = datasets["large"]
    realised = Mixture(best_fraction=fraction, best_of=best_of, seed=seed).realise({"large": view})
    kept = realised.view.episodes
    groups = [np.ones(100, dtype=bool)] if best_of == "all" else [view.episodes["level"] == n for n in range(20)]
    counts, worst = 0, np.inf
    for group in groups:
        count = math.ceil(fraction * group.sum())
        counts += count
        best = np.sort(view.episodes["return"][group])[::-1][:count]
        chosen = kept["return"] if best_of == "all" else kept["return"][kept["level"] == np.flatnonzero(group)[0] // 5]
        np.testing.assert_allclose(np.sort(chosen)[::-1], best, rtol=1e-6)
        worst = min(worst, best[-1])
    assert realised.view.num_episodes == counts
    assert realised.report["num_transitions"] == kept["length"].sum(), (
        "what was left out is not reported as learned from"
    )
    assert kept["return"].min() == pytest.approx(worst)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_an_impossible_share_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        Mixture(best_fraction=fraction)


@FEW
@given(order=st.sampled_from(EPISODE_ORDERS), seed=st.integers(0, 3), data=st.data())
def test_the_choice_does_not_depend_on_how_episodes_are_listed(
    datasets: dict[str, Dataset], order: Any, seed: int, data: st.DataObject
) -> None:
    mixture = Mixture(max_transitions=100, episode_order=order, seed=seed)
    large = datasets["large"]
    listed = large.select(episodes=data.draw(st.permutations(range(large.num_episodes))))
    assert mixture.realise({"x": listed}).view.fingerprint == mixture.realise({"x": large}).view.fingerprint


@pytest.mark.parametrize("order", EPISODE_ORDERS)
def test_a_larger_budget_keeps_what_a_smaller_one_chose(datasets: dict[str, Dataset], order: Any) -> None:
    views = [
        Mixture(max_transitions=budget, episode_order=order).realise({"x": datasets["large"]}).view
        for budget in (50, 200, 400)
    ]
    for smaller, larger in pairwise(views):
        assert episodes_of(smaller) <= episodes_of(larger)


def test_stratified_takes_one_episode_of_each_level_before_a_second(datasets: dict[str, Dataset]) -> None:
    view = Mixture(max_transitions=150).realise({"x": datasets["large"]}).view
    counts = np.unique(view.episodes["level"], return_counts=True)[1]
    assert len(counts) == 20
    assert counts.max() - counts.min() <= 1


def test_best_first_takes_the_highest_returns(datasets: dict[str, Dataset]) -> None:
    large = datasets["large"]
    view = Mixture(max_transitions=100, episode_order="best_first").realise({"x": large}).view
    expected = np.sort(large.episodes["return"])[::-1]
    count = view.num_episodes - 1  # the last one may be cut
    np.testing.assert_allclose(view.episodes["return"][:count], expected[:count])


def test_seeds_choose_differently(datasets: dict[str, Dataset]) -> None:
    chosen = {
        Mixture(max_transitions=100, episode_order="random", seed=seed).realise(datasets).view.fingerprint
        for seed in range(5)
    }
    assert len(chosen) == 5


def drawn_share(realised: RealisedMixture, source: str) -> float:
    sampler = realised.sampler(1000, 0)
    ids = np.concatenate([realised.view.batch(sampler.indices(step)).source_id for step in range(20)])
    return float((ids == realised.view.sources.index(source)).mean())


def test_without_weights_transitions_are_drawn_equally_often(datasets: dict[str, Dataset]) -> None:
    realised = Mixture().realise(datasets)
    assert realised.schedule is None
    share = len(datasets["small"]) / sum(map(len, datasets.values()))
    assert drawn_share(realised, "small") == pytest.approx(share, abs=0.02)
    assert realised.report["sources"]["small"]["repetitions"] == pytest.approx(1)


def test_what_a_source_lacks_of_its_share_comes_from_the_others(datasets: dict[str, Dataset]) -> None:
    small = len(datasets["small"])
    realised = Mixture(weights={"large": 0.3, "small": 0.7}, max_transitions=300).realise(datasets)
    assert realised.group_sizes == (300 - small, small)
    assert realised.weights == pytest.approx((0.3, 0.7))
    assert drawn_share(realised, "small") == pytest.approx(0.7, abs=0.02)
    assert realised.report["sources"]["small"]["repetitions"] == pytest.approx(0.7 / (small / 300))
    assert realised.report["effective_levels"] < 20


def test_shares_overflow_from_source_to_source_until_all_fit(datasets: dict[str, Dataset]) -> None:
    """Of 100: the first is 60 short, the second then holds 30 of its 35, the third takes the rest."""
    large = datasets["large"]
    sizes = {"first": 10, "second": 30, "third": 300}
    views = {name: large.select(max_transitions=size) for name, size in sizes.items()}
    realised = Mixture(weights={"first": 0.7, "second": 0.15, "third": 0.15}, max_transitions=100).realise(views)
    assert realised.group_sizes == (10, 30, 60)


def test_a_repetition_cap_lowers_the_weight_and_the_report_says_so(datasets: dict[str, Dataset]) -> None:
    weights = {"large": 0.1, "small": 0.9}
    realised = Mixture(weights=weights, repetition_cap=2.0).realise(datasets)
    small = realised.report["sources"]["small"]
    assert small["repetitions"] == pytest.approx(2.0)
    assert small["weight"] < 0.9
    assert sum(realised.weights or ()) == pytest.approx(1)


def test_a_source_without_weight_is_left_out(datasets: dict[str, Dataset]) -> None:
    realised = Mixture(weights={"small": 1.0}).realise(datasets)
    assert realised.view.sources == ("small",)


def test_allowed_levels_come_before_their_number(datasets: dict[str, Dataset]) -> None:
    allowed = LevelSet.of(PIXELS.name, [19, 4, 11, 500])
    assert Mixture(levels=allowed).realise(datasets).view.levels.tolist() == [4, 11, 19]
    with pytest.raises(UsageError, match="4 levels; the datasets hold 3"):
        Mixture(levels=allowed, num_levels=4).realise(datasets)


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": {"large": 0.5, "small": 0.4}},
        {"weights": {"large": 1.5, "small": -0.5}},
        {"episode_order": "best"},
        {"num_levels": 0},
        {"max_transitions": 0},
        {"repetition_cap": 0.5},
    ],
)
def test_bad_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Mixture(**fields)


def test_bad_data_is_refused(datasets: dict[str, Dataset], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'large'"):
        Mixture(weights={"largo": 1.0}).realise(datasets)
    with pytest.raises(UsageError, match="asks for 10000 transitions"):
        Mixture(max_transitions=10_000).realise(datasets)
    with pytest.raises(UsageError, match="no dataset"):
        Mixture().realise({})
    text = write(tmp_path / "text", [make_episode(TEXT)], TEXT)
    with pytest.raises(UsageError, match="one view holds one environment"):
        Mixture().realise({**datasets, "text": text})


@pytest.mark.parametrize("strata", ["bucket:4", "difficulty:4", "difficulty:3", "source"])
def test_divisions_partition_the_data(datasets: dict[str, Dataset], strata: str) -> None:
    everything = Dataset.concat(list(datasets.values()))
    parts = divide(everything, strata)
    assert sum(len(part) for part in parts.values()) == len(everything)
    if strata == "source":
        assert {name: part.sources for name, part in parts.items()} == {"large": ("large",), "small": ("small",)}
        return
    levels = [set(part.levels.tolist()) for part in parts.values()]
    assert set.union(*levels) == set(everything.levels.tolist())
    assert sum(map(len, levels)) == len(everything.levels)
    assert max(map(len, levels)) - min(map(len, levels)) <= 1
    assert list(parts) == [str(n) for n in range(1, len(parts) + 1)]


def test_difficulty_is_the_mean_return_recorded_on_a_level(datasets: dict[str, Dataset]) -> None:
    view = datasets["large"]
    means = {n: float(view.episodes["return"][view.episodes["level"] == n].mean()) for n in view.levels.tolist()}
    hardest_first = sorted(means, key=lambda level: means[level])
    parts = divide(view, "difficulty:4")
    assert [sorted(hardest_first[i : i + 5]) for i in (0, 5, 10, 15)] == [p.levels.tolist() for p in parts.values()]
    realised = Mixture(strata="difficulty:4", weights={"1": 0.75, "4": 0.25}, max_transitions=80).realise({"x": view})
    sources = realised.report["sources"]
    assert {name: source["transitions"] for name, source in sources.items()} == {"1": 60, "4": 20}
    assert set(realised.view.levels.tolist()) <= set(hardest_first[:5]) | set(hardest_first[15:])


@pytest.mark.parametrize("strata", ["bucket:0", "difficulty:21"])
def test_more_parts_than_levels_are_refused(datasets: dict[str, Dataset], strata: str) -> None:
    with pytest.raises(UsageError, match="parts of 20 levels"):
        Mixture(strata=strata).realise({"x": datasets["large"]})


def test_levels_against_episodes_of_each_source_at_a_fixed_budget(datasets: dict[str, Dataset]) -> None:
    weights = {"large": 0.8, "small": 0.2}
    few = Mixture(weights=weights, max_transitions=50, levels_per_source={"large": 2}).realise(datasets)
    many = Mixture(weights=weights, max_transitions=50).realise(datasets)
    counts = [report["sources"]["large"] for report in (few.report, many.report)]
    assert [part["transitions"] for part in counts] == [40, 40]
    assert counts[0]["levels"] == 2
    assert counts[1]["levels"] > 2
    assert few.report["effective_levels"] < many.report["effective_levels"]
    with pytest.raises(UsageError, match="asks for 9 levels of 'small', which holds 8"):
        Mixture(weights=weights, levels_per_source={"small": 9}).realise(datasets)
    with pytest.raises(UsageError, match=r"in the levels_per_source 'smal'.*Did you mean 'small'"):
        Mixture(weights=weights, levels_per_source={"smal": 1}).realise(datasets)


@FEW
@given(fraction=st.floats(0.01, 1))
def test_a_share_of_each_source_is_the_front_of_what_the_whole_would_take(
    datasets: dict[str, Dataset], fraction: float
) -> None:
    whole = Mixture(weights={"large": 0.5, "small": 0.5}).realise(datasets)
    part = Mixture(weights={"large": 0.5, "small": 0.5}, source_fraction=fraction).realise(datasets)
    assert part.group_sizes == tuple(math.ceil(fraction * size - 1e-9) for size in whole.group_sizes)
    assert episodes_of(part.view) <= episodes_of(whole.view)


def test_a_budget_that_runs_out_names_the_source_and_by_how_much(datasets: dict[str, Dataset]) -> None:
    sizes = {name: len(dataset) for name, dataset in datasets.items()}
    weights = {"large": 0.5, "small": 0.5}
    budget = 2 * sizes["small"] + 20
    lacking = (
        f"'small' runs out first: its share is {sizes['small'] + 10} transitions, it holds {sizes['small']}, 10 too few"
    )
    with pytest.raises(UsageError, match=lacking) as refused:
        Mixture(weights=weights, max_transitions=budget, on_shortage="refuse").realise(datasets)
    most = int(str(refused.value).split("ask for at most ")[1].split()[0])
    for asked, refusing in ((most, "refuse"), (budget, "fill")):
        Mixture(weights=weights, max_transitions=asked, on_shortage=refusing).realise(datasets)
    with pytest.raises(UsageError, match="too few"):
        Mixture(weights=weights, max_transitions=most + 2, on_shortage="refuse").realise(datasets)
    limit = float(str(refused.value).split("weight to at most ")[1].split(",")[0])
    lowered = {"small": limit - 1e-4, "large": 1 - limit + 1e-4}
    Mixture(weights=lowered, max_transitions=budget, on_shortage="refuse").realise(datasets)
    with pytest.raises(UsageError, match=rf"hold {sum(sizes.values())}. 'small' runs out first"):
        Mixture(weights=weights, max_transitions=sum(sizes.values()) + 1).realise(datasets)


def test_a_wrong_word_for_shortage_is_refused() -> None:
    wrong: Any = "refus"
    with pytest.raises(UsageError, match="Did you mean 'refuse'"):
        Mixture(on_shortage=wrong)
