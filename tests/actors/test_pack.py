"""Levels and actions become the same episodes again, wherever they are rendered."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.collect import CollectConfig, collect
from actors.pack import audit, pack
from actors.replaying import Workers
from actors.unpack import unpack
from data.commands import add_arguments, run
from data.dataset import Dataset
from data.episode import Episode
from data.interop.gen_dgrl import import_gen_dgrl
from data.pack.packed import Packed
from data.verify import verify
from envs import registry
from envs.errors import RunError, UsageError
from envs.grid import VARIANTS, GridVectorEnv
from envs.spec import LevelSet
from envs.vector import Observations, Transition
from tests.data.helpers import TEXT, make_episode, write
from tests.data.test_gen_dgrl import Made, build
from tests.data.test_pack_blocks import rewrite_manifest

GRID = "grid/default"
ENVS = [
    (GRID, "grid-expert", {"noise": 0.3, "log_probs": True}),
    ("quiz/default", "random", {"log_probs": True}),
    ("shop/tiny", "shop-rule", {"noise": 0.2}),
    pytest.param("procgen/maze", "random", {"log_probs": True}, marks=pytest.mark.procgen),  # most run out of time
    pytest.param("procgen/starpilot", "random", {}, marks=pytest.mark.procgen),
]


def record(path: Path, env: str = GRID, source: str = "random", options: Any = None, **fields: Any) -> Dataset:
    settings = {"num_levels": 6, "min_transitions": 300, "num_actors": 0, **fields}
    return collect(CollectConfig(env=env, source=source, options=options or {}, **settings), path)


@pytest.mark.parametrize(("env", "source", "options"), ENVS)
def test_actions_are_enough(tmp_path: Path, env: str, source: str, options: dict[str, Any]) -> None:
    dataset = record(tmp_path / "set", env, source, options)
    report = pack(tmp_path / "set", tmp_path / "file")
    assert (report.num_patched_episodes, report.fingerprint) == (0, dataset.fingerprint)
    again = unpack(tmp_path / "file", tmp_path / "again", workers=Workers(num_envs=3))
    assert again.fingerprint == dataset.fingerprint
    assert verify(tmp_path / "again") == verify(tmp_path / "set") == []
    for name in ("truncated", "terminated", "return"):
        assert again.episodes[name].tolist() == dataset.episodes[name].tolist()
    if env == "procgen/maze":
        assert dataset.episodes["truncated"].any()


@pytest.mark.ray
@pytest.mark.parametrize(("env", "source", "options"), ENVS)
def test_actors_render_the_same(
    ray_cluster: Any, tmp_path: Path, env: str, source: str, options: dict[str, Any]
) -> None:
    dataset = record(tmp_path / "set", env, source, options)
    workers = Workers(num_actors=2, num_envs=3)
    pack(tmp_path / "set", tmp_path / "file", workers=workers)
    assert unpack(tmp_path / "file", tmp_path / "again", workers=workers).fingerprint == dataset.fingerprint


@settings(max_examples=15, deadline=None)
@given(
    env=st.sampled_from([GRID, "quiz/default"]),
    levels=st.lists(st.integers(0, 2**20), min_size=1, max_size=5, unique=True),
    seed=st.integers(0, 99),
    num_envs=st.integers(1, 7),
    cut=st.floats(0, 1),
    log_probs=st.booleans(),
)
def test_any_small_dataset_survives_also_where_its_last_episode_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    env: str,
    levels: list[int],
    seed: int,
    num_envs: int,
    cut: float,
    log_probs: bool,
) -> None:
    tmp_path = tmp_path_factory.mktemp("pack")
    config = {"levels": LevelSet.of(env, levels), "seed": seed, "min_transitions": 1}
    whole = record(tmp_path / "whole", env, "random", {"log_probs": log_probs}, **config)
    dataset = rewrite(whole.select(max_transitions=1 + int(cut * (len(whole) - 1))), tmp_path / "set")
    report = pack(tmp_path / "set", tmp_path / "file", workers=Workers(num_envs=num_envs))
    again = unpack(tmp_path / "file", tmp_path / "again", workers=Workers(num_envs=num_envs))
    assert report.num_patched_episodes == 0
    assert again.fingerprint == dataset.fingerprint


@pytest.mark.procgen
def test_a_cut_procgen_episode_shows_its_next_frame(tmp_path: Path) -> None:
    whole = record(tmp_path / "whole", "procgen/coinrun", num_levels=3)
    dataset = rewrite(whole.select(max_transitions=len(whole) - 20), tmp_path / "set")
    assert dataset.episodes["final_observation_known"].tolist()[-1]
    assert pack(tmp_path / "set", tmp_path / "file").num_patched_episodes == 0
    assert unpack(tmp_path / "file", tmp_path / "again").fingerprint == dataset.fingerprint


def rewrite(view: Dataset, path: Path) -> Dataset:
    return write(path, all_of(view), view.env)


class OtherGrid(GridVectorEnv):
    """Another build: in every fifth step one pixel is another, and some rewards are."""

    def _advance(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        transition = super()._advance(actions, active)
        return transition._replace(rewards=np.where(transition.rewards > 0, np.float32(0.25), transition.rewards))

    def _observe(self) -> Observations:
        observations = super()._observe()
        image = np.array(observations["image"])
        image[self._steps % 5 == 3, 0, 0] ^= 1
        return {"image": image}


class HastyGrid(GridVectorEnv):
    """Another build that cuts every episode after four steps."""

    def _advance(self, actions: np.ndarray, active: np.ndarray) -> Transition:
        transition = super()._advance(actions, active)
        return transition._replace(truncated=transition.truncated | (~transition.terminated & (self._steps >= 4)))


@contextmanager
def other_build(build: type[GridVectorEnv]) -> Iterator[None]:
    entry = registry._ENTRIES[GRID]
    with pytest.MonkeyPatch.context() as patch:
        other = dataclasses.replace(entry, build=lambda num_envs: build(VARIANTS[GRID], num_envs))
        patch.setitem(registry._ENTRIES, GRID, other)
        yield


def test_what_another_build_shows_otherwise_is_kept_and_survives_on_both(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", source="grid-expert", options={"noise": 0.2})
    plain = pack(tmp_path / "set", tmp_path / "plain")
    with other_build(OtherGrid):
        report = pack(tmp_path / "set", tmp_path / "file")
        assert 0 < report.num_patched_rows < len(dataset) / 2
        assert report.num_bytes > plain.num_bytes
        assert unpack(tmp_path / "file", tmp_path / "there").fingerprint == dataset.fingerprint
    assert unpack(tmp_path / "file", tmp_path / "here").fingerprint == dataset.fingerprint


def test_episodes_that_come_out_otherwise_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", source="grid-expert", options={"noise": 0.2})
    assert not pack(tmp_path / "set", tmp_path / "file", check=False).num_patched_episodes
    long = np.flatnonzero(dataset.episodes["length"] > 4)
    named = f"{len(long)} of {dataset.num_episodes} episodes.*level {dataset.episodes['level'][long[0]]} by 'grid-exp"
    with other_build(HastyGrid), pytest.raises(RunError, match=named):
        unpack(tmp_path / "file", tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "set"]


def test_an_audit_counts_what_agrees(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", source="grid-expert", options={"noise": 0.2})
    values = audit(tmp_path / "set")
    assert values["same_rows"] == values["same_episodes"] == 1
    assert values["num_rows"] == len(dataset) + dataset.num_episodes
    with other_build(OtherGrid):
        other = audit(tmp_path / "set")
    expected = sum(np.arange(length + 1)[3::5].size for length in dataset.episodes["length"])
    # The last reward of an episode differs too, in a row whose frame may be the same.
    assert 0 <= (other["num_rows"] - other["num_same_rows"]) - expected <= dataset.num_episodes
    assert other["num_same_episodes"] == 0
    with other_build(HastyGrid):
        hasty = audit(tmp_path / "set")
    assert hasty["num_other_ends"] == (dataset.episodes["length"] > 4).sum()
    found = next(entry for entry in hasty["different"] if entry["length"] > 4)
    assert (found["length_here"], found["first_row"]) == (4, 4)


@pytest.mark.procgen
def test_an_imported_archive_is_audited_against_the_game(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", "procgen/leaper", num_levels=4)
    made = [
        Made(episode.level, shown_by_procgen(episode), episode.actions, episode.rewards) for episode in all_of(dataset)
    ]
    build(tmp_path / "a.tar.xz", made)
    imported, _ = import_gen_dgrl(tmp_path / "a.tar.xz", "procgen/leaper", tmp_path / "imported")
    assert audit(tmp_path / "imported")["same_rows"] == 1
    report = pack(tmp_path / "imported", tmp_path / "file")
    assert report.num_patched_episodes == 0
    assert unpack(tmp_path / "file", tmp_path / "again").fingerprint == imported.fingerprint
    made[1].frames[2, 5, 5] ^= 1
    build(tmp_path / "b.tar.xz", made)
    import_gen_dgrl(tmp_path / "b.tar.xz", "procgen/leaper", tmp_path / "other")
    found = audit(tmp_path / "other")
    assert (found["num_rows"] - found["num_same_rows"], found["different"][0]["first_row"]) == (1, 2)


def shown_by_procgen(episode: Episode) -> np.ndarray:
    """Its frames, and the next episode's first one that Procgen shows with the end."""
    frames = np.asarray(episode.observations["image"])
    return np.concatenate([frames, frames[:1]])


def all_of(dataset: Dataset) -> list[Episode]:
    return [dataset.episode(position) for position in range(dataset.num_episodes)]


def test_actions_of_other_episodes_are_refused(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", source="grid-expert", options={"noise": 0.2})
    shuffled = [dataclasses.replace(episode, level=999 - episode.level) for episode in all_of(dataset)]
    write(tmp_path / "wrong", shuffled, dataset.env)
    with pytest.raises(UsageError, match="--frames"):
        pack(tmp_path / "wrong", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert audit(tmp_path / "wrong")["same_rows"] < 0.5


def test_relabeled_data_is_packed_as_frames_only(tmp_path: Path) -> None:
    dataset = record(tmp_path / "set", source="grid-expert", options={"noise": 0.3, "relabel": True})
    for check in (True, False):
        with pytest.raises(UsageError, match=r"label in place of the action taken.*--frames"):
            pack(tmp_path / "set", tmp_path / "file", check=check)
    write(tmp_path / "merged", all_of(dataset), dataset.env, {"by": "hand"})
    with pytest.raises(UsageError, match="relabeled"):
        pack(tmp_path / "merged", tmp_path / "file")
    pack(tmp_path / "set", tmp_path / "file", frames=True)
    assert unpack(tmp_path / "file", tmp_path / "again").fingerprint == dataset.fingerprint


def test_an_unknown_environment_travels_as_frames(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(TEXT, level=level) for level in range(3)], TEXT)
    with pytest.raises(UsageError, match="Unknown environment 'toy/text'"):
        pack(tmp_path / "set", tmp_path / "file")
    pack(tmp_path / "set", tmp_path / "blind", check=False)
    with pytest.raises(UsageError, match="Unknown environment 'toy/text'"):
        unpack(tmp_path / "blind", tmp_path / "again")
    pack(tmp_path / "set", tmp_path / "file", frames=True)
    assert unpack(tmp_path / "file", tmp_path / "again").fingerprint == dataset.fingerprint


def test_an_environment_with_other_columns_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "file")
    rewrite_manifest(tmp_path / "file", lambda m: m["header"]["env"].update(num_actions=77))
    with pytest.raises(UsageError, match="77"):
        unpack(tmp_path / "file", tmp_path / "again")


def test_a_changed_header_does_not_pass_for_what_was_packed(tmp_path: Path) -> None:
    record(tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "file")
    rewrite_manifest(tmp_path / "file", lambda m: m["header"].update(fingerprint="0" * 32))
    with pytest.raises(RunError, match="unpacks to fingerprint"):
        unpack(tmp_path / "file", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_cannot_fit_on_the_disk_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "file")
    monkeypatch.setattr("data.files.free_bytes", lambda path: 1000)
    with pytest.raises(RunError, match=r"only 1\.0 kB are free"):
        unpack(tmp_path / "file", tmp_path / "again")


def call(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def test_the_commands_say_what_they_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = record(tmp_path / "set")
    packed = call("pack", str(tmp_path / "set"), "-o", str(tmp_path / "file"))
    assert packed["bytes_per_transition"] * len(dataset) == (tmp_path / "file").stat().st_size
    unpacked = call("unpack", str(tmp_path / "file"), "-o", str(tmp_path / "again"))
    assert packed["fingerprint"] == unpacked["fingerprint"] == dataset.fingerprint
    assert f"proven to be what was packed: fingerprint {dataset.fingerprint}" in capsys.readouterr().out
    assert call("audit", str(tmp_path / "again"))["exit_code"] == 0
    with other_build(OtherGrid):
        assert call("audit", str(tmp_path / "again"))["exit_code"] == 1
    assert "differs from frame 3 on" in capsys.readouterr().out
    half = call("pack", str(tmp_path / "set"), "-o", str(tmp_path / "half"), "--half", "--no-check")
    assert half["fingerprint"] != dataset.fingerprint
    assert "only `gengap data unpack` proves it" in capsys.readouterr().out
    assert call("unpack", str(tmp_path / "half"), "--out", str(tmp_path / "h"))["fingerprint"] == half["fingerprint"]
    with pytest.raises(UsageError, match="--level is 20"):
        call("pack", str(tmp_path / "set"), "-o", str(tmp_path / "x"), "--frames", "--level", "20")
    with pytest.raises(UsageError, match="exists already"):
        call("pack", str(tmp_path / "set"), "-o", str(tmp_path / "file"))
    with Packed(tmp_path / "file") as opened:
        assert "actions, " in repr(opened)


def test_workers_are_checked() -> None:
    with pytest.raises(UsageError, match="start at 0 and at 1"):
        Workers(num_actors=-1)
    with pytest.raises(UsageError, match="the least is 1"):
        Workers(num_processes=0)
