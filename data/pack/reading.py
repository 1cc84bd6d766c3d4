"""Reading a file of `data.pack.blocks`: everything it claims is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from data.pack.blocks import (
    FOOTER,
    HEADER,
    MAGIC,
    MAX_BLOCK_BYTES,
    MAX_MANIFEST_BYTES,
    NAME,
    VERSION,
    Array,
    unshuffled,
)
from envs.errors import RunError, UsageError

_KEPT_BLOCKS = 8  # of each array, so that episodes that arrive out of order do not decompress theirs again


class BlockFile:
    """One opened file.

    Attributes:
        header: What the writer said it holds.
        arrays: Name -> array.
        num_bytes: Its size.

    Raises:
        UsageError: If there is no such file, or it is of another kind or version.
        RunError: If it is cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UsageError(f"There is no file {path}. Give one that `gengap data pack` wrote.")
        self._handle = os.open(path, os.O_RDONLY)
        try:
            self.num_bytes = os.fstat(self._handle).st_size
            self._check_start()
            manifest, self._end = self._manifest()
            self.header, self.arrays = self._read(manifest)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> BlockFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1

    def stored(self, place: int, size: int) -> bytes:
        """Bytes as they lie in the file."""
        return os.pread(self._handle, size, place)

    def damaged(self, reason: str) -> RunError:
        """The error for content that cannot be what was written."""
        return RunError(f"{self.path} {reason}. Fetch or pack it again.")

    def _check_start(self) -> None:
        start = self.stored(0, HEADER.size)
        if len(start) < HEADER.size or HEADER.unpack(start)[0] != MAGIC:
            raise UsageError(f"{self.path} is not a packed dataset. Give a file that `gengap data pack` wrote.")
        version = HEADER.unpack(start)[1]
        if version != VERSION:
            raise UsageError(f"{self.path} has format version {version}; this version of gengap reads {VERSION}.")

    def _manifest(self) -> tuple[dict[str, Any], int]:
        """The manifest, and where the blocks end."""
        end = self.num_bytes - FOOTER.size
        footer = self.stored(max(end, 0), FOOTER.size)
        if end < HEADER.size or FOOTER.unpack(footer)[3] != MAGIC:
            raise self.damaged("is cut short: its end is missing")
        size, raw_size, checksum, _ = FOOTER.unpack(footer)
        if raw_size > MAX_MANIFEST_BYTES or size > end - HEADER.size:
            raise self.damaged(f"declares a manifest of {raw_size} bytes, which cannot be")
        stored = self.stored(end - size, size)
        if hashlib.sha256(stored).digest()[:16] != checksum:
            raise self.damaged("has a manifest that does not match its checksum")
        try:
            manifest = json.loads(_decompress(stored, raw_size))
            return dict(manifest), end - size
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise self.damaged(f"has a manifest that cannot be read ({error})") from error

    def _read(self, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, StoredArray]]:
        try:
            header = dict(manifest["header"])
            arrays = {entry["name"]: StoredArray(self, entry, self._end) for entry in manifest["arrays"]}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise self.damaged(f"has a manifest that lacks or misstates {error}") from error
        return header, arrays


class StoredArray:
    """An array [rows, *shape] in a file, read in parts.

    Raises:
        ValueError: If its entry in the manifest contradicts itself.
    """

    def __init__(self, file: BlockFile, entry: Mapping[str, Any], end: int) -> None:
        self._file, self.name, self.rows = file, str(entry["name"]), int(entry["rows"])
        self.dtype, self.shape = np.dtype(str(entry["dtype"])), tuple(int(size) for size in entry["shape"])
        if not NAME.fullmatch(self.name) or self.dtype.kind not in "biuf" or self.dtype.itemsize > 8:
            raise ValueError(f"the array {self.name!r} of {self.dtype}")
        if any(size < 0 for size in self.shape):
            raise ValueError(f"the shape of {self.name!r}")
        self._row_bytes = self.dtype.itemsize * int(np.prod([int(size) for size in self.shape], dtype=object))
        self._blocks = [tuple(int(value) for value in block) for block in entry["blocks"]]
        for place, size, rows, _ in self._blocks:
            raw = rows * self._row_bytes
            if place < HEADER.size or size < 0 or place + size > end or rows < 1 or raw > MAX_BLOCK_BYTES:
                raise ValueError(f"a block of {self.name!r} ({raw} bytes in {size} at {place})")
        self._starts = np.concatenate([[0], np.cumsum([block[2] for block in self._blocks], dtype=np.int64)])
        if self._starts[-1] != self.rows:
            raise ValueError(f"the rows of {self.name!r}")
        self._kept: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return self.rows

    @property
    def num_bytes(self) -> int:
        """Bytes before compression."""
        return self.rows * self._row_bytes

    @property
    def num_stored_bytes(self) -> int:
        """Bytes in the file."""
        return sum(block[1] for block in self._blocks)

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Rows `start` to `stop` (default: all).

        Raises:
            RunError: If a block is damaged, or there are fewer rows.
        """
        stop = self.rows if stop is None else stop
        if not 0 <= start <= stop <= self.rows:
            raise self._file.damaged(f"has {self.rows} rows of {self.name!r} where {start}..{stop} are needed")
        if start == stop:
            return np.empty((0, *self.shape), self.dtype)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        parts = []
        for number in range(first, last):
            offset = int(self._starts[number])
            parts.append(self._block(number)[max(start - offset, 0) : stop - offset])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def check(self) -> None:
        """Read every block.

        Raises:
            RunError: If one is damaged.
        """
        for number in range(len(self._blocks)):
            self._block(number)

    def _block(self, number: int) -> Array:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        place, size, rows, checksum = self._blocks[number]
        stored = self._file.stored(place, size)
        if zlib.crc32(stored) != checksum:
            raise self._file.damaged(f"is damaged in {self.name!r}")
        try:
            raw = _decompress(stored, rows * self._row_bytes)
        except (OSError, ValueError) as error:
            raise self._file.damaged(f"is damaged in {self.name!r} ({error})") from error
        block = unshuffled(np.frombuffer(raw, np.uint8), self.dtype, (rows, *self.shape))
        self._kept[number] = block
        if len(self._kept) > _KEPT_BLOCKS:
            self._kept.popitem(last=False)
        return block


def _decompress(stored: bytes, size: int) -> Any:
    """The content, which must have exactly this size; more is never made.

    Raises:
        ValueError: If it has another.
    """
    content = pa.Codec("zstd").decompress(stored, decompressed_size=size, asbytes=True) if size else b""
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes instead of {size}")
    return content
