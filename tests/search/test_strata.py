"""Mixtures over strata in a study: what their names mean, which levels they take, and that budgets stay equal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from envs.errors import UsageError
from envs.registry import find_shift, level_tags
from envs.spec import LevelSet
from metrics.protocols import training_levels
from search.config import SweepConfig
from search.phases import collect_datasets
from search.preflight import check_names
from search.recipes import build_sweep
from search.space import collected_levels, data_specs, dataset_path, experiment_of, trial_specs
from search.status import study_status
from search.strata import mixture_levels, mixture_weights, strata_of
from search.study import read_study
from search.sweep import open_study
from trainers.training_data import open_training_data

DEPARTMENTS = ["fashion", "grocery", "home"]
GRID = ("grid-variants", "grid/default", "chain")


def grid(*words: str) -> SweepConfig:
    small = ["level_counts=4,12", "num_transitions=140", "num_actors=0", "judge.protocol=grid-variants"]
    return build_sweep("grid-diversity", [*small, *words])


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("natural", {}),
        ("uniform", dict.fromkeys(DEPARTMENTS, 1 / 3)),
        ("home", {"home": 1.0}),
        ("home:3+grocery:1", {"home": 0.75, "grocery": 0.25}),
        ("home:0.5", {"home": 1.0}),
        ("home:2+fashion:0", {"home": 1.0}),
    ],
)
def test_the_name_of_a_mixture_says_its_weights(name: str, weights: dict[str, float]) -> None:
    assert mixture_weights(name, DEPARTMENTS) == pytest.approx(weights)


def test_a_stratum_whose_name_holds_a_plus_can_be_weighted() -> None:
    assert mixture_weights("color+size:1+color:3", ["color", "color+size"]) == {"color+size": 0.25, "color": 0.75}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hom", "Did you mean 'home'"),
        ("unifrom", "Did you mean 'uniform'"),
        ("home:1+groceri:2", r"stratum in the mixture .* Did you mean 'grocery'"),
        ("home:1+", "Unknown mixture"),
        ("home:1+grocery", "Unknown mixture"),
        ("home:0", "above 0"),
        ("home:1+home:2", "each stratum once"),
        ("home:1.2.3", "is no number"),
    ],
)
def test_a_mixture_that_cannot_be_meant_is_answered(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mixture_weights(name, DEPARTMENTS)


def taken_slowly(protocol: str, env: str, tag: str, shares: dict[str, float], count: int) -> list[int]:
    """Levels one by one: each goes to the stratum with the largest share per place it would then hold."""
    places = dict.fromkeys(shares, 0)
    for _ in range(count):
        best = min(places, key=lambda value: (-shares[value] / (2 * places[value] + 1), value))
        places[best] += 1
    levels = []
    for level in training_levels(protocol, env, 3000):
        value = str(level_tags(env, [level], tag)[0])
        if places.get(value, 0) > 0:
            places[value] -= 1
            levels.append(level)
        if not any(places.values()):
            return levels
    raise AssertionError("too few levels")


@pytest.mark.parametrize("mixture", ["uniform", "home", "home:3+grocery:1"])
@pytest.mark.parametrize("protocol", ["shop-I4", "shop-I6"])
def test_a_mixture_takes_the_first_levels_of_each_stratum(protocol: str, mixture: str) -> None:
    where = (protocol, "shop/default", "department")
    weights = mixture_weights(mixture, list(strata_of(*where)))
    found = [mixture_levels(*where, mixture, count) for count in (7, 8, 31)]
    assert [list(levels) for levels in found] == [taken_slowly(*where, weights, len(levels)) for levels in found]
    assert set(found[0]) < set(found[1]) < set(found[2])
    assert all(find_shift(protocol).holds("train", level) for level in found[2])


@settings(max_examples=25, deadline=None)
@given(share=st.integers(1, 9), count=st.integers(1, 60))
def test_larger_sets_contain_smaller_ones_for_any_weights(share: int, count: int) -> None:
    mixture = f"1:{share}+2:{10 - share}"
    smaller, larger = (set(mixture_levels(*GRID, mixture, size)) for size in (count, count + 1))
    assert smaller < larger


def test_without_strata_levels_come_as_they_are() -> None:
    assert mixture_levels("strict", "procgen/maze", "", "", 9) == LevelSet.range("procgen/maze", 0, 9)
    assert mixture_levels(*GRID, "natural", 9) == training_levels("grid-variants", "grid/default", 9)
    assert strata_of("shop-I4", "shop/default", "department") == tuple(DEPARTMENTS)


def test_a_stratum_with_too_few_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.strata._MAX_SCANNED", 100)
    with pytest.raises(UsageError, match=r"needs 3000 training levels with chain='1'; the first 3,000 .* hold \d+"):
        mixture_levels(*GRID, "1", 3000)


def test_every_mixture_is_tried_at_every_level_count(tmp_path: Path) -> None:
    config = grid("strata=chain", "mixtures=natural,uniform,2,1:1+2:3")
    specs = trial_specs(config)
    assert len(specs) == len({spec.trial_id for spec in specs}) == 2 * 4 * 2 * 2
    assert [spec.data_id for spec in data_specs(config)] == [
        f"levels-{count}-{name}" for count in (4, 12) for name in ("natural", "uniform", "2", "1-1-2-3")
    ]
    for spec in specs:
        data = experiment_of(config, spec, tmp_path).data
        assert (data.num_levels, data.max_transitions, data.strata) == (spec.num_levels, 140, "chain")
        assert data.datasets == (str(dataset_path(tmp_path, spec)),)
    weights = {spec.mixture: experiment_of(config, spec, tmp_path).data.strata_weights for spec in specs}
    assert weights == {
        "natural": {}, "uniform": {"1": 0.5, "2": 0.5}, "2": {"2": 1.0}, "1:1+2:3": {"1": 0.25, "2": 0.75},
    }  # fmt: skip


def test_what_is_learned_from_has_the_same_size_and_the_shares_of_its_mixture(tmp_path: Path) -> None:
    config = grid("strata=chain", "mixtures=natural,uniform,2,1:1+2:3")
    open_study(config, tmp_path, "")
    records = collect_datasets(config, tmp_path)
    shares = {"uniform": {"1": 0.5, "2": 0.5}, "2": {"2": 1.0}, "1:1+2:3": {"1": 0.25, "2": 0.75}}
    for spec, record in zip(data_specs(config), records, strict=True):
        assert record["realised_transitions"] == 140
        assert record["realised_levels"] == spec.num_levels
        strata = record["strata"]
        assert sum(part["transitions"] for part in strata.values()) == 140
        assert sum(part["levels"] for part in strata.values()) == spec.num_levels
        if spec.mixture in shares:
            expected = shares[spec.mixture]
            assert {name: part["weight"] for name, part in strata.items()} == pytest.approx(expected)
            assert {name: part["levels"] / spec.num_levels for name, part in strata.items()} == pytest.approx(expected)
        recorded = Dataset.open(dataset_path(tmp_path, spec)).levels.tolist()
        assert recorded == sorted(collected_levels(config, spec))
    report = open_training_data(experiment_of(config, trial_specs(config)[4], tmp_path)).diversity
    assert report["data/diversity/effective_strata"] == pytest.approx(2)
    status = study_status(read_study(tmp_path))
    assert status["phases"]["collect"] == "8 of 8 datasets"
    assert status["phases"]["search"] == "0 of 32 trials"


def test_a_study_under_a_shift_learns_and_is_judged_by_it(tmp_path: Path) -> None:
    config = build_sweep("shop-diversity", ["judge.protocol=shop-I3"])
    check_names(config)
    for spec in data_specs(config):
        assert collected_levels(config, spec) == training_levels("shop-I3", "shop/default", spec.num_levels)
    experiment = experiment_of(config, trial_specs(config)[0], tmp_path)
    assert experiment.evaluation == dataclasses.replace(config.experiment.evaluation, protocol="shop-I3")
    paper = build_sweep("grid-diversity", ["judge.protocol=paper"])
    assert experiment_of(paper, trial_specs(paper)[0], tmp_path).evaluation.protocol == "strict"


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("shop-diversity", ["mixtures=natural,uniform"], "say what they mix"),
        ("shop-strata", ["mixtures=uniform,uniform"], "none twice"),
        ("shop-strata", ["mixtures="], "at least one"),
        ("shop-strata", ["strata=departmnt"], "Did you mean 'department'"),
        ("shop-strata", ["mixtures=natural,fashon"], "Did you mean 'fashion'"),
        ("shop-strata", ["judge.protocol=shop-i4"], "Did you mean 'shop-I4'"),
        ("maze-diversity", ["strata=department"], "have no tags"),
        ("maze-diversity", ["judge.protocol=shop-I4"], "trains in 'shop/default'"),
        ("shop-diversity", ["experiment.evaluation.protocol=shop-I3"], "Set judge.protocol=shop-I3"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(recipe: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_names(build_sweep(recipe, words))


def test_the_strata_recipe_holds_departments_out() -> None:
    config = build_sweep("shop-strata")
    check_names(config)
    for spec in data_specs(config):
        levels = collected_levels(config, spec)
        found = level_tags("shop/default", levels, "department")
        assert len(found) == spec.num_levels
        assert set(found) <= ({"fashion"} if spec.mixture == "fashion" else set(DEPARTMENTS))
        if spec.mixture == "uniform":
            assert max(map(found.count, DEPARTMENTS)) - min(map(found.count, DEPARTMENTS)) <= 1


def test_old_studies_keep_their_names() -> None:
    spec: Any = trial_specs(build_sweep("grid-diversity"))[0]
    assert spec.trial_id == "levels-2-lr-0.0003-seed-0"
    assert json.loads(json.dumps(dataclasses.asdict(spec)))["mixture"] == ""
