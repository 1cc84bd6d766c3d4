"""Memory for the frames of running episodes: reserved once, written in place, used again deepest first."""

from __future__ import annotations

import contextlib
import heapq
import mmap
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import RunError

Array = npt.NDArray[Any]

_SPARE_BYTES = 2**30
_MIN_SPARE, _MAX_SPARE = 4, 96


class Arena:
    """Rows that each have room for the longest episode.

    Memory touched for the first time is slow: filling a fresh page costs several times as much as copying a frame into
    it. So the free row that earlier episodes filled furthest is taken first, and untouched rows stay untouched, which
    costs address space only.

    Args:
        num_rows: R.
        shape: [T, ...] of one row.
        dtype: Of its numbers.

    Raises:
        RunError: If the system refuses so much address space.
    """

    def __init__(self, num_rows: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = _reserve(num_rows * row_bytes)
        self.block: Array = np.ndarray((num_rows, *shape), dtype, buffer=memory)  # [R, T, ...]
        # Each is built on the memory itself: a slice of it then refers to it, and not to an array common to all rows.
        self._rows: list[Array] = [
            np.ndarray(shape, dtype, buffer=memory, offset=index * row_bytes) for index in range(num_rows)
        ]
        self._depths = [0] * num_rows
        self._free: list[tuple[int, int]] = []  # heap of (-depth, index)
        self._lent: list[int] = []
        self.reclaim()

    def reclaim(self) -> int:
        """Find every row that nothing refers to, also those whose rollout was given up; returns how many there are."""
        free = {index for index in range(len(self._rows)) if self._is_free(index)}
        self._lent = [index for index in self._lent if index not in free]
        self._free = [(-self._depths[index], index) for index in free]
        heapq.heapify(self._free)
        return len(self._free)

    def take(self) -> tuple[int, Array] | None:
        """A free row: its index in `block`, and the row with arbitrary content; None if there is none.

        It stays the caller's while he or a view refers to it.
        """
        if self._lent:
            self._collect_lent()
        if not self._free:
            return None
        _, index = heapq.heappop(self._free)
        return index, self._rows[index]

    def lend(self, index: int, length: int) -> None:
        """Say that a row's user writes to it no more, so that it is free as soon as nothing refers to it.

        Args:
            index: Of the row.
            length: How much of it was written.
        """
        self._depths[index] = max(self._depths[index], length)
        self._lent.append(index)

    def _collect_lent(self) -> None:
        for index in [index for index in self._lent if self._is_free(index)]:
            self._lent.remove(index)
            heapq.heappush(self._free, (-self._depths[index], index))

    def _is_free(self, index: int) -> bool:
        # Nobody's row is referred to by the list and by the argument of getrefcount.
        return sys.getrefcount(self._rows[index]) == 2


class ArenaPool:
    """Arenas that rollouts use one after the other."""

    def __init__(self) -> None:
        self._arenas: dict[tuple[Any, ...], Arena] = {}

    def arena(self, num_slots: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Arena:
        """An arena with a free row for every slot, and more for episodes that were handed out.

        Args:
            num_slots: B.
            shape: [T, ...] of one row.
            dtype: Of its numbers.
        """
        key = (num_slots, shape, np.dtype(dtype))
        arena = self._arenas.get(key)
        if arena is None or arena.reclaim() < num_slots:
            row_bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
            spare = min(_MAX_SPARE, max(_MIN_SPARE, _SPARE_BYTES // row_bytes))
            arena = self._arenas[key] = Arena(num_slots + spare, shape, dtype)
        return arena


def _reserve(num_bytes: int) -> mmap.mmap:
    try:
        memory = mmap.mmap(-1, max(1, num_bytes))
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(
            f"Recording reserves {num_bytes / 1e9:.1f} GB of address space for whole episodes, and the system refused "
            f"({error}). Play with fewer slots (num_envs)."
        ) from None
    with contextlib.suppress(AttributeError, OSError):  # Linux only, and only where the kernel has it
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
