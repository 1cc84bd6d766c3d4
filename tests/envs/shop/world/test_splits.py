"""The shifts: each role holds what its name says, and no two roles share anything."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from envs.errors import UsageError
from envs.shop.world.classes import FAMILY_CLASSES, class_of_pair, pair_class, sub_category_classes
from envs.shop.world.goals import world
from envs.shop.world.roles import ROLES, level_range
from envs.shop.world.splits import ShopSplit, held_out_axes, shop_split, split_names
from envs.spec import LevelSet

COUNT = 60
SHIFTS = ("train", "validation", "test")


def tags(split: ShopSplit, role: str, count: int = COUNT) -> list[dict[str, str | int]]:
    shop = world(split.env(role))
    return [shop.tags(level) for level in split.levels(role, count)]


def test_nine_splits_by_short_and_full_name() -> None:
    assert [name.split("-")[0] for name in split_names()] == [f"I{i}" for i in range(9)]
    assert shop_split("i3") is shop_split("I3") is shop_split("I3-sub-category")
    with pytest.raises(UsageError, match="I5-attribute-composition"):
        shop_split("I5-attribute-compostion")
    with pytest.raises(UsageError, match="validation"):
        shop_split("I0").levels("validaton", 3)


@pytest.mark.parametrize("name", split_names())
def test_levels_texts_and_products_of_all_roles_are_disjoint(name: str) -> None:
    split = shop_split(name)
    texts: dict[str, set[str]] = {}
    asins: dict[str, set[str]] = {}
    for role in ROLES:
        levels = split.levels(role, COUNT)
        assert isinstance(levels, LevelSet)
        assert levels.env == split.env(role)
        start, stop = level_range(role)
        assert all(start <= level < stop for level in levels)
        assert all(first < second for first, second in pairwise(levels))
        goals = [world(levels.env).goal(level) for level in levels]
        texts[role] = {goal.instruction.split(", and price")[0] for goal in goals}
        asins[role] = {goal.asin for goal in goals}
    for first, second in combinations(ROLES, 2):
        assert texts[first].isdisjoint(texts[second])
        assert asins[first].isdisjoint(asins[second])


@pytest.mark.parametrize("name", split_names())
def test_held_out_training_levels_are_filtered_as_training(name: str) -> None:
    split = shop_split(name)
    assert split.part("train_heldout") == split.part("train")


@pytest.mark.parametrize("name", split_names())
def test_five_hundred_test_levels_exist_and_smaller_sets_are_their_beginning(name: str) -> None:
    split = shop_split(name)
    levels = split.levels("test", 500)
    assert split.levels("test", 20).levels == levels.levels[:20]


def test_i0_takes_every_level() -> None:
    assert shop_split("I0").levels("test", 5).levels == tuple(range(2_000_000, 2_000_005))


def test_i1_families() -> None:
    for role in SHIFTS:
        assert {FAMILY_CLASSES[str(tag["family"])] for tag in tags(shop_split("I1"), role)} == {role}


def test_i2_and_i8_change_the_catalogue() -> None:
    for name in ("I2", "I8"):
        envs = [shop_split(name).env(role) for role in SHIFTS]
        assert len(set(envs)) == 3
    worlds = [world(shop_split("I8").env(role)).config for role in SHIFTS]
    assert all(a.products < b.products and a.family_size <= b.family_size for a, b in pairwise(worlds))


def test_i3_and_i4_hold_out_kinds_of_products() -> None:
    classes = sub_category_classes()
    for role in SHIFTS:
        assert {classes[str(tag["sub_category"])] for tag in tags(shop_split("I3"), role)} == {role}
    departments = {role: {tag["department"] for tag in tags(shop_split("I4"), role)} for role in SHIFTS}
    assert departments["train"] == {"fashion", "home", "grocery"}
    assert departments["validation"] == {"beauty"}
    assert departments["test"] == {"electronics"}


def test_i5_pairs_are_new_but_every_single_attribute_was_seen() -> None:
    split = shop_split("I5")
    shop = world(split.env("train"))
    trained = [shop.latent_goal(level).attributes for level in split.levels("train", 12_000)]
    seen = {name for names in trained for name in names}
    pairs = {frozenset(pair) for names in trained for pair in combinations(names, 2)}
    for role in ("validation", "test"):
        for level in split.levels(role, 300):
            names = shop.latent_goal(level).attributes
            asked = {frozenset(pair) for pair in combinations(names, 2)}
            assert any(class_of_pair(*pair) == role for pair in asked)
            assert all(class_of_pair(*pair) in (role, "train") for pair in asked)
            assert set(names) <= seen
            assert not {pair for pair in asked if class_of_pair(*pair) == role} & pairs


def test_pair_classes_ignore_the_order_and_join() -> None:
    assert class_of_pair("a", "b") == class_of_pair("b", "a")
    assert pair_class(("a",)) == "none"
    found = {pair_class((f"x{i}", f"y{i}", f"z{i}")) for i in range(200)}
    assert found == {"train", "validation", "test", "mixed"}


def test_i6_depths() -> None:
    split = shop_split("I6")
    assert max(int(tag["num_constraints"]) for tag in tags(split, "train")) == 2
    assert {tag["num_constraints"] for tag in tags(split, "validation")} == {3}
    assert min(int(tag["num_constraints"]) for tag in tags(split, "test")) >= 4


def test_i7_option_groups() -> None:
    split = shop_split("I7")
    held = {role: held_out_axes(role) for role in SHIFTS}
    for role in SHIFTS:
        for tag in tags(split, role):
            axes = {axis for axis in str(tag["option_axes"]).split("+") if axis}
            others = set().union(*(held[other] for other in SHIFTS if other not in (role, "train")))
            assert axes.isdisjoint(others)
            assert role == "train" or axes & held[role]


def test_too_many_levels_are_refused_with_the_number_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.shop.world.splits.MAX_SCANNED", 50)
    with pytest.raises(UsageError, match="has only 50 levels"):
        shop_split("I0").levels("test", 51)
    with pytest.raises(UsageError, match="at least 1"):
        shop_split("I0").levels("test", 0)
