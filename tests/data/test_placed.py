"""Columns that several processes write: together they are the dataset that one writer makes."""

import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import placed
from data.complete import complete_dataset
from data.crc import combined_crc32
from data.dataset import Dataset
from data.episode import Episode
from data.episode_table import EpisodeTable
from data.placed import PlacedColumns, create_columns, names_of_units, placed_entries
from data.schema import episode_checksum
from data.validation import canonical_episode
from data.verify import verify
from envs.spec import ColumnSpec, EnvSpec
from tests.data.helpers import PIXELS, TEXT, make_episode, write

BLOCKS = EnvSpec(
    name="toy/blocks",
    observation_columns={"image": ColumnSpec("uint8", (64, 64, 3)), "page": ColumnSpec("uint8", ragged=True)},
    num_actions=5,
    max_episode_steps=50,
    level_universe=1000,
    return_bounds={"official": (0.0, 1.0)},
)
"""Its frames are whole blocks of the disk."""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=12))
def test_parts_have_the_checksum_of_the_whole(parts: list[bytes]) -> None:
    crcs = np.array([zlib.crc32(part) for part in parts], dtype=np.uint32)
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    assert combined_crc32(crcs, sizes) == zlib.crc32(b"".join(parts))


def test_files_of_many_gigabytes_have_a_checksum() -> None:
    zeros = bytes(1 << 20)
    parts = np.array([zlib.crc32(b"begin"), *[zlib.crc32(zeros)] * 64], dtype=np.uint32)
    expected = zlib.crc32(b"begin")
    for _ in range(64):
        expected = zlib.crc32(zeros, expected)
    assert combined_crc32(parts, np.array([5, *[len(zeros)] * 64])) == expected
    one, tail = np.array([zlib.crc32(b"begin"), 0], dtype=np.uint32), 1 << 41
    halves = combined_crc32(np.array([combined_crc32(one, np.array([5, tail // 2])), 0]), np.array([1, tail // 2]))
    assert combined_crc32(one, np.array([5, tail])) == halves, "moving in two steps is moving at once"


def write_together(directory: Path, env: EnvSpec, episodes: list[Episode], who: list[int], log_probs: bool) -> None:
    """Episode i is written by number who[i]; whoever has enough places it at once."""
    create_columns(directory, env, log_probs)
    hands = [PlacedColumns(directory, env, log_probs) for _ in range(max(who) + 1)]
    units = names_of_units(env, log_probs)
    used, order = dict.fromkeys(units, 0), list[Episode]()
    gathered: list[list[Episode]] = [[] for _ in hands]
    amounts: dict[str, list[int]] = {unit: [] for unit in units}
    crcs: dict[str, list[int]] = {name: [] for name in hands[0].specs}

    def place(number: int) -> None:
        for unit, amount in hands[number].amounts().items():
            amounts[unit].append(amount)
        for name, crc in hands[number].place(used).items():
            crcs[name].append(crc)
        for unit in units:
            used[unit] += amounts[unit][-1]
        order.extend(gathered[number])
        gathered[number].clear()

    for episode, number in zip(episodes, who, strict=True):
        hands[number].add(canonical_episode(env, episode))
        gathered[number].append(episode)
        if hands[number].is_full:
            place(number)
    for number, hand in enumerate(hands):
        if gathered[number]:
            place(number)
        hand.finish()
        hand.sync()
        hand.__exit__(None, None, None)
    table = EpisodeTable()
    for episode in order:
        table.add(episode, episode_checksum(canonical_episode(env, episode)))
    entries = placed_entries(
        env,
        log_probs,
        {name: np.array(values, dtype=np.uint32) for name, values in crcs.items()},
        {unit: np.array(values) for unit, values in amounts.items()},
    )
    complete_dataset(directory, env, table, entries, {"provenance": {}, "license": "MIT"})


@pytest.mark.parametrize("env", [PIXELS, TEXT, BLOCKS], ids=lambda env: env.name)
@pytest.mark.parametrize("log_probs", [False, True])
@settings(max_examples=15, deadline=None)
@given(
    who=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    part_bytes=st.sampled_from([1, 300, 100_000, 10_000_000]),
    seed=st.integers(0, 99),
)
def test_many_hands_write_what_one_writer_does(
    env: EnvSpec, log_probs: bool, who: list[int], part_bytes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    episodes = [
        make_episode(env, level=level, length=int(rng.integers(1, 30)), log_probs=log_probs, truncated=bool(level % 2))
        for level in range(len(who))
    ]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        patch.setattr(placed, "PART_BYTES", part_bytes)
        expected = write(Path(place) / "expected", episodes, env, {})
        together = Path(place) / "together"
        together.mkdir()
        write_together(together, env, episodes, who, log_probs)
        found = Dataset.open(together)
        assert verify(together) == []
        assert found.fingerprint == expected.fingerprint
        for position in range(len(episodes)):
            left, right = found.episode(position), expected.episode(position)
            assert episode_checksum(left) == episode_checksum(right)


def test_a_full_disk_is_heard_of_at_the_next_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    create_columns(tmp_path, PIXELS, False)
    starts = dict.fromkeys(names_of_units(PIXELS, False), 0)
    with PlacedColumns(tmp_path, PIXELS, False) as columns:
        monkeypatch.setattr(placed, "write_at", full)
        columns.add(canonical_episode(PIXELS, make_episode()))
        columns.place(starts)
        with pytest.raises(OSError, match="No space left"):
            columns.place(starts)
