"""A dataset depends on its config alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import data.files
from actors.collect import CollectConfig, collect
from actors.collect_config import estimate_bytes
from actors.recipes import RECIPES, build_collection
from actors.sources import SourceSpec, build_source
from data.dataset import Dataset
from data.verify import verify
from envs.errors import RunError, UsageError
from envs.registry import make_spec
from envs.spec import LevelSet
from tests.conftest import REPOSITORY

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


@pytest.mark.parametrize("stops", [(1,), (200, 201, 700)])
@pytest.mark.parametrize("change", [{}, {"whole_rounds": False}, {"mix": {"random": 0.4}}])
def test_an_interrupted_collection_goes_on(tmp_path: Path, stops: tuple[int, ...], change: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **change)
    for stop in stops:

        def interrupt(done: float, total: float | None = None, note: str = "", stop: int = stop) -> None:
            if done > stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collect(config, tmp_path / "data", interrupt)
        assert not (tmp_path / "data").exists()
    with pytest.raises(UsageError, match=r"provenance\.config\.seed: 0 then, 1 now"):
        collect(dataclasses.replace(config, seed=1), tmp_path / "data")
    resumed = collect(config, tmp_path / "data")
    assert resumed.fingerprint == collect(config, tmp_path / "undisturbed").fingerprint
    assert verify(tmp_path / "data") == []


COLLECTOR = """
import sys
from pathlib import Path
import data.writer
from actors.collect import CollectConfig, collect
data.writer.DatasetWriter.__init__.__kwdefaults__["commit_every_s"] = 0.0
config = CollectConfig(
    env="procgen/maze", source="maze-search", options={"noise": 0.3}, num_levels=12, min_transitions=1500, num_actors=0
)
collect(config, Path(sys.argv[1]), lambda done, total=None, note="": print(int(done), flush=True))
"""


@pytest.mark.chaos
@pytest.mark.procgen
def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    lowest = 0
    for _ in range(3):
        command = [sys.executable, "-c", COLLECTOR, str(tmp_path / "data")]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(int(rng.integers(3, 15))):
            reached = int(next(process.stdout))
        process.kill()
        process.wait()
        assert reached > lowest, "a new start did not go on"
        lowest = reached
        assert not (tmp_path / "data").exists()
    for name in ("data", "expected"):
        subprocess.run([sys.executable, "-c", COLLECTOR, str(tmp_path / name)], cwd=REPOSITORY, check=True)
    assert Dataset.open(tmp_path / "data").fingerprint == Dataset.open(tmp_path / "expected").fingerprint


@pytest.mark.chaos
@pytest.mark.procgen
def test_a_full_disk_stops_a_collection_which_then_goes_on(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))"
    full = [sys.executable, "-c", limit + COLLECTOR, str(tmp_path / "data")]
    stopped = subprocess.run(full, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert stopped.returncode == 1
    assert "RunError: No space left while writing" in stopped.stderr
    reached = int(stopped.stdout.split()[-1])
    assert 200 < reached < 500, "12 kB a transition"
    assert not (tmp_path / "data").exists()
    for name in ("data", "expected"):
        done = subprocess.run(
            [sys.executable, "-c", COLLECTOR, str(tmp_path / name)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert name == "expected" or int(done.stdout.split()[0]) > reached - 100, "it began anew"
    assert Dataset.open(tmp_path / "data").fingerprint == Dataset.open(tmp_path / "expected").fingerprint


def test_more_levels_than_transitions_can_visit(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_levels=5_000, min_transitions=600, whole_rounds=False)
    dataset = collect(config, tmp_path / "data")
    assert 600 <= len(dataset) < 600 + make_spec("grid/default").max_episode_steps
    assert dataset.num_episodes == len(dataset.levels)
    assert dataset.levels.max() > 2_500, "levels are not spread over the range"
    assert estimate_bytes(config) < 2 * dataset.info.num_bytes
    fewer = collect(dataclasses.replace(config, num_levels=20), tmp_path / "fewer")
    assert len(fewer.levels) == 20
    assert Counter(fewer.episodes["level"].tolist()).most_common()[0][1] > 1


def test_a_mix_has_its_shares_and_each_episode_is_its_sources(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, mix={"grid-expert?noise=0.9": 0.3, "random": 0.2}, min_transitions=4_000)
    dataset = collect(config, tmp_path / "data")
    assert set(dataset.sources) == {"grid-expert-e0.2", "grid-expert-e0.9", "random"}
    counts = Counter(dataset.episodes["source"].tolist())
    assert 0.2 < counts["grid-expert-e0.9"] / dataset.num_episodes < 0.4
    for position in range(0, dataset.num_episodes, 29):
        recorded = dataset.episode(position)
        noise = {"grid-expert-e0.2": 0.2, "grid-expert-e0.9": 0.9}.get(recorded.source)
        spec = SourceSpec(env="grid/default", name="random")
        if noise is not None:
            spec = SourceSpec(env="grid/default", name="grid-expert", options={"noise": noise})
        assert list(build_source(spec).play(recorded.level, recorded.episode, 0).actions) == list(recorded.actions)
    measured = dataset.info.provenance["measured"]
    assert measured["sources"]["random"]["episodes"] == counts["random"]
    assert measured["return_mean"] == pytest.approx(dataset.episodes["return"].mean())


def test_a_wanted_fraction_of_the_experts_return_is_reached_and_stated(tmp_path: Path) -> None:
    config = dataclasses.replace(
        CONFIG, options={}, mix={"random": 0}, return_fraction=0.75, num_levels=100, min_transitions=8_000
    )
    dataset = collect(config, tmp_path / "data")
    measured = dataset.info.provenance["measured"]
    assert measured["return_fraction"] == pytest.approx(0.75, abs=0.04)
    expert = dataset.episodes["return"][dataset.episodes["source"] == "grid-expert"]
    assert measured["expert_return_mean"] == pytest.approx(expert.mean())
    assert measured["wanted_fraction"] == 0.75
    assert dataset.info.provenance["privileged"] is True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mix": {"random": 1.2}}, "shares lie in"),
        ({"return_fraction": 0.5}, "needs one"),
        ({"return_fraction": 1.5, "mix": {"random": 0}}, "lies in"),
        (
            {"source": "random", "options": {}, "mix": {"grid-expert": 0}, "return_fraction": 0.5},
            "worse than the first",
        ),
        ({"mix": {"grid-expert?noise=0.9": 0}, "options": {}, "return_fraction": 0.1}, "alone reaches"),
        ({"mix": {"grid-expert?noise": 0.1}}, "has no value"),
    ],
)
def test_wrong_mixes_are_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        collect(dataclasses.replace(CONFIG, **change), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_complete(recipe: str) -> None:
    config = build_collection(recipe, ["first_level=0", "num_levels=3", "min_transitions=10"])
    assert config.level_set.levels == (0, 1, 2)
    assert all(build_source(part.source).name for part in config.parts)
    assert estimate_bytes(config) > 0


def test_a_mix_with_settings_can_be_typed() -> None:
    config = build_collection("maze", ["mix={'random': 0.2, 'maze-search?noise=0.6': 0.3}"])
    parts = [(part.source.name, dict(part.source.options), round(part.share, 6)) for part in config.parts]
    assert parts == [("maze-search", {"noise": 0.3}, 0.5), ("random", {}, 0.2), ("maze-search", {"noise": 0.6}, 0.3)]


def test_recipe_overrides_reach_the_source() -> None:
    config = build_collection("grid-expert", ["options.noise=0.5", "options.relabel=true"])
    assert build_source(config.source_spec).name == "grid-expert-e0.5-relabeled"
    with pytest.raises(UsageError, match="Did you mean 'maze'"):
        build_collection("mase")
