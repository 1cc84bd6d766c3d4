"""Packing data of any origin: what comes back is what went in, or one clear line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.episode import Column, Episode, Ragged
from data.pack import blocks
from data.pack.packed import Packed
from data.pack.patches import Patch, difference, different_rows
from data.pack.write import pack_actions, pack_frames
from data.schema import episode_checksum
from data.store import Store
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec
from tests.data.helpers import PIXELS, TEXT, make_episode, write
from tests.data.test_pack_blocks import rewrite_manifest

EPISODES = st.lists(
    st.fixed_dictionaries(
        {
            "level": st.integers(0, 3),
            "length": st.integers(1, 7),
            "source": st.sampled_from(["expert", "noisy"]),
            "seed": st.sampled_from([0, 1, 300, 2**40]),
            "truncated": st.booleans(),
            "final_known": st.booleans(),
            "metrics": st.sampled_from([{}, {"score": 0.1}, {"score": 1.0, "success": 0.0}]),
        }
    ),
    min_size=1,
    max_size=5,
)


def build(env: EnvSpec, described: list[dict[str, Any]], log_probs: bool) -> list[Episode]:
    return [make_episode(env, episode=n, log_probs=log_probs, **fields) for n, fields in enumerate(described)]


def unpack_frames(packed: Packed, path: Path) -> Dataset:
    with DatasetWriter(path, packed.env, packed.provenance, license=packed.license) as writer:
        for episode in packed.stored_episodes():
            writer.add(episode)
        return writer.finish()


@settings(max_examples=30, deadline=None)
@given(env=st.sampled_from([PIXELS, TEXT]), described=EPISODES, log_probs=st.booleans(), block=st.integers(1, 200))
def test_frames_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory,
    env: EnvSpec,
    described: list[dict[str, Any]],
    log_probs: bool,
    block: int,
) -> None:
    tmp_path = tmp_path_factory.mktemp("pack")
    dataset = write(tmp_path / "set", build(env, described, log_probs), env, {"config": {"x": 1}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        report = pack_frames(Store(tmp_path / "set"), tmp_path / "file")
    assert report.fingerprint == dataset.fingerprint
    with Packed(tmp_path / "file") as packed:
        again = unpack_frames(packed, tmp_path / "again")
        assert packed.unpacked_bytes <= dataset.info.num_bytes + 16 * len(described) + 8
    assert again.fingerprint == dataset.fingerprint
    assert again.episodes.keys() == dataset.episodes.keys()
    for name, values in dataset.episodes.items():
        np.testing.assert_array_equal(again.episodes[name], values)
    assert (again.info.provenance, again.info.license) == (dataset.info.provenance, dataset.info.license)


def damaged(column: Column, rng: np.random.Generator) -> Column:
    """What another environment might show: some rows changed, and perhaps fewer or more of them."""
    rows = [np.array(column[row]) for row in range(len(column))]
    for row in rng.choice(len(rows), size=rng.integers(0, len(rows) + 1), replace=False):
        if isinstance(column, Ragged):
            rows[row] = np.concatenate([rows[row], rows[row][:1]]) if rng.random() < 0.5 else rows[row][:-1]
        else:
            rows[row] = (rows[row] + 1).astype(rows[row].dtype)
    rows = rows[: rng.integers(1, len(rows) + 1)] if rng.random() < 0.5 else rows + rows[:1]
    return Ragged.from_rows(rows) if isinstance(column, Ragged) else np.stack(rows)


@settings(max_examples=50, deadline=None)
@given(env=st.sampled_from([PIXELS, TEXT]), described=EPISODES, seed=st.integers(0, 2**20))
def test_patches_turn_any_rendering_into_what_was_recorded(
    tmp_path_factory: pytest.TempPathFactory, env: EnvSpec, described: list[dict[str, Any]], seed: int
) -> None:
    tmp_path, rng = tmp_path_factory.mktemp("pack"), np.random.default_rng(seed)
    dataset = write(tmp_path / "set", build(env, described, log_probs=True), env)
    shown: dict[int, tuple[dict[str, Column], np.ndarray]] = {}
    patches: list[Patch] = []
    for index in rng.permutation(dataset.num_episodes).tolist():
        episode = dataset.episode(index)
        rendered = {name: damaged(column, rng) for name, column in episode.observations.items()}
        rewards = damaged(episode.rewards, rng)
        assert not isinstance(rewards, Ragged)
        shown[index] = rendered, rewards
        found = difference(index, episode.observations, rendered, episode.rewards, rewards)
        patches += [] if found is None else [found]
    pack_actions(Store(tmp_path / "set"), tmp_path / "file", patches, checked=True)
    with Packed(tmp_path / "file") as packed:
        for index, (rendered, rewards) in shown.items():
            repaired = packed.episode(index, rendered, rewards)
            assert packed.matches(index, episode_checksum(repaired))
            assert episode_checksum(repaired) == dataset.episodes["checksum"][index].tobytes()


def test_the_rows_that_differ_are_found_like_a_person_would() -> None:
    rng = np.random.default_rng(0)
    for env in (PIXELS, TEXT):
        for _ in range(50):
            for column in make_episode(env, length=6).observations.values():
                other = damaged(column, rng)
                expected = [
                    row
                    for row in range(len(column))
                    if row >= len(other) or np.array_equal(column[row], other[row]) is False
                ]
                assert different_rows(column, other).tolist() == expected


def test_nan_and_negative_zero_are_compared_to_the_bit() -> None:
    values = np.array([np.nan, 0.0, 1.0], dtype=np.float32)
    assert different_rows(values, values.copy()).tolist() == []
    assert different_rows(values, np.array([np.nan, -0.0, 1.0], dtype=np.float32)).tolist() == [1]


def test_an_equal_rendering_needs_no_patch() -> None:
    episode = make_episode(TEXT)
    assert difference(0, episode.observations, episode.observations, episode.rewards, episode.rewards) is None


def test_actions_take_one_byte_before_compression(tmp_path: Path) -> None:
    write(tmp_path / "set", [make_episode(level=level, length=40) for level in range(20)])
    pack_actions(Store(tmp_path / "set"), tmp_path / "file", checked=False)
    with Packed(tmp_path / "file") as packed:
        assert packed.file.arrays["actions"].num_bytes == packed.num_transitions == 800
        assert not packed.checked


def test_halving_makes_another_dataset_and_says_so(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(level=level) for level in range(3)])
    report = pack_frames(Store(tmp_path / "set"), tmp_path / "file", half=True)
    assert report.fingerprint != dataset.fingerprint
    with Packed(tmp_path / "file") as packed:
        assert packed.rounded_from == dataset.fingerprint
        assert packed.file.arrays["behavior_logp"].num_bytes == 2 * len(dataset)
        again = unpack_frames(packed, tmp_path / "again")
    assert again.fingerprint == report.fingerprint
    exact = dataset.batch(np.arange(len(dataset))).behavior_logp
    assert again.batch(np.arange(len(dataset))).behavior_logp.tolist() == exact.astype(np.float16).tolist()


def test_damage_in_the_dataset_is_not_packed(tmp_path: Path) -> None:
    write(tmp_path / "set", [make_episode(level=level) for level in range(3)])
    content = bytearray((tmp_path / "set" / "observation.image.bin").read_bytes())
    content[300] ^= 1
    (tmp_path / "set" / "observation.image.bin").write_bytes(content)
    with pytest.raises(RunError, match="does not match its checksum"):
        pack_frames(Store(tmp_path / "set"), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_no_flipped_byte_of_a_pack_becomes_a_dataset(tmp_path: Path) -> None:
    write(tmp_path / "set", [make_episode(TEXT, level=level, log_probs=True) for level in range(2)], TEXT)
    pack_frames(Store(tmp_path / "set"), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "file").write_bytes(changed)
        with pytest.raises((RunError, UsageError)) as caught, Packed(tmp_path / "file") as packed:
            list(packed.stored_episodes())
        assert "\n" not in str(caught.value)


def change_env(manifest: dict[str, Any], **fields: Any) -> None:
    manifest["header"]["env"].update(fields)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["header"].update(num_episodes=10**15),
        lambda m: m["header"].update(num_transitions=10**15),
        lambda m: m["header"].update(kind="code"),
        lambda m: m["header"].update(format="other"),
        lambda m: m["header"].pop("fingerprint"),
        lambda m: m["header"].update(metrics=["score"]),
        lambda m: m["header"].update(metrics=["../score"]),
        lambda m: m["header"].update(sources=[]),
        lambda m: m["header"].update(provenance=None),
        lambda m: m["arrays"].pop(0),
        lambda m: m["arrays"].append({**m["arrays"][0], "name": "episodes.length"}),
        lambda m: change_env(m, observation_columns={"../x": {"dtype": "uint8", "shape": [], "ragged": False}}),
        lambda m: change_env(m, observation_columns={"image": {"dtype": "O", "shape": [], "ragged": False}}),
        lambda m: change_env(m, observation_columns={"image": {"dtype": "u1", "shape": [2**40] * 3, "ragged": False}}),
        lambda m: change_env(m, level_universe=0),
        lambda m: m.update(header=[]),
        lambda m: m.pop("arrays"),
    ],
)
def test_headers_that_lie_are_damage_in_one_line(tmp_path: Path, change: Any) -> None:
    write(tmp_path / "set", [make_episode(level=level, length=3 + level) for level in range(3)])
    pack_frames(Store(tmp_path / "set"), tmp_path / "file")
    rewrite_manifest(tmp_path / "file", change)
    with pytest.raises(RunError) as caught, Packed(tmp_path / "file") as packed:
        list(packed.stored_episodes())
    assert "\n" not in str(caught.value)


def test_a_patch_of_rows_that_are_not_there_is_damage(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(length=3)])
    patch = Patch(0, {"image": (np.array([2]), np.zeros((1, 4, 4, 3), np.uint8))})
    episode = dataset.episode(0)
    for rows in ([9], [-1]):
        bad = dataclasses.replace(patch, observations={"image": (np.array(rows), patch.observations["image"][1])})
        pack_actions(Store(tmp_path / "set"), tmp_path / f"file{rows}", [bad], checked=True)
        with Packed(tmp_path / f"file{rows}") as packed, pytest.raises(RunError, match="does not have"):
            packed.episode(0, episode.observations, episode.rewards)
