"""Answers of a network whose parameters no longer change, by observation: what is seen again is not computed again.

A policy without a memory that is stuck shows its network the same frames for hundreds of steps. In mazes 19 of 20
frames of a weak policy's evaluation were seen before; in games whose background moves hardly any, and looking costs a
microsecond a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

CAPACITY = 2**17
"""Observations that are kept: 30 MB with 15 actions."""

_Rows = npt.NDArray[np.intp]
_LogProbs = npt.NDArray[np.float32]


class AnswerMemo:
    """The log-probabilities of up to `capacity` observations, told apart by 128 bits of their content.

    It gives the very numbers that were computed first, so the network's answer to a row must not depend on the other
    rows. When it is full it begins anew.

    Args:
        capacity: Observations, positive.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._places: dict[bytes, int] = {}
        self._kept: _LogProbs = np.empty((0, 0), dtype=np.float32)
        self.asked = self.computed = 0
        """Rows so far."""

    def answers(
        self, columns: Mapping[str, npt.NDArray[Any]], rows: _Rows, compute: Callable[[_Rows], _LogProbs]
    ) -> _LogProbs:
        """Log-probabilities [len(rows), A], each computed once.

        Args:
            columns: name -> [B, ...].
            rows: Which of the B are asked for.
            compute: Some of these rows to their log-probabilities [n, A].
        """
        if len(self._places) + len(rows) > self._capacity:
            self._places.clear()
        before = len(self._places)
        places = np.empty(len(rows), dtype=np.intp)
        new: list[int] = []
        for at, (row, key) in enumerate(zip(rows.tolist(), _keys(columns, rows), strict=True)):
            place = self._places.setdefault(key, len(self._places))
            if place == before + len(new):
                new.append(row)
            places[at] = place
        if new:
            self._keep(before, new, compute)
        self.asked += len(rows)
        self.computed += len(new)
        return self._kept[places]

    def __reduce__(self) -> tuple[type[AnswerMemo], tuple[int]]:
        """Sent to another process it begins anew."""
        return AnswerMemo, (self._capacity,)

    def _keep(self, start: int, new: list[int], compute: Callable[[_Rows], _LogProbs]) -> None:
        try:
            found = compute(np.array(new, dtype=np.intp))
        except BaseException:
            self._places.clear()  # the new ones have a place but no answer
            raise
        end = start + len(new)
        if end > len(self._kept):
            grown = np.empty((max(1024, 2 * end), found.shape[1]), dtype=np.float32)
            if start:
                grown[:start] = self._kept[:start]
            self._kept = grown
        self._kept[start:end] = found


def _keys(columns: Mapping[str, npt.NDArray[Any]], rows: _Rows) -> list[bytes]:
    """128 bits of each row's content, all columns in the order of their names."""
    if len(columns) == 1:
        (column,) = columns.values()
        return [xxhash.xxh3_128_digest(np.ascontiguousarray(column[row]).data) for row in rows.tolist()]
    ordered = [columns[name] for name in sorted(columns)]
    return [xxhash.xxh3_128_digest(b"".join(column[row].tobytes() for column in ordered)) for row in rows.tolist()]
