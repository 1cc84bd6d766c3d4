from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.episode import Episode
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.spec import EnvSpec, LevelSet
from tests.data.helpers import PIXELS, TEXT, make_episode, write
from tests.data.oracle import Oracle, assert_same_episode

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def recorded(env: EnvSpec, seed: int) -> list[Episode]:
    """Twelve episodes on four levels from two sources, some truncated, some with an unknown final observation."""
    rng = np.random.default_rng(seed)
    return [
        make_episode(
            env,
            level=int(level),
            episode=episode,
            length=int(rng.integers(1, 8)),
            source=["expert", "random"][(episode + seed) % 2],
            seed=seed,
            truncated=bool(rng.integers(2)),
            final_known=bool(rng.integers(2)),
            metrics=measured(seed, episode, rng.random()),
        )
        for level in (3, 0, 11, 7)
        for episode in range(3)
    ]


def measured(seed: int, episode: int, value: float) -> dict[str, float]:
    """Every episode has a score, some of the second dataset a success too, one of the first nothing."""
    if seed == 0 and episode == 2:
        return {}
    return {"score": value, "success": float(value > 0.5)} if seed and episode else {"score": value}


@pytest.fixture(scope="module", params=[PIXELS, TEXT], ids=["pixels", "text"])
def pairs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Dataset, Oracle]]:
    """Two datasets of one environment with the lists of episodes that they hold."""
    place = tmp_path_factory.mktemp("datasets")
    result = []
    for seed in (0, 1):
        episodes = recorded(request.param, seed)
        dataset = write(place / str(seed), episodes, request.param)
        ordered = sorted(episodes, key=lambda e: (e.level, e.episode, e.source, e.seed, e.policy_id))
        result.append((dataset, Oracle(tuple(ordered))))
    return result


def assert_equal(view: Dataset, oracle: Oracle) -> None:
    assert len(view) == view.num_transitions == len(oracle)
    assert view.num_episodes == len(oracle.episodes)
    assert view.sources == tuple(sorted({e.source for e in oracle.episodes}))
    np.testing.assert_array_equal(view.levels, sorted({e.level for e in oracle.episodes}))
    for name in {name for e in oracle.episodes for name in e.metrics}:
        np.testing.assert_array_equal(view.metrics[name], [e.metrics.get(name, np.nan) for e in oracle.episodes])
    np.testing.assert_allclose(view.episodes["return"], [e.episode_return for e in oracle.episodes])
    np.testing.assert_array_equal(view.episodes["length"], [len(e) for e in oracle.episodes])
    assert view.episodes["source"].tolist() == [e.source for e in oracle.episodes]
    assert view.episodes["policy_id"].tolist() == [e.policy_id for e in oracle.episodes]
    for position, episode in enumerate(oracle.episodes):
        assert_same_episode(view.episode(position), episode)
    assert_equal_transitions(view, oracle.transitions())


def assert_equal_transitions(view: Dataset, transitions: list[dict[str, Any]]) -> None:
    order = np.random.default_rng(0).permutation(len(view))
    batch = view.batch(order, successors=True)
    assert batch.next_observations is not None
    assert batch.successor_known is not None
    for row, index in enumerate(order):
        expected = transitions[index]
        for name in ("actions", "rewards", "behavior_logp", "terminated", "truncated", "level", "timestep"):
            assert getattr(batch, name)[row] == expected[name], name
        assert view.sources[batch.source_id[row]] == expected["source"]
        assert batch.successor_known[row] == expected["successor_known"]
        for name, value in expected["observations"].items():
            np.testing.assert_array_equal(batch.observations[name][row], value)
            np.testing.assert_array_equal(batch.next_observations[name][row], expected["next_observations"][name])


@st.composite
def selections(draw: st.DrawFn, oracle: Oracle) -> dict[str, Any]:
    """Arguments of `select` that leave something."""
    count = len(oracle.episodes)
    arguments: dict[str, Any] = {}
    if draw(st.booleans()):
        arguments["episodes"] = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
    if draw(st.booleans()):
        levels = sorted({e.level for e in oracle.episodes})
        arguments["levels"] = draw(st.lists(st.sampled_from(levels), min_size=1, unique=True))
    if draw(st.booleans()):
        sources = sorted({e.source for e in oracle.episodes})
        arguments["sources"] = draw(st.lists(st.sampled_from(sources), min_size=1, unique=True))
    if draw(st.booleans()):
        arguments["max_episodes_per_level"] = draw(st.integers(1, 4))
    left = len(oracle.select(**arguments))
    if left and draw(st.booleans()):
        arguments["max_transitions"] = draw(st.integers(1, left))
    return arguments


@FEW
@given(data=st.data())
def test_any_chain_of_views_equals_lists_of_episodes(pairs: list[tuple[Dataset, Oracle]], data: st.DataObject) -> None:
    view, oracle = data.draw(st.sampled_from(pairs))
    for _ in range(data.draw(st.integers(1, 4))):
        step = data.draw(st.sampled_from(["select", "concat", "shard"]))
        if step == "select":
            arguments = data.draw(selections(oracle))
            if not oracle.select(**arguments).episodes:
                with pytest.raises(UsageError, match="No episode"):
                    view.select(**arguments)
                continue
            view, oracle = view.select(**arguments), oracle.select(**arguments)
        elif step == "concat":
            other_view, other_oracle = data.draw(st.sampled_from(pairs))
            view, oracle = Dataset.concat([view, other_view]), Oracle.concat([oracle, other_oracle])
        else:
            world_size = data.draw(st.integers(1, min(3, view.num_episodes)))
            rank = data.draw(st.integers(0, world_size - 1))
            view, oracle = view.shard(rank, world_size), oracle.shard(rank, world_size)
    assert_equal(view, oracle)


@FEW
@given(data=st.data())
def test_shards_partition_the_view(pairs: list[tuple[Dataset, Oracle]], data: st.DataObject) -> None:
    view, _ = data.draw(st.sampled_from(pairs))
    world_size = data.draw(st.integers(1, view.num_episodes))
    shards = [view.shard(rank, world_size) for rank in range(world_size)]
    assert sum(len(shard) for shard in shards) == len(view)
    assert Dataset.concat(shards).fingerprint == view.fingerprint


@FEW
@given(data=st.data())
def test_a_transition_budget_is_met_exactly(pairs: list[tuple[Dataset, Oracle]], data: st.DataObject) -> None:
    view = Dataset.concat([dataset for dataset, _ in pairs])
    budget = data.draw(st.integers(1, len(view)))
    assert len(view.select(max_transitions=budget)) == budget


@FEW
@given(data=st.data())
def test_the_fingerprint_does_not_depend_on_the_order_of_episodes(
    pairs: list[tuple[Dataset, Oracle]], data: st.DataObject
) -> None:
    view, _ = data.draw(st.sampled_from(pairs))
    order = data.draw(st.permutations(range(view.num_episodes)))
    split = data.draw(st.integers(1, view.num_episodes - 1))
    assert view.select(episodes=order).fingerprint == view.fingerprint
    halves = [view.select(episodes=order[:split]), view.select(episodes=order[split:])]
    assert Dataset.concat(halves).fingerprint == view.fingerprint
    assert halves[0].fingerprint != view.fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    episodes = recorded(TEXT, 0)
    first = write(tmp_path / "a", episodes, TEXT)
    second = write(tmp_path / "b", episodes[::-1], TEXT)
    assert first.fingerprint == second.fingerprint == first.info.fingerprint
    assert first.levels.tolist() == second.levels.tolist()
    for position in range(first.num_episodes):
        assert_same_episode(first.episode(position), second.episode(position))


@pytest.mark.parametrize(
    "change",
    [
        {"level": 8},
        {"episode": 5},
        {"seed": 9},
        {"source": "other"},
        {"policy_id": "other"},
        {"truncated": True},
        {"rewards": np.ones(5, np.float32)},
        {"actions": np.zeros(5, np.int32)},
        {"behavior_logp": np.zeros(5, np.float32)},
        {"behavior_log_probs": np.zeros((5, 5), np.float16)},
        {"observations": {"image": np.zeros((5, 4, 4, 3), np.uint8)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_depends_on_everything_in_an_episode(tmp_path: Path, change: dict[str, Any]) -> None:
    episode = make_episode()
    first = write(tmp_path / "a", [episode], PIXELS)
    second = write(tmp_path / "b", [replace(episode, **change)], PIXELS)
    assert first.fingerprint != second.fingerprint


def test_the_fingerprint_leaves_out_time_and_provenance(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [make_episode()], PIXELS, provenance={"command": "one"})
    second = write(tmp_path / "b", [make_episode()], PIXELS, provenance={"command": "two"})
    assert first.fingerprint == second.fingerprint
    assert first.info.created
    assert first.info.license == "MIT"
    assert first.info.env == PIXELS


def test_a_cut_episode_is_truncated_with_a_known_successor(tmp_path: Path) -> None:
    episode = make_episode(length=5)
    dataset = write(tmp_path / "a", [episode], PIXELS).select(max_transitions=3)
    batch = dataset.batch([2], successors=True)
    assert batch.truncated[0]
    assert not batch.terminated[0]
    assert batch.successor_known is not None
    assert batch.successor_known[0]
    assert batch.next_observations is not None
    np.testing.assert_array_equal(batch.next_observations["image"][0], episode.observations["image"][3])
    np.testing.assert_allclose(dataset.episodes["return"], [episode.rewards[:3].sum()])
    assert dataset.fingerprint != dataset.info.fingerprint


def test_log_probs_of_the_behavior_are_kept_and_padded(tmp_path: Path) -> None:
    narrow = replace(make_episode(length=2), behavior_log_probs=np.zeros((2, 3), np.float16))
    dataset = write(tmp_path / "a", [narrow], PIXELS)
    found = dataset.batch([1]).behavior_log_probs
    np.testing.assert_array_equal(found, np.array([[0, 0, 0, -np.inf, -np.inf]], np.float16))


def test_a_view_travels_as_paths(pairs: list[tuple[Dataset, Oracle]]) -> None:
    view = Dataset.concat([dataset for dataset, _ in pairs]).select(max_transitions=20)
    content = pickle.dumps(view)
    copy = pickle.loads(content)
    assert copy.fingerprint == view.fingerprint
    np.testing.assert_array_equal(copy.batch([3, 17]).actions, view.batch([3, 17]).actions)
    assert len(content) < 10_000


@pytest.mark.parametrize("indices", [[-1], [10_000], [0.5], [[1]], [True]])
def test_bad_indices_are_refused(pairs: list[tuple[Dataset, Oracle]], indices: list[Any]) -> None:
    with pytest.raises(UsageError, match="Batch indices"):
        pairs[0][0].batch(indices)


def test_bad_selections_are_refused(pairs: list[tuple[Dataset, Oracle]]) -> None:
    dataset = pairs[0][0]
    with pytest.raises(UsageError, match="No episode"):
        dataset.select(levels=[500])
    with pytest.raises(UsageError, match="Levels of 'other'"):
        dataset.select(levels=LevelSet.range("other", 0, 5))
    with pytest.raises(UsageError, match="Did you mean 'expert'"):
        dataset.select(sources=["expertt"])
    with pytest.raises(UsageError, match=f"{len(dataset) + 1} transitions were asked"):
        dataset.select(max_transitions=len(dataset) + 1)
    with pytest.raises(UsageError, match="Shard 2 of 2"):
        dataset.shard(2, 2)
    with pytest.raises(UsageError, match="at least one"):
        Dataset.concat([])


def test_datasets_of_two_environments_are_not_mixed(tmp_path: Path) -> None:
    pixels = write(tmp_path / "a", [make_episode(PIXELS)], PIXELS)
    text = write(tmp_path / "b", [make_episode(TEXT)], TEXT)
    with pytest.raises(UsageError, match=r"'toy/text'.*'toy/pixels'"):
        Dataset.concat([pixels, text])


def test_views_are_not_copies(tmp_path: Path) -> None:
    episodes = [make_episode(level=level, length=40) for level in range(50)]
    dataset = write(tmp_path / "a", episodes, PIXELS)
    view = Dataset.concat([dataset.select(levels=range(25)), dataset.shard(0, 2)])
    assert all(np.shares_memory(store.columns["image"], dataset._stores[0].columns["image"]) for store in view._stores)
    assert not dataset._stores[0].columns["image"].flags.writeable


def test_a_writer_given_an_existing_path_leaves_it_alone(tmp_path: Path) -> None:
    dataset = write(tmp_path / "a", [make_episode()], PIXELS)
    with pytest.raises(UsageError, match="exists already"):
        DatasetWriter(tmp_path / "a", PIXELS, {})
    assert Dataset.open(tmp_path / "a").fingerprint == dataset.fingerprint
