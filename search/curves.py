"""Training curves of a study's selected configurations, from the histories of their trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metrics.history import series
from metrics.protocol import Role

CURVE_ROLES = (Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION)
Lines = dict[str, dict[str, list[float]]]


def training_curves(histories: Sequence[Sequence[dict[str, Any]]]) -> Lines:
    """Train and validation return over learner steps: mean, lowest and highest over the runs that reached a step."""
    lines = {}
    for role in CURVE_ROLES:
        by_step: dict[int, list[float]] = {}
        for history in histories:
            for step, value in zip(*series(history, f"eval/{role.value}/normalized_return"), strict=True):
                by_step.setdefault(step, []).append(value)
        if by_step:
            steps = sorted(by_step)
            lines[role.value] = {
                "x": [float(step) for step in steps],
                "mean": [sum(by_step[step]) / len(by_step[step]) for step in steps],
                "low": [min(by_step[step]) for step in steps],
                "high": [max(by_step[step]) for step in steps],
            }
    return lines
