from __future__ import annotations

import io
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from envs.errors import UsageError
from metrics import plots
from metrics.figure import save

LEVELS: list[dict[str, Any]] = [
    {
        "num_levels": count,
        "normalized": {
            "train": {"mean": train, "low": train - 0.05, "high": train + 0.05},
            "validation": {"mean": held, "low": held - 0.03, "high": held + 0.04},
            "test": {"mean": held - 0.01, "low": None, "high": None},
        },
        "gap": {"point": train - held, "low": train - held - 0.1, "high": train - held + 0.1},
    }
    for count, train, held in ((300, 0.4, 0.28), (5, 0.9, 0.1), (20, 0.7, 0.2))  # in no order
]


def rendered(figure: Figure) -> np.ndarray[Any, Any]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=60)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


def errorbars(figure: Figure) -> dict[str, Any]:
    return {str(container.get_label()): container for container in figure.axes[0].containers}


def test_returns_are_drawn_with_intervals_over_a_logarithmic_axis() -> None:
    figure = plots.return_against_levels(
        LEVELS, references={"random policy": {"mean": 0.05, "low": 0.04, "high": 0.06}}
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "20", "300"]
    bars = errorbars(figure)
    assert list(bars) == [plots.ROLE_LOOKS[role].label for role in ("train", "validation", "test")]
    line, _, (stems,) = bars["validation levels"]
    np.testing.assert_allclose(line.get_ydata(), [0.1, 0.2, 0.28])
    np.testing.assert_allclose(line.get_xdata(), [5, 20, 300], rtol=0.1)
    ends = np.array([segment[:, 1] for segment in stems.get_segments()])
    np.testing.assert_allclose(ends, [[0.07, 0.14], [0.17, 0.24], [0.25, 0.32]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*bars, "random policy"]


def test_a_role_looks_the_same_in_every_plot() -> None:
    over_levels = errorbars(plots.return_against_levels(LEVELS))["training levels"][0]
    (line,) = plots.curves({"train": {"x": [0, 1], "mean": [0, 1]}}, title="t", ylabel="y").axes[0].get_lines()
    assert over_levels.get_color() == line.get_color() == plots.ROLE_LOOKS["train"].color


def test_roles_stay_apart_without_color_and_for_color_blind_eyes() -> None:
    looks = list(plots.ROLE_LOOKS.values())
    assert len({look.marker for look in looks}) == len(looks)
    # Viénot, Brettel and Mollon (1999): what is left of linear RGB for protanopes and deuteranopes.
    for matrix in (
        [[0.112, 0.888, 0.0], [0.112, 0.888, 0.0], [0.004, -0.004, 1.0]],
        [[0.293, 0.707, 0.0], [0.293, 0.707, 0.0], [-0.021, 0.021, 1.0]],
    ):
        seen = [np.clip(np.array(matrix) @ np.array(to_rgb(look.color)) ** 2.2, 0, 1) ** (1 / 2.2) for look in looks]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.15


def test_the_gap_is_drawn_with_a_zero_line() -> None:
    figure = plots.gap_against_levels(LEVELS)
    (bar,) = errorbars(figure).values()
    np.testing.assert_allclose(bar[0].get_ydata(), [0.8, 0.5, 0.12])
    assert any(np.allclose(line.get_ydata(), 0.0) for line in figure.axes[0].get_lines())


def test_curves_have_bands_where_intervals_are_given_and_holes_where_values_lack() -> None:
    data: dict[str, Any] = {
        "validation": {"x": [0, 10, 20], "mean": [0.0, None, 0.4], "low": [0.0, None, 0.3], "high": [0.1, None, 0.5]},
        "other": {"x": [0, 10], "mean": [1.0, 2.0]},
    }
    figure = plots.curves(data, title="t", ylabel="y", log_y=True)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert len(axes.collections) == 1
    assert np.isnan(np.asarray(axes.get_lines()[0].get_ydata())[1])


def test_the_heatmap_sorts_levels_from_hard_to_easy() -> None:
    scores = np.array([[1.0, 0.0, 0.5], [1.0, 0.2, 0.0]])
    image = plots.per_level_heatmap(scores, ["a", "b"]).axes[0].images[0]
    np.testing.assert_array_equal(np.asarray(image.get_array()), scores[:, [1, 2, 0]])
    kept = plots.per_level_heatmap(scores, ["a", "b"], sort_levels=False).axes[0].images[0]
    np.testing.assert_array_equal(np.asarray(kept.get_array()), scores)


def test_intervals_are_listed_from_top_to_bottom() -> None:
    rows = {"first": {"mean": 0.1, "low": 0.0, "high": 0.2}, "second": {"mean": 0.3}}
    (axes,) = plots.intervals(rows, title="t", xlabel="x", zero_line=True).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("count", [1, 2, 12])
def test_any_number_of_points_is_drawn_inside_the_picture(count: int) -> None:
    levels = [{**LEVELS[0], "num_levels": 2**index} for index in range(count)]
    figure = plots.return_against_levels(levels)
    assert rendered(figure).std() > 0
    low, high = figure.axes[0].get_xlim()
    assert low < 1
    assert high > 2 ** (count - 1)


def test_no_points_are_refused() -> None:
    for plot in (plots.return_against_levels, plots.gap_against_levels):
        with pytest.raises(UsageError, match="no points"):
            plot([])


def test_saved_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = save(plots.return_against_levels(LEVELS), tmp_path / "a" / "returns")
    second = save(plots.return_against_levels(LEVELS), tmp_path / "b" / "returns")
    assert [path.name for path in first] == ["returns.png", "returns.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"\x89PNG")


def test_drawing_leaves_the_users_settings_alone() -> None:
    before = dict(mpl.rcParams)
    plots.return_against_levels(LEVELS)
    assert dict(mpl.rcParams) == before


def test_drawing_needs_no_display_and_no_pyplot() -> None:
    code = "import sys; from metrics import plots; plots.per_level_heatmap([[0, 1]], ['a']); print(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "matplotlib.pyplot" not in result.stdout.split()


def test_curves_over_numbers_of_levels_are_marked_where_there_are_points() -> None:
    data = {"uniform": {"x": [1000, 10], "mean": [2.0, 1.0]}, "one": {"x": [10, 100], "mean": [1.0, 2.0]}}
    (axes,) = plots.curves(data, title="t", ylabel="y", log_x=True).axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100", "1,000"]
