"""The knobs: bounds, fingerprint, JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envs.errors import UsageError
from envs.shop.world.config import WORLDS, WorldConfig, world_config


def test_json_round_trip_keeps_every_knob() -> None:
    config = WorldConfig(name="shop/mine", products=321, mentions=(1, 2, 3, 4), families=("seek", "story"))
    assert WorldConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_name_is_not_part_of_the_fingerprint_but_every_other_knob_is() -> None:
    base = WorldConfig()
    assert WorldConfig(name="shop/other").fingerprint == base.fingerprint
    for changed in (WorldConfig(seed=9), WorldConfig(typos=0.5), WorldConfig(family_size=(2, 8))):
        assert changed.fingerprint != base.fingerprint


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("products", 0),
        ("products", 3),
        ("seed", -1),
        ("seed", 36**3),
        ("typos", 1.5),
        ("attributes", (5, 2)),
        ("attributes", (1, 2, 3)),
        ("near_misses", (0, 0, 0, 0)),
        ("near_misses", (1, 1)),
        ("mentions", (1, -1, 1, 1)),
        ("synonyms", 4),
        ("families", ("sek",)),
        ("products", "many"),
    ],
)
def test_values_out_of_range_are_refused(knob: str, value: Any) -> None:
    with pytest.raises(UsageError, match=r"allowed|Allowed|needs|must") as error:
        WorldConfig(**{knob: value})
    assert knob.rstrip("ies") in str(error.value)


def test_unknown_knobs_and_worlds_name_the_closest() -> None:
    with pytest.raises(UsageError, match="noun_gap"):
        WorldConfig.from_json({"nun_gap": 0.1})
    with pytest.raises(UsageError, match="shop/10k"):
        world_config("shop/10")


def test_named_worlds_have_different_seeds_and_their_own_name() -> None:
    assert len({config.seed for config in WORLDS.values()}) == len(WORLDS)
    assert all(name == config.name for name, config in WORLDS.items())
