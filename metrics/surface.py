"""A value over two axes as a heat map that can be read without its color bar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from envs.errors import UsageError
from metrics.figure import FILE, PHONE, Shape, new_axes


def surface(
    values: npt.ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    value_label: str,
    shape: Shape = FILE,
) -> Figure:
    """One cell for each pair of settings, with its number in it.

    Args:
        values: [rows, columns]; a NaN is left empty.
        rows: Of the vertical axis, bottom to top.
        columns: Of the horizontal axis, left to right.
        title: Above the picture.
        xlabel: With units.
        ylabel: With units.
        value_label: Of the color bar.
        shape: For which place.

    Raises:
        UsageError: If there is not one value for each pair.
    """
    array = np.asarray(values, dtype=float)
    if array.shape != (len(rows), len(columns)) or not np.isfinite(array).any():
        raise UsageError(f"A surface of {len(rows)} rows and {len(columns)} columns was given values {array.shape}.")
    with new_axes(shape, title, xlabel, ylabel) as (figure, axes):
        image = axes.imshow(array, origin="lower", aspect="auto", interpolation="nearest", cmap="cividis")
        middle = (np.nanmin(array) + np.nanmax(array)) / 2
        for (row, column), value in np.ndenumerate(array):
            if np.isfinite(value):
                color = "white" if value < middle else "black"
                size = 8 if shape == PHONE else 10
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=size)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label=value_label, fraction=0.05, pad=0.02)
    return figure
