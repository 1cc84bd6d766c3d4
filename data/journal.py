"""What an interrupted writer needs to go on: an append-only file of commits beside the columns it wrote.

Every line is a checksum and a JSON object. The first says what is written; each of the others says how far every
column had safely reached the disk, and which episodes had come since the line before. A torn last line is as if it
had never been written.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from data.schema import canonical_json
from envs.errors import UsageError

JOURNAL = "journal.jsonl"


class Journal:
    """The open journal of a writer.

    Args:
        directory: The writer's folder.
        header: Its first line, for a new journal; None goes on with the one that is there.
    """

    def __init__(self, directory: Path, header: Mapping[str, Any] | None = None) -> None:
        path = directory / JOURNAL
        if header is None:
            _, _, size = read_journal(path)
            os.truncate(path, size)
        self._file: BinaryIO = path.open("ab" if header is None else "xb")
        if header is not None:
            self.append(header)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line, durably."""
        text = json.dumps(entry).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journal(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """The first line, the other whole lines, and the bytes that all of them take.

    Raises:
        UsageError: If not even the first line is whole.
    """
    values, size = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        check, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
            break
        values.append(json.loads(text))
        size += len(line)
    if not values:
        raise UsageError(f"{path} is no journal of a dataset writer; remove its folder {path.parent}.")
    return values[0], values[1:], size


def claim_interrupted(path: Path, header: Mapping[str, Any]) -> tuple[Path, int] | None:
    """Find what an interrupted writer of `path` left, and lock it.

    Args:
        path: The dataset directory that was to be.
        header: What is to be written now.

    Returns:
        The folder, and a file descriptor to close in the end; None if nothing was left.

    Raises:
        UsageError: If a writer of the same name is at work, or the interrupted one wrote something else.
    """
    for folder in sorted(path.parent.glob(f".{glob.escape(path.name)}.partial-*")):
        if not (folder / JOURNAL).exists():
            continue
        handle = os.open(folder, os.O_RDONLY)
        try:
            _lock(handle, path)
            _check_header(folder, header)
        except BaseException:
            os.close(handle)
            raise
        return folder, handle
    return None


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"Another process is writing {path}; wait for it, or choose another place.") from None
    except OSError:
        return  # some network file systems have no locks


def _check_header(folder: Path, header: Mapping[str, Any]) -> None:
    begun, _, _ = read_journal(folder / JOURNAL)
    if canonical_json(begun) != canonical_json(dict(header)):
        raise UsageError(
            f"{folder} is an interrupted dataset with other settings ({_differences(begun, header)}). Give the same "
            "settings to go on with it, remove that folder to begin anew, or choose another place."
        )


def _differences(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    before, now = _flat(begun), _flat(wanted)
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    shown = [f"{name}: {before.get(name)!r} then, {now.get(name)!r} now" for name in names[:3]]
    return "; ".join(text if len(text) < 200 else text[:200] + "..." for text in shown)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        key: item
        for part, inner in value.items()
        for key, item in _flat(inner, f"{name}.{part}" if name else part).items()
    }
