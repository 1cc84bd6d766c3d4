from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from envs.errors import UsageError
from metrics import panels
from metrics.figure import PALETTE
from metrics.panels import MixturePoint, SheetFrame


def mixture(label: str, value: float, **shares: float) -> MixturePoint:
    return MixturePoint(label=label, group="50 training levels", shares=shares, value=value)


def test_a_profile_is_a_falling_step_with_its_band() -> None:
    profile = {
        "thresholds": [0.0, 0.5, 1.0],
        "shares": [1.0, 0.4, 0.0],
        "low": [1.0, 0.3, 0.0],
        "high": [1.0, 0.6, 0.0],
    }
    (axes,) = panels.performance_profile({"10 levels": profile}).axes
    (line,) = axes.get_lines()
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(line.get_ydata(), profile["shares"])
    assert len(axes.collections) == 1


def test_three_strata_are_a_triangle() -> None:
    points = [mixture("even", 0.5, a=1 / 3, b=1 / 3, c=1 / 3), mixture("a", 0.1, a=1.0, b=0.0, c=0.0)]
    triangle = panels.mixtures(points, value_label="test return").axes[0]
    assert triangle.name == "ternary"
    scatter = triangle.collections[0]
    np.testing.assert_array_equal(np.asarray(scatter.get_array()), [0.5, 0.1])
    middle, corner = np.asarray(scatter.get_offsets())
    assert corner[1] > middle[1]  # the first stratum's corner is at the top


def test_other_numbers_of_strata_are_parallel_axes_that_end_in_the_value() -> None:
    points = [mixture("even", 0.6, a=0.5, b=0.5), mixture("a", 0.2, a=1.0, b=0.0)]
    left, right = panels.mixtures(points, value_label="test return").axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["a", "b", "test return"]
    even, alone = (np.asarray(line.get_ydata()) for line in left.get_lines()[:2])
    np.testing.assert_allclose(even, [0.5, 0.5, 1.0])
    np.testing.assert_allclose(alone, [1.0, 0.0, 0.0])
    # The last point lies at its value on the right axis.
    height = np.interp(0.2, right.get_ylim(), left.get_ylim())
    np.testing.assert_allclose(height, alone[-1], atol=1e-9)


def test_mixtures_over_different_strata_are_refused() -> None:
    for points in ([], [mixture("a", 1.0, a=1.0), mixture("b", 1.0, b=1.0)]):
        with pytest.raises(UsageError, match="same strata"):
            panels.mixtures(points, value_label="return")


def test_a_contact_sheet_tells_won_from_lost_by_color_and_by_sign() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    frames = [SheetFrame(image=image, label=str(level), won=level == 1) for level in range(5)]
    figure = panels.contact_sheet(frames, columns=3)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title("left") for axes in drawn] == ["✗ 0", "✓ 1", "✗ 2", "✗ 3", "✗ 4"]
    colors = {axes.get_title("left")[0]: to_hex(axes.spines["left"].get_edgecolor()) for axes in drawn}
    assert colors == {"✗": PALETTE[5].lower(), "✓": PALETTE[2].lower()}
    with pytest.raises(UsageError, match="no frames"):
        panels.contact_sheet([], columns=3)


def test_a_triangle_needs_no_pyplot() -> None:
    code = (
        "import sys; from metrics.panels import *; "
        "p = MixturePoint(label='a', group='g', shares={'a': 1.0, 'b': 0.0, 'c': 0.0}, value=1.0); "
        "mixtures([p], value_label='v'); print(*sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "matplotlib.pyplot" not in result.stdout.split()
