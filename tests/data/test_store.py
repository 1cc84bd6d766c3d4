from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.episode import Ragged
from data.schema import MANIFEST, manifest_checksum
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import ColumnSpec, EnvSpec
from tests.data.helpers import PIXELS, TEXT, make_episode, write

SMALL = [make_episode(TEXT, level, episode, 4) for level in range(3) for episode in range(2)]


@pytest.fixture
def dataset_path(tmp_path: Path) -> Path:
    write(tmp_path / "set", SMALL, TEXT)
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["actions.bin", "observation.page.values.bin", "episodes.bin", "rewards.bin"])
@pytest.mark.parametrize("change", [-1, +3])
def test_a_file_of_the_wrong_length_does_not_open(dataset_path: Path, name: str, change: int) -> None:
    file = dataset_path / name
    os.truncate(file, file.stat().st_size + change)
    with pytest.raises(RunError, match=f"{name} is truncated or has grown"):
        Dataset.open(dataset_path)
    assert any(name in problem for problem in verify(dataset_path))


def test_a_missing_file_does_not_open(dataset_path: Path) -> None:
    (dataset_path / "rewards.bin").unlink()
    with pytest.raises(RunError, match=r"rewards\.bin is missing"):
        Dataset.open(dataset_path)
    assert verify(dataset_path) == ["rewards.bin: missing"]


def test_no_dataset_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset"):
        Dataset.open(tmp_path / "nowhere")


def test_a_sound_dataset_has_no_problem(dataset_path: Path) -> None:
    assert verify(dataset_path) == []


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flip") / "set"
    write(path, SMALL, TEXT)
    return path


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(shared_path: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(shared_path.iterdir())))
    before = file.read_bytes()
    content = bytearray(before)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if file.name == MANIFEST and same_json(before, bytes(content)):
        return  # white space between values carries nothing
    file.write_bytes(content)
    problems = verify(shared_path)
    file.write_bytes(before)
    assert problems != []


def same_json(left: bytes, right: bytes) -> bool:
    try:
        return bool(json.loads(left) == json.loads(right))
    except ValueError:
        return False


def test_a_flipped_byte_is_traced_to_its_episode(dataset_path: Path) -> None:
    file = dataset_path / "rewards.bin"
    content = bytearray(file.read_bytes())
    content[4 * 4 * 3] ^= 255  # the first reward of the fourth episode that arrived
    file.write_bytes(content)
    assert verify(dataset_path) == [
        "rewards.bin: content does not match its checksum",
        "level 1 episode 1 seed 0: content does not match its checksum",
    ]


def rewrite_manifest(path: Path, **changes: Any) -> None:
    manifest = {**json.loads((path / MANIFEST).read_text()), **changes}
    manifest["checksum"] = manifest_checksum(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def test_a_newer_schema_version_is_wrong_use(dataset_path: Path) -> None:
    rewrite_manifest(dataset_path, schema_version=99)
    with pytest.raises(UsageError, match="schema version 99"):
        Dataset.open(dataset_path)


def test_a_hostile_manifest_reads_no_object_and_no_file_outside(dataset_path: Path) -> None:
    env = json.loads((dataset_path / MANIFEST).read_text())["env"]
    for name, dtype in (("page", "object"), ("../../page", "uint8"), ("page", "O")):
        column = {"dtype": dtype, "shape": [], "ragged": True}
        rewrite_manifest(dataset_path, env={**env, "observation_columns": {name: column}})
        with pytest.raises(RunError, match=r"manifest\.json"):
            Dataset.open(dataset_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"format": 3}', "\x00\x01"])
def test_rubbish_in_place_of_a_manifest_is_damage(dataset_path: Path, content: str) -> None:
    (dataset_path / MANIFEST).write_text(content)
    with pytest.raises(RunError, match="not a dataset manifest"):
        Dataset.open(dataset_path)
    assert len(verify(dataset_path)) == 1


def test_a_manifest_that_lacks_a_field_is_damage(dataset_path: Path) -> None:
    manifest = json.loads((dataset_path / MANIFEST).read_text())
    del manifest["env"]["num_actions"], manifest["checksum"]
    manifest["checksum"] = manifest_checksum(manifest)
    (dataset_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="num_actions"):
        Dataset.open(dataset_path)


def test_a_column_without_any_value_opens(tmp_path: Path) -> None:
    empty = Ragged(np.empty(0, np.uint8), np.zeros(5, np.int64))
    episode = make_episode(TEXT, length=4, final_known=False)
    dataset = write(tmp_path / "a", [replace(episode, observations={**episode.observations, "page": empty})], TEXT)
    assert [len(row) for row in dataset.batch([0, 3]).observations["page"]] == [0, 0]
    assert verify(tmp_path / "a") == []


@pytest.mark.parametrize("env", [PIXELS, TEXT], ids=lambda env: env.name)
def test_a_spec_survives_json(env: EnvSpec) -> None:
    assert EnvSpec.from_json(json.loads(json.dumps(env.to_json()))) == env


def test_bounds_given_as_integers_are_the_same_bounds(tmp_path: Path) -> None:
    """A spec and its JSON must have one fingerprint; a dataset would else look damaged as soon as it is written."""
    env = replace(PIXELS, return_bounds={"official": (0, 10)})
    dataset = write(tmp_path / "set", [make_episode(env)], env)
    assert verify(tmp_path / "set") == []
    assert dataset.fingerprint == dataset.info.fingerprint


def test_opening_takes_time_for_episodes_and_not_for_transitions(tmp_path: Path) -> None:
    """25M transitions of one byte each: the files are holes, so that only their size counts."""
    env = EnvSpec("toy/long", {"byte": ColumnSpec("uint8")}, 2, 10**9, 10**6, final_observation_known=False)
    length = 1000
    base = make_episode(env, length=length)
    with DatasetWriter(tmp_path / "a", env, {}) as writer:
        for level in range(25):
            writer.add(replace(base, level=level))
    grow(tmp_path / "a", 1000)
    start = time.perf_counter()
    dataset = Dataset.open(tmp_path / "a")
    elapsed = time.perf_counter() - start
    assert len(dataset) == 25_000_000
    assert dataset.num_episodes == 25_000
    assert elapsed < 0.5
    assert dataset.batch([24_999_999]).level[0] == 24


def grow(path: Path, times: int) -> None:
    """Repeat each episode of a dataset `times` times by hand, leaving the new rows unwritten."""
    import zlib

    from data.schema import EPISODE_DTYPE, content_fingerprint

    manifest = json.loads((path / MANIFEST).read_text())
    table = np.frombuffer((path / "episodes.bin").read_bytes(), EPISODE_DTYPE).repeat(times)
    table["first_step"] = table["first_row"] = np.arange(len(table)) * table["length"]
    (path / "episodes.bin").write_bytes(table.tobytes())
    for entry in manifest["files"]:
        entry["rows"] *= times
        entry["bytes"] *= times
        os.truncate(path / entry["name"], entry["bytes"])
        if entry["name"] == "episodes.bin":
            entry["crc32"] = f"{zlib.crc32(table.tobytes()):08x}"
    fingerprint = content_fingerprint(EnvSpec.from_json(manifest["env"]), table)
    counts = {"num_episodes": len(table), "num_transitions": int(table["length"].sum())}
    rewrite_manifest(path, files=manifest["files"], fingerprint=fingerprint, **counts)
