"""Ordinary and conditional dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UsageError
from search.dimensions import apply_values, draw, features, parse_dimensions
from trainers.recipes import grid_bc

TEXTS = {
    "algorithm.options.expectile": "uniform 0.5 0.9 if algorithm.name=iql",
    "train.learning_rate": "log 1e-4 1e-2",
    "algorithm.name": "choice bc iql",
    "network.hidden_size": "int 32 64",
}


@given(seed=st.integers(0, 10_000))
def test_draws_lie_in_their_ranges_and_count_where_their_condition_holds(seed: int) -> None:
    dimensions = parse_dimensions(TEXTS)
    values = draw(dimensions, seed)
    assert 1e-4 <= values["train.learning_rate"] <= 1e-2
    assert values["network.hidden_size"] in range(32, 65)
    assert ("algorithm.options.expectile" in values) == (values["algorithm.name"] == "iql")
    experiment = apply_values(grid_bc(), values)
    assert experiment.train.learning_rate == values["train.learning_rate"], "no digit is lost"
    assert experiment.algorithm.options == (
        {"expectile": values["algorithm.options.expectile"]} if experiment.algorithm.name == "iql" else {}
    )
    row = features(dimensions, values)
    assert len(row) == 5
    assert ((row >= 0) & (row <= 1)).all()


def test_draws_cover_their_ranges() -> None:
    values = [draw(parse_dimensions(TEXTS), seed) for seed in range(400)]
    rates = np.log10([float(value["train.learning_rate"]) for value in values])
    assert abs(rates.mean() + 3) < 0.1, "log-uniform"
    assert {value["network.hidden_size"] for value in values} >= {32, 64}
    assert abs(np.mean([value["algorithm.name"] == "iql" for value in values]) - 0.5) < 0.1


def test_a_further_dimension_changes_no_other_draw() -> None:
    more = draw(parse_dimensions(TEXTS), 7)
    for name in ("train.learning_rate", "algorithm.name", "network.hidden_size"):
        assert draw(parse_dimensions({name: TEXTS[name]}), 7) == {name: more[name]}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "logg 1 2"}, "for example 'log 1e-4 1e-2'"),
        ({"a": "log 0 1"}, "above 0 for log"),
        ({"a": "uniform 2 1"}, "must rise"),
        ({"a": "int 1.5 3"}, "whole for int"),
        ({"a": "uniform 0 inf"}, "finite"),
        ({"a": "choice x"}, "for example"),
        ({"a": "choice x x"}, "for example"),
        ({"a": "int 1 2 if b"}, "write FIELD=VALUE"),
        ({"a": "int 1 2 if b=x"}, "choice that the dimension 'a' depends on 'b'"),
        ({"a": "int 1 2 if name=x", "nane": "choice x y"}, "Did you mean 'nane'"),
        ({"a": "int 1 2 if b=z", "b": "choice x y"}, "Allowed: x, y"),
        ({"a": "choice x y if b=x", "b": "choice x y if a=x"}, "circle"),
    ],
)
def test_what_cannot_be_read_is_refused(texts: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_dimensions(texts)


def test_an_unknown_field_is_answered_with_the_closest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'train\.learning_rate'"):
        apply_values(grid_bc(), {"train.learning_rat": 0.1})
