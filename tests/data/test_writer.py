from __future__ import annotations

import errno
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.dataset import Dataset
from data.episode import Episode, Ragged
from data.partial import ColumnFile
from data.verify import verify
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.spec import ColumnSpec
from tests.conftest import REPOSITORY
from tests.data.helpers import PIXELS, make_episode, write

ENDLESS_WRITER = """
import sys
from pathlib import Path
from data.writer import DatasetWriter
from tests.data.helpers import PIXELS, make_episode
writer = DatasetWriter(Path(sys.argv[1]), PIXELS, {})
count = 0
while True:
    writer.add(make_episode(level=count % 1000, episode=count // 1000, length=30))
    count += 1
    print(count, flush=True)
"""


def left_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


@pytest.mark.chaos
def test_a_killed_writer_leaves_nothing_that_opens_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "set"
    command = [sys.executable, "-c", ENDLESS_WRITER, str(path)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    [partial] = left_in(tmp_path)
    with DatasetWriter(path, PIXELS, {}) as living_beside:
        assert partial in left_in(tmp_path), "a living writer's files were removed"
        living_beside.abort()
    process.send_signal(signal.SIGKILL)
    process.wait()

    assert not path.exists()
    for leftover in tmp_path.iterdir():
        with pytest.raises(UsageError, match="no dataset"):
            Dataset.open(leftover)
    dataset = write(path, [make_episode()], PIXELS)
    assert left_in(tmp_path) == ["set"]
    assert len(dataset) == 5


def fail_after_one_episode(writer: DatasetWriter) -> None:
    with writer:
        writer.add(make_episode())
        raise ZeroDivisionError


def test_an_exception_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "set", PIXELS, {})
    with pytest.raises(ZeroDivisionError):
        fail_after_one_episode(writer)
    assert left_in(tmp_path) == []
    with pytest.raises(UsageError, match="closed"):
        writer.add(make_episode())


def test_leaving_the_block_finishes(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", PIXELS, {}) as writer:
        writer.add(make_episode())
    assert len(Dataset.open(tmp_path / "set")) == 5


def test_a_dataset_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one"), DatasetWriter(tmp_path / "set", PIXELS, {}) as writer:
        writer.finish()
    assert left_in(tmp_path) == []


@pytest.mark.chaos
@pytest.mark.parametrize("moment", ["write", "close"])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = DatasetWriter(tmp_path / "set", PIXELS, {})
    writer.add(make_episode())
    monkeypatch.setattr(ColumnFile, moment, full)
    with pytest.raises(RunError, match=r"No space left while writing .*set"):
        writer.add(make_episode(level=1)) if moment == "write" else writer.finish()
    assert left_in(tmp_path) == []


@pytest.mark.chaos
def test_a_disk_that_fails_in_the_background_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("data.append.FLUSH_BYTES", 1)
    writer = DatasetWriter(tmp_path / "set", PIXELS, {})
    with monkeypatch.context() as patched:
        patched.setattr("os.fdatasync", fail)
        writer.add(make_episode())
        with pytest.raises(RunError, match="Input/output error"):
            writer.add(make_episode(level=1))
    assert left_in(tmp_path) == []


def test_flushing_often_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [make_episode(level=level) for level in range(4)]
    expected = write(tmp_path / "expected", episodes, PIXELS, {})
    monkeypatch.setattr("data.append.FLUSH_BYTES", 1)
    often = write(tmp_path / "often", episodes, PIXELS, {})
    assert often.fingerprint == expected.fingerprint
    for part in sorted(path.name for path in (tmp_path / "expected").iterdir() if path.suffix != ".json"):
        assert (tmp_path / "often" / part).read_bytes() == (tmp_path / "expected" / part).read_bytes()


@pytest.mark.chaos
def test_a_file_size_limit_of_the_system_is_reported_too(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))" + ENDLESS_WRITER
    command = [sys.executable, "-c", limited, str(tmp_path / "set")]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "RunError: No space left while writing" in process.stderr
    assert left_in(tmp_path) == []


BAD: dict[str, tuple[Episode, str]] = {
    "env": (replace(make_episode(), env="other"), "holds one environment"),
    "level": (make_episode(level=1000), r"allowed: 0\.\.999"),
    "empty": (make_episode(length=0), "no transition"),
    "unfinished": (replace(make_episode(), terminated=False), "whole episodes"),
    "columns": (replace(make_episode(), observations={}), "observation columns"),
    "rows": (replace(make_episode(), final_observation_known=True), "5 transitions need 6"),
    "action": (replace(make_episode(), actions=np.full(5, 5, np.int32)), r"allowed: 0\.\.4"),
    "reward": (replace(make_episode(), rewards=np.full(5, np.nan, np.float32)), "not finite"),
    "shape": (replace(make_episode(), rewards=np.zeros(4, np.float32)), r"\(5,\)"),
    "dtype": (replace(make_episode(), observations={"image": np.zeros((5, 4, 4, 3))}), "float64"),
    "ragged": (replace(make_episode(), observations={"image": Ragged(np.zeros(5), np.arange(6))}), "one array"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_episode_that_does_not_fit_is_refused_and_the_others_are_kept(tmp_path: Path, name: str) -> None:
    episode, reason = BAD[name]
    with DatasetWriter(tmp_path / "a", PIXELS, {}) as writer:
        writer.add(make_episode(level=1))
        with pytest.raises(UsageError, match=reason):
            writer.add(episode)
    assert Dataset.open(tmp_path / "a").num_episodes == 1
    assert verify(tmp_path / "a") == []


def test_an_episode_added_twice_is_refused(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "a", PIXELS, {}) as writer:
        writer.add(make_episode())
        with pytest.raises(UsageError, match="twice"):
            writer.add(make_episode())
        with pytest.raises(UsageError, match="behavior_log_probs"):
            writer.add(make_episode(level=1, log_probs=True))
    assert Dataset.open(tmp_path / "a").num_episodes == 1


def test_what_is_not_json_or_not_a_plain_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="provenance"):
        DatasetWriter(tmp_path / "a", PIXELS, {"x": object()})
    bad = replace(PIXELS, observation_columns={"../image": ColumnSpec("uint8")})
    with pytest.raises(UsageError, match="letters, digits"):
        DatasetWriter(tmp_path / "a", bad, {})
    assert left_in(tmp_path) == []
