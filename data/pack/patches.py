"""Where what an environment renders differs from what was recorded: the recorded rows themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.episode import Column, Ragged
from data.pack.blocks import Array, BlockWriter
from data.pack.layout import ColumnsReader, ColumnsWriter, find
from data.pack.reading import BlockFile
from envs.spec import ColumnSpec, EnvSpec

Rows = npt.NDArray[np.int64]

REWARDS = -1
"""Stands in ``patch.table`` for the rewards; columns count from 0 in the order of their names."""


@dataclass(frozen=True)
class Patch:
    """The rows of one episode that are rendered otherwise, as they were recorded."""

    index: int
    """Which episode, in canonical order."""
    observations: Mapping[str, tuple[Rows, Column]] = field(default_factory=dict)
    rewards: tuple[Rows, Array] | None = None

    @property
    def num_rows(self) -> int:
        """Observation rows of the column with most differences, or rewards where there are more of them."""
        counts = [len(rows) for rows, _ in self.observations.values()]
        return max([*counts, 0 if self.rewards is None else len(self.rewards[0])])

    @property
    def first_row(self) -> int:
        """The first row that differs; a reward belongs to the row it was earned in."""
        firsts = [int(rows[0]) for rows, _ in self.observations.values()]
        return min([*firsts, *([] if self.rewards is None else [int(self.rewards[0][0])])])


def difference(
    index: int,
    recorded: Mapping[str, Column],
    rendered: Mapping[str, Column],
    recorded_rewards: Array,
    rendered_rewards: Array,
) -> Patch | None:
    """What must be kept so that `repaired` gives the recorded episode; None where nothing differs, to the bit."""
    observations = {}
    for name, column in recorded.items():
        rows = different_rows(column, rendered[name])
        if len(rows):
            observations[name] = (rows, take(column, rows))
    reward_rows = different_rows(recorded_rewards, rendered_rewards)
    rewards = (reward_rows, recorded_rewards[reward_rows]) if len(reward_rows) else None
    return Patch(index, observations, rewards) if observations or rewards else None


def different_rows(recorded: Column, rendered: Column) -> Rows:
    """The rows of `recorded` that `rendered` lacks or shows otherwise."""
    common = min(len(recorded), len(rendered))
    missing = np.arange(common, len(recorded))
    if isinstance(recorded, Ragged) or isinstance(rendered, Ragged):
        pairs = ((row, recorded[row], rendered[row]) for row in range(common))
        found = [row for row, left, right in pairs if len(left) != len(right) or left.tobytes() != right.tobytes()]
        return np.concatenate([np.array(found, dtype=np.int64), missing])
    left, right = _as_bytes(recorded[:common]), _as_bytes(rendered[:common])
    if np.array_equal(left, right):
        return missing
    return np.concatenate([np.flatnonzero((left != right).any(axis=1)), missing])


def repaired(column: Column, num_rows: int, spec: ColumnSpec, patch: tuple[Rows, Column] | None) -> Column:
    """A rendered column with exactly `num_rows` rows, those of the patch in place of its own.

    Rows that are neither rendered nor patched are empty or zero.
    """
    if patch is None and len(column) == num_rows:
        return column
    rows, values = patch or (np.empty(0, np.int64), None)
    kept = min(len(column), num_rows)
    if isinstance(column, Ragged):
        empty = np.empty((0, *spec.shape), spec.dtype)
        texts = [column[row] for row in range(kept)] + [empty] * (num_rows - kept)
        for number, row in enumerate(rows.tolist()):
            texts[row] = values[number]  # type: ignore[index]
        return Ragged.from_rows(texts)
    whole = np.zeros((num_rows, *spec.shape), dtype=spec.dtype)
    whole[:kept] = column[:kept]
    if len(rows):
        whole[rows] = values
    return whole


def take(column: Column, rows: Rows) -> Column:
    """Some rows, one at least."""
    return Ragged.from_rows([column[row] for row in rows.tolist()]) if isinstance(column, Ragged) else column[rows]


def _as_bytes(values: Array) -> npt.NDArray[np.uint8]:
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return flat.view(np.uint8) if flat.size else flat.astype(np.uint8)


class PatchWriter:
    """Collects patches, in any order, in a file."""

    def __init__(self, file: BlockWriter, env: EnvSpec, level: int) -> None:
        self._table = file.array("patch.table", "<i8", (3,))
        self._rows = file.array("patch.rows", "<i8")
        self._rewards = file.array("patch.rewards", "<f4")
        self._columns = ColumnsWriter(file, env, "patch.observation.", level)
        self._names = sorted(env.observation_columns)

    def write(self, patch: Patch) -> None:
        """Add one."""
        for number, name in enumerate(self._names):
            if name in patch.observations:
                rows, values = patch.observations[name]
                self._note(patch.index, number, rows)
                self._columns.write(name, values)
        if patch.rewards is not None:
            self._note(patch.index, REWARDS, patch.rewards[0])
            self._rewards.write(patch.rewards[1])

    def _note(self, index: int, column: int, rows: Rows) -> None:
        self._table.write(np.array([[index, column, len(rows)]], dtype=np.int64))
        self._rows.write(rows)


class PatchReader:
    """Finds the patch of an episode.

    Raises:
        RunError: If the file's patches contradict each other.
    """

    def __init__(self, file: BlockFile, env: EnvSpec) -> None:
        self._names = sorted(env.observation_columns)
        table = find(file, "patch.table", kinds="iu", shape=(3,)).read().astype(np.int64)
        self._rows = find(file, "patch.rows", kinds="iu")
        self._rewards = find(file, "patch.rewards", kinds="f")
        self._columns = ColumnsReader(file, env.observation_columns, "patch.observation.", None)
        if (table[:, 2] < 1).any() or (table[:, 1] < REWARDS).any() or (table[:, 1] >= len(self._names)).any():
            raise file.damaged("has patches of nothing")
        ends = np.cumsum(table[:, 2])
        self._entries: dict[int, list[tuple[int, int, int, int]]] = {}
        passed = dict.fromkeys(range(REWARDS, len(self._names)), 0)
        for (index, column, count), end in zip(table.tolist(), ends.tolist(), strict=True):
            entry = (column, end - count, passed[column], count)
            self._entries.setdefault(index, []).append(entry)
            passed[column] += count

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, index: int) -> Patch | None:
        """The patch of an episode, if it has one."""
        observations: dict[str, tuple[Rows, Column]] = {}
        rewards = None
        for column, first, start, count in self._entries.get(index, []):
            rows = self._rows.read(first, first + count).astype(np.int64)
            if column == REWARDS:
                rewards = (rows, self._rewards.read(start, start + count))
            else:
                name = self._names[column]
                observations[name] = (rows, self._columns.read(name, start, start + count))
        return Patch(index, observations, rewards) if observations or rewards else None
