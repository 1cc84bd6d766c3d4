"""Keeps the steps of B running episodes until each ends, with one copy per frame and little fresh memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from actors.arena import Arena, ArenaPool
from actors.choice import Choice
from data.episode import Column, Ragged
from envs.spec import EnvSpec
from envs.vector import Observations

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


class FrameRows:
    """One fixed-shape column of B running episodes: every slot writes into a row of an arena.

    An episode is handed out as a view of its row while rows are left for its slot to go on with, otherwise as a copy.

    Args:
        arena: Where rows come from.
        num_slots: B.
    """

    def __init__(self, arena: Arena, num_slots: int) -> None:
        self._arena = arena
        self._indices = np.zeros(num_slots, dtype=np.int64)  # [B]
        self._rows: list[Array] = []
        for slot in range(num_slots):
            taken = arena.take()
            assert taken is not None  # the pool gave an arena with a free row for every slot
            self._indices[slot] = taken[0]
            self._rows.append(taken[1])

    def write(self, slots: npt.NDArray[np.intp], times: npt.NDArray[np.int64], frames: Array) -> None:
        """Store one frame of each of these slots.

        Args:
            slots: [S].
            times: [S] where in the episode.
            frames: [S, ...].
        """
        self._arena.block[self._indices[slots], times] = frames

    def hand_out(self, slot: int, length: int, final: Array | None) -> Array:
        """The frames of an episode that ended; its slot goes on with another row.

        Args:
            slot: Which.
            length: Frames written.
            final: A last one that follows them.

        Returns:
            [length, ...], one more with `final`. Never written to again.
        """
        row = self._rows[slot]
        if final is not None:
            row[length] = final
            length += 1
        following = self._arena.take()
        if following is None:
            return row[:length].copy()
        self._arena.lend(int(self._indices[slot]), length)
        self._indices[slot], self._rows[slot] = following
        return row[:length]


class Recorder:
    """The steps of B running episodes; ragged columns are kept row by row.

    Args:
        task: The environment's columns and its step limit.
        num_slots: B.
        pool: Where the memory of frames comes from.
        with_log_probs: Keep the whole distribution too.
    """

    def __init__(self, task: EnvSpec, num_slots: int, pool: ArenaPool, *, with_log_probs: bool) -> None:
        columns, limit = task.observation_columns, task.max_episode_steps
        self._all_slots = self._slots = np.arange(num_slots)
        self._times = np.zeros(num_slots, dtype=np.int64)  # [B] steps recorded of the running episode
        self._frames = {
            name: FrameRows(pool.arena(num_slots, (limit + 1, *column.shape), column.dtype), num_slots)
            for name, column in columns.items()
            if not column.ragged
        }
        ragged = [name for name, column in columns.items() if column.ragged]
        self._texts: dict[str, list[list[Array]]] = {name: [[] for _ in range(num_slots)] for name in ragged}
        self._actions = np.empty((num_slots, limit), dtype=np.int32)
        self._rewards = np.empty((num_slots, limit), dtype=np.float32)
        self._logp = np.empty((num_slots, limit), dtype=np.float32)
        shape = (num_slots, limit, task.num_actions)
        self._log_probs = np.empty(shape, dtype=np.float16) if with_log_probs else None

    def start(self, mask: Mask) -> None:
        """Begin new episodes in these slots."""
        self._times[mask] = 0

    def observe(self, observations: Observations, running: Mask) -> None:
        """Store what the running slots show before their next step."""
        everybody = bool(running.all())
        self._slots = slots = self._all_slots if everybody else np.flatnonzero(running)
        times = self._times[slots]
        for name, frames in self._frames.items():
            rows: Any = observations[name]
            frames.write(slots, times, rows if everybody else rows[slots])
        for name, texts in self._texts.items():
            rows = observations[name]
            for slot in slots.tolist():
                texts[slot].append(rows[slot])

    def complete(self, rewards: npt.NDArray[np.float32], choice: Choice) -> None:
        """Store that step of the slots that `observe` saw."""
        slots = self._slots
        times = self._times[slots]
        self._actions[slots, times] = choice.actions[slots]
        self._rewards[slots, times] = rewards[slots]
        self._logp[slots, times] = choice.logp[slots]
        if self._log_probs is not None and choice.log_probs is not None:
            self._log_probs[slots, times] = -np.inf
            self._log_probs[slots, times, : choice.log_probs.shape[1]] = choice.log_probs[slots]
        self._times[slots] = times + 1

    def take(self, slot: int, final: Observations | None) -> dict[str, Any]:
        """The array fields of the episode that just ended in a slot.

        Args:
            slot: Which.
            final: Observations of all slots after the last action, where known.

        Returns:
            ``observations`` (T rows, or T + 1 with `final`), ``actions``, ``rewards``, ``behavior_logp`` and
            ``behavior_log_probs`` (None unless recorded). No later call writes to them.
        """
        length = int(self._times[slot])
        observations: dict[str, Column] = {}
        for name, frames in self._frames.items():
            observations[name] = frames.hand_out(slot, length, None if final is None else np.asarray(final[name][slot]))
        for name, texts in self._texts.items():
            observations[name] = Ragged.from_rows(texts[slot] + ([] if final is None else [final[name][slot]]))
            texts[slot] = []
        return {
            "observations": observations,
            "actions": self._actions[slot, :length].copy(),
            "rewards": self._rewards[slot, :length].copy(),
            "behavior_logp": self._logp[slot, :length].copy(),
            "behavior_log_probs": None if self._log_probs is None else self._log_probs[slot, :length].copy(),
        }
