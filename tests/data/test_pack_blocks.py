from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.pack import blocks
from data.pack.blocks import FOOTER, HEADER, MAGIC, BlockWriter, narrowest, shuffled, unshuffled
from data.pack.reading import BlockFile
from envs.errors import RunError, UsageError
from tests.limits import small_files

ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["u1", "<i2", "<i8", "<f2", "<f4", "<f8", "?"]),
    shape=st.tuples(st.integers(0, 40), st.integers(1, 3)),
    elements=None,
)


def write(path: Path, **arrays: np.ndarray) -> Path:
    with BlockWriter(path) as file:
        for name, values in arrays.items():
            file.array(name, values.dtype.str, values.shape[1:]).write(values)
        file.finish({"made": "here"})
    return path


@pytest.mark.parametrize("limit", [4, 100, 100_000])
def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 500_000, dtype=np.uint8)
    with small_files(limit), pytest.raises(RunError, match=r"No space left while writing .*a\.pack"):
        write(tmp_path / "a.pack", noise=noise)
    assert list(tmp_path.iterdir()) == []


def read_all(path: Path) -> dict[str, np.ndarray]:
    with BlockFile(path) as opened:
        return {name: array.read() for name, array in opened.arrays.items()}


def rewrite_manifest(path: Path, change: Any) -> None:
    """Change the manifest of a file and make its footer fit, as somebody with bad intentions would."""
    import hashlib

    content = path.read_bytes()
    size, raw, _, _ = FOOTER.unpack(content[-FOOTER.size :])
    start = len(content) - FOOTER.size - size
    manifest = json.loads(pa.Codec("zstd").decompress(content[start : start + size], raw, asbytes=True))
    change(manifest)
    text = json.dumps(manifest).encode()
    stored = blocks.compress(text, 3)
    footer = FOOTER.pack(len(stored), len(text), hashlib.sha256(stored).digest()[:16], MAGIC)
    path.write_bytes(content[:start] + stored + footer)


@settings(max_examples=40, deadline=None)
@given(arrays=st.lists(ARRAYS, min_size=1, max_size=3), data=st.data())
def test_what_is_written_in_parts_is_read_in_parts(
    tmp_path_factory: pytest.TempPathFactory, arrays: list[np.ndarray], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", data.draw(st.integers(1, 64)))
        with BlockWriter(path) as file:
            writers = [file.array(f"a{n}", values.dtype.str, values.shape[1:]) for n, values in enumerate(arrays)]
            for writer, values in zip(writers, arrays, strict=True):
                cut = data.draw(st.integers(0, len(values)))
                writer.write(values[:cut])
                writer.write(values[cut:])
            assert file.finish({}) == path.stat().st_size
    with BlockFile(path) as opened:
        for number, values in enumerate(arrays):
            stored = opened.arrays[f"a{number}"]
            start = data.draw(st.integers(0, len(values)))
            stop = data.draw(st.integers(start, len(values)))
            assert stored.read().tobytes() == values.tobytes()
            assert stored.read(start, stop).tobytes() == values[start:stop].tobytes()
            assert stored.read(start, stop).shape == values[start:stop].shape


@given(values=hnp.arrays(st.sampled_from(["<i4", "<f8", "u1"]), st.tuples(st.integers(0, 9), st.integers(1, 4))))
def test_shuffling_is_undone(values: np.ndarray) -> None:
    assert unshuffled(shuffled(values), values.dtype, values.shape).tobytes() == values.tobytes()


@given(
    values=hnp.arrays("i8", st.integers(0, 9), elements=st.sampled_from([-(2**40), -1, 0, 1, 255, 256, 2**31, 2**62]))
)
def test_narrowing_keeps_every_integer(values: np.ndarray) -> None:
    narrow = narrowest(values)
    assert narrow.dtype.kind in "iu"
    assert narrow.astype(np.int64).tolist() == values.tolist()


@given(values=hnp.arrays("f4", st.integers(0, 9), elements=st.floats(width=32)))
def test_narrowing_keeps_every_bit_of_floats(values: np.ndarray) -> None:
    assert narrowest(values).astype(np.float32).tobytes() == values.tobytes()


def test_floats_that_fit_take_half_the_space() -> None:
    assert narrowest(np.array([0.0, -0.5, np.inf], dtype=np.float32)).dtype == np.float16
    assert narrowest(np.array([-np.log(15)], dtype=np.float32)).dtype == np.float32


def test_an_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    with BlockWriter(tmp_path / "file") as file:
        file.put("a", np.arange(100))
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "file", a=np.arange(3))
    with pytest.raises(UsageError, match="exists already"):
        BlockWriter(tmp_path / "file")


def test_every_truncation_is_noticed_on_opening(tmp_path: Path) -> None:
    content = write(tmp_path / "file", a=np.arange(1000), b=np.zeros((3, 2))).read_bytes()
    for size in range(len(content)):
        (tmp_path / "short").write_bytes(content[:size])
        with pytest.raises((RunError, UsageError)) as caught:
            BlockFile(tmp_path / "short")
        assert "\n" not in str(caught.value)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "file", a=np.arange(1000), b=np.random.default_rng(0).random((30, 2)))
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises((RunError, UsageError)) as caught:
            read_all(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 1000, b"\x80\x04N."])
def test_other_files_are_wrong_use(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(UsageError, match="not a packed dataset"):
        BlockFile(tmp_path / "other")
    with pytest.raises(UsageError, match="no file"):
        BlockFile(tmp_path / "missing")


def test_a_newer_version_is_wrong_use(tmp_path: Path) -> None:
    path = write(tmp_path / "file", a=np.arange(3))
    path.write_bytes(HEADER.pack(MAGIC, 99) + path.read_bytes()[HEADER.size :])
    with pytest.raises(UsageError, match="version 99"):
        BlockFile(path)


def test_a_block_that_grows_beyond_its_declared_size_is_not_made(tmp_path: Path) -> None:
    """A bomb: the block decompresses to far more than the manifest says."""
    path = write(tmp_path / "file", a=np.zeros(10, dtype=np.uint8))
    bomb = blocks.compress(bytes(10**8), 3)

    def grow(manifest: dict[str, Any]) -> None:
        manifest["arrays"][0]["blocks"][0][3] = zlib.crc32(bomb)
        manifest["arrays"][0]["blocks"][0][1] = len(bomb)

    content = path.read_bytes()
    size = FOOTER.unpack(content[-FOOTER.size :])[0]
    end = content[-FOOTER.size - size :]
    path.write_bytes(content[: HEADER.size] + bomb + end)
    rewrite_manifest(path, grow)
    with BlockFile(path) as opened, pytest.raises(RunError, match="damaged in 'a'"):
        opened.arrays["a"].read()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "O"),
        ("dtype", "<c16"),
        ("dtype", "S1000000"),
        ("shape", [2**40, 2**40]),
        ("shape", [-1]),
        ("rows", 11),
        ("name", "../../etc/passwd"),
        ("blocks", [[0, 5, 10, 0]]),
        ("blocks", [[12, 10**12, 10, 0]]),
        ("blocks", [[12, 5, 10**12, 0]]),
        ("blocks", [[12, 5, -10, 0]]),
        ("blocks", "text"),
        ("blocks", [[1]]),
    ],
)
def test_impossible_manifests_are_damage(tmp_path: Path, field: str, value: Any) -> None:
    path = write(tmp_path / "file", a=np.zeros(10, dtype=np.uint8))
    rewrite_manifest(path, lambda manifest: manifest["arrays"][0].update({field: value}))
    with pytest.raises(RunError, match="lacks or misstates"):
        BlockFile(path)


def test_a_manifest_of_absurd_size_is_refused_before_it_is_made(tmp_path: Path) -> None:
    path = write(tmp_path / "file", a=np.arange(3))
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, len(content) - FOOTER.size + 8, 2**60)
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be"):
        BlockFile(path)
