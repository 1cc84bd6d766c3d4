"""The look that all figures share, and their files. `metrics.plots` and `metrics.panels` draw with it.

Figures use matplotlib's object interface with the Agg canvas: no window, no global state. Colors are those of Okabe
and Ito, told apart with color blindness; roles also differ in marker and line style, for print.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from metrics.protocol import Role


@dataclass(frozen=True)
class Look:
    """How one role is drawn, everywhere."""

    label: str
    color: str
    marker: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """For which place a figure is drawn: its type is never scaled, so each place has a figure of its own."""

    width: float = 7.2
    """Inches."""
    height: float = 4.4
    """Inches of an ordinary figure; those with rows find their own."""
    columns: int = 3
    """Of the legend."""
    titled: bool = True
    """False where the text around the figure says what it shows."""


FILE = Shape()
"""A picture that travels alone."""
PAGE = Shape(width=5.5, height=3.9, columns=2, titled=False)
"""Half of a report's page."""
WIDE = Shape(width=10.8, height=3.6, titled=False)
"""The whole width of a report's page."""
PHONE = Shape(width=3.7, height=3.5, columns=1, titled=False)
"""A screen 390 pixels wide."""

ROLE_LOOKS: dict[str, Look] = {
    Role.TRAIN.value: Look("training levels", "#0072B2", "o", "-"),
    Role.TRAIN_HELDOUT.value: Look("unseen levels like training", "#009E73", "D", "-."),
    Role.VALIDATION.value: Look("validation levels", "#E69F00", "s", "--"),
    Role.TEST.value: Look("test levels (sealed until selection)", "#CC3311", "^", "-"),
}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#CC3311", "#8C6D31", "#000000")
"""For series that are not roles, in this order."""
GREY = "#6B6B6B"
INK = "#1B2330"
GRID = "#E4E4E4"
PAPER = "#FFFFFF"
AFTER_DARK = {
    "#0072B2": "#5AA9E6",
    "#E69F00": "#F2B33D",
    "#009E73": "#35C79C",
    "#CC79A7": "#DF9BC0",
    "#56B4E9": "#8FD0F5",
    "#CC3311": "#FF7F63",
    "#8C6D31": "#C9A86A",
    "#000000": "#F2F4F7",
    GREY: "#9BA5B3",
    INK: "#DCE1E8",
    GRID: "#2C343F",
    PAPER: "#171C24",
}
"""What a color becomes on a dark page: as far from the ground as it was from white."""
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.5,
    "svg.hashsalt": "gengap",
    "svg.fonttype": "none",
}
_COLOR = re.compile(r"#[0-9a-f]{6}\b")


@contextmanager
def new_figure(shape: Shape, height: float | None = None) -> Iterator[Figure]:
    """An empty figure under the shared style; `height` in inches overrides the shape's."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(shape.width, height or shape.height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


@contextmanager
def new_axes(
    shape: Shape, title: str, xlabel: str, ylabel: str, height: float | None = None
) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes."""
    with new_figure(shape, height) as figure:
        axes = figure.add_subplot()
        axes.set(title=title if shape.titled else "", xlabel=xlabel, ylabel=ylabel)
        yield figure, axes


def legend_below(figure: Figure, axes: Any, shape: Shape) -> None:
    """One legend under the axes, lines with error bars first; nothing without labels."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        pairs = sorted(zip(handles, labels, strict=True), key=lambda pair: not isinstance(pair[0], ErrorbarContainer))
        handles, labels = [handle for handle, _ in pairs], [label for _, label in pairs]
        figure.legend(handles, labels, loc="outside lower center", ncols=min(shape.columns, len(labels)))


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG: the same bytes for the same figure, whatever the library's version calls itself."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg_text(figure: Figure) -> str:
    """The figure as SVG for a page: letters are outlines, no ground, and colors follow the reader's light or dark.

    An SVG shown as an image sees no style of the page around it, so both sets of colors are inside.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    dark = {light.lower(): after for light, after in AFTER_DARK.items()}
    text = _COLOR.sub(lambda match: f"var(--{match[0][1:]})" if match[0] in dark else match[0], text)
    light_colors = "".join(f"--{name[1:]}:{name};" for name in dark)
    dark_colors = "".join(f"--{name[1:]}:{after};" for name, after in dark.items())
    style = f"<style>:root{{{light_colors}}}@media(prefers-color-scheme:dark){{:root{{{dark_colors}}}}}</style>"
    end = text.index(">") + 1
    return text[:end] + style + text[end:]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``<path>.png`` and ``<path>.svg``, the same bytes for the same figure; returns both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.parent / f"{path.name}{suffix}" for suffix in (".png", ".svg")]
    with mpl.rc_context(STYLE):
        figure.savefig(written[0], metadata={"Software": None})
        figure.savefig(written[1], metadata={"Date": None})
    return written
