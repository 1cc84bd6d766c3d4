"""The picture of a robustness curve: a pure function of `metrics.robustness.robustness_curve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from envs.errors import UsageError
from envs.visual import CHANGES
from metrics.figure import FILE, GREY, PALETTE, Shape, new_figure

_MARKERS = "osD^vPX*"
_SIDE_BY_SIDE = 9.0
"""Inches from which on both parts stand in one row."""


def robustness_figure(
    entries: Sequence[Mapping[str, Any]], *, title: str, mode: str = "", shape: Shape = FILE
) -> Figure:
    """Return against strength, a line per visual change; beside it (or below, if narrow) one interval per shift.

    Args:
        entries: Of one role.
        title: Above the picture, for example the policy's name.
        mode: Action mode; empty takes the first that occurs.
        shape: For which place.

    Raises:
        UsageError: If there is nothing to draw.
    """
    if not entries:
        raise UsageError("A robustness curve without entries cannot be drawn; evaluate the policy with --robustness.")
    mode = mode or entries[0]["mode"]
    shown = [entry for entry in entries if entry["mode"] == mode]
    families = list(dict.fromkeys(e["family"] for e in shown if e["family"] in CHANGES))
    shifts = [e for e in shown if e["family"] not in CHANGES and e["family"] != "none"]
    both = bool(families and shifts)
    if both and shape == FILE:
        shape = replace(shape, width=10.0)
    row = both and shape.width >= _SIDE_BY_SIDE
    with new_figure(shape, shape.height * (1 if row or not both else 2)) as figure:
        grid = figure.subplots(1 + (both and not row), 1 + row, squeeze=False)
        axes = list(grid.ravel())
        plain = next((e["normalized_return"] for e in shown if e["family"] == "none"), None)
        if families or not shifts:
            _draw_lines(axes[0], shown, families, plain)
            _legend_above(axes.pop(0), 2 if shape.columns == 1 else 4)
        if shifts:
            _draw_shifts(axes.pop(0), shifts, plain)
        if shape.titled:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _draw_lines(
    axes: Any, shown: Sequence[Mapping[str, Any]], families: Sequence[str], plain: Mapping[str, Any] | None
) -> None:
    for index, family in enumerate(families):
        points = sorted((e["strength"], e["normalized_return"]) for e in shown if e["family"] == family)
        if plain is not None:
            points = [(0, plain), *points]
        x = np.array([strength for strength, _ in points]) + 0.03 * (index - (len(families) - 1) / 2)
        y, low, high = (np.array([_end(value, name) for _, value in points]) for name in ("point", "low", "high"))
        color = PALETTE[index % len(PALETTE)]
        axes.plot(x, y, color=color, marker=_MARKERS[index % len(_MARKERS)], label=family)
        axes.vlines(x, low, high, color=color, linewidth=1.2)
    axes.set(xlabel="strength (0: unchanged)", ylabel="normalized return", xticks=range(4))


def _draw_shifts(axes: Any, shifts: Sequence[Mapping[str, Any]], plain: Mapping[str, Any] | None) -> None:
    for y, entry in enumerate(shifts):
        value = entry["normalized_return"]
        axes.hlines(y, _end(value, "low"), _end(value, "high"), color=PALETTE[0], linewidth=5, alpha=0.35)
        axes.plot(value["point"], y, color=PALETTE[0], marker="o")
    if plain is not None:
        axes.axvline(plain["point"], color=GREY, linestyle="--", linewidth=1.2, label="no shift")
        _legend_above(axes, 1)
    axes.set_yticks(range(len(shifts)), [entry["family"] for entry in shifts])
    axes.set(xlabel="normalized return", ylim=(len(shifts) - 0.5, -0.5))


def _legend_above(axes: Any, columns: int) -> None:
    """Each part has its own: under both, a reader would look for the lines of one in the other."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=columns, frameon=False)


def _end(value: Mapping[str, Any], name: str) -> float:
    end = value[name]
    return float("nan") if end is None else float(end)
