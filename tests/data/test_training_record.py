from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.training_record import PlayedEpisode, RecordWriter, TrainingRecord
from envs.errors import RunError, UsageError
from envs.registry import make_spec

SPEC = make_spec("grid/default")


def episode(number: int) -> PlayedEpisode:
    rng = np.random.default_rng(number)
    length = int(rng.integers(1, 30))
    return PlayedEpisode(
        level=int(rng.integers(0, 2**31)),
        actions=rng.integers(0, SPEC.num_actions, length).astype(np.int32),
        log_probs=-rng.random(length).astype(np.float16),
        episode_return=float(rng.normal()),
        terminated=bool(number % 3),
        truncated=not number % 3,
    )


def write(path: Path, *updates: tuple[int, list[int]]) -> None:
    writer = RecordWriter(path, SPEC)
    for update, numbers in updates:
        writer.append(update, [episode(number) for number in numbers])
    writer.close()


def read(path: Path) -> list[tuple[int, PlayedEpisode]]:
    return list(TrainingRecord(path))


def assert_holds(path: Path, *updates: tuple[int, list[int]]) -> None:
    expected = [(update, number) for update, numbers in updates for number in numbers]
    found = read(path)
    assert [update for update, _ in found] == [update for update, _ in expected]
    for (_, played), (_, number) in zip(found, expected, strict=True):
        original = episode(number)
        np.testing.assert_array_equal(played.actions, original.actions)
        np.testing.assert_array_equal(played.log_probs, original.log_probs)
        for name in ("level", "episode_return", "terminated", "truncated"):
            assert getattr(played, name) == getattr(original, name)


def test_what_is_written_is_read_also_in_several_sessions(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write(path, (0, [1, 2]), (1, []), (2, [3]))
    write(path, (3, [4, 5]))
    assert_holds(path, (0, [1, 2]), (2, [3]), (3, [4, 5]))
    assert TrainingRecord(path).env.to_json() == SPEC.to_json()


def test_updates_that_are_made_again_replace_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write(path, (0, [1]), (1, [2]), (2, [3]), (3, [4]))
    write(path, (2, []), (3, [6]))
    assert_holds(path, (0, [1]), (1, [2]), (3, [6]))
    write(path, (0, [7]))
    assert_holds(path, (0, [7]))


@given(kept=st.floats(0, 1), flipped=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_torn_or_damaged_tail_costs_no_whole_block_before_it(
    kept: float, flipped: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("record") / "record"
    updates = [(update, list(range(3 * update, 3 * update + update % 3))) for update in range(6)]
    ends = []
    for count in range(len(updates) + 1):
        path.unlink(missing_ok=True)
        write(path, *updates[:count])
        ends.append(path.stat().st_size)
    content = bytearray(path.read_bytes())
    header = ends[0]
    cut = header + int(kept * (len(content) - header))
    whole = sum(end <= cut for end in ends[1:])
    path.write_bytes(content[:cut])
    assert_holds(path, *updates[:whole])
    write(path, (9, [50]))
    assert_holds(path, *updates[:whole], (9, [50]))
    place = header + int(flipped * (len(content) - header - 1))
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert_holds(path, *updates[: sum(end <= place for end in ends[1:])])


def test_records_are_small(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write(path, *[(update, list(range(100 * update, 100 * update + 100))) for update in range(20)])
    steps = sum(len(played.actions) for _, played in read(path))
    assert path.stat().st_size < 5 * steps  # short episodes; the random numbers here do not compress


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "record"
    with pytest.raises(UsageError, match="record_episodes=true"):
        TrainingRecord(path)
    path.write_bytes(b"\x80something\n")
    with pytest.raises(RunError, match="no record of a training"):
        TrainingRecord(path)
    with pytest.raises(RunError, match="no record of a training"):
        RecordWriter(path, SPEC)
    path.unlink()
    write(path, (0, [1]))
    with pytest.raises(UsageError, match="records 'grid/default'; this training plays 'procgen/maze'"):
        RecordWriter(path, make_spec("procgen/maze"))
