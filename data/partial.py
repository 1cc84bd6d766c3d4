"""The column files of a dataset in the making."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.append import append_to
from data.episode import Episode, Ragged
from data.schema import FileSpec, episode_checksum, file_entry, observation_files, step_files
from envs.errors import RunError
from envs.spec import EnvSpec

LARGE_ROW = 4096  # bytes; smaller rows make files that are not worth going around the page cache
Extent = Mapping[str, Any]
"""``rows`` and ``crc32`` of a column file."""


class ColumnFile:
    """A raw array that grows by rows, with a running checksum.

    Args:
        directory: Where it lies.
        spec: Its name and type.
        background: Brings bytes to the disk.
        extent: How much of an existing file to keep; None begins a new one.

    Raises:
        RunError: If the existing file is shorter than that.
    """

    def __init__(self, directory: Path, spec: FileSpec, background: Executor, extent: Extent | None = None) -> None:
        self._spec = spec
        self.rows, self._crc = (0, 0) if extent is None else (int(extent["rows"]), int(extent["crc32"]))
        path = directory / spec.name
        if extent is not None:
            _cut(path, self.rows * spec.row_bytes)
        self._file = append_to(path, self.rows * spec.row_bytes, background, direct=spec.row_bytes >= LARGE_ROW)

    def write(self, values: npt.NDArray[Any]) -> None:
        """Append rows [n, *shape].

        Raises:
            OSError: If that failed, or what was written before could not be brought to the disk.
        """
        content = np.ascontiguousarray(values, dtype=self._spec.dtype).reshape(-1).view(np.uint8)
        self._crc = zlib.crc32(content.data, self._crc)
        self._file.write(content)
        self.rows += len(values)

    def sync(self) -> dict[str, int]:
        """Make what was written durable; returns its extent."""
        self._file.sync()
        return {"rows": self.rows, "crc32": self._crc}

    def close(self) -> dict[str, Any]:
        """Make it durable; returns its entry in the manifest."""
        self.sync()
        self._file.close()
        return file_entry(self._spec, self.rows, self._crc)

    def discard(self) -> None:
        """Close it without caring whether it is complete."""
        self._file.close()


class ColumnFiles:
    """All columns of a dataset.

    Args:
        directory: Where they lie.
        env: The environment of the episodes.
        with_log_probs: Whether whole distributions are among them.
        extents: Go on with existing files; None begins new ones.
    """

    def __init__(
        self, directory: Path, env: EnvSpec, with_log_probs: bool, extents: Mapping[str, Extent] | None = None
    ) -> None:
        self.with_log_probs = with_log_probs
        self._step_names = tuple(step_files(env, with_log_probs))
        self._flusher, self._hasher = ThreadPoolExecutor(1, "flush"), ThreadPoolExecutor(1, "hash")
        self._files: dict[str, ColumnFile] = {}
        for name, spec in column_specs(env, with_log_probs).items():
            self._files[name] = ColumnFile(directory, spec, self._flusher, None if extents is None else extents[name])
            if extents is None and name.endswith(".offsets"):
                self._files[name].write(np.zeros(1, dtype=np.int64))

    def write(self, episode: Episode) -> bytes:
        """Append an episode to every column; returns its checksum."""
        hashing = self._hasher.submit(episode_checksum, episode)  # as much work as all the rest
        for name in self._step_names:
            self._files[name].write(getattr(episode, name))
        for name, column in episode.observations.items():
            if isinstance(column, Ragged):
                start = self._files[f"{name}.values"].rows
                self._files[f"{name}.values"].write(column.values)
                self._files[f"{name}.offsets"].write(column.offsets[1:] + start)
            else:
                self._files[f"{name}.values"].write(column)
        return hashing.result()

    def sync(self) -> dict[str, dict[str, int]]:
        """Make what was written durable; returns the extent of every file."""
        return {name: file.sync() for name, file in self._files.items()}

    def close(self) -> list[dict[str, Any]]:
        """Make them durable; returns their entries in the manifest."""
        entries = [file.close() for file in self._files.values()]
        self._end_threads()
        return entries

    def discard(self) -> None:
        """Close them without caring whether they are complete."""
        for file in self._files.values():
            file.discard()
        self._end_threads()

    def _end_threads(self) -> None:
        self._flusher.shutdown()
        self._hasher.shutdown()


def column_specs(env: EnvSpec, with_log_probs: bool) -> dict[str, FileSpec]:
    """Every column file of an environment's datasets: those of steps, then ``<column>.values`` and ``.offsets``."""
    specs = dict(step_files(env, with_log_probs))
    for name, column in env.observation_columns.items():
        specs |= {f"{name}.{part}": spec for part, spec in observation_files(name, column).items()}
    return specs


def _cut(path: Path, size: int) -> None:
    if not path.exists() or path.stat().st_size < size:
        raise RunError(
            f"{path} is shorter than its writer had recorded; the interrupted dataset is damaged. Remove its folder "
            f"{path.parent} and begin anew."
        )
    os.truncate(path, size)
