"""Sending what is finished to a bucket, the file that makes it readable last."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.files import format_bytes
from data.remote import CHECKPOINT_MARK, chunks_of, file_system, remote_errors, remote_url
from data.schema import MANIFEST
from envs.errors import RunError, UsageError


def push(path: Path, url: str) -> int:
    """Copy a finished dataset directory, checkpoint directory or packed file to a remote address.

    Args:
        path: What to copy.
        url: Where to; nothing else may be there. What is there already, to the byte, is left as it is.

    Returns:
        The number of bytes sent.

    Raises:
        UsageError: If the path is none of these, or something else is at the address.
        RunError: If it cannot be written.
    """
    target = remote_url(url)
    if target is None:
        raise UsageError(f"{url} is no remote address; give one such as s3://bucket/name.")
    mark = next((name for name in (MANIFEST, CHECKPOINT_MARK) if (path / name).is_file()), None)
    if mark is None and not path.is_file():
        raise UsageError(f"{path} is neither a dataset nor a checkpoint directory nor a packed file.")
    with remote_errors(target):
        files = file_system(target)
        if mark is None:
            if files.exists(target) and not _same(files, path, target):
                raise _taken(target)
            return _send(files, path, target)
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
        _check_free(files, target, path, mark)
        # Only the marked file makes a directory readable, so whatever happens before leaves nothing that opens.
        return sum(_send(files, path / name, f"{target}/{name}") for name in sorted(names, key=lambda n: n == mark))


def _check_free(files: Any, target: str, path: Path, mark: str) -> None:
    there = f"{target}/{mark}"
    if files.exists(there) and not _same(files, path / mark, there):
        raise _taken(target)


def _taken(target: str) -> UsageError:
    return UsageError(f"Something else is at {target} already and is not overwritten. Choose another address.")


def _send(files: Any, path: Path, target: str) -> int:
    size = path.stat().st_size
    if files.exists(target) and int(files.info(target)["size"]) == size and _same(files, path, target):
        return 0
    files.put_file(str(path), target)
    files.invalidate_cache()
    sent = int(files.info(target)["size"])
    if sent != size:
        raise RunError(f"{target} has {sent} bytes after sending {size}. Push it again.")
    return size


def _same(files: Any, path: Path, target: str) -> bool:
    with files.open(target, "rb") as there, path.open("rb") as here:
        return _crc(chunks_of(there)) == _crc(chunks_of(here))


def _crc(chunks: Iterable[bytes]) -> int:
    checksum = 0
    for chunk in chunks:
        checksum = zlib.crc32(chunk, checksum)
    return checksum


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", type=Path, help="dataset directory, checkpoint directory or packed file")
    parser.add_argument("url", help="where to, for example s3://bucket/maze; commands read it from there by this name")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Send; the result says how many bytes were."""
    sent = push(args.path, args.url)
    print(f"{args.path} is at {args.url} ({format_bytes(sent)} sent)")
    return {"path": str(args.path), "url": args.url, "sent_bytes": sent}
