"""Keeps the steps of B running episodes until each ends, with one copy per frame and little fresh memory."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from actors.choice import Choice
from data.episode import Column, Ragged
from envs.spec import EnvSpec
from envs.vector import Observations

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


class Recorder:
    """Every slot writes its frames into a buffer that is as long as an episode may become.

    An episode is handed out as a view of its buffer, while few such views are in use; otherwise a short one is copied.
    Untouched parts of a buffer take no memory. Ragged columns are kept row by row.

    Args:
        task: The environment's columns and its step limit.
        num_slots: B.
        pool: Where buffers come from.
        with_log_probs: Keep the whole distribution too.
    """

    def __init__(self, task: EnvSpec, num_slots: int, pool: BufferPool, *, with_log_probs: bool) -> None:
        columns, limit = task.observation_columns, task.max_episode_steps
        self._all_slots = self._slots = np.arange(num_slots)
        self._times = np.zeros(num_slots, dtype=np.int64)  # [B] steps recorded of the running episode
        self._pool = pool
        self._frames = {
            name: [pool.take((limit + 1, *column.shape), column.dtype) for _ in range(num_slots)]
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
        self._slots = self._all_slots if running.all() else np.flatnonzero(running)
        pairs = list(zip(self._slots.tolist(), self._times[self._slots].tolist(), strict=True))
        for name, frames in self._frames.items():
            rows = observations[name]
            for slot, time in pairs:
                frames[slot][time] = rows[slot]
        for name, texts in self._texts.items():
            rows = observations[name]
            for slot, _ in pairs:
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
            if final is not None:
                frames[slot][length] = final[name][slot]
            observations[name] = self._hand_out(frames, slot, length + (final is not None))
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

    def _hand_out(self, frames: list[Array], slot: int, length: int) -> Array:
        buffer = frames[slot]
        is_short = 2 * length <= len(buffer)
        following = self._pool.take(buffer.shape, buffer.dtype, only_if_plenty=is_short)
        if following is None:
            return buffer[:length].copy()
        frames[slot] = following
        return buffer[:length]


class BufferPool:
    """Arrays that are used again when nothing refers to them, because memory touched for the first time is slow.

    Args:
        capacity: At most so many arrays are remembered.
    """

    def __init__(self, capacity: int = 96) -> None:
        self._arrays: deque[Array] = deque(maxlen=capacity)

    @overload
    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...

    @overload
    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, only_if_plenty: bool) -> Array | None: ...

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike, *, only_if_plenty: bool = False) -> Array | None:
        """An array to write to, with arbitrary content. It stays the caller's while he or a view refers to it.

        Args:
            shape: Its shape.
            dtype: Its type.
            only_if_plenty: Return None instead of going beyond the capacity.
        """
        for _ in range(len(self._arrays)):
            array = self._arrays.popleft()
            self._arrays.append(array)
            # The pool, this variable and the argument of getrefcount; a user would be one more.
            if sys.getrefcount(array) == 3 and array.shape == shape and array.dtype == dtype:
                return array
        if only_if_plenty and len(self._arrays) == self._arrays.maxlen:
            return None
        array = np.empty(shape, dtype)
        self._arrays.append(array)
        return array
