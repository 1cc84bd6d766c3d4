from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.diversity import amount_per_kind, describe, effective_number, summarize_returns
from tests.data.helpers import make_episode, write


@pytest.mark.parametrize("order", [0.0, 0.5, 1.0, 2.0])
def test_equal_shares_count_as_many_as_they_are(order: float) -> None:
    assert effective_number([3, 3, 3, 3, 0], order) == pytest.approx(4)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_the_effective_number_falls_with_the_order(shares: list[float]) -> None:
    numbers = [effective_number(shares, order) for order in (0, 0.99, 1, 1.01, 2, 3)]
    assert numbers[0] == pytest.approx(len(shares))
    assert all(left >= right - 1e-9 for left, right in pairwise(numbers))
    assert numbers[-1] >= 1 - 1e-9


def test_known_values() -> None:
    assert effective_number([0.5, 0.25, 0.25]) == pytest.approx(2**1.5)
    assert effective_number([0.5, 0.25, 0.25], 2) == pytest.approx(1 / (0.25 + 0.125))
    np.testing.assert_array_equal(amount_per_kind(["b", "a", "b"], [1, 2, 3]), [2, 4])
    assert summarize_returns([0, 1, 2, 3, 4]) == {
        "mean": 2, "std": pytest.approx(2**0.5), "min": 0, "quartile_1": 1, "median": 2, "quartile_3": 3, "max": 4,
    }  # fmt: skip


def test_a_view_is_described_as_it_is_drawn(tmp_path: Path) -> None:
    episodes = [make_episode(level=0, length=9), make_episode(level=1, length=3, source="other")]
    dataset = write(tmp_path / "a", episodes)
    natural = describe(dataset)
    assert natural["effective_levels"] == pytest.approx(effective_number([9, 3]))
    assert natural["num_transitions"] == 12
    assert describe(dataset, [0.5, 0.5])["effective_sources"] == pytest.approx(2)
