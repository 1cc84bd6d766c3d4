"""Files that are either whole or absent: atomic writes, durable renames, and one clear line when a disk is full."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs.errors import RunError, UsageError
from envs.files import create_partial, disk_errors, format_bytes, free_bytes, sync_directory

__all__ = [
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "check_disk_space",
    "disk_errors",
    "format_bytes",
    "free_bytes",
    "make_directory",
    "new_directory",
    "rename_directory",
    "sync_directory",
]


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


def make_directory(path: Path) -> None:
    """Make the directory that a user named, with its parents, unless it is there.

    Raises:
        UsageError: If there can be none of that name.
        RunError: If the disk is full or fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{path} cannot be a directory: a file is in the way. Choose another --out.") from None
    except (FileNotFoundError, PermissionError) as error:
        raise UsageError(f"{path} cannot be made ({error.strerror}). Choose another --out.") from error
    except OSError as error:
        raise RunError(f"{path} cannot be made ({error.strerror or error}).") from error


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


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` that gets its name, durably, when the block ends; it is removed if that fails.

    Raises:
        RunError: If it cannot be made, or something else took the name in the meantime.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, lock = create_partial(path)
    try:
        yield partial
        rename_directory(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def rename_directory(temporary: Path, final: Path) -> None:
    """Give a finished directory its name, durably.

    Raises:
        RunError: If something else took the name in the meantime.
    """
    with disk_errors(final):
        sync_directory(temporary)
        temporary.rename(final)
        sync_directory(final.parent)
