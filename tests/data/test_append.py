"""Files that grow: what is read back is what was appended, however it was cut into pieces and reopened."""

import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import append
from data.append import BufferedFile, DirectFile, append_to

PIECE = st.integers(min_value=1, max_value=30_000)
STEP = st.one_of(PIECE, st.just("sync"), st.just("reopen"), st.just("lose"))


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "BUFFER_BYTES", 16_384)
    monkeypatch.setattr(append, "FLUSH_BYTES", 20_000)


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def needs_direct(directory: Path) -> None:
    if not append.writes_directly(directory):
        pytest.skip("this file system takes no direct writes")


@pytest.mark.parametrize("direct", [True, False])
@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEP, max_size=12), seed=st.integers(0, 1000))
def test_a_file_holds_what_was_appended(direct: bool, steps: list[int | str], seed: int) -> None:
    rng, expected, synced = np.random.default_rng(seed), b"", b""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as background:
        path = Path(place) / "column"
        file = append_to(path, 0, background, direct=direct)
        for step in steps:
            if isinstance(step, int):
                content = rng.integers(0, 256, step, dtype=np.uint8)
                file.write(content)
                expected += content.tobytes()
                continue
            if step != "lose":
                file.sync()
                assert path.read_bytes() == expected, "the file is longer or shorter than what was written"
                synced = expected
            if step != "sync":
                file.close()
                os.truncate(path, len(synced))  # as a writer that goes on does
                file, expected = append_to(path, len(synced), background, direct=direct), synced
        file.sync()
        file.close()
        file.close()
        assert path.read_bytes() == expected


def test_large_rows_go_around_the_page_cache_where_the_disk_can(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    needs_direct(tmp_path)
    assert isinstance(append_to(tmp_path / "a", 0, threads, direct=True), DirectFile)
    assert isinstance(append_to(tmp_path / "b", 0, threads, direct=False), BufferedFile)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "the trial is left behind"


def test_a_disk_that_refuses_direct_writes_is_written_as_usual(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pwrite", refuse)
    assert isinstance(append_to(tmp_path / "a", 0, threads, direct=True), BufferedFile)


def test_a_direct_write_that_fails_is_heard_of(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_direct(tmp_path)
    file = append_to(tmp_path / "a", 0, threads, direct=True)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fail)
    file.write(np.zeros(17_000, dtype=np.uint8))  # the first buffer is on its way
    with pytest.raises(OSError, match="Input/output error"):
        file.write(np.zeros(17_000, dtype=np.uint8))
    file.close()


def test_a_disk_that_takes_a_part_is_asked_for_the_rest(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_direct(tmp_path)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, at: whole(handle, content[:4096], at))
    content = np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8)
    file = append_to(tmp_path / "a", 0, threads, direct=True)
    file.write(content)
    file.sync()
    file.close()
    assert (tmp_path / "a").read_bytes() == content.tobytes()


def test_a_disk_without_room_for_a_block_is_full(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_direct(tmp_path)
    file = append_to(tmp_path / "a", 0, threads, direct=True)
    file.write(np.zeros(5_000, dtype=np.uint8))
    monkeypatch.setattr(os, "pwrite", lambda *_: 100)
    with pytest.raises(OSError, match="No space left"):
        file.sync()
    file.close()
