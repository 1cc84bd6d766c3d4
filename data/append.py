"""Files that grow at their end and are brought to the disk by a second thread while more is written."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

FLUSH_BYTES = 32 << 20  # memory that waits to be written to disk slows every further write down
BUFFER_BYTES = 8 << 20  # of a direct file; it has two
BLOCK = 4096  # places, sizes and memory of direct writes are multiples of it


class Appended(Protocol):
    """A file that is written at its end."""

    def write(self, content: Bytes) -> None:
        """Append bytes.

        Raises:
            OSError: If that failed, or what was written before could not be brought to the disk.
        """

    def sync(self) -> None:
        """Make what was written durable, and the file exactly as long as that."""

    def close(self) -> None:
        """End without `sync`."""


def append_to(path: Path, size: int, background: Executor, *, direct: bool) -> Appended:
    """Open a file of `size` bytes for more.

    Args:
        path: The file; for 0 bytes it is made anew.
        size: Its length.
        background: Brings bytes to the disk.
        direct: Go around the system's page cache where the disk can, see `DirectFile`.
    """
    if direct and writes_directly(path.parent):
        return DirectFile(path, size, background)
    return BufferedFile(path, size, background)


class BufferedFile:
    """The ordinary way: what is written waits in the page cache until there is enough of it.

    Args:
        path: The file.
        size: Its length; 0 makes it anew.
        background: Brings bytes to the disk.
    """

    def __init__(self, path: Path, size: int, background: Executor) -> None:
        self._file: BinaryIO = path.open("ab" if size else "wb", buffering=1 << 20)
        self._background = background
        self._num_waiting = 0  # bytes written since the last flush began
        self._flushing: Future[None] | None = None

    def write(self, content: Bytes) -> None:
        """Append bytes."""
        self._file.write(content.data)
        self._num_waiting += len(content)
        if self._num_waiting >= FLUSH_BYTES:
            self._end_flush()
            self._file.flush()
            self._num_waiting = 0
            self._flushing = self._background.submit(os.fdatasync, self._file.fileno())

    def sync(self) -> None:
        """Make what was written durable."""
        self._end_flush()
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End without `sync`."""
        with suppress(OSError):
            self._end_flush()  # of this file's number, which another file may get
        with suppress(OSError):  # closing flushes, which fails again where the disk is full
            self._file.close()

    def _end_flush(self) -> None:
        if self._flushing is not None:
            self._flushing.result()


class DirectFile:
    """Large rows, written from two buffers that are used in turn and past the page cache.

    A page of the cache is fresh memory, and filling fresh memory can cost more than playing the step whose frame it
    holds. Here bytes are copied into memory in use, and the disk takes them from there.

    Args:
        path: The file.
        size: Its length; 0 makes it anew.
        background: Writes full buffers.
    """

    def __init__(self, path: Path, size: int, background: Executor) -> None:
        self._background = background
        self._buffers = [aligned(BUFFER_BYTES), aligned(BUFFER_BYTES)]
        self._start = size - size % BLOCK  # where the first buffer belongs
        self._used = size - self._start  # bytes in it
        if self._used:
            self._buffers[0][: self._used] = np.fromfile(path, dtype=np.uint8, count=self._used, offset=self._start)
        flags = os.O_WRONLY | os.O_CREAT | os.O_DIRECT | (0 if size else os.O_TRUNC)
        self._descriptor = os.open(path, flags, 0o666)
        self._writing: Future[None] | None = None

    def write(self, content: Bytes) -> None:
        """Append bytes."""
        done = 0
        while done < len(content):
            count = min(len(content) - done, BUFFER_BYTES - self._used)
            self._buffers[0][self._used : self._used + count] = content[done : done + count]
            self._used, done = self._used + count, done + count
            if self._used == BUFFER_BYTES:
                self._hand_over()

    def sync(self) -> None:
        """Make what was written durable, and the file exactly as long as that."""
        self._end_writing()
        whole = self._used - self._used % BLOCK
        padded = whole if whole == self._used else whole + BLOCK
        self._buffers[0][self._used : padded] = 0
        write_at(self._descriptor, self._buffers[0][:padded], self._start)
        os.ftruncate(self._descriptor, self._start + self._used)
        os.fsync(self._descriptor)
        rest = self._used - whole  # stays, to be written again with what follows
        self._buffers[0][:rest] = self._buffers[0][whole : self._used].copy()
        self._start, self._used = self._start + whole, rest

    def close(self) -> None:
        """End without `sync`."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            self._end_writing()
        os.close(self._descriptor)
        self._descriptor = -1

    def _hand_over(self) -> None:
        self._end_writing()
        self._writing = self._background.submit(write_at, self._descriptor, self._buffers[0], self._start)
        self._start, self._used = self._start + BUFFER_BYTES, 0
        self._buffers.reverse()

    def _end_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()


def aligned(num_bytes: int) -> Bytes:
    """Memory that begins with a page, as direct writes need."""
    return np.frombuffer(mmap.mmap(-1, num_bytes), dtype=np.uint8)


def write_at(descriptor: int, content: Bytes, offset: int) -> None:
    """Write all of it at a place in a file; a system that takes a part is asked again from the last whole block.

    Raises:
        OSError: If it cannot, or takes less than a block.
    """
    done = 0
    while True:
        count = _pwrite(descriptor, content[done:], offset + done)
        if count == len(content) - done:
            return
        if count < BLOCK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done += count - count % BLOCK


def _pwrite(descriptor: int, content: Bytes, offset: int) -> int:
    try:
        return os.pwrite(descriptor, content.data, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # A limit of the file's size cuts the write to a part of a block: only an ordinary one tells of the limit.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
    return os.pwrite(descriptor, content.data, offset)


def writes_directly(directory: Path) -> bool:
    """Whether this platform and the file system there take direct writes."""
    flag: Any = getattr(os, "O_DIRECT", None)
    if flag is None:
        return False
    trial = directory / f".direct-{secrets.token_hex(4)}"
    try:
        descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | flag, 0o600)
        try:
            return os.pwrite(descriptor, aligned(BLOCK).data, 0) == BLOCK
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise
    finally:
        trial.unlink(missing_ok=True)
