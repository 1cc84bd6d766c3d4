"""Dividing an amount by shares under limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Shares = npt.NDArray[np.float64]


def fill(shares: Shares, limits: Shares) -> Shares:
    """Shares [n] in proportion to `shares`, none above its limit, summing to one where the limits allow it."""
    filled = np.minimum(shares, limits)
    for _ in range(len(shares)):
        missing = 1.0 - filled.sum()
        room = (limits - filled > 1e-12) & (shares > 0)
        if missing <= 1e-12 or not room.any():
            break
        filled[room] = np.minimum(filled[room] + missing * shares[room] / shares[room].sum(), limits[room])
    return filled


def whole(parts: Shares, limits: Shares, total: int) -> list[int]:
    """Whole numbers next to `parts` [n] that sum to `total`, the largest remainders rounded up."""
    numbers = np.floor(parts + 1e-6)
    # Rounded, so that equal shares stay equal whatever their last bits are; the first of equals is rounded up.
    by_remainder = np.argsort(-np.round(parts - numbers, 9), kind="stable")
    for index in by_remainder[numbers[by_remainder] < limits[by_remainder]][: int(total - numbers.sum())]:
        numbers[index] += 1
    return [int(number) for number in numbers]
