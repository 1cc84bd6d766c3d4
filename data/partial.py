"""Directories and files in the making: nothing here has its final name yet."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from data.schema import FileSpec


class ColumnFile:
    """A raw array that grows by rows, with a running checksum."""

    def __init__(self, directory: Path, spec: FileSpec) -> None:
        self.rows = 0
        self._spec = spec
        self._crc = 0
        self._file: BinaryIO = (directory / spec.name).open("wb", buffering=1 << 20)

    def write(self, values: npt.NDArray[Any]) -> None:
        """Append rows [n, *shape]."""
        little = np.ascontiguousarray(values, dtype=self._spec.dtype)
        content = little.reshape(-1).view(np.uint8).data
        self._crc = zlib.crc32(content, self._crc)
        self._file.write(content)
        self.rows += len(little)

    def close(self) -> dict[str, Any]:
        """Make it durable; returns its entry in the manifest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        size = self.rows * self._spec.row_bytes
        return {"name": self._spec.name, "rows": self.rows, "bytes": size, "crc32": f"{self._crc:08x}"}

    def discard(self) -> None:
        """Close it without caring whether it is complete."""
        with suppress(OSError):  # closing flushes, which fails again where the disk is full
            self._file.close()


def create_partial(path: Path) -> Path:
    """A new hidden directory beside `path`; what killed writers of the same name left is removed first."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        _remove_if_abandoned(leftover)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    partial.mkdir()
    return partial


def lock_directory(directory: Path) -> int:
    """Lock a directory as in use; the system releases the lock when this process dies, however it dies.

    Returns:
        A file descriptor to close.
    """
    handle = os.open(directory, os.O_RDONLY)
    with suppress(OSError):  # some network file systems have no locks; leftovers then stay until removed by hand
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _remove_if_abandoned(leftover: Path) -> None:
    handle = os.open(leftover, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # its writer is alive
    else:
        shutil.rmtree(leftover, ignore_errors=True)
    finally:
        os.close(handle)
