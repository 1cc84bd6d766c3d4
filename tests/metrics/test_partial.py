from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UsageError
from metrics import partial
from metrics.partial import PartialMean


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1), min_size=1))
def test_merged_parts_have_the_mean_of_the_whole(parts: list[list[float]]) -> None:
    merged = partial.merge({"x": PartialMean.of(part)} for part in parts)
    everything = [value for part in parts for value in part]
    assert merged["x"].value == pytest.approx(np.mean(everything), abs=1e-6)
    assert merged["x"].count == len(everything)


def test_unequal_shares_are_weighted_by_their_items() -> None:
    merged = partial.merge(
        [{"loss": PartialMean.of([1.0] * 9)}, {"loss": PartialMean.of([11.0]), "only": PartialMean(4, 2)}]
    )
    assert partial.values(merged) == {"loss": 2.0, "only": 2.0}


def test_one_sum_over_ranks_reduces_all_names() -> None:
    names = ("a", "b", "c")
    ranks = [{"a": PartialMean(3, 2)}, {"a": PartialMean(5, 2), "b": PartialMean(1, 4)}]
    summed = sum(partial.pack(rank, names) for rank in ranks)
    assert partial.unpack(np.asarray(summed), names) == {**partial.merge(ranks), "c": PartialMean()}


def test_nothing_has_no_mean_and_unlisted_names_are_refused() -> None:
    assert math.isnan(PartialMean().value)
    assert partial.values({"x": PartialMean()}) == {}
    with pytest.raises(UsageError, match=r"\['y'\]"):
        partial.pack({"y": PartialMean(1, 1)}, ("x",))
