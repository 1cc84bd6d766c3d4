"""A dataset depends on its config alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

import data.files
from actors.collect import CollectConfig, collect, estimate_bytes
from actors.recipes import RECIPES, build_collection
from actors.sources import SourceSpec, build_source
from data.verify import verify
from envs.errors import RunError, UsageError
from envs.spec import LevelSet

CONFIG = CollectConfig(
    env="grid/default",
    source="grid-expert",
    options={"noise": 0.2},
    num_levels=12,
    min_transitions=800,
    num_actors=0,
    num_envs=4,
)


def test_whole_rounds_are_played_until_the_budget_is_reached(tmp_path: Path) -> None:
    dataset = collect(CONFIG, tmp_path / "data")
    per_level = Counter(dataset.episodes["level"].tolist())
    assert set(per_level) == set(range(12))
    assert len(set(per_level.values())) == 1
    assert len(dataset) >= 800
    last_round = dataset.episodes["episode"] == dataset.episodes["episode"].max()
    assert len(dataset) - dataset.episodes["length"][last_round].sum() < 800, "a round too many"
    assert verify(tmp_path / "data") == []
    assert dataset.info.provenance["config"]["source"] == "grid-expert"


@pytest.mark.parametrize("num_envs", [1, 3, 32])
def test_the_number_of_slots_does_not_change_the_dataset(tmp_path: Path, num_envs: int) -> None:
    expected = collect(CONFIG, tmp_path / "expected")
    same = collect(dataclasses.replace(CONFIG, num_envs=num_envs), tmp_path / "same")
    assert same.fingerprint == expected.fingerprint


@pytest.mark.parametrize("change", [{"seed": 1}, {"options": {"noise": 0.3}}, {"first_level": 1}, {"source": "random"}])
def test_everything_else_does(tmp_path: Path, change: dict[str, object]) -> None:
    if "source" in change:
        change["options"] = {}
    other = collect(dataclasses.replace(CONFIG, **change), tmp_path / "other")  # type: ignore[arg-type]
    assert other.fingerprint != collect(CONFIG, tmp_path / "expected").fingerprint


def test_recorded_episodes_are_those_of_the_source(tmp_path: Path) -> None:
    dataset = collect(CONFIG, tmp_path / "data")
    source = build_source(SourceSpec(env="grid/default", name="grid-expert", options={"noise": 0.2}))
    for position in (0, 5, dataset.num_episodes - 1):
        recorded = dataset.episode(position)
        played = source.play(recorded.level, recorded.episode, CONFIG.seed)
        assert list(recorded.actions) == list(played.actions)
        assert recorded.source == "grid-expert-e0.2"


def test_explicit_levels_and_progress(tmp_path: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    config = dataclasses.replace(CONFIG, levels=LevelSet.of("grid/default", [900, 7, 31]), min_transitions=60)
    dataset = collect(config, tmp_path / "data", lambda done, total=None, note="": seen.append((done, total)))
    assert dataset.levels.tolist() == [7, 31, 900]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(dataset), max(60, len(dataset)))


def test_text_is_collected_too(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, env="quiz/default", source="quiz-expert", min_transitions=100)
    dataset = collect(config, tmp_path / "data")
    batch = dataset.batch([0, 1, 2], successors=True)
    assert len(batch.observations["candidates"]) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"env": "grid/defaul"},
        {"source": "grid-exprt"},
        {"options": {"noize": 0.1}},
        {"options": {"noise": -1.0}},
        {"levels": LevelSet.range("quiz/default", 0, 5)},
        {"first_level": 2**31},
        {"source": "maze-search", "options": {}},
    ],
)
def test_wrong_use_writes_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        collect(dataclasses.replace(CONFIG, **change), tmp_path / "data")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_configs_are_checked() -> None:
    with pytest.raises(UsageError, match="min_transitions"):
        dataclasses.replace(CONFIG, min_transitions=0)
    with pytest.raises(UsageError, match="num_envs"):
        dataclasses.replace(CONFIG, num_envs=0)


def test_a_short_disk_is_refused_before_anything_is_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.files, "free_bytes", lambda path: estimate_bytes(CONFIG) - 1)
    with pytest.raises(RunError, match="free"):
        collect(CONFIG, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="exists"):
        collect(CONFIG, tmp_path / "data")


def test_an_interrupted_collection_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: float, total: float | None = None, note: str = "") -> None:
        if done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(CONFIG, tmp_path / "data", interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_complete(recipe: str) -> None:
    config = build_collection(recipe, ["num_levels=3", "min_transitions=10"])
    assert config.level_set.levels == (0, 1, 2)
    assert estimate_bytes(config) > 0


def test_recipe_overrides_reach_the_source() -> None:
    config = build_collection("grid-expert", ["options.noise=0.5", "options.relabel=true"])
    assert build_source(config.source_spec).name == "grid-expert-e0.5-relabeled"
    with pytest.raises(UsageError, match="Did you mean 'maze'"):
        build_collection("mase")
