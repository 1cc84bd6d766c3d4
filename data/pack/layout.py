"""Which arrays a packed dataset has.

Episodes stand in canonical order. ``episodes.*`` has one entry an episode, ``actions``, ``behavior_logp`` and perhaps
``behavior_log_probs`` one row a transition. Of kind ``"frames"`` it holds ``rewards`` and ``observation.*`` too; of
kind ``"actions"`` these are rendered again, and ``patch.*`` holds the rows that the environment here renders otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data.episode import Column, Ragged
from data.pack.blocks import Array, ArrayWriter, BlockWriter
from data.pack.reading import BlockFile, StoredArray
from data.schema import Table, check_metric_names, metric_field, metric_names
from envs.spec import ColumnSpec, EnvSpec

FORMAT = "gengap-pack"
ACTIONS, FRAMES = "actions", "frames"
FLAGS = ("terminated", "truncated", "final_observation_known")
"""Bits of ``episodes.flags``, the lowest first."""
CHECK_BYTES = 4
"""Bytes of each episode's checksum that are kept: enough to name an episode; the fingerprint proves them all."""
NUMBERS = ("level", "episode", "seed", "source", "policy", "length")


def write_table(file: BlockWriter, table: Table) -> None:
    """One entry for each episode of a dataset's table, in its order."""
    for name in NUMBERS:
        file.put(f"episodes.{name}", table[name])
    flags = sum(table[name].astype(np.uint8) << bit for bit, name in enumerate(FLAGS))
    file.put("episodes.flags", np.asarray(flags))
    file.put("episodes.check", table["checksum"][:, :CHECK_BYTES])
    for name in metric_names(table):
        file.put(f"episodes.metric.{name}", table[metric_field(name)])


def read_table(file: BlockFile, num_episodes: int) -> dict[str, Array]:
    """The numbers and flags [E], and ``check`` [E, CHECK_BYTES].

    Raises:
        RunError: If an array is missing or of a wrong size.
    """
    table: dict[str, Array] = {}
    for name in NUMBERS:
        table[name] = find(file, f"episodes.{name}", num_episodes, kinds="iu").read().astype(np.int64)
    flags = find(file, "episodes.flags", num_episodes, kinds="u").read()
    table |= {name: (flags >> bit & 1).astype(np.bool_) for bit, name in enumerate(FLAGS)}
    table["check"] = find(file, "episodes.check", num_episodes, kinds="u", shape=(CHECK_BYTES,)).read()
    return table


def read_metrics(file: BlockFile, names: Iterable[str], num_episodes: int) -> dict[str, Array]:
    """What the environment reported of each episode [E], NaN where it did not.

    Raises:
        UsageError: If a name is no identifier.
        RunError: If an array is missing or of a wrong size.
    """
    check_metric_names(names := tuple(names))
    return {name: find(file, f"episodes.metric.{name}", num_episodes, kinds="f").read() for name in names}


def find(
    file: BlockFile, name: str, rows: int | None = None, *, kinds: str, shape: tuple[int, ...] = ()
) -> StoredArray:
    """An array that must be there.

    Raises:
        RunError: If it is not, or has other rows or a type of another kind.
    """
    array = file.arrays.get(name)
    if array is None:
        raise file.damaged(f"lacks {name!r}")
    if array.shape != shape or array.dtype.kind not in kinds or rows not in (None, array.rows):
        raise file.damaged(f"holds {name!r} as {array.dtype}[{array.rows}, {array.shape}]")
    return array


class ColumnsWriter:
    """The observation columns of episodes, one after the other.

    Args:
        file: Where they go.
        env: Which columns.
        prefix: Of the names.
        level: Of zstd.
    """

    def __init__(self, file: BlockWriter, env: EnvSpec, prefix: str, level: int) -> None:
        self._values: dict[str, ArrayWriter] = {}
        self._lengths: dict[str, ArrayWriter] = {}
        for name, column in env.observation_columns.items():
            self._values[name] = file.array(f"{prefix}{name}", column.dtype, column.shape, level=level)
            if column.ragged:
                self._lengths[name] = file.array(f"{prefix}{name}.lengths", "<i8")

    def write(self, name: str, column: Column) -> None:
        """Append rows of one column."""
        if isinstance(column, Ragged):
            self._lengths[name].write(np.diff(column.offsets))
        self._values[name].write(column.values if isinstance(column, Ragged) else column)


class ColumnsReader:
    """What a `ColumnsWriter` wrote, row by row.

    Raises:
        RunError: If it does not fit the environment's columns.
    """

    def __init__(self, file: BlockFile, columns: Mapping[str, ColumnSpec], prefix: str, rows: int | None) -> None:
        self._values: dict[str, StoredArray] = {}
        self._offsets: dict[str, Any] = {}
        for name, column in columns.items():
            kind, ragged = np.dtype(column.dtype).kind, column.ragged
            self._values[name] = find(file, f"{prefix}{name}", None if ragged else rows, kinds=kind, shape=column.shape)
            if self._values[name].dtype != np.dtype(column.dtype).newbyteorder("<"):
                raise file.damaged(f"holds {name!r} as {self._values[name].dtype}")
            if ragged:
                lengths = find(file, f"{prefix}{name}.lengths", rows, kinds="iu").read().astype(np.int64)
                self._offsets[name] = np.concatenate([[0], np.cumsum(lengths)])
                if (lengths < 0).any() or self._offsets[name][-1] != len(self._values[name]):
                    raise file.damaged(f"has lengths of {name!r} that do not fit its values")

    def read(self, name: str, start: int, stop: int) -> Column:
        """Rows `start` to `stop` of one column."""
        if name not in self._offsets:
            return self._values[name].read(start, stop)
        offsets = self._offsets[name][start : stop + 1]
        return Ragged(self._values[name].read(int(offsets[0]), int(offsets[-1])), offsets - offsets[0])
