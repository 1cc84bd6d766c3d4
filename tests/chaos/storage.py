"""A disk that is slow to write and forgets what it was not made to keep when the power goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


class PowerLoss:
    """Notes how much of every file had been synced; at the end nothing else is left, and the process is gone.

    The harshest disk that POSIX allows for file contents: what no fsync covered is lost. Names and folders stay.

    Args:
        root: The files under this folder are struck.
        delay_s: What every fsync takes.
    """

    def __init__(self, root: Path, delay_s: float = 0.0) -> None:
        self._root, self._delay_s = root, delay_s
        self._synced: dict[int, int] = {}  # inode -> bytes that are safe
        for file in self._files():
            self._synced[file.stat().st_ino] = file.stat().st_size  # an earlier life's
        for name in ("fsync", "fdatasync"):
            setattr(os, name, self._noting(getattr(os, name)))

    def strike(self) -> None:
        """Cut every file to what was synced and end the process without flushing anything."""
        lost = 0
        for file in self._files():
            size, kept = file.stat().st_size, self._synced.get(file.stat().st_ino, 0)
            if kept < size:
                os.truncate(file, kept)
                lost += size - kept
        os.write(1, b"lost %d\n" % lost)
        os._exit(9)

    def _files(self) -> list[Path]:
        return [path for path in self._root.rglob("*") if path.is_file() and not path.is_symlink()]

    def _noting(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def noting(descriptor: int) -> None:
            time.sleep(self._delay_s)
            size = os.fstat(descriptor).st_size  # what is written from now on may be too late
            sync(descriptor)
            self._synced[os.fstat(descriptor).st_ino] = size

        return noting
