"""Folders of numpy arrays that are whole or absent: written piece by piece, opened as memory maps.

A folder holds one raw little-endian file per array and ``manifest.json`` with the type, the length and a checksum
of each. It gets its name only when it is complete, so a killed writer leaves a hidden folder that nothing opens.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from envs.errors import RunError, UsageError
from envs.files import create_partial, disk_errors, sync_directory

Array = npt.NDArray[Any]
MANIFEST = "manifest.json"
FORMAT = "gengap-shop-arrays"
_PIECE_ROWS = 1 << 20
CHECKED_BYTES = 256_000_000
"""Folders up to this size are read against their checksums on every opening (about 0.1 s); larger ones by `verify`."""


class ColumnFile:
    """An array in the making: values are appended to a binary stream, with running checksums.

    Args:
        stream: A file, or ``io.BytesIO`` for an array that stays in memory.
        dtype: Element type; stored little-endian.
    """

    def __init__(self, stream: BinaryIO, dtype: npt.DTypeLike) -> None:
        self.stream = stream
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.rows = 0
        self._digest = _new_digest()
        self._crc = 0

    def write(self, values: npt.ArrayLike | bytes | bytearray) -> None:
        """Append values [n] of the element type; bytes are taken as they are."""
        content = values if isinstance(values, bytes | bytearray) else np.asarray(values, dtype=self.dtype).tobytes()
        self._digest.update(content)
        self._crc = zlib.crc32(content, self._crc)
        self.stream.write(content)
        self.rows += len(content) // self.dtype.itemsize

    def read(self) -> Array:
        """Everything written so far [rows], in memory and read-only."""
        self.stream.seek(0)
        return np.frombuffer(self.stream.read(), dtype=self.dtype) if self.rows else np.empty(0, dtype=self.dtype)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of the array."""
        return {"dtype": self.dtype.str, "rows": self.rows, "crc32": self._crc, "blake2b": self._digest.hexdigest()}


class FolderWriter:
    """Writes one folder of arrays; leaving the block by an exception removes everything.

    Args:
        path: The folder to create; it must not exist.
        kind: What the arrays are, for example ``"catalogue"``.
        version: Schema version of that kind.

    Raises:
        UsageError: If the path exists.
        RunError: If the disk is full or not writable.
    """

    def __init__(self, path: Path, kind: str, version: int) -> None:
        self.path = Path(path).absolute()
        self._header = {"format": FORMAT, "kind": kind, "version": version}
        self.columns: dict[str, ColumnFile] = {}
        if self.path.exists():
            raise UsageError(f"{self.path} exists already and is not overwritten. Remove it or choose another place.")
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial, self._lock = create_partial(self.path)

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        for column in self.columns.values():
            with suppress(OSError):  # closing flushes, which fails again where the disk is full
                column.stream.close()
        shutil.rmtree(self._partial, ignore_errors=True)
        os.close(self._lock)

    def column(self, name: str, dtype: npt.DTypeLike) -> ColumnFile:
        """Start an array."""
        stream = (self._partial / f"{name}.bin").open("w+b", buffering=1 << 16)
        self.columns[name] = ColumnFile(stream, dtype)
        return self.columns[name]

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Make everything durable and give the folder its name.

        Args:
            facts: JSON values kept in the manifest.

        Raises:
            RunError: If the disk is full, or another writer took the name first (``FileExistsError`` is its cause).
        """
        with disk_errors(self.path):
            for column in self.columns.values():
                column.stream.flush()
                os.fsync(column.stream.fileno())
            arrays = {name: column.entry() for name, column in self.columns.items()}
            manifest = {**self._header, "facts": dict(facts), "arrays": arrays}
            manifest["checksum"] = _checksum(manifest)
            with (self._partial / MANIFEST).open("w") as file:
                file.write(json.dumps(manifest, indent=1))
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self._partial)
            try:
                self._partial.rename(self.path)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise FileExistsError(errno.EEXIST, "another process wrote it first", str(self.path)) from error
                raise
            sync_directory(self.path.parent)


@dataclass(frozen=True)
class ArrayFolder:
    """An opened folder: read-only memory maps and the facts of its manifest."""

    path: Path
    facts: Mapping[str, Any]
    arrays: dict[str, Array]


def save_arrays(path: Path, kind: str, version: int, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write finished one-dimensional arrays as a folder.

    Raises:
        UsageError: If the path exists.
        RunError: If the disk is full or not writable.
    """
    with FolderWriter(path, kind, version) as writer, disk_errors(writer.path):
        for name, array in arrays.items():
            column = writer.column(name, array.dtype)
            for start in range(0, len(array), _PIECE_ROWS):
                column.write(array[start : start + _PIECE_ROWS])
        writer.finish(facts)


def open_arrays(path: Path, kind: str, version: int, *, verify: bool | None = None) -> ArrayFolder:
    """Open a folder of arrays.

    Args:
        path: The folder.
        kind: What it must hold.
        version: The schema version it must have.
        verify: Read every byte against its checksum; None does so up to `CHECKED_BYTES`. Sizes are always checked.

    Raises:
        UsageError: If there is no such folder, or it is of another kind or version.
        RunError: If it is damaged.
    """
    path = Path(path)
    manifest = _read_manifest(path, kind, version)
    entries: dict[str, dict[str, Any]] = manifest["arrays"]
    size = sum(entry["rows"] * np.dtype(entry["dtype"]).itemsize for entry in entries.values())
    check = size <= CHECKED_BYTES if verify is None else verify
    arrays = {name: _map(path / f"{name}.bin", entry, check) for name, entry in entries.items()}
    return ArrayFolder(path, manifest["facts"], arrays)


def _read_manifest(path: Path, kind: str, version: int) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise UsageError(f"There is no {kind} at {path} (no {MANIFEST}). Give the folder that was written as a whole.")
    try:
        manifest = json.loads(file.read_bytes())
        stated, found, has = manifest.pop("checksum"), manifest["kind"], manifest["version"]
        if manifest["format"] != FORMAT:
            raise KeyError("format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(file, "is not a manifest of arrays") from error
    if stated != _checksum(manifest):
        raise damaged(file, "does not match its own checksum")
    if found != kind:
        raise UsageError(f"{path} holds a {found}, not a {kind}.")
    if has != version:
        raise UsageError(f"{path} has schema version {has}; this version of gengap reads {version}. Build it again.")
    return dict(manifest)


def _map(file: Path, entry: Mapping[str, Any], check: bool) -> Array:
    dtype = np.dtype(entry["dtype"])
    expected = entry["rows"] * dtype.itemsize
    found = file.stat().st_size if file.is_file() else None
    if found is None:
        raise damaged(file, "is missing")
    if found != expected:
        raise damaged(file, f"is cut short or has grown: {found} bytes, {expected} expected")
    if not expected:
        return np.empty(0, dtype=dtype)
    if check and _file_crc(file) != entry["crc32"]:
        raise damaged(file, "does not match its checksum")
    # A plain array indexes faster than np.memmap and keeps the map alive.
    return np.asarray(np.memmap(file, dtype=dtype, mode="r", shape=(entry["rows"],)))


def _file_crc(file: Path) -> int:
    """The checksum of a file; read in pieces, because pages read through a map count as memory of the process."""
    crc = 0
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc


def fingerprint(columns: Mapping[str, ColumnFile]) -> str:
    """A hash of names, types and content; the order of the columns does not count."""
    entries = {name: column.entry() for name, column in columns.items()}
    return _checksum(entries)


def damaged(file: Path, reason: str) -> RunError:
    """The error for content that was complete once and is no longer."""
    return RunError(f"{file} {reason}: the folder is damaged. Remove {file.parent} and build it again.")


def _checksum(manifest: Mapping[str, Any]) -> str:
    digest = _new_digest()
    digest.update(json.dumps(manifest, sort_keys=True).encode())
    return digest.hexdigest()


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)
