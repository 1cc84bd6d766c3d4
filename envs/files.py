"""What writers of files share: folders in the making, locks between processes, errors of the disk as one clear line."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envs.errors import RunError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def format_bytes(count: float) -> str:
    """``"12.3 GB"``, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def free_bytes(path: Path) -> int:
    """Free space on the disk that holds `path`, or would hold it once it exists."""
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error while writing `path` into one clear line.

    Raises:
        RunError: Saying that the disk is full, or why the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RunError(
                f"No space left while writing {path} ({format_bytes(free_bytes(path))} free). "
                "Free some space or choose another place."
            ) from error
        raise RunError(f"Cannot write {path}: {error.strerror or error}.") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (where the platform lets a directory be opened)."""
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def create_partial(path: Path) -> tuple[Path, int]:
    """A new hidden folder beside `path`, locked; what killed writers of the same name left is removed first.

    Returns:
        The folder, and a file descriptor to close when it is finished or removed. The system releases the lock of a
        process that dies.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        _remove_if_abandoned(leftover)
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY)
    with suppress(OSError):  # some network file systems have no locks; leftovers then stay
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return partial, handle


def _remove_if_abandoned(leftover: Path) -> None:
    with suppress(OSError):
        handle = os.open(leftover, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(handle)


@contextmanager
def only_builder(path: Path) -> Iterator[None]:
    """Wait until no other process builds `path`, and keep others waiting; a dead process keeps nobody waiting.

    Raises:
        RunError: If the lock file beside it cannot be written.
    """
    with disk_errors(path):
        handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with suppress(OSError):  # without locks two may build, and the first to finish gives the name
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_folder(path: Path) -> None:
    """Take the name away at once; processes that mapped its files keep them until they end.

    Raises:
        RunError: If it cannot be renamed.
    """
    doomed = path.with_name(f".{path.name}.removed-{secrets.token_hex(4)}")
    with disk_errors(path):
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
