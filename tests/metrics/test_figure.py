from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from metrics import panels, plots
from metrics.figure import AFTER_DARK, FILE, PAGE, PAPER, PHONE, WIDE, Shape, png_bytes, svg_text

LEVELS: list[dict[str, Any]] = [
    {
        "num_levels": count,
        "returns": {
            role: {"mean": value, "low": value - 1, "high": value + 1}
            for role, value in (("train", 9.0), ("train_heldout", 5.0), ("validation", 3.0), ("test", 2.0))
        },
        "gap": {"point": 1.25, "low": 1.0, "high": 1.5},
    }
    for count in (10, 1000, 100_000)
]
LINE = {"x": [0, 1000], "mean": [-1, 1], "low": [-1, 0], "high": [0, 1]}
PROFILE = {"thresholds": [0, 1], "shares": [1, 0], "low": [1, 0], "high": [1, 0]}


def points(num_strata: int) -> list[panels.MixturePoint]:
    names = ["fashion", "grocery", "home", "toys", "garden", "office"][:num_strata]
    even = panels.MixturePoint(
        label="uniform", group="50 training levels", shares=dict.fromkeys(names, 1 / num_strata), value=0.4
    )
    one = panels.MixturePoint(
        label="one", group="500 training levels", shares=dict.fromkeys(names, 0.0) | {names[0]: 1.0}, value=0.1
    )
    return [even, one]


FIGURES = {
    "returns": lambda shape: plots.return_against_levels(
        LEVELS, key="returns", ylabel="episode return", references={"random policy": {"mean": 4.0}}, shape=shape
    ),
    "gap": lambda shape: plots.gap_against_levels(LEVELS, shape=shape),
    "curves": lambda shape: plots.curves(
        {"train": LINE, "validation": LINE}, title="Curves", ylabel="normalized return", shape=shape
    ),
    "heatmap": lambda shape: plots.per_level_heatmap(np.eye(2), ["10 levels", "1,000 levels"], shape=shape),
    "profile": lambda shape: panels.performance_profile({"100,000 training levels": PROFILE}, shape=shape),
    "triangle": lambda shape: panels.mixtures(points(3), value_label="test return", shape=shape),
    "parallel": lambda shape: panels.mixtures(points(6), value_label="test return", shape=shape),
}


@pytest.mark.parametrize("shape", [FILE, PAGE, PHONE, WIDE], ids=["file", "page", "phone", "wide"])
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_at_any_width(name: str, shape: Shape) -> None:
    figure = FIGURES[name](shape)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for text in shown_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= -1, text.get_text()
        assert box.y0 >= -1, text.get_text()
        assert box.x1 <= width + 1, text.get_text()
        assert box.y1 <= height + 1, text.get_text()


def shown_texts(figure: Figure) -> list[Text]:
    texts: list[Text] = figure.findobj(lambda artist: isinstance(artist, Text) and bool(artist.get_text().strip()))
    # Ticks beyond the limits of their axes exist but are not drawn.
    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) - 1e-9 <= tick.get_loc() <= max(axis.get_view_interval()) + 1e-9
    }
    return [text for text in texts if text.get_visible() and text not in ticks]


def test_a_figure_for_a_page_has_no_title_and_one_that_travels_has() -> None:
    assert FIGURES["gap"](FILE).axes[0].get_title("left") != ""
    assert FIGURES["gap"](PHONE).axes[0].get_title("left") == ""


def test_svg_follows_light_and_dark_and_names_no_version() -> None:
    text = svg_text(FIGURES["returns"](PAGE))
    assert text.startswith("<svg")
    assert "matplotlib.org" not in text
    assert "<text" not in text  # outlines: the reader's machine may lack the font
    body = text[text.index("</style>") :]
    assert not {color.lower() for color in AFTER_DARK} & set(re.findall(r"#[0-9a-f]{6}", body))
    used = set(re.findall(r"var\(--([0-9a-f]{6})\)", body))
    assert {"0072b2", "cc3311", "1b2330"} <= used
    for color in used:
        assert text.count(f"--{color}:") == 2  # once for each ground
    assert "prefers-color-scheme:dark" in text


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert svg_text(FIGURES["triangle"](PHONE)) == svg_text(FIGURES["triangle"](PHONE))
    assert png_bytes(FIGURES["profile"](FILE)) == png_bytes(FIGURES["profile"](FILE))


def test_colors_stand_out_from_the_dark_ground() -> None:
    ground = luminance(AFTER_DARK[PAPER])
    for light, dark in AFTER_DARK.items():
        if light in plots.PALETTE:
            assert (luminance(dark) + 0.05) / (ground + 0.05) > 4.5, light


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
