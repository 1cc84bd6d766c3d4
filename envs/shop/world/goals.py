"""From a level to a goal: what is wanted, by which words, at which price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations

from envs.errors import RunError
from envs.seeding import derive_seed
from envs.shop.goals import NO_CAP, Goal
from envs.shop.prices import price_clause
from envs.shop.product import Product
from envs.shop.world.classes import axis_class, pair_class
from envs.shop.world.config import WorldConfig, world_config
from envs.shop.world.draws import Draws, cumulate
from envs.shop.world.language import Wish, write
from envs.shop.world.language_data import FAMILIES, FAMILY_NAMES
from envs.shop.world.latent import LatentProduct, Latents
from envs.shop.world.realize import Realizer, realize
from envs.shop.world.roles import role_of_level, role_of_text

Tags = dict[str, str | int]

_POLITE_AFTER = 48
_MAX_ATTEMPTS = 2_000
_FIRST_UNCAPPED = 980.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentGoal:
    """What one level asks for, before any text."""

    level: int
    role: str
    target: LatentProduct
    wanted: tuple[int, ...]
    """Places in the target's attributes."""
    options: dict[str, str]
    cap: float
    family: int
    paraphrase: int

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the wanted attributes."""
        return tuple(self.target.attributes[place].name for place in self.wanted)

    def satisfied_by(self, product: LatentProduct) -> bool:
        """Whether buying this product can be a strict success."""
        return product.satisfies(self.target.category.name, self.attributes, self.options, self.cap)


class World:
    """One configuration with everything that follows from it: products, levels, goals. Holds no text; picklable."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.latents = Latents(config)
        self._goal_key = derive_seed("shop goal", config.fingerprint)
        self._text_key = derive_seed("shop text", config.fingerprint)
        self._realizer = Realizer(config)
        self._attribute_counts = cumulate(config.goal_attributes)
        self._option_counts = cumulate(config.goal_options)
        self._families = _families(config)
        self._family_weights = cumulate([FAMILIES[number].weight for number in self._families])
        self._paraphrases = {number: _paraphrase_weights(number, config.paraphrases) for number in self._families}
        self._trained: frozenset[str] | None = None
        self._title: Callable[[int], str] = lru_cache(maxsize=4096)(self._make_title)

    def __reduce__(self) -> tuple[type[World], tuple[WorldConfig]]:
        return World, (self.config,)

    def products(self) -> Iterator[Product]:
        """Every product in catalogue order, made one at a time."""
        return realize(self.config, iter(self.latents))

    def product(self, index: int) -> Product:
        """One product."""
        return self._realizer.product(self.latents.get(index))

    def latent_goal(self, level: int) -> LatentGoal:
        """What a level asks for, without any text; about 20 microseconds.

        Raises:
            UsageError: If the level does not exist.
        """
        role = role_of_level(level)
        draws = Draws(self._goal_key, level)
        targets = self.latents.layout.targets[role]
        target = self.latents.get(int(targets[draws.below(len(targets))]))
        wanted = draws.sample(range(len(target.attributes)), 1 + draws.index(self._attribute_counts))
        count = draws.index(self._option_counts)
        names: list[str] = []
        if count:
            weights = [self.config.common_axes if name in ("color", "size") else 1.0 for name in target.options]
            names = draws.weighted_sample(list(target.options), weights, count)
        options = {name: draws.pick(target.options[name]) for name in names}
        family = self._families[draws.index(self._family_weights)]
        paraphrase = draws.index(self._paraphrases[family])
        return LatentGoal(
            level=level,
            role=role,
            target=target,
            wanted=tuple(sorted(wanted)),
            options=options,
            cap=self._cap(target.high, draws),
            family=family,
            paraphrase=paraphrase,
        )

    def trained_attributes(self) -> frozenset[str]:
        """All attributes that training goals can want; made once, in about 20 microseconds a product."""
        if self._trained is None:
            targets = (self.latents.get(int(index)) for index in self.latents.layout.targets["train"])
            self._trained = frozenset(item.name for target in targets for item in target.attributes)
        return self._trained

    def tags(self, level: int) -> Tags:
        """The strata of a level, without any text."""
        return tags_of(self.latent_goal(level))

    def text(self, goal: LatentGoal) -> str:
        """The instruction without its price clause; it occurs in no other role, in no world.

        Raises:
            RunError: If no wording falls to the role of the level (never seen).
        """
        target = goal.target
        wanted = tuple((target.attributes[place], target.surfaces[place]) for place in goal.wanted)
        wish = Wish(target.category, target.noun, wanted, goal.options, goal.family, goal.paraphrase)
        for attempt in range(_MAX_ATTEMPTS):
            draws = Draws(self._text_key, goal.level, attempt)
            text = write(wish, self.config, draws, forced=attempt >= _POLITE_AFTER)
            if role_of_text(text) == goal.role:
                return text
        raise RunError(f"No wording of level {goal.level} of {self.config.name!r} falls to the role {goal.role!r}.")

    def goal(self, level: int) -> Goal:
        """The goal of a level.

        Raises:
            UsageError: If the level does not exist.
        """
        latent = self.latent_goal(level)
        target = latent.target
        text = self.text(latent)
        content = "\x1f".join(
            (text, target.asin, *latent.attributes, *map(str, latent.options.items()), str(latent.cap))
        )
        return Goal(
            goal_id=blake2b(content.encode(), digest_size=8).hexdigest(),
            asin=target.asin,
            query=target.category.name,
            title=self._title(target.index),
            breadcrumb=target.category.breadcrumb,
            department=target.category.department,
            instruction=text + price_clause(latent.cap),
            attributes=latent.attributes,
            options=latent.options,
            price_upper=latent.cap,
            tags=tags_of(latent),
        )

    def _make_title(self, index: int) -> str:
        return self.product(index).title

    def _cap(self, price: float, draws: Draws) -> float:
        """The larger of two of the next multiples of 10 above the price; none for very dear products."""
        steps = self.config.price_steps
        first, second = draws.below(steps), draws.below(max(steps - 1, 1))
        if not draws.chance(self.config.priced) or price >= _FIRST_UNCAPPED:
            return NO_CAP
        step = max(first, second + (second >= first)) if steps > 1 else 0
        return min((price // 10 + 1 + step) * 10.0, 990.0)


def make_goal(world: World, level: int) -> Goal:
    """The goal of a level of a world: a pure function of configuration and level."""
    return world.goal(level)


@lru_cache(maxsize=16)
def world(name: str) -> World:
    """A named world, made once per process.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    return World(world_config(name))


def tags_of(goal: LatentGoal) -> Tags:
    """The strata of a goal; every value is a text or a whole number."""
    names = sorted(goal.attributes)
    axes = sorted(goal.options)
    priced = int(goal.cap != NO_CAP)
    return {
        "role": goal.role,
        "department": goal.target.category.department,
        "sub_category": goal.target.category.name,
        "family": FAMILY_NAMES[goal.family],
        "paraphrase": f"{FAMILY_NAMES[goal.family]}/{goal.paraphrase}",
        "num_attributes": len(names),
        "num_options": len(axes),
        "num_constraints": len(names) + len(axes) + priced,
        "priced": priced,
        "option_axes": "+".join(axes),
        "axis_class": axis_class(axes),
        "attribute_pairs": ";".join(f"{a}&{b}" for a, b in combinations(names, 2)),
        "pair_class": pair_class(names),
    }


def _families(config: WorldConfig) -> tuple[int, ...]:
    return tuple(FAMILY_NAMES.index(name) for name in (config.families or FAMILY_NAMES))


def _paraphrase_weights(number: int, limit: int) -> tuple[float, ...]:
    family = FAMILIES[number]
    weights = [opening[2] * frame[1] for opening in family.openings for frame in family.frames]
    return cumulate(weights[:limit] if limit else weights)
