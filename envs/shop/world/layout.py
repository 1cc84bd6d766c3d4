"""Which product of a catalogue is in which sub-category and family: a few small arrays, drawn at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.seeding import derive_seed, rng_for
from envs.shop.world.config import WorldConfig
from envs.shop.world.roles import ROLES, role_of_place
from envs.shop.world.vocabulary import SubCategory, vocabulary

Int = npt.NDArray[np.int32]

SMALLEST_CATEGORY = 5


@dataclass(frozen=True)
class Layout:
    """Where each product stands; N products, in catalogue order."""

    category: Int  # [N], index into the vocabulary's sub-categories
    family: Int  # [N]
    member: Int  # [N], 0 is the product that the others of the family are near misses of
    targets: dict[str, Int]
    """Role -> the products that its goals may want, ascending; disjoint."""


def stocked(config: WorldConfig) -> tuple[SubCategory, ...]:
    """The sub-categories that a world sells, department by department."""
    words = vocabulary()
    chosen: list[SubCategory] = []
    for department in words.departments[: config.departments]:
        members = [category for category in words.categories if category.department == department]
        chosen += members[: config.sub_categories]
    return tuple(chosen)


def make_layout(config: WorldConfig) -> Layout:
    """The layout of a world, from its configuration alone."""
    kinds = stocked(config)
    sizes = _category_sizes(config, kinds)
    category = np.repeat(np.asarray([kind.index for kind in kinds], dtype=np.int32), sizes)
    rng = rng_for("shop layout", config.fingerprint)
    family, member = _families(rng, sizes, config.family_size)
    role = np.concatenate([_roles(int(size)) for size in sizes])
    # Near misses must not be neighbors: the search breaks ties by the order of the catalogue.
    order = rng.permutation(config.products)
    shuffled = role[order]
    targets = {name: np.flatnonzero(shuffled == i).astype(np.int32) for i, name in enumerate(ROLES)}
    for name, members in targets.items():
        if not len(members):
            targets[name] = np.arange(config.products, dtype=np.int32)
    return Layout(category[order], family[order], member[order], targets)


def _category_sizes(config: WorldConfig, kinds: tuple[SubCategory, ...]) -> Int:
    """Products of each sub-category, by a Zipf law whose order is the same in every catalogue."""
    count = len(kinds)
    smallest = min(SMALLEST_CATEGORY, config.products // count)
    rank = np.argsort([derive_seed("shop category rank", kind.name) for kind in kinds]).argsort()
    weights = (rank + 1.0) ** -config.category_skew
    exact = weights / weights.sum() * (config.products - smallest * count)
    sizes = np.floor(exact).astype(np.int32)
    left = config.products - smallest * count - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    full: Int = sizes + np.int32(smallest)
    return full


def _families(rng: np.random.Generator, sizes: Int, bounds: tuple[int, int]) -> tuple[Int, Int]:
    """Family and member number of each product; no family spans two sub-categories."""
    family, member = [], []
    number = 0
    for size in sizes:
        left = int(size)
        while left:
            members = min(left, int(rng.integers(bounds[0], bounds[1] + 1)))
            family.append(np.full(members, number, dtype=np.int32))
            member.append(np.arange(members, dtype=np.int32))
            number += 1
            left -= members
    return np.concatenate(family), np.concatenate(member)


def _roles(size: int) -> Int:
    return np.asarray([ROLES.index(role_of_place(place)) for place in range(size)], dtype=np.int32)
