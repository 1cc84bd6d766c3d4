"""The vocabulary says one thing with each wording."""

from __future__ import annotations

import re
from collections import Counter

from envs.shop.world.classes import AXIS_CLASSES, DEPARTMENT_CLASSES, FAMILY_CLASSES, sub_category_classes
from envs.shop.world.draws import Draws
from envs.shop.world.language import _reword
from envs.shop.world.language_data import FAMILIES, FAMILY_NAMES
from envs.shop.world.vocabulary import brands, vocabulary

WORDS = vocabulary()


def test_five_departments_of_twelve_to_twenty_three_sub_categories() -> None:
    counts = Counter(category.department for category in WORDS.categories)
    assert len(counts) == 5
    assert all(12 <= count <= 23 for count in counts.values())
    assert len({category.name for category in WORDS.categories}) == len(WORDS.categories)


def test_no_wording_means_two_things_within_a_sub_category() -> None:
    for category in WORDS.categories:
        wordings = [text for item in category.pool for text in item.surfaces] + [noun.text for noun in category.nouns]
        repeated = [text for text, count in Counter(wordings).items() if count > 1]
        assert repeated == [], category.name
        values = [value for axis in category.axes for value in axis.values]
        assert [value for value, count in Counter(values).items() if count > 1] == [], category.name


def test_no_head_noun_is_shared_by_two_sub_categories() -> None:
    nouns = Counter(noun.text for category in WORDS.categories for noun in category.nouns)
    assert [text for text, count in nouns.items() if count > 1] == []


def test_attribute_names_are_unique_and_three_wordings_each() -> None:
    members = {item for category in WORDS.categories for item in category.pool}
    assert len({item.name for item in members}) == len(members) >= 150
    assert all(len(set(item.surfaces)) == 3 and item.kind in "awf" for item in members)


def test_option_values_are_lower_case_and_can_be_clicked() -> None:
    for category in WORDS.categories:
        for axis in category.axes:
            assert axis.values
            for value in axis.values:
                assert value == value.strip().lower()
                assert not re.search(r"[\[\]/]", value)


def test_rewording_an_option_value_keeps_it_apart_from_the_others_of_its_axis() -> None:
    for category in WORDS.categories:
        for axis in category.axes:
            meanings: dict[str, str] = {}
            for value in axis.values:
                for attempt in range(12):
                    shown = _reword(value, Draws(1, attempt))
                    assert meanings.setdefault(shown, value) == value, (category.name, axis.name, shown)


def test_every_axis_family_department_and_sub_category_has_a_class() -> None:
    axes = {axis.name for category in WORDS.categories for axis in category.axes}
    assert axes == set(AXIS_CLASSES)
    assert set(FAMILY_CLASSES) == set(FAMILY_NAMES)
    assert set(DEPARTMENT_CLASSES) == set(WORDS.departments)
    assert set(sub_category_classes()) == {category.name for category in WORDS.categories}
    for classes in (AXIS_CLASSES, FAMILY_CLASSES, DEPARTMENT_CLASSES, sub_category_classes()):
        assert set(classes.values()) == {"train", "validation", "test"}


def test_families_of_different_roles_share_neither_openings_nor_frames() -> None:
    def parts(role: str) -> set[str]:
        mine = [family for family in FAMILIES if FAMILY_CLASSES[family.name] == role]
        openings = {text for family in mine for formal, informal, _ in family.openings for text in (formal, informal)}
        return openings | {"frame " + frame for family in mine for frame, _ in family.frames}

    assert parts("train") & parts("test") == set()
    assert parts("validation") & parts("test") == set()
    # "pre" is the plainest frame there is; validation shares it and differs by its openings.
    assert parts("train") & parts("validation") == {"frame pre"}


def test_brands_are_different_from_each_other_and_from_catalogue_to_catalogue() -> None:
    first, second = brands(1, 60), brands(2, 60)
    assert len(set(first)) == 60
    assert len(set(first) & set(second)) < 10
