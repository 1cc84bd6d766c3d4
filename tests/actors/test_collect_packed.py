"""A collection written as levels and actions is the pack of the dataset that is collected otherwise."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.collect import CollectConfig, collect
from actors.collect_packed import check_replayable, collect_packed
from actors.env_actor import RecordTask, new_task_key
from actors.pack import pack
from actors.sources import SourceSpec
from actors.unpack import unpack
from data.pack.frameless import without_frames
from data.pack.packed import Packed
from data.schema import episode_checksum
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.grid import GridVectorEnv
from envs.vector import Observations
from tests.actors.test_commands import run
from tests.actors.test_pack import other_build
from tests.data.helpers import PIXELS, make_episode

GRID = CollectConfig(
    env="grid/default", source="grid-expert", options={"noise": 0.3}, num_levels=6, min_transitions=300, num_actors=0
)
CONFIGS = {
    "grid": dataclasses.replace(GRID, options={"noise": 0.3, "log_probs": True}),
    "two sources": dataclasses.replace(GRID, mix={"random": 0.4}),
    "a wanted return": dataclasses.replace(GRID, mix={"random": 0.0}, return_fraction=0.7, min_transitions=600),
    "quiz": dataclasses.replace(GRID, env="quiz/default", source="random", options={}),
    "shop": dataclasses.replace(GRID, env="shop/tiny", source="shop-rule", options={"noise": 0.2}),
}


def contents(file: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Header but for the date, and every array with its type."""
    with Packed(file) as packed:
        header = {name: value for name, value in packed.file.header.items() if name != "created"}
        arrays = packed.file.arrays
        return header, {name: str(array.dtype).encode() + array.read().tobytes() for name, array in arrays.items()}


def assert_packed_as_collected(config: CollectConfig, folder: Path, file: Path) -> None:
    dataset = collect(config, folder / "data")
    report = pack(folder / "data", folder / "expected", check=False)
    assert contents(file) == contents(folder / "expected")
    again = unpack(file, folder / "again")
    assert again.fingerprint == dataset.fingerprint == report.fingerprint
    assert sorted(path.name for path in folder.iterdir()) == sorted([file.name, "again", "data", "expected"])


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_pack_of_what_is_collected_otherwise(tmp_path: Path, name: str) -> None:
    report = collect_packed(CONFIGS[name], tmp_path / "file")
    assert report.num_transitions >= CONFIGS[name].min_transitions
    assert_packed_as_collected(CONFIGS[name], tmp_path, tmp_path / "file")


@pytest.mark.procgen
@pytest.mark.parametrize("game", ["maze", "starpilot"])
def test_the_frames_of_procgen_do_not_travel(tmp_path: Path, game: str) -> None:
    config = dataclasses.replace(GRID, env=f"procgen/{game}", source="random", options={})
    collect_packed(config, tmp_path / "file")
    assert_packed_as_collected(config, tmp_path, tmp_path / "file")
    player = RecordTask(
        key=new_task_key(), source=SourceSpec(env=config.env, name="random"), seed=0, num_envs=4, frameless=True
    ).build()
    (episode,) = player.play([(3, 0)])
    player.close()
    assert len(pickle.dumps(episode)) < 1_000 + 7 * len(episode), "a frame has 12,288 bytes"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_actors_send_the_same(tmp_path: Path) -> None:
    config = dataclasses.replace(GRID, num_levels=60, min_transitions=2_000, num_envs=4)
    collect_packed(dataclasses.replace(config, num_actors=2), tmp_path / "file")
    assert_packed_as_collected(config, tmp_path, tmp_path / "file")


class Interruption(BaseException):
    """Stands for Ctrl-C."""


def test_an_interrupted_one_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def interrupt(done: float, *_: object, **__: object) -> None:
        seen.append(done)
        if done > 150:
            raise Interruption

    with pytest.raises(Interruption):
        collect_packed(GRID, tmp_path / "file", interrupt)
    assert not (tmp_path / "file").exists()

    def fail(*_: object, **__: object) -> None:
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr("actors.collect_packed.pack_actions", fail)
        with pytest.raises(Interruption):
            collect_packed(GRID, tmp_path / "file", lambda done, *_, **__: seen.append(done))
    assert seen == sorted(seen), "it began anew"
    before = len(seen)
    collect_packed(GRID, tmp_path / "file", lambda done, *_, **__: seen.append(done))
    assert len(seen) == before, "everything was recorded already"
    assert_packed_as_collected(GRID, tmp_path, tmp_path / "file")


def test_what_was_left_of_other_settings_is_not_packed_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr("actors.collect_packed.pack_actions", fail)
        with pytest.raises(Interruption):
            collect_packed(GRID, tmp_path / "file")
    with pytest.raises(UsageError, match="other settings"):
        collect_packed(dataclasses.replace(GRID, seed=1), tmp_path / "file")


def test_a_label_is_no_action(tmp_path: Path) -> None:
    for config in (
        dataclasses.replace(GRID, options={"noise": 0.3, "relabel": True}),
        dataclasses.replace(GRID, mix={"grid-expert?noise=0.9&relabel=true": 0.5}),
    ):
        with pytest.raises(UsageError, match="label in place of the action"):
            collect_packed(config, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="not overwritten"):
        collect_packed(GRID, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


class FickleGrid(GridVectorEnv):
    """Shows something of its own that no level and no action decides."""

    shown = 0

    def _observe(self) -> Observations:
        image = np.array(super()._observe()["image"])
        FickleGrid.shown += 1
        image[:, 0, 0] = FickleGrid.shown % 251
        return {"image": image}


def test_an_environment_that_actions_do_not_determine_is_refused(tmp_path: Path) -> None:
    check_replayable("grid/default", level=3, seed=0)
    with other_build(FickleGrid), pytest.raises(UsageError, match="Collect without --packed"):
        collect_packed(GRID, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_without_frames_an_episode_keeps_its_checksum_and_enters_no_ordinary_dataset(tmp_path: Path) -> None:
    episode = make_episode(log_probs=True, metrics={"score": 0.5})
    left = without_frames(PIXELS, episode)
    assert episode_checksum(left) == left.checksum == episode_checksum(episode)
    assert without_frames(PIXELS, make_episode(length=4)).checksum != left.checksum
    with DatasetWriter(tmp_path / "data", PIXELS, {}) as writer:
        with pytest.raises(UsageError, match="observation columns"):
            writer.add(left)
        writer.add(episode)


def test_the_command_names_what_proves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["collect", "grid-expert", "num_levels=5", "min_transitions=50", "num_actors=0", "--packed", "--json"]
    assert run(*words, "--out", str(tmp_path / "file")) == 0
    printed = capsys.readouterr().out
    value = json.loads(printed.splitlines()[-1])
    assert "gengap data unpack" in printed
    assert unpack(tmp_path / "file", tmp_path / "data").fingerprint == value["fingerprint"]
    assert run(*words, "--series", "num_levels=2,4", "--out", str(tmp_path / "series")) == 2
