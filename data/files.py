"""Files that are either whole or absent: atomic writes, durable renames, and one clear line when a disk is full."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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


def check_disk_space(path: Path, needed_bytes: int) -> None:
    """Refuse a job that cannot fit, before it starts.

    Raises:
        RunError: Naming the bytes needed and the bytes free.
    """
    free = free_bytes(path)
    if needed_bytes > free:
        raise RunError(
            f"{path} needs about {format_bytes(needed_bytes)}, but only {format_bytes(free)} are free on its disk. "
            "Free some space, ask for less data, or choose another place with --out."
        )


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
                "Free some space or choose another place with --out."
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


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`: readers see the old file or the new one, never a part.

    Raises:
        RunError: If the disk is full or not writable; the old file is then still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with disk_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def atomic_write_text(path: Path, content: str) -> None:
    """`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, content.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """`atomic_write_bytes` for an indented JSON value; NaN and infinity are refused."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def rename_directory(temporary: Path, final: Path) -> None:
    """Give a finished directory its name, durably.

    Raises:
        RunError: If something else took the name in the meantime.
    """
    with disk_errors(final):
        sync_directory(temporary)
        temporary.rename(final)
        sync_directory(final.parent)
