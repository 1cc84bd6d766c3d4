"""Protocols by name: each shift plays what it promises, and refuses data that it does not train on."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from envs import registry
from envs.audit import distinct_levels, level_hashes
from envs.errors import UsageError
from envs.registry import find_shift, level_tags, make_spec, register_shift, shift_names
from envs.shifts import EnvShift
from envs.shop.world.goals import world
from envs.shop.world.splits import shop_split
from envs.spec import LevelSet
from metrics.protocol import EvaluationProtocol, Role
from metrics.protocols import PROTOCOLS, build_protocol, is_shift, training_levels

COUNTS = {"num_train": 5, "num_validation": 6, "num_test": 7}


def build(name: str, num_levels: int = 20) -> EvaluationProtocol:
    env = find_shift(name).env("train")
    return build_protocol(name, make_spec(env), training_levels(name, env, num_levels), **COUNTS)


@pytest.mark.parametrize("name", shift_names())
def test_a_shift_plays_the_first_levels_of_each_of_its_roles(name: str) -> None:
    protocol, shift = build(name), find_shift(name)
    assert protocol.name == name
    assert protocol.roles == tuple(Role)
    assert protocol.open_roles == (Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION)
    assert [len(split.levels) for split in protocol.splits] == [5, 6, 6, 7]
    for split in protocol.splits:
        assert split.env == shift.env(split.role.value)
        assert all(shift.holds(split.role.value, level) for level in split.levels)
    for split in protocol.splits[1:]:
        assert split.levels == shift.levels(split.role.value, len(split.levels))
    assert protocol.overlaps() == {}
    assert EvaluationProtocol.from_json(json.loads(json.dumps(protocol.to_json()))) == protocol


@pytest.mark.parametrize("name", shift_names())
def test_training_levels_are_those_that_the_shift_holds_in_order(name: str) -> None:
    shift = find_shift(name)
    levels = training_levels(name, shift.env("train"), 30)
    assert list(levels) == [level for level in range(max(levels) + 1) if shift.holds("train", level)]
    assert training_levels(name, shift.env("train"), 11) == levels.first(11)


def test_shop_shifts_are_the_nine_splits() -> None:
    assert [name for name in shift_names() if name.startswith("shop-")] == [f"shop-I{i}" for i in range(9)]
    assert find_shift("shop-I3") is shop_split("I3-sub-category")
    assert build("shop-I2").envs == ("shop/default", "shop/catalogue-b", "shop/catalogue-c")
    assert build("shop-I8").envs == ("shop/default", "shop/3k", "shop/10k")
    assert build("shop-I3").envs == ("shop/default",)


@pytest.mark.parametrize("name", ["shop-I1", "shop-I3", "shop-I4", "shop-I5", "shop-I6", "shop-I7"])
def test_data_of_another_training_distribution_is_refused(name: str) -> None:
    everything = LevelSet.range("shop/default", 0, 60)
    foreign = [level for level in everything if not find_shift(name).holds("train", level)]
    assert foreign
    with pytest.raises(UsageError, match=rf"not train on {len(foreign)} of the 60 .* first of them {foreign[0]}\b"):
        build_protocol(name, make_spec("shop/default"), everything, **COUNTS)


@pytest.mark.parametrize("role", ["train_heldout", "validation", "test"])
def test_a_held_out_level_is_refused_for_training_even_if_not_played(role: str) -> None:
    stolen = find_shift("shop-I0").levels(role, 1).levels[0]
    with pytest.raises(UsageError, match=f"first of them {stolen}"):
        build_protocol("shop-I0", make_spec("shop/default"), LevelSet.of("shop/default", [0, 1, stolen]), num_train=1)


SHIFTED_TAGS = {"shop-I1": "family", "shop-I3": "sub_category", "shop-I4": "department", "shop-I6": "num_constraints"}


@pytest.mark.parametrize("name", [name for name in shift_names() if name.startswith("shop-")])
def test_no_text_and_no_wanted_product_is_played_for_two_roles(name: str) -> None:
    train = training_levels(name, "shop/default", 80)
    protocol = build_protocol(name, make_spec("shop/default"), train, num_validation=80, num_test=80)
    texts, products, shifted = {}, {}, {}
    for split in protocol.splits:
        goals = [world(split.env).goal(level) for level in split.levels]
        texts[split.role] = {" ".join(goal.instruction.split(", and price")[0].lower().split()) for goal in goals}
        products[split.role] = {goal.asin for goal in goals}
        shifted[split.role] = set(level_tags(split.env, split.levels, SHIFTED_TAGS.get(name, "role")))
    for a, b in combinations(Role, 2):
        assert not texts[a] & texts[b]
        assert not products[a] & products[b]
        assert {a, b} == {Role.TRAIN, Role.TRAIN_HELDOUT} or not shifted[a] & shifted[b]


def test_a_shift_trains_in_one_environment() -> None:
    with pytest.raises(UsageError, match=r"trains in 'shop/default', but 'shop/3k' was given; set env=shop/default"):
        training_levels("shop-I8", "shop/3k", 5)
    with pytest.raises(UsageError, match="trains in 'grid/default'"):
        build_protocol("grid-variants", make_spec("grid/themes"), LevelSet.range("grid/themes", 0, 3))


@pytest.mark.parametrize(
    ("received", "meant"), [("shop-I9", "shop-I"), ("shop-i3", "shop-I3"), ("shop-I3-sub-category", "shop-I3")]
)
def test_an_unknown_protocol_is_answered_with_the_closest(received: str, meant: str) -> None:
    for call in (
        lambda: is_shift(received),
        lambda: training_levels(received, "shop/default", 3),
        lambda: build_protocol(received, make_spec("shop/default"), LevelSet.range("shop/default", 0, 3)),
    ):
        with pytest.raises(UsageError, match=f"Did you mean '{meant}"):
            call()
    with pytest.raises(UsageError, match="Did you mean 'shop-I3'"):
        find_shift("shop-i3")


def test_other_protocols_train_on_the_first_levels() -> None:
    for name in PROTOCOLS:
        assert training_levels(name, "grid/default", 4) == LevelSet.range("grid/default", 0, 4)


def test_environments_that_one_policy_cannot_play_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SHIFTS", dict(registry._SHIFTS))
    envs = dict.fromkeys(("train", "train_heldout"), "grid/default")
    odd = EnvShift("everything", {**envs, "validation": "grid/themes", "test": "quiz/default"})
    register_shift("odd", lambda: odd)
    with pytest.raises(UsageError, match="cannot play both 'grid/default' and 'quiz/default': the obs"):
        build_protocol("odd", make_spec("grid/default"), LevelSet.range("grid/default", 0, 3))
    with pytest.raises(UsageError, match="called 'odd' exists already"):
        register_shift("odd", lambda: odd)


def test_a_shift_needs_an_environment_for_every_role() -> None:
    with pytest.raises(UsageError, match=r"missing: \['test'\]"):
        EnvShift("nothing", dict.fromkeys(("train", "train_heldout", "validation"), "grid/default"))
    with pytest.raises(UsageError, match="Did you mean 'test'"):
        EnvShift("nothing", {"tset": "grid/default"})


@pytest.mark.procgen
def test_distinct_levels_look_like_no_training_level_and_like_no_other() -> None:
    spec, train = make_spec("procgen/coinrun"), LevelSet.range("procgen/coinrun", 0, 1500)
    plain, distinct = (
        build_protocol(name, spec, train, num_train=10, num_validation=150, num_test=60)
        for name in ("strict", "strict-distinct")
    )
    seen = set(level_hashes(train))
    assert seen & set(level_hashes(plain.split(Role.VALIDATION).levels)), "nothing to leave out: the test is too easy"
    held_out = [level_hashes(distinct.split(role).levels) for role in (Role.VALIDATION, Role.TEST)]
    assert [len(hashes) for hashes in held_out] == [150, 60]
    assert len({*held_out[0], *held_out[1]}) == 210
    assert not seen & {*held_out[0], *held_out[1]}
    kept = [level for level in plain.split(Role.VALIDATION).levels if level in distinct.split(Role.VALIDATION).levels]
    assert len(kept) > 100, "levels that look different were left out"
    assert distinct.split(Role.TRAIN) == plain.split(Role.TRAIN)
    assert EvaluationProtocol.from_json(distinct.to_json()) == distinct


def test_too_few_distinct_levels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.audit.level_hashes", lambda levels, *_: [str(level % 7) for level in levels])
    with pytest.raises(UsageError, match="Only 7 levels"):
        distinct_levels("grid/default", 0, 8, set())
    levels, seen = distinct_levels("grid/default", 0, 3, {"0", "2"})
    assert levels.levels == (1, 3, 4)
    assert seen == {"0", "1", "2", "3", "4"}
