"""Pictures of distributions, mixtures and levels: pure functions of plain data that return a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from envs.errors import UsageError
from metrics.figure import FILE, GREY, INK, PALETTE, PAPER, Shape, legend_below, new_axes, new_figure

CORNERS = 3
"""Strata of a mixture that is drawn in a triangle."""
_COLORS = ListedColormap(mpl.colormaps["cividis"](np.linspace(0.2, 0.9, 256)), "cividis without its ends")
"""Its darkest is lost on a dark page and its brightest on a white one."""
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, kw_only=True)
class MixturePoint:
    """A mixture over strata and what came of it."""

    label: str
    group: str
    """Points of one group share a marker or line style, for example a number of training levels."""
    shares: Mapping[str, float]
    """Stratum -> share of the draws, summing to one."""
    value: float


@dataclass(frozen=True, kw_only=True)
class SheetFrame:
    """One level of a contact sheet."""

    image: npt.NDArray[np.uint8]
    """[H, W, 3]"""
    label: str
    won: bool


def performance_profile(
    profiles: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "Performance profile",
    xlabel: str = "normalized return t",
    shape: Shape = FILE,
) -> Figure:
    """The share of levels on which a policy scores above t, for every t (Agarwal et al., 2021, section 4.2).

    Args:
        profiles: Label -> ``{"thresholds", "shares", "low", "high"}``; without a band the last two are None.
        title: Above the picture.
        xlabel: With units.
        shape: For which place.
    """
    with new_axes(shape, title, xlabel, "share of levels above t") as (figure, axes):
        for index, (label, data) in enumerate(profiles.items()):
            color, line = PALETTE[index % len(PALETTE)], _LINES[index % len(_LINES)]
            axes.plot(
                data["thresholds"], data["shares"], color=color, linestyle=line, label=label, drawstyle="steps-post"
            )
            if data["low"] is not None:
                axes.fill_between(
                    data["thresholds"], data["low"], data["high"], color=color, alpha=0.15, linewidth=0, step="post"
                )
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_below(figure, axes, shape)
    return figure


def mixtures(
    points: Sequence[MixturePoint], *, value_label: str, title: str = "Mixtures", shape: Shape = FILE
) -> Figure:
    """Mixtures over strata, colored by what came of them: a triangle for three strata, parallel axes for others.

    Raises:
        UsageError: Without points, or if they are not over the same strata.
    """
    strata = sorted({name for point in points for name in point.shares})
    if not points or any(sorted(point.shares) != strata for point in points):
        raise UsageError(f"A picture of mixtures needs points over the same strata; got {len(points)} over {strata}.")
    if len(strata) == CORNERS:
        return _triangle(points, strata, value_label, title, shape)
    return _parallel(points, strata, value_label, title, shape)


def contact_sheet(frames: Sequence[SheetFrame], *, columns: int, title: str = "", shape: Shape = FILE) -> Figure:
    """Levels side by side; a frame in color and a check or a cross say which of them were won.

    Args:
        frames: In order of reading.
        columns: Per row.
        title: Above the sheet.
        shape: Its width is filled.
    """
    if not frames:
        raise UsageError("A contact sheet was given no frames; it needs at least one.")
    rows = -(-len(frames) // columns)
    cell = shape.width / columns
    with new_figure(shape, rows * (cell + 0.22) + (0.4 if title and shape.titled else 0.05)) as figure:
        grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in grid[len(frames) :]:
            axes.set_axis_off()
        for axes, frame in zip(grid, frames, strict=False):
            color = PALETTE[2] if frame.won else PALETTE[5]
            axes.imshow(frame.image, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set(visible=True, color=color, linewidth=2.5)
            axes.set_title(
                f"{'✓' if frame.won else '✗'} {frame.label}", fontsize=8.5, pad=4, weight="normal", color=INK
            )
        if title and shape.titled:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _triangle(
    points: Sequence[MixturePoint], strata: Sequence[str], value_label: str, title: str, shape: Shape
) -> Figure:
    import mpltern  # noqa: F401  # registers the projection

    with new_figure(shape, shape.width * (0.85 if shape.columns > 1 else 1.05)) as figure:
        axes: Any = figure.add_subplot(projection="ternary", ternary_sum=100.0)
        if shape.titled:
            axes.set_title(title, pad=28)
        norm, groups = _norm(points), _groups(points)
        for index, group in enumerate(groups):
            chosen = [point for point in points if point.group == group]
            place = [[100 * point.shares[name] for point in chosen] for name in strata]
            # The largest lies at the bottom, so that equal mixtures of other groups show as rings around each other.
            look: dict[str, Any] = {"s": 330 - 190 * index / max(1, len(groups) - 1), "marker": _look(index)[1]}
            values = [point.value for point in chosen]
            axes.scatter(
                *place, c=values, cmap=_COLORS, norm=norm, zorder=3 + index, edgecolors=PAPER, clip_on=False, **look
            )
            axes.scatter([], [], [], color=GREY, label=group, marker=look["marker"], s=50)
        for side, name in zip((axes.set_tlabel, axes.set_llabel, axes.set_rlabel), strata, strict=True):
            side(f"% {name}")
        axes.grid(visible=True)
        colors = mpl.cm.ScalarMappable(norm, _COLORS)
        figure.colorbar(colors, ax=axes, label=value_label, location="bottom", shrink=0.75, pad=0.12, aspect=30)
        legend_below(figure, axes, shape)
    return figure


def _parallel(
    points: Sequence[MixturePoint], strata: Sequence[str], value_label: str, title: str, shape: Shape
) -> Figure:
    """One axis a stratum; the last one is the value, read on the right."""
    norm, groups = _norm(points), _groups(points)
    top = max(max(point.shares.values()) for point in points)
    with new_axes(shape, title, "", "share of the draws") as (figure, axes):
        for point in points:
            line, marker = _look(groups.index(point.group))
            heights = [*(point.shares[name] for name in strata), top * float(norm(point.value))]
            color = _COLORS(norm(point.value))
            axes.plot(range(len(heights)), heights, color=color, linestyle=line, marker=marker, clip_on=False)
        for index, group in enumerate(groups):
            line, marker = _look(index)
            axes.plot([], [], color=GREY, linestyle=line, marker=marker, label=group)
        slanted = len(strata) > 4 or shape.columns == 1
        axes.set_xticks(range(len(strata) + 1), [*strata, value_label], rotation=30 if slanted else 0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        right = axes.twinx()
        low, high = (float(norm.inverse(value / top)) for value in axes.get_ylim())
        right.set(ylim=(low, high), ylabel=value_label)
        right.spines["right"].set_visible(True)
        right.grid(visible=False)
        legend_below(figure, axes, shape)
    return figure


def _look(index: int) -> tuple[str, str]:
    return _LINES[index % len(_LINES)], _MARKERS[index % len(_MARKERS)]


def _groups(points: Sequence[MixturePoint]) -> list[str]:
    return list(dict.fromkeys(point.group for point in points))


def _norm(points: Sequence[MixturePoint]) -> Normalize:
    low, high = min(point.value for point in points), max(point.value for point in points)
    return Normalize(low, high if high > low else low + 1.0)
