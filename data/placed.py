"""The column files of a dataset that several processes write at once.

Each process gathers whole episodes in memory, and when it has some megabytes of them it is told where they belong:
parts are placed one after the other by a counter that all share, and nobody waits for another's write.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from data.append import BLOCK, Bytes, aligned, write_at, writes_directly
from data.crc import combined_crc32
from data.episode import Episode, Ragged
from data.partial import column_specs
from data.schema import FileSpec, file_entry, step_files
from envs.spec import EnvSpec

Counts = npt.NDArray[np.int64]

PART_BYTES = 8 << 20
"""When this much is gathered, it is written."""
STEPS, ROWS = "steps", "rows"


def units_of(env: EnvSpec, with_log_probs: bool) -> dict[str, str]:
    """Column file -> what its rows are counted with.

    Transitions (``"steps"``), observations (``"rows"``), or, for the values of a ragged column, its own name.
    """
    steps, units = step_files(env, with_log_probs), {}
    for name in column_specs(env, with_log_probs):
        column = env.observation_columns.get(name.removesuffix(".values"))
        ragged = column is not None and column.ragged and name.endswith(".values")
        units[name] = STEPS if name in steps else name if ragged else ROWS
    return units


def create_columns(directory: Path, env: EnvSpec, with_log_probs: bool) -> None:
    """Make the files; offsets begin with their zero."""
    for name, spec in column_specs(env, with_log_probs).items():
        (directory / spec.name).write_bytes(bytes(spec.row_bytes * _leading_rows(name)))


class PlacedColumns:
    """One process's hand on the columns. Frames go past the page cache, see `data.append.DirectFile`.

    Args:
        directory: Where `create_columns` made them.
        env: The environment of the episodes.
        with_log_probs: Whether whole distributions are among the columns.
    """

    def __init__(self, directory: Path, env: EnvSpec, with_log_probs: bool) -> None:
        self.specs, self.units = column_specs(env, with_log_probs), units_of(env, with_log_probs)
        direct = writes_directly(directory)
        self._direct = {name for name, spec in self.specs.items() if direct and spec.row_bytes % BLOCK == 0}
        self._buffers = {name: _Buffer() for name in self.specs}
        self._spare = {name: _Buffer() for name in self.specs}  # being written while more is gathered
        self._disk = ThreadPoolExecutor(1, "disk")
        self._writing: Future[None] | None = None
        self._descriptors: dict[str, int] = {}
        for name, spec in self.specs.items():
            flags = os.O_WRONLY | (os.O_DIRECT if name in self._direct else 0)
            self._descriptors[name] = os.open(directory / spec.name, flags)

    def __enter__(self) -> PlacedColumns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disk.shutdown()
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    @property
    def is_full(self) -> bool:
        """Whether it is time to `place`."""
        return sum(buffer.used for buffer in self._buffers.values()) >= PART_BYTES

    def add(self, episode: Episode) -> None:
        """Gather an episode in canonical form."""
        for name, values in _column_values(episode, self.specs).items():
            if name.endswith(".offsets"):
                values = values + self._buffers[name.replace(".offsets", ".values")].num_rows
            self._buffers[name].append(values, self.specs[name])

    def amounts(self) -> dict[str, int]:
        """How much of each unit is gathered."""
        return {unit: self._buffers[name].num_rows for name, unit in self.units.items()}

    def place(self, starts: Mapping[str, int]) -> dict[str, int]:
        """Have what is gathered written by another thread; `finish` waits for it.

        Args:
            starts: Where it begins, in each unit.

        Returns:
            CRC-32 of its bytes in each column.

        Raises:
            OSError: If the disk is full or failed for the part before.
        """
        crcs, writes = {}, []
        for name, unit in self.units.items():
            content, spec = self._buffers[name].content, self.specs[name]
            if name.endswith(".offsets"):
                content.view(spec.dtype)[:] += starts[name.replace(".offsets", ".values")]
            crcs[name] = zlib.crc32(content.data)
            place = (starts[unit] + _leading_rows(name)) * spec.row_bytes
            writes.append((self._descriptors[name], content, place))
        self.finish()
        self._writing = self._disk.submit(_write_each, writes)
        self._buffers, self._spare = self._spare, self._buffers
        for buffer in self._buffers.values():
            buffer.clear()
        return crcs

    def finish(self) -> None:
        """Wait for the part that is being written.

        Raises:
            OSError: If the disk is full or fails.
        """
        if self._writing is not None:
            self._writing.result()

    def sync(self) -> None:
        """Make what was written durable; `finish` has waited for it."""
        for descriptor in self._descriptors.values():
            os.fsync(descriptor)


def _write_each(writes: Sequence[tuple[int, Bytes, int]]) -> None:
    for descriptor, content, place in writes:
        write_at(descriptor, content, place)


class _Buffer:
    """Memory that is used again; it begins with a page."""

    def __init__(self) -> None:
        self._memory = aligned(BLOCK)
        self.used = self.num_rows = 0  # bytes and rows

    @property
    def content(self) -> Bytes:
        return self._memory[: self.used]

    def append(self, values: npt.NDArray[Any], spec: FileSpec) -> None:
        content = np.ascontiguousarray(values, dtype=spec.dtype).reshape(-1).view(np.uint8)
        end = self.used + len(content)
        if end > len(self._memory):
            larger = aligned(2 * end)
            larger[: self.used] = self.content
            self._memory = larger
        self._memory[self.used : end] = content
        self.used, self.num_rows = end, self.num_rows + len(values)

    def clear(self) -> None:
        self.used = self.num_rows = 0


def _column_values(episode: Episode, names: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """What an episode adds to each column file; the offsets of its ragged rows as if nothing stood before them."""
    values: dict[str, npt.NDArray[Any]] = {}
    for name, column in episode.observations.items():
        values[f"{name}.values"] = column.values if isinstance(column, Ragged) else column
        if isinstance(column, Ragged):
            values[f"{name}.offsets"] = column.offsets[1:]
    return {name: values[name] if name in values else getattr(episode, name) for name in sorted(names)}


def placed_entries(
    env: EnvSpec, with_log_probs: bool, crcs: Mapping[str, npt.NDArray[np.uint32]], amounts: Mapping[str, Counts]
) -> list[dict[str, Any]]:
    """What the manifest says of the columns.

    Args:
        env: The environment of the episodes.
        with_log_probs: Whether whole distributions are among the columns.
        crcs: Column -> [P] CRC-32 of each part's bytes, in the order of their places.
        amounts: Unit -> [P] size of each part.
    """
    units, entries = units_of(env, with_log_probs), []
    for name, spec in column_specs(env, with_log_probs).items():
        leading = _leading_rows(name)
        rows = np.concatenate([[leading], amounts[units[name]]]).astype(np.int64)
        first = np.array([zlib.crc32(bytes(leading * spec.row_bytes))], dtype=np.uint32)
        crc = combined_crc32(np.concatenate([first, crcs[name]]), rows * spec.row_bytes)
        entries.append(file_entry(spec, int(rows.sum()), crc))
    return entries


def _leading_rows(name: str) -> int:
    """Rows before those of the first episode."""
    return int(name.endswith(".offsets"))


def names_of_units(env: EnvSpec, with_log_probs: bool) -> Sequence[str]:
    """Every unit once, in an order that all processes share."""
    return sorted(set(units_of(env, with_log_probs).values()))
