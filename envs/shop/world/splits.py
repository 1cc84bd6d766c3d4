"""The named shifts I0 to I8: for each role an environment and a filter on the tags of its levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import islice

from envs.errors import UsageError, unknown_name
from envs.shop.world.classes import AXIS_CLASSES, DEPARTMENT_CLASSES, FAMILY_CLASSES, sub_category_classes
from envs.shop.world.goals import Tags, World, world
from envs.shop.world.roles import ROLES, level_range
from envs.spec import LevelSet

DEFAULT = "shop/default"
MAX_SCANNED = 2_000_000

Where = Mapping[str, frozenset[str | int]]


@dataclass(frozen=True)
class Part:
    """The levels of one role: an environment, and for some tags the values that are let in."""

    env: str = DEFAULT
    where: Where | None = None
    trained: bool = False
    """Whether every wanted attribute must be one that training goals can want."""

    def accepts(self, tags: Tags) -> bool:
        """Whether a level with these tags belongs to it."""
        return all(tags[name] in allowed for name, allowed in (self.where or {}).items())


@dataclass(frozen=True)
class ShopSplit:
    """One shift: what is trained on, what is validated on and what is tested on, all disjoint.

    Levels, texts and wanted products of two roles never coincide in any split (see `roles`); the filters add the shift.
    """

    name: str
    measures: str
    parts: Mapping[str, Part]
    """Role -> its levels."""

    def part(self, role: str) -> Part:
        """The part of a role.

        Raises:
            UsageError: For an unknown role, with the closest match.
        """
        if role not in self.parts:
            raise unknown_name("role", role, self.parts)
        return self.parts[role]

    def env(self, role: str) -> str:
        """Name of the environment that a role is played in."""
        return self.part(role).env

    def scan(self, role: str) -> Iterator[int]:
        """The levels of a role, ascending, found one by one; no text is made.

        Raises:
            UsageError: For an unknown role.
        """
        part = self.part(role)
        shop = world(part.env)
        start, stop = level_range(role)
        return (level for level in range(start, stop) if _lets_in(part, shop, level))

    def holds(self, role: str, level: int) -> bool:
        """Whether a level of the role's environment belongs to the role; no text is made.

        Raises:
            UsageError: For an unknown role.
        """
        part = self.part(role)
        start, stop = level_range(role)
        return start <= level < stop and _lets_in(part, world(part.env), level)

    def levels(self, role: str, count: int) -> LevelSet:
        """The first `count` levels of a role.

        Raises:
            UsageError: For an unknown role, or if the role has fewer levels (at most two million are scanned).
        """
        if count < 1:
            raise UsageError(f"{count} levels of {self.name!r} were asked for; at least 1 is needed.")
        found = _levels(self.name, role, count)
        if len(found) < count:
            raise UsageError(
                f"Role {role!r} of {self.name!r} has only {len(found)} levels among the {_limit(role)} "
                f"that were scanned; {count} were asked for. Ask for fewer."
            )
        return LevelSet.of(self.env(role), found)


def split_names() -> tuple[str, ...]:
    """The names of all shifts, I0 first."""
    return tuple(_splits())


def shop_split(name: str) -> ShopSplit:
    """A shift by its short name (``I3``) or its full one (``I3-sub-category``).

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    splits = _splits()
    short = {full.split("-")[0].lower(): full for full in splits}
    full = short.get(name.lower(), name)
    if full not in splits:
        raise unknown_name("split of the shop", name, splits)
    return splits[full]


def shifts() -> dict[str, Callable[[], ShopSplit]]:
    """Every shift for the registry, under the names ``shop-I0`` to ``shop-I8``."""
    return {f"shop-I{number}": partial(shop_split, f"I{number}") for number in range(9)}


def _lets_in(part: Part, shop: World, level: int) -> bool:
    if part.where is not None and not part.accepts(shop.tags(level)):
        return False
    return not part.trained or shop.trained_attributes().issuperset(shop.latent_goal(level).attributes)


@lru_cache(maxsize=64)
def _levels(name: str, role: str, count: int) -> tuple[int, ...]:
    split = shop_split(name)
    split.part(role)
    within = level_range(role)[0] + _limit(role)
    found: list[int] = []
    for level in islice(split.scan(role), count):
        if level >= within:
            break
        found.append(level)
    return tuple(found)


def _limit(role: str) -> int:
    start, stop = level_range(role)
    return min(stop - start, MAX_SCANNED)


@cache
def _splits() -> dict[str, ShopSplit]:
    depths = {"train": frozenset((1, 2)), "validation": frozenset((3,)), "test": frozenset((4, 5, 6, 7))}
    splits = (
        ShopSplit("I0-iid-goal", "new goals like those of training", _parts()),
        ShopSplit("I1-paraphrase", "ways of asking never seen", _by_class("family", FAMILY_CLASSES)),
        ShopSplit(
            "I2-product",
            "products never seen, of the same sub-categories",
            _parts(envs={"validation": "shop/catalogue-b", "test": "shop/catalogue-c"}),
        ),
        ShopSplit(
            "I3-sub-category", "sub-categories never asked for", _by_class("sub_category", sub_category_classes())
        ),
        ShopSplit("I4-department", "departments never asked for", _by_class("department", DEPARTMENT_CLASSES)),
        ShopSplit(
            "I5-attribute-composition",
            "pairs of attributes never asked for together",
            _parts({role: {"pair_class": _classes(role)} for role in ("train", "validation", "test")}, trained=True),
        ),
        ShopSplit(
            "I6-constraint-depth",
            "more constraints than in training",
            _parts({role: {"num_constraints": counts} for role, counts in depths.items()}),
        ),
        ShopSplit(
            "I7-option-axis",
            "option groups never asked for",
            _parts({role: {"axis_class": _classes(role)} for role in ("train", "validation", "test")}),
        ),
        ShopSplit(
            "I8-scale",
            "larger catalogues with more near misses",
            _parts(envs={"validation": "shop/3k", "test": "shop/10k"}),
        ),
    )
    return {split.name: split for split in splits}


def _parts(
    where: Mapping[str, Where] | None = None, envs: Mapping[str, str] | None = None, *, trained: bool = False
) -> dict[str, Part]:
    """All four roles; unseen levels of the training distribution are filtered as training is."""
    filters, names = dict(where or {}), dict(envs or {})
    if "train" in filters:
        filters["train_heldout"] = filters["train"]
    return {role: Part(names.get(role, DEFAULT), filters.get(role), trained) for role in ROLES}


def _by_class(tag: str, classes: Mapping[str, str]) -> dict[str, Part]:
    return _parts(
        {
            role: {tag: frozenset(value for value, assigned in classes.items() if assigned == role)}
            for role in ("train", "validation", "test")
        }
    )


def _classes(role: str) -> frozenset[str | int]:
    # Goals without any pair or option show nothing of a held-out class, so they may be trained on.
    return frozenset((role, "none")) if role == "train" else frozenset((role,))


def held_out_axes(role: str) -> frozenset[str]:
    """The option groups that only this role of the axis shift asks for."""
    return frozenset(axis for axis, assigned in AXIS_CLASSES.items() if assigned == role)
