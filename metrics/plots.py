"""Every picture of the reports and docs: pure functions of plain data that return a figure, and `save`.

Figures use matplotlib's object interface with the Agg canvas: no window, no global state. Colors are those of Okabe
and Ito, told apart with color blindness; roles also differ in marker and line style, for print.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from envs.errors import UsageError
from metrics.protocol import Role


@dataclass(frozen=True)
class Look:
    """How one role is drawn, everywhere."""

    label: str
    color: str
    marker: str
    line: str


ROLE_LOOKS: dict[str, Look] = {
    Role.TRAIN.value: Look("training levels", "#0072B2", "o", "-"),
    Role.TRAIN_HELDOUT.value: Look("unseen levels like training", "#009E73", "D", "-."),
    Role.VALIDATION.value: Look("validation levels", "#E69F00", "s", "--"),
    Role.TEST.value: Look("test levels (sealed until selection)", "#CC3311", "^", "-"),
}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#CC3311", "#8C6D31", "#000000")
"""For series that are not roles, in this order."""
_GREY = "#6B6B6B"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.5,
    "svg.hashsalt": "gengap",
    "svg.fonttype": "none",
}
Bounds = Mapping[str, float]
"""``{"mean": m, "low": l, "high": h}``; low and high may be missing or None."""


@contextmanager
def _axes(title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (7.2, 4.4)) -> Iterator[tuple[Figure, Any]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        yield figure, axes


def return_against_levels(
    levels: Sequence[Mapping[str, Any]],
    *,
    key: str = "normalized",
    title: str = "Return against the number of training levels",
    ylabel: str = "normalized return",
    references: Mapping[str, Bounds] | None = None,
) -> Figure:
    """Train, validation and test return at each number of training levels, with intervals as error bars and bands.

    Args:
        levels: One entry a level count: ``{"num_levels": 10, key: {"train": {"mean", "low", "high"}, ...}}``.
        key: Which entry to draw, for example "normalized" or "returns".
        title: Above the picture.
        ylabel: With units.
        references: Horizontal lines, for example ``{"random policy": {"mean": 0.05, "low": 0.03, "high": 0.07}}``.
    """
    points = sorted(levels, key=lambda entry: float(entry["num_levels"]))
    with _axes(title, "number of training levels (log scale)", ylabel) as (figure, axes):
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
        _legend_below(figure, axes)
    return figure


def gap_against_levels(
    levels: Sequence[Mapping[str, Any]],
    *,
    title: str = "Generalization gap against the number of training levels",
    ylabel: str = "train minus held-out return",
) -> Figure:
    """The gap at each number of training levels, ``{"num_levels": 10, "gap": {"point", "low", "high"}}``."""
    points = sorted(levels, key=lambda entry: float(entry["num_levels"]))
    gaps = [{**point["gap"], "mean": point["gap"]["point"]} for point in points]
    rows = list(zip(_level_counts(points), gaps, strict=True))
    with _axes(title, "number of training levels (log scale)", ylabel) as (figure, axes):
        axes.axhline(0.0, color=_GREY, linewidth=1.2, linestyle="--")
        _points_with_intervals(axes, rows, Look("generalization gap with interval", PALETTE[3], "o", "-"))
        _log_levels(axes, [x for x, _ in rows])
        _legend_below(figure, axes)
    return figure


def curves(
    series: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "learner step",
    log_y: bool = False,
) -> Figure:
    """Lines over learner steps, with bands where ``low`` and ``high`` are given.

    Args:
        series: Label -> ``{"x": [...], "mean": [...], "low": [...], "high": [...]}``; a label that is a role gets that
            role's look.
        title: Above the picture.
        ylabel: With units.
        xlabel: With units.
        log_y: Logarithmic vertical axis, for losses.
    """
    with _axes(title, xlabel, ylabel) as (figure, axes):
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
        _legend_below(figure, axes)
    return figure


def per_level_heatmap(
    scores: npt.ArrayLike,
    row_labels: Sequence[str],
    *,
    title: str = "Normalized return, level by level",
    xlabel: str = "levels, hardest to easiest",
    sort_levels: bool = True,
) -> Figure:
    """One row a policy, one column a level; levels nobody solves stand left.

    Args:
        scores: [policies, levels].
        row_labels: One per policy.
        title: Above the picture.
        xlabel: Of the level axis.
        sort_levels: By mean score over policies; False keeps the order given.
    """
    array = np.asarray(scores, dtype=float)
    if sort_levels:
        array = array[:, np.argsort(array.mean(axis=0), kind="stable")]
    with _axes(title, xlabel, "", (7.2, 1.9 + 0.34 * len(array))) as (figure, axes):
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
) -> Figure:
    """One horizontal interval a row, top to bottom in the order given: comparisons of configurations or policies."""
    with _axes(title, xlabel, "", (7.2, 1.6 + 0.38 * len(rows))) as (figure, axes):
        for y, (_, bounds) in enumerate(rows.items()):
            low, high = _ends(bounds)
            axes.plot([low, high], [y, y], color=PALETTE[0], linewidth=5, alpha=0.35, solid_capstyle="butt")
            axes.plot(bounds["mean"], y, color=PALETTE[0], marker="o")
        if zero_line:
            axes.axvline(0.0, color=_GREY, linewidth=1.2, linestyle="--")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``<path>.png`` and ``<path>.svg``, the same bytes for the same figure; returns both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.parent / f"{path.name}{suffix}" for suffix in (".png", ".svg")]
    with mpl.rc_context(_STYLE):
        figure.savefig(written[0], metadata={"Software": None})
        figure.savefig(written[1], metadata={"Date": None})
    return written


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
    axes.axhline(bounds["mean"], color=_GREY, linewidth=1.4, linestyle=line, label=name)
    if np.isfinite([low, high]).all():
        axes.axhspan(low, high, color=_GREY, alpha=0.12, linewidth=0)


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


def _legend_below(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        pairs = sorted(zip(handles, labels, strict=True), key=lambda pair: not isinstance(pair[0], ErrorbarContainer))
        handles, labels = [handle for handle, _ in pairs], [label for _, label in pairs]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)))


def _ends(bounds: Bounds) -> tuple[float, float]:
    low, high = bounds.get("low"), bounds.get("high")
    return (np.nan if low is None else float(low), np.nan if high is None else float(high))


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
