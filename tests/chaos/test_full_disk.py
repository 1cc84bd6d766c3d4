"""A study whose disk is full for a while, on a real file system that is small."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics.table import EvaluationTable
from tests.chaos.same import assert_same_run
from tests.search.test_sweep import finish, start, wait_for_trials

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]
WORDS = ["scheduler=none", "max_concurrent_trials=1"]
NAMES = ["role", "mode", "policy", "level", "episode"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount file systems (run as root)")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(file: Path) -> None:
    """Take whatever room is left."""
    with file.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue


@pytest.mark.timeout(1800)
def test_a_study_that_finds_its_disk_full_goes_on_when_there_is_room(disk: Path, tmp_path: Path) -> None:
    out = disk / "study"
    process = start(out, *WORDS)
    wait_for_trials(out, 1, process)
    fill(disk / "filler")
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1, stderr[-3000:]
    assert stderr.strip().splitlines()[-1].startswith("gengap: No space left while writing"), stderr[-3000:]
    kept = {path.parent.name: path.read_text() for path in out.glob("trials/*/result.json")}
    assert 1 <= len(kept) < 4

    (disk / "filler").unlink()
    finish(start(out, *WORDS))
    found = {path.parent.name: path.read_text() for path in out.glob("trials/*/result.json")}
    assert len(found) == 4
    assert {name: found[name] for name in kept} == kept, "a finished trial was run again"

    plain = tmp_path / "plain"
    finish(start(plain, *WORDS))
    for name in found:
        assert_same_run(out / "trials" / name, plain / "trials" / name)
    tables = [EvaluationTable.read(study / "evaluations.parquet").frame for study in (out, plain)]
    first, second = (table.sort_values(NAMES).reset_index(drop=True) for table in tables)
    assert first[[*NAMES, "episode_return", "length"]].equals(second[[*NAMES, "episode_return", "length"]])
