"""Each measure against a control whose value is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.coverage import distinct_share, goal_coverage, seen_share
from data.dataset import Dataset
from data.disparity import disparity, energy_coefficient, predictability, shortcut_index
from data.episode import Episode, Ragged
from data.goals import coverage_of
from data.measures import MEASURES, draw, measure
from data.quality import difficulty, norm_changes, quartiles, topsis
from data.spectrum import coherence, cosine_kernel, vendi_score
from envs.errors import UsageError
from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text, encode_texts
from tests.data.helpers import PIXELS, make_episode, write

RNG = np.random.default_rng(0)
LENGTH = 40
CANDIDATES = EnvSpec(
    name="toy/candidates",
    observation_columns={"page": ColumnSpec("uint8", ragged=True), "candidates": ColumnSpec("uint8", ragged=True)},
    num_actions=4,
    max_episode_steps=50,
    level_universe=1000,
    candidate_column="candidates",
    final_observation_known=False,
)


# Pure functions


@given(kinds=st.integers(1, 8), copies=st.integers(1, 5), order=st.sampled_from([0.5, 1.0, 2.0]))
@settings(deadline=None)
def test_orthogonal_kinds_count_once_however_often_they_are_copied(kinds: int, copies: int, order: float) -> None:
    rows = np.repeat(np.eye(8)[:kinds] * 3, copies, axis=0)
    assert vendi_score(cosine_kernel(rows), order) == pytest.approx(kinds)


def test_vendi_equals_the_slow_definition() -> None:
    rows = RNG.standard_normal((12, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    eigenvalues = np.linalg.svd(unit / np.sqrt(12), compute_uv=False) ** 2
    assert vendi_score(cosine_kernel(rows)) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))


def test_rows_of_zeros_are_one_kind() -> None:
    assert vendi_score(cosine_kernel([[0.0, 0], [0, 0], [1, 0]])) == pytest.approx(
        np.exp(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)))
    )


def test_coherence_counts_who_is_helped() -> None:
    assert coherence(np.eye(7)) == pytest.approx(1)
    assert coherence(np.ones((7, 7))) == pytest.approx(7)
    assert coherence(np.zeros((7, 7))) == 1
    rows = RNG.standard_normal((9, 4))
    slow = 9 * (rows.mean(axis=0) ** 2).sum() / (rows**2).sum(axis=1).mean()
    assert coherence(rows @ rows.T) == pytest.approx(slow)


def test_energy_coefficient_has_its_two_ends() -> None:
    assert energy_coefficient(np.zeros((5, 2)), np.ones((6, 2))) == pytest.approx(1)
    assert energy_coefficient(np.zeros((5, 2)), np.zeros((6, 2))) == 0
    same = [energy_coefficient(*RNG.standard_normal((2, 50, 3))) for _ in range(40)]
    assert np.mean(same) < 0.02
    left, right = RNG.standard_normal((6, 2)), RNG.standard_normal((5, 2)) + 2
    between = np.mean([np.linalg.norm(x - y) for x in left for y in right])
    within = [
        np.mean([np.linalg.norm(rows[i] - rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j])
        for rows in (left, right)
    ]
    assert energy_coefficient(left, right) == pytest.approx((2 * between - sum(within)) / (2 * between))


def test_iid_buckets_have_no_disparity_and_cannot_be_told_apart() -> None:
    rows, labels = RNG.standard_normal((400, 6)), RNG.integers(0, 4, 400)
    assert disparity(rows, labels) < 0.01
    assert predictability(rows, labels) < 0.1
    assert shortcut_index(predictability(rows, labels), within=5, pooled=5) == 0


def test_disjoint_constant_sources_are_the_worst_shortcut() -> None:
    labels = RNG.permutation(np.repeat(np.arange(4), 50))
    rows = np.eye(4)[labels]
    assert disparity(rows, labels) == pytest.approx(1)
    assert predictability(rows, labels) == pytest.approx(1)
    assert shortcut_index(1.0, within=1, pooled=4) == pytest.approx(1 - 1 / 4)
    assert disparity(rows, np.zeros(200)) == predictability(rows, np.zeros(200)) == 0


def test_states_seen_once_leave_much_unseen() -> None:
    assert seen_share(np.arange(10)) == 0
    assert seen_share(np.zeros(10)) == 1
    assert seen_share([0, 0, 1]) == pytest.approx(2 / 3)
    assert distinct_share([0, 0, 1, 2]) == pytest.approx(3 / 4)


def test_good_turing_estimates_the_mass_that_was_seen() -> None:
    shares = RNG.dirichlet(np.full(300, 0.3))
    draws = [RNG.choice(300, 200, p=shares) for _ in range(200)]
    truth = np.mean([shares[np.unique(cells)].sum() for cells in draws])
    assert np.mean([seen_share(cells) for cells in draws]) == pytest.approx(truth, abs=0.01)


def test_a_goal_is_covered_when_every_pair_was_seen_often_enough() -> None:
    known = [{"kind": "shoe", "color": "red"}, {"kind": "shoe", "color": "blue"}, {"kind": "shoe", "color": "red"}]
    wanted = [{"kind": "shoe", "color": "red"}, {"kind": "shoe", "color": "blue"}, {"kind": "hat", "color": "red"}]
    assert goal_coverage(known, wanted) == pytest.approx(2 / 3)
    assert goal_coverage(known, wanted, support=2) == pytest.approx(1 / 3)
    assert goal_coverage([{"kind": "shoe"}], [{"kind": "shoe"}, {"kind": "hat"}]) == 0.5
    parts = [{"a": 1, "b": 1, "c": 0}, {"a": 0, "b": 1, "c": 1}, {"a": 1, "b": 0, "c": 1}]
    assert goal_coverage(parts, [{"a": 1, "b": 1, "c": 1}]) == 1  # each pair, never the whole


def test_norm_changes_are_those_of_a_small_step() -> None:
    features, weights = RNG.standard_normal((6, 4)), RNG.standard_normal((4, 3))
    errors = RNG.standard_normal((6, 3))
    don, nod = norm_changes(features, errors, weights)
    for index in range(6):
        step = -1e-6 * np.outer(features[index], errors[index])
        assert nod[index] == pytest.approx(np.linalg.norm(step) / 1e-6)
        moved = (np.linalg.norm(weights + step) - np.linalg.norm(weights)) / 1e-6
        assert don[index] == pytest.approx(moved, abs=1e-4)


def test_topsis_puts_the_best_of_all_first() -> None:
    table = [[1.0, 5.0], [3.0, 1.0], [2.0, 3.0]]  # more, then less is better
    scores = topsis(table, [True, False])
    assert scores[1] == 1
    assert scores[0] == 0
    assert 0 < scores[2] < 1
    np.testing.assert_array_equal(topsis(np.ones((3, 2)), [True, True]), [0.5, 0.5, 0.5])
    with pytest.raises(UsageError, match="2 columns got 1 directions"):
        topsis(table, [True])


def test_what_lies_apart_is_difficult() -> None:
    rows = np.concatenate([RNG.normal(0, 0.1, (50, 2)), RNG.normal(9, 0.1, (50, 2)), [[0, 3.0]]])
    values = difficulty(rows, num_clusters=2)
    assert values.argmax() == 100
    assert values.mean() == pytest.approx(1)
    np.testing.assert_array_equal(np.bincount(quartiles(values[:100])), [25, 25, 25, 25])
    assert not difficulty(np.zeros((5, 2)), num_clusters=1).any()


def test_goals_are_covered_by_what_levels_ask_for() -> None:
    known = coverage_of("grid/default", range(400), "grid/default", range(1_000_000, 1_000_050))
    few = coverage_of("grid/default", range(4), "grid/default", range(1_000_000, 1_000_050))
    assert known["goal_coverage_1"] >= known["goal_coverage_3"] > few["goal_coverage_1"]
    assert known["goal_coverage_1"] == 1
    assert coverage_of("procgen/maze", range(4), "procgen/maze", range(4)) == {}


# Of data sets


def sighted(level: int, source: str, seed: int, *, hue: int = 128, noise: int = 100, shuffled: bool = False) -> Episode:
    """An episode whose action tells which half of the frame is bright, unless it is shuffled."""
    rng = np.random.default_rng(seed)
    episode = make_episode(level=level, length=LENGTH, source=source)
    shape = episode.observations["image"].shape  # type: ignore[union-attr]
    images = np.clip(hue + rng.integers(-noise, noise + 1, shape), 0, 255).astype(np.uint8)
    actions = rng.integers(0, 2, LENGTH).astype(np.int32)
    images[np.arange(LENGTH), :, : shape[2] // 2] += (actions * 25).astype(np.uint8)[:, None, None, None]
    if shuffled:
        actions = rng.permutation(actions)
    return replace(episode, observations={"image": images}, actions=actions)


def dataset(place: Path, name: str, episodes: list[Episode]) -> Dataset:
    return write(place / name, episodes)


def test_every_measure_is_named_and_finite(tmp_path: Path) -> None:
    view = dataset(tmp_path, "a", [sighted(level, "ab"[level % 2], level) for level in range(10)])
    values = measure(view, num_draws=200)
    assert set(values) == set(MEASURES)
    assert all(np.isfinite(value) for value in values.values())
    assert values == measure(view, num_draws=200)
    alone = measure(view.select(sources=["a"]), num_draws=200)
    assert set(values) - set(alone) == {
        "source_vendi", "source_disparity", "source_predictability", "shortcut_index",
    }  # fmt: skip


def shopping(level: int, offers: list[str]) -> Episode:
    """An episode that takes the first of the same candidates on pages of its own."""
    page = Ragged.from_rows([encode_text(f"page {level} of step {step}") for step in range(8)])
    listed = Ragged.from_rows([encode_texts(offers)] * 8)
    episode = make_episode(replace(CANDIDATES, observation_columns={}), level=level, length=8)
    taken = np.zeros(8, dtype=np.int32)
    return replace(episode, observations={"page": page, "candidates": listed}, actions=taken)


def test_texts_are_measured_by_their_words(tmp_path: Path) -> None:
    many = [shopping(level, [f"buy thing{level}", f"look at{level}"]) for level in range(6)]
    alike = [shopping(level, ["buy it", "look"]) for level in range(6)]
    varied, same = (
        measure(write(tmp_path / name, episodes, CANDIDATES), num_draws=100)
        for name, episodes in (("many", many), ("alike", alike))
    )
    assert "nod" not in varied
    assert varied["gradient_vendi"] > same["gradient_vendi"] >= 1
    only = [shopping(level, ["buy it"]) for level in range(6)]  # one candidate leaves nothing to learn
    assert measure(write(tmp_path / "only", only, CANDIDATES), num_draws=100)["gradient_vendi"] == pytest.approx(1)


def test_copies_of_the_data_change_no_measure_beyond_chance(tmp_path: Path) -> None:
    once = dataset(tmp_path, "once", [sighted(level, "a", level) for level in range(12)])
    twice = Dataset.concat([once, once])
    first, second = measure(once), measure(twice)
    for name in ("state_vendi", "gradient_vendi", "distinct_states", "state_coverage", "nod"):
        assert second[name] == pytest.approx(first[name], rel=0.25), name


def test_one_repeated_transition_has_no_diversity(tmp_path: Path) -> None:
    episode = make_episode(level=0, length=LENGTH)
    image = np.repeat(episode.observations["image"][:1], LENGTH, axis=0)  # type: ignore[index]
    same = replace(episode, observations={"image": image}, actions=np.zeros(LENGTH, dtype=np.int32))
    values = measure(dataset(tmp_path, "same", [same]), num_draws=64)
    assert values["state_vendi"] == pytest.approx(1)
    assert values["gradient_vendi"] == pytest.approx(1)
    assert values["gradient_coherence"] == pytest.approx(64)
    assert values["state_coverage"] == 1


def test_shuffled_actions_are_less_coherent_to_learn_from(tmp_path: Path) -> None:
    told = dataset(tmp_path, "told", [sighted(level, "a", level) for level in range(12)])
    shuffled = dataset(tmp_path, "shuffled", [sighted(level, "a", level, shuffled=True) for level in range(12)])
    assert measure(told)["gradient_vendi"] < measure(shuffled)["gradient_vendi"]
    assert measure(told)["nod"] < measure(shuffled)["nod"]  # what can be fitted has smaller errors
    assert measure(told)["state_vendi"] == pytest.approx(measure(shuffled)["state_vendi"], rel=0.15)


def test_sources_of_one_distribution_are_no_shortcut_and_sources_of_two_are(tmp_path: Path) -> None:
    alike = dataset(tmp_path, "alike", [sighted(level, "ab"[level % 2], level) for level in range(12)])
    apart = dataset(
        tmp_path, "apart", [sighted(level, "ab"[level % 2], level, hue=60 + 130 * (level % 2)) for level in range(12)]
    )
    fair, biased = measure(alike), measure(apart)
    assert fair["shortcut_index"] < 0.05
    assert fair["source_disparity"] < 0.01
    assert biased["source_predictability"] > 0.95
    assert biased["shortcut_index"] > fair["shortcut_index"] + 0.05
    assert biased["source_disparity"] > 0.1


def test_weights_decide_what_is_drawn(tmp_path: Path) -> None:
    view = dataset(tmp_path, "a", [sighted(level, "ab"[level], level) for level in range(2)])
    assert set(draw(view, [1.0, 0.0]).batch.source_id.tolist()) == {0}
    counts = np.bincount(draw(view, [0.25, 0.75], 4000).batch.source_id)
    assert counts[1] / 4000 == pytest.approx(0.75, abs=0.03)


def test_pixels_have_what_the_tests_assume() -> None:
    assert PIXELS.observation_columns["image"].shape[1] % 2 == 0
