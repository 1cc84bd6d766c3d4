"""Raw arrays in the making."""

from __future__ import annotations

import os
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
