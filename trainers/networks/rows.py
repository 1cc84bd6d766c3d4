"""Answers of few rows that equal, bit for bit, those of many."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEW = 4
"""Libraries sum products of a matrix of fewer rows in another order."""


def apply_to_rows(layer: nn.Module, rows: Tensor) -> Tensor:
    """What linear layers make of rows [B, ...]; without gradients at least `FEW` rows are computed together.

    `trainers.part_sizes` then finds single frames exact, and the last long episode of an evaluation plays alone.
    """
    count = len(rows)
    if torch.is_grad_enabled() or count >= FEW or not count:
        outputs: Tensor = layer(rows)
        return outputs
    repeated = rows.repeat((FEW + count - 1) // count, *[1] * (rows.ndim - 1))[:FEW]
    few: Tensor = layer(repeated)
    return few[:count]
