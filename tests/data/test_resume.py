"""An interrupted writer with `resume` loses nothing that it committed; the dataset is as if nothing had happened."""

from __future__ import annotations

import contextlib
import errno
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.journal import JOURNAL, read_journal
from data.partial import ColumnFile
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec
from tests.conftest import REPOSITORY
from tests.data.helpers import PIXELS, TEXT, make_episode, write

SLOW_WRITER = """
import sys
from pathlib import Path
from data.writer import DatasetWriter
from tests.data.helpers import TEXT, make_episode
with DatasetWriter(Path(sys.argv[1]), TEXT, {}, resume=True, commit_every_s=0) as writer:
    there = writer.recorded
    print(len(there), flush=True)
    for count in range(400):
        if (count % 100, count // 100) not in there:
            writer.add(make_episode(TEXT, level=count % 100, episode=count // 100, length=7 + count % 5))
            print(count, flush=True)
"""


def episode_of(env: EnvSpec, number: int, log_probs: bool = False) -> Any:
    metrics = {"score": number / 7} if number % 2 else {"other": float("nan")}
    return make_episode(
        env,
        level=number % 10,
        episode=number // 10,
        length=1 + number % 6,
        source=f"s{number % 3}",
        truncated=number % 4 == 0,
        log_probs=log_probs,
        metrics=metrics,
    )


def interrupt(writer: DatasetWriter, numbers: list[int], log_probs: bool = False) -> None:
    with contextlib.suppress(ZeroDivisionError), writer:
        for number in numbers:
            writer.add(episode_of(writer.env, number, log_probs))
        raise ZeroDivisionError


@settings(max_examples=30, deadline=None)
@given(
    env=st.sampled_from([PIXELS, TEXT]),
    log_probs=st.booleans(),
    stops=st.lists(st.integers(0, 30), max_size=4),
    commit_every_s=st.sampled_from([0.0, 1000.0]),
)
def test_any_interruptions_give_the_undisturbed_dataset(
    tmp_path_factory: pytest.TempPathFactory, env: EnvSpec, log_probs: bool, stops: list[int], commit_every_s: float
) -> None:
    place = tmp_path_factory.mktemp("resume")
    undisturbed = write(place / "a", [episode_of(env, number, log_probs) for number in range(30)], env, {"x": 1})
    for stop in sorted(stops):
        writer = DatasetWriter(place / "b", env, {"x": 1}, resume=True, commit_every_s=commit_every_s)
        interrupt(writer, list(range(writer.num_episodes, stop)), log_probs)
    with DatasetWriter(place / "b", env, {"x": 1}, resume=True) as writer:
        assert writer.num_episodes == max(stops, default=0)
        assert writer.num_transitions == sum(writer.recorded.values())
        for number in range(writer.num_episodes, 30):
            writer.add(episode_of(env, number, log_probs))
    resumed = Dataset.open(place / "b")
    assert resumed.fingerprint == undisturbed.fingerprint
    assert verify(place / "b") == []
    assert sorted(path.name for path in place.iterdir()) == ["a", "b"]
    assert sorted(path.name for path in (place / "a").iterdir()) == sorted(
        path.name for path in (place / "b").iterdir()
    )


@pytest.mark.chaos
def test_a_writer_killed_at_random_moments_goes_on_where_it_had_committed(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        command = [sys.executable, "-c", SLOW_WRITER, str(tmp_path / "set")]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = int(rng.integers(2, 60))
        seen = [int(next(process.stdout)) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "set").exists()
        [partial] = tmp_path.iterdir()
        _, commits, _ = read_journal(partial / JOURNAL)
        committed = sum(len(commit["episodes"]) for commit in commits)
        assert committed >= seen[0] + lines - 1, "an episode that was added is missing"
    subprocess.run([sys.executable, "-c", SLOW_WRITER, str(tmp_path / "set")], cwd=REPOSITORY, check=True)
    episodes = [
        make_episode(TEXT, level=count % 100, episode=count // 100, length=7 + count % 5) for count in range(400)
    ]
    assert Dataset.open(tmp_path / "set").fingerprint == write(tmp_path / "expected", episodes, TEXT).fingerprint
    assert verify(tmp_path / "set") == []


def test_what_was_written_after_the_last_commit_is_cut_off(tmp_path: Path) -> None:
    interrupt(DatasetWriter(tmp_path / "set", TEXT, {}, resume=True), [0, 1, 2])
    [partial] = tmp_path.iterdir()
    for file in partial.iterdir():
        with file.open("ab") as stream:
            stream.write(b"\x07torn")
    with DatasetWriter(tmp_path / "set", TEXT, {}, resume=True) as writer:
        assert sorted(writer.recorded) == [(0, 0), (1, 0), (2, 0)]
    assert verify(tmp_path / "set") == []


def test_a_column_that_lost_its_end_is_named(tmp_path: Path) -> None:
    interrupt(DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True), [0, 1, 2])
    [partial] = tmp_path.iterdir()
    (partial / "actions.bin").write_bytes(b"1234")
    with pytest.raises(RunError, match=r"actions\.bin is shorter"):
        DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True)
    with pytest.raises(RunError, match=r"actions\.bin is shorter"):  # and its lock was let go
        DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True)


def test_other_settings_and_a_living_writer_are_refused(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", PIXELS, {"noise": 0.1}, resume=True) as writer:
        writer.add(episode_of(PIXELS, 0))
        with pytest.raises(UsageError, match="Another process is writing"):
            DatasetWriter(tmp_path / "set", PIXELS, {"noise": 0.1}, resume=True)
        writer.abort()
    interrupt(DatasetWriter(tmp_path / "set", PIXELS, {"config": {"noise": 0.1}}, resume=True), [0])
    with pytest.raises(UsageError, match=r"provenance.config.noise: 0.1 then, 0.2 now"):
        DatasetWriter(tmp_path / "set", PIXELS, {"config": {"noise": 0.2}}, resume=True)


def test_an_interruption_before_the_first_episode_leaves_nothing(tmp_path: Path) -> None:
    interrupt(DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["write", "sync", "close"])
def test_a_full_disk_keeps_what_was_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True, commit_every_s=0)
    writer.add(episode_of(PIXELS, 0))
    with monkeypatch.context() as patched:
        patched.setattr(ColumnFile, moment, full)
        with pytest.raises(RunError, match="No space left"):
            writer.finish() if moment == "close" else writer.add(episode_of(PIXELS, 1))
    with DatasetWriter(tmp_path / "set", PIXELS, {}, resume=True) as again:
        assert sorted(again.recorded) == [(0, 0)]
        again.add(episode_of(PIXELS, 1))
    expected = write(tmp_path / "expected", [episode_of(PIXELS, 0), episode_of(PIXELS, 1)], PIXELS, {})
    assert Dataset.open(tmp_path / "set").fingerprint == expected.fingerprint


def test_what_was_measured_stands_in_the_manifest_and_leaves_the_fingerprint(tmp_path: Path) -> None:
    plain = write(tmp_path / "a", [episode_of(PIXELS, 0)], PIXELS, {"x": 1})
    with DatasetWriter(tmp_path / "b", PIXELS, {"x": 1}) as writer:
        writer.add(episode_of(PIXELS, 0))
        measured = writer.finish({"mean_return": 0.5})
    assert measured.fingerprint == plain.fingerprint
    assert Dataset.open(tmp_path / "b").info.provenance["measured"] == {"mean_return": 0.5}
