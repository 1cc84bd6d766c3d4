"""Typed overrides by dotted name, and configurations that survive JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from envs.errors import UsageError
from envs.overrides import apply_overrides, config_from_json, field_names, parse_overrides


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    name: str = "a"
    options: dict[str, float | int | str | bool] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    steps: int = 3
    quick: bool = False
    sizes: tuple[int, ...] = (1, 2)
    limit: int | None = None
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    made: range | None = None
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("steps=1e3", Outer(steps=1000)),
        ("steps=20_000", Outer(steps=20_000)),
        ("steps=9007199254740993", Outer(steps=9007199254740993)),
        ("steps=-9007199254740993", Outer(steps=-9007199254740993)),
        ("steps=1.2e3", Outer(steps=1200)),
        ("quick=true", Outer(quick=True)),
        ("sizes=3,4,5", Outer(sizes=(3, 4, 5))),
        ("limit=7", Outer(limit=7)),
        ("limit=none", Outer()),
        ("inner.rate=1e-4", Outer(inner=Inner(rate=1e-4))),
        ("inner.name=1", Outer(inner=Inner(name="1"))),
        ("inner.options.noise=0.5", Outer(inner=Inner(options={"noise": 0.5}))),
        ("inner.options.mode=greedy", Outer(inner=Inner(options={"mode": "greedy"}))),
        ("inner.options={'noise': 1, 'mode': 'greedy'}", Outer(inner=Inner(options={"noise": 1, "mode": "greedy"}))),
        ("shares.a.b=1", Outer(shares={"a.b": 1.0})),
        ("shares={'a': 0.5}", Outer(shares={"a": 0.5})),
    ],
)
def test_values_get_the_type_of_their_field(word: str, expected: Outer) -> None:
    assert apply_overrides(Outer(), parse_overrides([word])) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stebs=1", "Did you mean 'steps'"),
        ("inner.rat=1", "Did you mean 'inner.rate'"),
        ("steps=1.5", "whole number"),
        ("steps=x", "it is a number"),
        ("quick=maybe", "true or false"),
        ("inner=3", "name one of its fields"),
        ("steps", "write FIELD=VALUE"),
        ("steps=nan", "whole number"),
        ("steps=inf", "whole number"),
        ("steps=1e999999999", "whole number"),
        ("sizes=1,inf", "whole number"),
        ("inner.rate=nan", "inner.rate received 'nan'; it is a finite number"),
        ("inner.rate=-inf", "finite number"),
        ("inner.rate=1e999", "finite number"),
        ("inner.options.noise=1e999", "finite number"),
        ("inner.options.noise=[1]", "true, false or a word"),
        ("inner.options=[1]", "inner.options.KEY=VALUE"),
        ("inner.options={[1]: 2}", "inner.options.KEY=VALUE"),
        ("shares.a=nan", "shares.a received 'nan'"),
        ("shares.a=x", "it is a number"),
        ("shares={'a': 'x'}", "shares.a received 'x'"),
        ("made=1:2", "made received '1:2', but it cannot be written as text"),
    ],
)
def test_a_mistake_is_answered(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply_overrides(Outer(), parse_overrides([word]))


def test_field_names_are_what_overrides_accept() -> None:
    assert field_names(Outer()) == [
        "steps",
        "quick",
        "sizes",
        "limit",
        "shares",
        "made",
        "inner.rate",
        "inner.name",
        "inner.options",
    ]


def test_a_configuration_survives_json() -> None:
    config = Outer(sizes=(5,), inner=Inner(rate=2.0, options={"a": 1}))
    assert config_from_json(Outer, json.loads(json.dumps(dataclasses.asdict(config)))) == config
