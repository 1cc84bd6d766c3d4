"""Keeps the steps of B running episodes until each ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data.episode import Column, Ragged
from envs.spec import EnvSpec
from envs.vector import Observations

_BLOCK_BYTES = 16 * 2**20
_MIN_STEPS, _MAX_STEPS = 8, 256

Array = npt.NDArray[Any]


class Choice(NamedTuple):
    """What was chosen in one step."""

    actions: npt.NDArray[np.int32]  # [B]
    logp: npt.NDArray[np.float32]  # [B] log-probability of the action
    log_probs: npt.NDArray[np.float32]  # [B, A] of every action, normalized; 0 and -inf where greedy


class Recorder:
    """Steps go into one block [B, steps, ...] per column with one assignment; a full block is cut up by slot.

    Memory is what the running episodes hold, plus one block. Ragged columns are kept row by row.

    Args:
        task: The environment's columns.
        num_slots: B.
        with_log_probs: Keep the whole distribution too.
    """

    def __init__(self, task: EnvSpec, num_slots: int, *, with_log_probs: bool) -> None:
        columns = task.observation_columns
        self._num_actions = task.num_actions
        self._with_log_probs = with_log_probs
        self._fixed = [name for name, column in columns.items() if not column.ragged]
        self._ragged = [name for name, column in columns.items() if column.ragged]
        rows: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
            f"observation.{name}": (columns[name].shape, columns[name].dtype) for name in self._fixed
        }
        rows |= {"actions": ((), np.int32), "rewards": ((), np.float32), "behavior_logp": ((), np.float32)}
        if with_log_probs:
            rows["behavior_log_probs"] = ((task.num_actions,), np.float16)
        row_bytes = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in rows.values())
        self._size = int(np.clip(_BLOCK_BYTES // (row_bytes * num_slots), _MIN_STEPS, _MAX_STEPS))
        self._blocks = {name: np.zeros((num_slots, self._size, *shape), dtype) for name, (shape, dtype) in rows.items()}
        self._used = 0
        self._first = np.zeros(num_slots, dtype=np.int64)  # [B] where the slot's unflushed steps begin in the block
        self._parts: list[dict[str, list[Array]]] = [{name: [] for name in rows} for _ in range(num_slots)]
        self._rows: list[dict[str, list[Array]]] = [{name: [] for name in self._ragged} for _ in range(num_slots)]

    def start(self, mask: npt.NDArray[np.bool_]) -> None:
        """Begin new episodes in these slots."""
        self._first[mask] = self._used

    def append(
        self,
        observations: Observations,
        rewards: npt.NDArray[np.float32],
        choice: Choice,
        running: npt.NDArray[np.bool_],
    ) -> None:
        """Store one step of all slots; the rows of slots that are not running are never read."""
        if self._used == self._size:
            self._flush(running)
        blocks, column = self._blocks, self._used
        for name in self._fixed:
            blocks[f"observation.{name}"][:, column] = observations[name]
        blocks["actions"][:, column] = choice.actions
        blocks["rewards"][:, column] = rewards
        blocks["behavior_logp"][:, column] = choice.logp
        if self._with_log_probs:
            padded = blocks["behavior_log_probs"][:, column]
            padded[:] = -np.inf
            padded[:, : choice.log_probs.shape[1]] = choice.log_probs
        for name in self._ragged:
            for slot in np.flatnonzero(running):
                self._rows[slot][name].append(observations[name][slot])
        self._used += 1

    def take(self, slot: int, final: Observations | None) -> dict[str, Any]:
        """The array fields of the episode that just ended in a slot.

        Args:
            slot: Which.
            final: Observations of all slots after the last action, where known.

        Returns:
            ``observations`` (T rows, or T + 1 with `final`), ``actions``, ``rewards``, ``behavior_logp`` and
            ``behavior_log_probs`` (None unless recorded), as arrays of their own.
        """
        observations: dict[str, Column] = {}
        for name in self._fixed:
            last = [] if final is None else [final[name][slot][None]]
            observations[name] = self._join(slot, f"observation.{name}", last)
        for name in self._ragged:
            rows = self._rows[slot][name] + ([] if final is None else [final[name][slot]])
            observations[name] = Ragged.from_rows(rows)
            self._rows[slot][name] = []
        fields: dict[str, Any] = {name: self._join(slot, name) for name in ("actions", "rewards", "behavior_logp")}
        fields["behavior_log_probs"] = self._join(slot, "behavior_log_probs") if self._with_log_probs else None
        return {"observations": observations, **fields}

    def _join(self, slot: int, name: str, last: list[Array] | None = None) -> Array:
        parts = self._parts[slot][name]
        self._parts[slot][name] = []
        return np.concatenate([*parts, self._blocks[name][slot, self._first[slot] : self._used], *(last or [])])

    def _flush(self, running: npt.NDArray[np.bool_]) -> None:
        """Copy what running episodes have in the block to parts of their own, and use the block again."""
        for slot in np.flatnonzero(running):
            for name, block in self._blocks.items():
                self._parts[slot][name].append(block[slot, self._first[slot] : self._used].copy())
        self._first[:] = 0
        self._used = 0
