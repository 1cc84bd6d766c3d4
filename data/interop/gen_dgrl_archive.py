"""Archives of the benchmark's Procgen data, read as a stream: nothing is extracted, no name becomes a path.

An archive is a ``.tar``, perhaps compressed, of one file an episode, named ``TIMESTAMP_INDEX_LENGTH_LEVEL_RETURN`` with
ending ``.npy`` (a pickled dictionary of arrays, as released) or ``.npz`` (as the collector's code writes).
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from data.interop.safe_pickle import load_pickled_dict
from envs.errors import RunError, UsageError

MAX_MEMBER_BYTES = 2**30
"""The longest episode (6,000 steps) takes 295 MB as float32."""
_NAME = re.compile(
    r"(?P<stamp>.+)_(?P<index>\d+)_(?P<length>\d+)_(?P<level>\d+)_(?P<total>-?\d+(?:\.\d+)?)\.(?P<kind>npy|npz)"
)
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)

_UNREADABLE = (
    ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError,
    MemoryError, RuntimeError,
)  # fmt: skip
_FORMAT: Any = np.lib.format

Arrays = Mapping[str, npt.NDArray[Any]]
Advance = Callable[[int], None]
"""Told the bytes of the archive read so far."""


@dataclass(frozen=True)
class EpisodeFile:
    """What the name of a file says.

    Attributes:
        position: Which episode file of the archive it is, from 0.
        name: Its name in the archive.
        length: Transitions.
        level: Level seed.
        episode_return: Sum of raw rewards, to two decimals.
    """

    position: int
    name: str
    length: int
    level: int
    episode_return: float


def list_episodes(archive: Path, advance: Advance | None = None) -> list[EpisodeFile]:
    """Every episode file, in the order of the archive, by the names alone.

    Raises:
        UsageError: If there is no archive, or none of its files is an episode.
        RunError: If it is damaged, or a name leads out of it.
    """
    found = [episode for episode, _ in _walk(archive, advance)]
    if not found:
        raise UsageError(
            f"{archive} holds no file named TIMESTAMP_INDEX_LENGTH_LEVEL_RETURN.npy or .npz; give an archive of the "
            "benchmark's Procgen data."
        )
    return found


def read_episodes(
    archive: Path, wanted: Callable[[EpisodeFile], bool], advance: Advance | None = None
) -> Iterator[tuple[EpisodeFile, Arrays]]:
    """The arrays of the episodes that are wanted, one in memory at a time.

    Raises:
        UsageError: If there is no archive.
        RunError: If it or a file is damaged, holds anything but arrays, or is too large to be an episode.
    """
    for episode, content in _walk(archive, advance):
        if wanted(episode):
            yield episode, parse(content(), f"{episode.name} in {archive}")


def parse(content: bytes, place: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one episode file.

    Args:
        content: Of a ``.npy`` or ``.npz`` file.
        place: Where it comes from, for errors.

    Raises:
        RunError: If it is damaged or holds anything but arrays of numbers.
    """
    try:
        return _parse_npz(content) if content.startswith(b"PK") else _parse_npy(content, place)
    except RunError:
        raise
    except _UNREADABLE as error:
        raise RunError(f"{place} cannot be read ({type(error).__name__}: {error}).") from error


def _parse_npy(content: bytes, place: str) -> dict[str, npt.NDArray[Any]]:
    file = io.BytesIO(content)
    version = _FORMAT.read_magic(file)
    read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype != np.dtype(object) or shape != ():
        raise RunError(f"{place} is an array of {dtype}, no dictionary of arrays; give the benchmark's own archives.")
    return load_pickled_dict(content[file.tell() :], place)


def _parse_npz(content: bytes) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        if sum(member.file_size for member in members.infolist()) > MAX_MEMBER_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_MEMBER_BYTES} bytes")
        arrays = {}
        for member in members.infolist():
            with members.open(member) as file:
                stored = io.BytesIO(file.read())
            arrays[member.filename.removesuffix(".npy")] = _FORMAT.read_array(stored, allow_pickle=False)
        return arrays


def _walk(archive: Path, advance: Advance | None) -> Iterator[tuple[EpisodeFile, Callable[[], bytes]]]:
    """Every episode file with a function that reads it, to be called before the next one is asked for."""
    position = 0
    with _opened(archive, advance) as members, _complete(archive):
        for member in members:
            _check_name(member.name, archive)
            match = _NAME.fullmatch(member.name.rsplit("/", 1)[-1])
            if match is None or not member.isreg():
                continue
            fields = match.groupdict()
            length, level = int(fields["length"]), int(fields["level"])
            episode = EpisodeFile(position, member.name, length, level, float(fields["total"]))
            yield episode, partial(_content, members, member, archive)
            position += 1


@contextmanager
def _complete(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise RunError(f"{archive} is cut short or damaged ({error}). Fetch it again.") from error


def _check_name(name: str, archive: Path) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise RunError(f"{archive} is refused: it holds a file named {name!r}, which leads out of it.")


def _content(members: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> bytes:
    if member.size > MAX_MEMBER_BYTES:
        raise RunError(f"{member.name} in {archive} has {member.size} bytes, more than any episode; it is refused.")
    with _complete(archive):
        file = members.extractfile(member)
        content = file.read() if file is not None else b""
        if len(content) != member.size:
            raise EOFError(f"{member.name} ends early")
        return content


@contextmanager
def _opened(archive: Path, advance: Advance | None) -> Iterator[tarfile.TarFile]:
    if not archive.is_file():
        raise UsageError(f"There is no archive {archive}. Give a .tar or .tar.xz of the benchmark's Procgen data.")
    with archive.open("rb") as raw:
        source: Any = _Counted(raw, advance) if advance else raw
        try:
            # An uncompressed archive can be skipped through; the others are read from start to end.
            mode: Any = "r:" if _is_plain(raw) else "r|*"
            members = tarfile.open(fileobj=source, mode=mode, tarinfo=_Member)  # noqa: SIM115
        except (*_BROKEN, ValueError) as error:
            raise RunError(f"{archive} is no archive that can be read ({error}).") from error
        with members:
            yield members


def _is_plain(file: BinaryIO) -> bool:
    start = file.read(512)
    file.seek(0)
    return start[257:262] == b"ustar"


class _Member(tarfile.TarInfo):
    """A header whose absence is an error: `tarfile` takes a file that was cut short for one that is complete."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        if len(buf) != tarfile.BLOCKSIZE:
            raise EOFError("its end is missing")
        return super().frombuf(buf, encoding, errors)


class _Counted:
    """A file that says how far it was read."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file, self._advance = file, advance

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._advance(self._file.tell())
        return content

    def seek(self, *arguments: int) -> int:
        return self._file.seek(*arguments)

    def tell(self) -> int:
        return self._file.tell()
