"""What the built-in shop can talk about: attribute concepts, option axes, sub-categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from envs.shop.world.attribute_data import ATTRIBUTES
from envs.shop.world.category_data import CATEGORIES, VALUES
from envs.shop.world.draws import Draws

BREADCRUMB = " \u203a "
AttributeKind = Literal["a", "w", "f"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One concept and its wordings."""

    name: str
    """The first wording; unique."""
    kind: AttributeKind
    """``a``: stands before the noun or after "that is"; ``w``: after "with"; ``f``: after "for"."""
    surfaces: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Noun:
    """One wording of what a product is."""

    text: str
    plural: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """One option group that products of a sub-category can have."""

    name: str
    """As pages show it, for example ``size``."""
    scale: str
    """Which kind of values, for example ``size:shoe``."""
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubCategory:
    """One kind of product."""

    index: int
    name: str
    department: str
    shelf: str
    nouns: tuple[Noun, ...]
    axes: tuple[Axis, ...]
    pool: tuple[Attribute, ...]
    """Attributes its products can have, the most frequent first."""
    price: float
    """Typical price in dollars."""

    @property
    def breadcrumb(self) -> str:
        """Department, shelf, sub-category: three levels."""
        return BREADCRUMB.join(part.title() for part in (self.department, self.shelf, self.name))


@dataclass(frozen=True)
class Vocabulary:
    """Everything there is to say."""

    attributes: dict[str, Attribute]
    categories: tuple[SubCategory, ...]
    departments: tuple[str, ...]

    def category(self, name: str) -> SubCategory:
        """The sub-category of a name; names are unique."""
        return next(category for category in self.categories if category.name == name)


@cache
def vocabulary() -> Vocabulary:
    """The one vocabulary of the built-in shop."""
    groups = {group: _attributes(group, block) for group, block in ATTRIBUTES.items()}
    categories: list[SubCategory] = []
    for department, block in CATEGORIES.items():
        for line in block.strip().splitlines():
            categories.append(_category(len(categories), department, line, groups))
    attributes = {attribute.name: attribute for members in groups.values() for attribute in members}
    return Vocabulary(attributes, tuple(categories), tuple(CATEGORIES))


def brands(key: int, count: int) -> list[str]:
    """Invented brand names, all different; a few are two words."""
    draws = Draws(key)
    found: dict[str, None] = {}
    while len(found) < count:
        name = "".join(draws.pick(_SYLLABLES) for _ in range(2 + draws.below(2))) + draws.pick(_ENDINGS)
        if draws.chance(0.15):
            name += " " + draws.pick(_SECOND_WORDS)
        found[name.title()] = None
    return list(found)


_SYLLABLES = ("ka", "vo", "lu", "ter", "min", "sol", "bra", "fen", "dri", "mo", "qua", "zel", "nor", "pi", "ru", "thal")
_ENDINGS = ("x", "na", "ra", "tek", "via", "lo", "wyn", "dor", "sca", "ly", "quist", "ven")
_SECOND_WORDS = ("works", "home", "essentials", "labs", "goods", "studio")


def _attributes(group: str, block: str) -> list[Attribute]:
    found = []
    for line in block.strip().splitlines():
        kind, rest = line.split(" ", 1)
        surfaces = _parts(rest, " / ")
        found.append(Attribute(surfaces[0], cast(AttributeKind, kind), surfaces, group))
    return found


def _category(index: int, department: str, line: str, groups: dict[str, list[Attribute]]) -> SubCategory:
    name, nouns, shelf, axes, pools, price = _parts(line, " | ")
    members = [groups[group] for group in _parts(pools, ",")]
    longest = max(len(group) for group in members)
    # Taken in turn, so that the frequent attributes of a sub-category come from all of its groups.
    pool = tuple(group[i] for i in range(longest) for group in members if i < len(group))
    return SubCategory(
        index=index,
        name=name,
        department=department,
        shelf=shelf,
        nouns=tuple(Noun(text.rstrip("+"), text.endswith("+")) for text in _parts(nouns, " / ")),
        axes=tuple(Axis(scale.split(":")[0], scale, _parts(VALUES[scale], ",")) for scale in _parts(axes, ",")),
        pool=pool,
        price=float(price),
    )


def _parts(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator))


def names(items: Sequence[Attribute]) -> tuple[str, ...]:
    """The names of some attributes, in order."""
    return tuple(item.name for item in items)
