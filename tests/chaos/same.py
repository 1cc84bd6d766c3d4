"""Two runs that must have come to exactly the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from metrics.history import read_history
from tests.trainers.helpers import final_parameters, without_perf


def assert_same_run(first: Path, second: Path) -> None:
    """The same last parameters, and the same rows of metrics but for what the clock says."""
    a, b = (final_parameters(run / "checkpoints" / "last") for run in (first, second))
    assert a.keys() == b.keys()
    unequal = [name for name in a if not torch.equal(a[name], b[name])]
    assert not unequal, unequal
    rows, others = (without_perf(read_history(run / "metrics.jsonl")) for run in (first, second))
    assert [row["learner_step"] for row in rows] == [row["learner_step"] for row in others]
    different = [
        (row["learner_step"], name, row.get(name), other.get(name))
        for row, other in zip(rows, others, strict=True)
        for name in row.keys() | other.keys()
        if not _same(row.get(name), other.get(name))
    ]
    assert not different, different[:5]


def _same(value: Any, other: Any) -> bool:
    """Equal, but for what another number of threads in the linear algebra rounds otherwise."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12) or (math.isnan(value) and math.isnan(other))
    return bool(value == other)
