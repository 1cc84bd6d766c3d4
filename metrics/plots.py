"""Every picture over levels and steps of the reports and docs: pure functions of plain data that return a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from envs.errors import UsageError
from metrics.figure import FILE, GREY, PALETTE, ROLE_LOOKS, Look, Shape, legend_below, new_axes

Bounds = Mapping[str, float]
"""``{"mean": m, "low": l, "high": h}``; low and high may be missing or None."""


def return_against_levels(
    levels: Sequence[Mapping[str, Any]],
    *,
    key: str = "normalized",
    title: str = "Return against the number of training levels",
    ylabel: str = "normalized return",
    references: Mapping[str, Bounds] | None = None,
    shape: Shape = FILE,
) -> Figure:
    """Train, validation and test return at each number of training levels, with intervals as error bars and bands.

    Args:
        levels: One entry a level count: ``{"num_levels": 10, key: {"train": {"mean", "low", "high"}, ...}}``.
        key: Which entry to draw, for example "normalized" or "returns".
        title: Above the picture.
        ylabel: With units.
        references: Horizontal lines, for example ``{"random policy": {"mean": 0.05, "low": 0.03, "high": 0.07}}``.
        shape: For which place.
    """
    points = sorted(levels, key=lambda entry: float(entry["num_levels"]))
    with new_axes(shape, title, "number of training levels (log scale)", ylabel) as (figure, axes):
        counts = _level_counts(points)
        roles = [role for role in ROLE_LOOKS if any(role in point[key] for point in points)]
        for role, shift in zip(roles, _shifts(counts, len(roles)), strict=True):
            rows = [
                (x * shift, point[key][role]) for x, point in zip(counts, points, strict=True) if role in point[key]
            ]
            _points_with_intervals(axes, rows, ROLE_LOOKS[role])
        _log_levels(axes, counts)
        for index, (name, bounds) in enumerate((references or {}).items()):
            _reference_line(axes, name, bounds, ("--", ":", "-.")[index % 3])
        legend_below(figure, axes, shape)
    return figure


def gap_against_levels(
    levels: Sequence[Mapping[str, Any]],
    *,
    title: str = "Generalization gap against the number of training levels",
    ylabel: str = "train minus held-out return",
    shape: Shape = FILE,
) -> Figure:
    """The gap at each number of training levels, ``{"num_levels": 10, "gap": {"point", "low", "high"}}``."""
    points = sorted(levels, key=lambda entry: float(entry["num_levels"]))
    gaps = [{**point["gap"], "mean": point["gap"]["point"]} for point in points]
    rows = list(zip(_level_counts(points), gaps, strict=True))
    with new_axes(shape, title, "number of training levels (log scale)", ylabel) as (figure, axes):
        axes.axhline(0.0, color=GREY, linewidth=1.2, linestyle="--")
        _points_with_intervals(axes, rows, Look("generalization gap with interval", PALETTE[3], "o", "-"))
        _log_levels(axes, [x for x, _ in rows])
        legend_below(figure, axes, shape)
    return figure


def curves(
    series: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "learner step",
    log_y: bool = False,
    log_x: bool = False,
    shape: Shape = FILE,
) -> Figure:
    """Lines over learner steps, with bands where ``low`` and ``high`` are given.

    Args:
        series: Label -> ``{"x": [...], "mean": [...], "low": [...], "high": [...]}``; a label that is a role gets that
            role's look.
        title: Above the picture.
        ylabel: With units.
        xlabel: With units.
        log_y: Logarithmic vertical axis, for losses.
        log_x: Logarithmic horizontal axis that is marked where there are points, for numbers of levels.
        shape: For which place.
    """
    with new_axes(shape, title, xlabel, ylabel) as (figure, axes):
        for index, (label, data) in enumerate(series.items()):
            look = ROLE_LOOKS.get(label) or Look(label, PALETTE[index % len(PALETTE)], "", "-")
            x, y = np.asarray(data["x"], dtype=float), _numbers(data["mean"])
            marker = look.marker if len(x) <= 30 else ""
            axes.plot(x, y, color=look.color, linestyle=look.line, marker=marker, label=look.label, markersize=4.5)
            if "low" in data and "high" in data:
                low, high = _numbers(data["low"]), _numbers(data["high"])
                axes.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
        if log_y:
            axes.set_yscale("log")
        if log_x:
            _log_levels(axes, sorted({float(x) for data in series.values() for x in data["x"]}))
        legend_below(figure, axes, shape)
    return figure


def per_level_heatmap(
    scores: npt.ArrayLike,
    row_labels: Sequence[str],
    *,
    title: str = "Normalized return, level by level",
    xlabel: str = "levels, hardest to easiest",
    sort_levels: bool = True,
    shape: Shape = FILE,
) -> Figure:
    """One row a policy, one column a level; levels nobody solves stand left.

    Args:
        scores: [policies, levels].
        row_labels: One per policy.
        title: Above the picture.
        xlabel: Of the level axis.
        sort_levels: By mean score over policies; False keeps the order given.
        shape: For which place.
    """
    array = np.asarray(scores, dtype=float)
    if sort_levels:
        array = array[:, np.argsort(array.mean(axis=0), kind="stable")]
    with new_axes(shape, title, xlabel, "", 1.9 + 0.34 * len(array)) as (figure, axes):
        image = axes.imshow(
            array, aspect="auto", interpolation="nearest", cmap="cividis", vmin=min(0.0, array.min()), vmax=1.0
        )
        axes.set_yticks(range(len(row_labels)), row_labels)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="normalized return", fraction=0.05, pad=0.02)
    return figure


def intervals(
    rows: Mapping[str, Bounds],
    *,
    title: str,
    xlabel: str,
    zero_line: bool = False,
    shape: Shape = FILE,
) -> Figure:
    """One horizontal interval a row, top to bottom in the order given: comparisons of configurations or policies."""
    with new_axes(shape, title, xlabel, "", 1.6 + 0.38 * len(rows)) as (figure, axes):
        for y, (_, bounds) in enumerate(rows.items()):
            low, high = _ends(bounds)
            axes.plot([low, high], [y, y], color=PALETTE[0], linewidth=5, alpha=0.35, solid_capstyle="butt")
            axes.plot(bounds["mean"], y, color=PALETTE[0], marker="o")
        if zero_line:
            axes.axvline(0.0, color=GREY, linewidth=1.2, linestyle="--")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    return figure


def _points_with_intervals(axes: Any, rows: Sequence[tuple[float, Bounds]], look: Look) -> None:
    x = np.array([value for value, _ in rows])
    y = np.array([bounds["mean"] for _, bounds in rows], dtype=float)
    low, high = np.array([_ends(bounds) for _, bounds in rows]).T
    axes.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)
    axes.errorbar(
        x,
        y,
        yerr=np.maximum([y - low, high - y], 0.0),
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        markeredgecolor="white",
        elinewidth=1.4,
        capsize=3.5,
        label=look.label,
    )


def _reference_line(axes: Any, name: str, bounds: Bounds, line: str) -> None:
    low, high = _ends(bounds)
    axes.axhline(bounds["mean"], color=GREY, linewidth=1.4, linestyle=line, label=name)
    if np.isfinite([low, high]).all():
        axes.axhspan(low, high, color=GREY, alpha=0.12, linewidth=0)


def _level_counts(levels: Sequence[Mapping[str, Any]]) -> list[float]:
    if not levels:
        raise UsageError("A plot over the number of training levels was given no points; it needs at least one.")
    return [float(entry["num_levels"]) for entry in levels]


def _shifts(counts: Sequence[float], num_series: int) -> npt.NDArray[np.float64]:
    """Factors that keep the error bars of several series beside each other on the logarithmic axis."""
    width = 0.009 * np.log(max(counts) / min(counts))
    return np.asarray(np.exp(width * (np.arange(num_series) - (num_series - 1) / 2)))


def _log_levels(axes: Any, counts: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(counts, [f"{count:,.0f}" for count in counts])
    axes.set_xlim(min(counts) / 1.25, max(counts) * 1.25)


def _ends(bounds: Bounds) -> tuple[float, float]:
    low, high = bounds.get("low"), bounds.get("high")
    return (np.nan if low is None else float(low), np.nan if high is None else float(high))


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
