"""A file of named arrays in compressed, checked blocks. Nothing in it can execute code or name another file.

It starts with `MAGIC` and the version, then come the blocks of all arrays in order of arrival, then the manifest (JSON
that says where each block lies, how large it is and what it checks to), then `FOOTER`, which says the same of the
manifest. Everything is compressed by zstd, and every size is declared, so that reading never needs more memory than
was agreed to.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.files import disk_errors, sync_directory
from data.schema import canonical_json
from envs.errors import UsageError

Array = npt.NDArray[Any]

VERSION = 1
MAGIC = b"GENGAPAK"
HEADER = struct.Struct("<8sI")
"""`MAGIC` and the version."""
FOOTER = struct.Struct("<QQ16s8s")
"""Bytes of the manifest as stored and as JSON, the start of its SHA-256 as stored, `MAGIC`."""
BLOCK_BYTES = 4 * 2**20
"""A block holds about so many bytes before compression, and one row at least."""
MAX_BLOCK_BYTES = 64 * 2**20
MAX_MANIFEST_BYTES = 256 * 2**20
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")


def compress(content: Any, level: int) -> bytes:
    """One zstd frame."""
    compressed: bytes = pa.Codec("zstd", compression_level=level).compress(content, asbytes=True)
    return compressed


class BlockWriter:
    """Writes one file, which has its name only when it is complete.

    Leaving the ``with`` block without `finish` removes what was written.

    Args:
        path: The file; it must not exist.

    Raises:
        UsageError: If it exists.
        RunError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if self.path.exists():
            raise UsageError(f"{path} exists already and is not overwritten. Remove it or choose another name.")
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        self._arrays: dict[str, ArrayWriter] = {}
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._temporary.open("wb")
            self._file.write(HEADER.pack(MAGIC, VERSION))  # buffered: it meets a full disk in `__exit__` first

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with disk_errors(self.path):
                self._file.close()  # writes what is still buffered
        finally:
            self._temporary.unlink(missing_ok=True)

    def array(self, name: str, dtype: str, shape: tuple[int, ...] = (), *, level: int = 19) -> ArrayWriter:
        """Begin an array [rows, *shape]; arrays may be written in turns.

        Args:
            name: Letters, digits, underscores and full stops.
            dtype: Of its entries.
            shape: Of a row.
            level: Of zstd, 1 (fast) to 19 (small).
        """
        self._arrays[name] = ArrayWriter(self, name, np.dtype(dtype).newbyteorder("<"), shape, level)
        return self._arrays[name]

    def put(self, name: str, values: Array) -> None:
        """A whole array at once, in the narrowest type that holds its integers."""
        narrow = narrowest(values)
        self.array(name, narrow.dtype.str, narrow.shape[1:]).write(narrow)

    def write_block(self, content: bytes) -> int:
        """Append stored bytes; returns where they lie."""
        with disk_errors(self.path):
            place = self._file.tell()
            self._file.write(content)
        return place

    def finish(self, header: Mapping[str, Any]) -> int:
        """Complete the file and give it its name; returns its size in bytes.

        Args:
            header: What it holds, as JSON values.
        """
        arrays = [array.close() for array in self._arrays.values()]
        text = canonical_json({"header": dict(header), "arrays": arrays}).encode()
        stored = compress(text, 19)
        self.write_block(stored + FOOTER.pack(len(stored), len(text), hashlib.sha256(stored).digest()[:16], MAGIC))
        with disk_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._temporary.replace(self.path)
            sync_directory(self.path.parent)
        return size


class ArrayWriter:
    """One array in the making, see `BlockWriter.array`."""

    def __init__(self, file: BlockWriter, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], level: int) -> None:
        self.rows = 0
        self._file, self._name, self._dtype, self._shape, self._level = file, name, dtype, shape, level
        self._row_bytes = int(dtype.itemsize * np.prod(shape, dtype=np.int64))
        self._rows_per_block = max(1, BLOCK_BYTES // max(1, self._row_bytes))
        self._waiting: list[Array] = []
        self._num_waiting = 0
        self._blocks: list[tuple[int, int, int, int]] = []

    def write(self, values: Array) -> None:
        """Append rows [n, *shape]."""
        rows = np.ascontiguousarray(values, dtype=self._dtype).reshape(len(values), *self._shape)
        while len(rows):
            part = rows[: self._rows_per_block - self._num_waiting]
            rows = rows[len(part) :]
            self._waiting.append(part)
            self._num_waiting += len(part)
            if self._num_waiting == self._rows_per_block:
                self._flush()

    def close(self) -> dict[str, Any]:
        """Write what is left; returns the array's entry in the manifest."""
        if self._num_waiting:
            self._flush()
        return {
            "name": self._name,
            "dtype": self._dtype.str,
            "shape": list(self._shape),
            "rows": self.rows,
            "blocks": self._blocks,
        }

    def _flush(self) -> None:
        content = shuffled(np.concatenate(self._waiting))
        stored = compress(content.data, self._level)
        place = self._file.write_block(stored)
        self._blocks.append((place, len(stored), self._num_waiting, zlib.crc32(stored)))
        self.rows += self._num_waiting
        self._waiting, self._num_waiting = [], 0


def shuffled(values: Array) -> npt.NDArray[np.uint8]:
    """The bytes of an array, the first byte of every entry first: similar bytes side by side compress better."""
    planes = np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)
    return np.ascontiguousarray(planes.T).reshape(-1)


def unshuffled(content: npt.NDArray[np.uint8], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The inverse of `shuffled`."""
    planes = content.reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(shape)


def narrowest(values: Array) -> Array:
    """The same numbers in the narrowest type that holds them exactly: integers, and floats in half precision."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        back = half.astype(values.dtype)
        return half if back.tobytes() == values.tobytes() else values
    if values.dtype.kind not in "iu" or values.size == 0:
        return values
    low, high = int(values.min()), int(values.max())
    kinds = (np.uint8, np.uint16, np.uint32) if low >= 0 else (np.int8, np.int16, np.int32)
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values
