"""What an online training played, as an append-only file: levels, actions and returns, from which frames are rendered.

The file is a header line (JSON: format, environment) and one block for each update:

    b"UPDT"  update (u4)  episodes (u4)  bytes of the payload (u4)  CRC-32 of everything else in the block (u4)  payload

The payload is compressed: levels, lengths, returns and ends of the episodes, then all actions (one byte each where
there are at most 256) and their log-probabilities (float16). A block that a killed writer left unfinished is cut off.
Training that goes on from a checkpoint makes later updates again: a block replaces all before it that are not of
earlier updates, so what is read is the history that led to the last parameters.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from data.files import disk_errors
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec

FORMAT = "gengap-training-record"
_MARK = b"UPDT"
_HEAD = struct.Struct("<4sIIII")
_EPISODE = np.dtype([("level", "<i8"), ("length", "<i4"), ("return", "<f8"), ("terminated", "?"), ("truncated", "?")])


@dataclass(frozen=True)
class PlayedEpisode:
    """One episode of the training, played to its end."""

    level: int
    actions: npt.NDArray[np.int32]  # [T]
    log_probs: npt.NDArray[np.float16]  # [T] of the actions, under the parameters that played them
    episode_return: float
    """Sum of the raw rewards."""
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class _Block:
    offset: int
    update: int
    num_episodes: int
    num_bytes: int


class RecordWriter:
    """Appends the episodes of one update after the other.

    Args:
        path: Made if it is not there; what a killed writer left unfinished is cut off.
        env: The environment.

    Raises:
        UsageError: If the file is of another environment, or no record.
        RunError: If it cannot be written.
    """

    def __init__(self, path: Path, env: EnvSpec) -> None:
        self.path = path
        self._narrow = _action_dtype(env.num_actions)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size:
                _truncate_torn(path, env)
                self._file = path.open("ab")
            else:
                self._file = path.open("ab")
                self._file.write(json.dumps({"format": FORMAT, "version": 1, "env": env.to_json()}).encode() + b"\n")
                self._file.flush()

    def append(self, update: int, episodes: Sequence[PlayedEpisode]) -> None:
        """Add the episodes that ended in an update's fragments, also if there are none.

        Raises:
            RunError: If the disk refuses.
        """
        table = np.array(
            [(e.level, len(e.actions), e.episode_return, e.terminated, e.truncated) for e in episodes], dtype=_EPISODE
        )
        parts = [table.tobytes()]
        if episodes:
            parts.append(np.concatenate([e.actions for e in episodes]).astype(self._narrow).tobytes())
            parts.append(np.concatenate([e.log_probs for e in episodes]).astype("<f2").tobytes())
        payload = zlib.compress(b"".join(parts), 6)
        checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<III", update, len(episodes), len(payload))))
        with disk_errors(self.path):
            self._file.write(_HEAD.pack(_MARK, update, len(episodes), len(payload), checksum) + payload)
            self._file.flush()

    def sync(self) -> None:
        """Force everything to the disk; call it before a checkpoint that counts on it."""
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TrainingRecord:
    """A record, opened for reading; also while it is being written.

    Raises:
        UsageError: If there is none.
        RunError: If it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            self.env = _read_header(file, path)
            self._narrow = _action_dtype(self.env.num_actions)
            self._blocks: list[_Block] = []
            for block in _blocks(file):
                while self._blocks and self._blocks[-1].update >= block.update:
                    self._blocks.pop()
                self._blocks.append(block)

    @property
    def num_episodes(self) -> int:
        """Episodes of the history."""
        return sum(block.num_episodes for block in self._blocks)

    def __iter__(self) -> Iterator[tuple[int, PlayedEpisode]]:
        """Update and episode, in the order in which they ended."""
        with _open(self.path) as file:
            for block in self._blocks:
                file.seek(block.offset)
                for episode in self._read(zlib.decompress(file.read(block.num_bytes)), block.num_episodes):
                    yield block.update, episode

    def _read(self, payload: bytes, num_episodes: int) -> Iterator[PlayedEpisode]:
        table = np.frombuffer(payload, dtype=_EPISODE, count=num_episodes)
        num_steps = int(table["length"].sum())
        start = table.nbytes
        actions = np.frombuffer(payload, dtype=self._narrow, count=num_steps, offset=start).astype(np.int32)
        start += num_steps * np.dtype(self._narrow).itemsize
        log_probs = np.frombuffer(payload, dtype="<f2", count=num_steps, offset=start)
        ends = np.cumsum(table["length"]).tolist()
        for row, end in zip(table, ends, strict=True):
            steps = slice(end - int(row["length"]), end)
            yield PlayedEpisode(
                level=int(row["level"]),
                actions=actions[steps],
                log_probs=log_probs[steps],
                episode_return=float(row["return"]),
                terminated=bool(row["terminated"]),
                truncated=bool(row["truncated"]),
            )


def _blocks(file: BinaryIO) -> Iterator[_Block]:
    """Whole blocks from where the file stands; ends before the first that is not."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        mark, update, num_episodes, num_bytes, checksum = _HEAD.unpack(head)
        offset = file.tell()
        payload = file.read(num_bytes) if mark == _MARK else b""
        expected = zlib.crc32(payload, zlib.crc32(struct.pack("<III", update, num_episodes, num_bytes)))
        if mark != _MARK or len(payload) < num_bytes or checksum != expected:
            return
        yield _Block(offset, update, num_episodes, num_bytes)


def _truncate_torn(path: Path, env: EnvSpec) -> None:
    with path.open("rb+") as file:
        found = _read_header(file, path)
        if found.to_json() != env.to_json():
            raise UsageError(f"{path} records {found.name!r}; this training plays {env.name!r}. Choose another --out.")
        end = file.tell()
        for block in _blocks(file):
            end = block.offset + block.num_bytes
        file.truncate(end)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist. Train with record_episodes=true, and name the directory of that run."
        ) from None


def _read_header(file: BinaryIO, path: Path) -> EnvSpec:
    try:
        header: dict[str, Any] = json.loads(file.readline())
        if header["format"] != FORMAT or header["version"] != 1:
            raise ValueError(f"format {header['format']!r}, version {header['version']!r}")
        return EnvSpec.from_json(header["env"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is no record of a training, or a damaged one ({error}).") from error


def _action_dtype(num_actions: int) -> str:
    return "|u1" if num_actions <= 256 else "<i4"
