"""What the W&B run of a mixture search holds besides its page: how far each arm was after every configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.report_tracking import with_ends

STEP_NAME = "configurations_tried"
"""The x-axis: configurations of each arm, not learner steps."""


def mixture_rows(findings: Mapping[str, Any]) -> list[tuple[int, dict[str, float]]]:
    """A row per number of configurations tried; the last one also has what each arm found.

    ``search/<arm>/loss`` of the first objective and ``search/<arm>/best_loss`` so far (both to be made small), then
    ``study/<arm>/<split>/episode_return``, ``.../normalized_return``, ``study/<arm>/weight/<source>`` and
    ``study/<arm>/minus_baseline``, with the ends of their intervals.
    """
    arms = {arm["arm"]: arm for arm in findings["arms"]}
    tried = {name: [c for c in findings["configurations"] if c["arm"] == name] for name in arms}
    rows: list[tuple[int, dict[str, float]]] = []
    best = dict.fromkeys(arms, float("inf"))
    for index in range(max(map(len, tried.values()), default=0)):
        values: dict[str, float] = {}
        for name, configurations in tried.items():
            losses = configurations[index]["losses"] if index < len(configurations) else None
            if losses:
                best[name] = min(best[name], float(losses[0]))
                values |= {f"search/{name}/loss": float(losses[0]), f"search/{name}/best_loss": best[name]}
        rows.append((index + 1, values))
    last = {key: value for name in arms for key, value in _found(findings, arms[name]).items()}
    if not rows:
        return [(0, last)]
    return [*rows[:-1], (rows[-1][0], rows[-1][1] | last)]


def _found(findings: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, float]:
    prefix = f"study/{arm['arm']}"
    values = {f"{prefix}/weight/{source}": float(weight) for source, weight in arm["weights"].items()}
    for kind, name in (("returns", "episode_return"), ("normalized", "normalized_return")):
        for role, summary in arm[kind].items():
            values |= with_ends(f"{prefix}/{role}/{name}", summary["mean"], summary)
    difference = findings["differences"].get(arm["arm"])
    if difference is not None:
        values |= with_ends(f"{prefix}/minus_baseline", difference["point"], difference)
    return values
