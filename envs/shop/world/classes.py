"""Which attribute pairs, option axes, sub-categories, departments and families are held out, and for which role.

The classes depend on names only, so they are the same in every world.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations

from envs.seeding import derive_seed
from envs.shop.world.vocabulary import vocabulary

MIXED = "mixed"
NONE = "none"

_PAIRS = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2

AXIS_CLASSES: dict[str, str] = {
    "color": "train",
    "size": "train",
    "pack": "train",
    "volume": "train",
    "width": "train",
    "flavor": "validation",
    "length": "validation",
    "model": "validation",
    "shade": "validation",
    "style": "test",
    "scent": "test",
    "material": "test",
    "finish": "test",
    "capacity": "test",
    "height": "test",
}
"""Option axis -> the role of the axis shift in which goals may want it."""

FAMILY_CLASSES: dict[str, str] = {
    "seek": "train",
    "need": "train",
    "want": "train",
    "wish": "train",
    "interest": "validation",
    "command": "validation",
    "question": "test",
    "keywords": "test",
    "story": "test",
}
"""Template family -> its role in the paraphrase shift."""

DEPARTMENT_CLASSES: dict[str, str] = {
    "fashion": "train",
    "beauty": "validation",
    "electronics": "test",
    "home": "train",
    "grocery": "train",
}
"""Department -> its role in the department shift."""

HELD_OUT_SUB_CATEGORIES = 3
"""Of each department, for validation and for the test each."""


@cache
def sub_category_classes() -> dict[str, str]:
    """Sub-category -> its role in the sub-category shift; three of each department are held out for each role."""
    words = vocabulary()
    classes = {category.name: "train" for category in words.categories}
    for department in words.departments:
        names = [category.name for category in words.categories if category.department == department]
        names.sort(key=lambda name: derive_seed("shop held-out sub-category", name))
        held = HELD_OUT_SUB_CATEGORIES
        classes.update(dict.fromkeys(names[:held], "validation"))
        classes.update(dict.fromkeys(names[held : 2 * held], "test"))
    return classes


@cache
def class_of_pair(first: str, second: str) -> str:
    """The role of the composition shift in which goals may want both attributes; the order does not matter."""
    low, high = sorted((first, second))
    return _PAIRS[derive_seed("shop attribute pair", low, high) % len(_PAIRS)]


def pair_class(attributes: Sequence[str]) -> str:
    """The class that all pairs share, ``none`` if there is no pair; see `_joined` for the rest."""
    return _joined({class_of_pair(a, b) for a, b in combinations(attributes, 2)})


def axis_class(axes: Sequence[str]) -> str:
    """The class that all option axes share, ``none`` if there is none; see `_joined` for the rest."""
    return _joined({AXIS_CLASSES[axis] for axis in axes})


def _joined(classes: set[str]) -> str:
    """One held-out class wins over ``train``; two held-out classes are ``mixed`` and belong to nobody."""
    held = classes - {"train"}
    if len(held) > 1:
        return MIXED
    return next(iter(held or classes), NONE)
