"""The truth behind each product of a catalogue, before any text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp
from statistics import NormalDist

from envs.errors import UsageError
from envs.seeding import derive_seed
from envs.shop.world.config import WorldConfig
from envs.shop.world.draws import Draws, cumulate
from envs.shop.world.layout import Layout, make_layout
from envs.shop.world.vocabulary import Attribute, SubCategory, brands, vocabulary

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NORMAL = NormalDist()
_ASINS = 36**6
_CACHED_LATENTS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentProduct:
    """What one product is."""

    index: int
    asin: str
    category: SubCategory
    family: int
    member: int
    noun: int
    """Which of the category's head nouns its page uses."""
    brand: str
    attributes: tuple[Attribute, ...]
    surfaces: tuple[int, ...]
    """Which wording of each attribute its page uses."""
    options: dict[str, tuple[str, ...]]
    low: float
    high: float
    """Shown prices in dollars; equal unless a range is shown."""

    def satisfies(self, category: str, attributes: tuple[str, ...], options: dict[str, str], cap: float) -> bool:
        """Whether buying it can meet all these constraints, at any price within its range."""
        mine = {attribute.name for attribute in self.attributes}
        return (
            self.category.name == category
            and mine.issuperset(attributes)
            and all(value in self.options.get(name, ()) for name, value in options.items())
            and self.high <= cap
        )


class Latents:
    """All latent products of a world; each is a pure function of configuration and index, made when asked for."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.layout: Layout = make_layout(config)
        self._categories = vocabulary().categories
        self._brands = brands(derive_seed("shop brands", config.seed), config.brands)
        self._family_key = derive_seed("shop family", config.fingerprint)
        self._member_key = derive_seed("shop member", config.fingerprint)
        self._pair_key = derive_seed("shop pairs")
        self._ids = {name: number for number, name in enumerate(vocabulary().attributes)}
        longest = max(len(category.pool) for category in self._categories)
        self._zipf = [(rank + 1.0) ** -config.attribute_skew for rank in range(longest)]
        self._wordings = cumulate(_wording_weights(config.main_wording)[: config.synonyms])
        self._changes = cumulate(config.near_misses)
        self._offset = Draws(derive_seed("shop asin", config.seed)).below(_ASINS)
        self.get = lru_cache(maxsize=_CACHED_LATENTS)(self._make)

    def __len__(self) -> int:
        return self.config.products

    def __iter__(self) -> Iterator[LatentProduct]:
        # Not cached: a pass over 100,000 products would only push the useful ones out.
        return (self._make(index) for index in range(len(self)))

    def asin(self, index: int) -> str:
        """The identifier: ``B``, three digits of the catalogue seed, six that no other product of it has."""
        # 1_234_567_891 shares no factor with 36, so that the map is one to one.
        return "B" + _base36(self.config.seed, 3) + _base36((index * 1_234_567_891 + self._offset) % _ASINS, 6)

    def index(self, asin: str) -> int:
        """The inverse of `asin`.

        Raises:
            UsageError: If this catalogue has no such product.
        """
        code = asin.upper()
        if len(code) == 10 and code[0] == "B" and set(code) <= set(DIGITS) and int(code[1:4], 36) == self.config.seed:
            found = (int(code[4:], 36) - self._offset) * pow(1_234_567_891, -1, _ASINS) % _ASINS
            if found < len(self):
                return found
        raise UsageError(f"The catalogue of {self.config.name!r} has no product {asin!r}.")

    def _make(self, index: int) -> LatentProduct:
        if not 0 <= index < len(self):
            raise UsageError(f"Product {index} does not exist; allowed: 0 to {len(self) - 1}.")
        layout = self.layout
        family, member = int(layout.family[index]), int(layout.member[index])
        category = self._categories[int(layout.category[index])]
        base = self._base(index, category, family)
        return base if member == 0 else self._near_miss(base, member)

    def _base(self, index: int, category: SubCategory, family: int) -> LatentProduct:
        draws = Draws(self._family_key, family)
        config = self.config
        attributes = self._attributes(category, draws)
        axes = draws.sample(category.axes, _between(draws, config.axes))
        # In the order of the vocabulary, so that the first axis (often the color) comes first on pages.
        options = {axis.name: self._values(axis.values, draws) for axis in category.axes if axis in axes}
        price = category.price * exp(config.price_spread * _NORMAL.inv_cdf(0.001 + 0.998 * draws.uniform()))
        low, high = self._prices(price, draws)
        return LatentProduct(
            index=index,
            asin=self.asin(index),
            category=category,
            family=family,
            member=0,
            noun=draws.index(self._wordings),
            brand=draws.pick(self._brands),
            attributes=attributes,
            surfaces=tuple(draws.index(self._wordings) for _ in attributes),
            options=options,
            low=low,
            high=high,
        )

    def _near_miss(self, base: LatentProduct, member: int) -> LatentProduct:
        draws = Draws(self._member_key, base.family, member)
        change = draws.index(self._changes)
        attributes, options, price = (
            list(base.attributes),
            dict(base.options),
            base.low * (0.9 + 0.25 * draws.uniform()),
        )
        if change == 0:
            others = [attribute for attribute in base.category.pool if attribute not in attributes]
            if others:
                attributes[draws.below(len(attributes))] = draws.pick(others)
        elif change == 1 and options:
            name = draws.pick(list(options))
            values = next(axis.values for axis in base.category.axes if axis.name == name)
            options[name] = self._values(values, draws)
        elif change == 2:
            price *= 1.5 + 2.0 * draws.uniform()
        low, high = self._prices(price, draws)
        return replace(
            base,
            member=member,
            noun=base.noun if draws.chance(0.6) else draws.index(self._wordings),
            brand=draws.pick(self._brands),
            attributes=tuple(attributes),
            surfaces=tuple(draws.index(self._wordings) for _ in attributes),
            options=options,
            low=low,
            high=high,
        )

    def _attributes(self, category: SubCategory, draws: Draws) -> tuple[Attribute, ...]:
        count = _between(draws, self.config.attributes)
        pool = category.pool
        drawn = draws.weighted_sample(pool, self._zipf[: len(pool)], count)
        if self.config.pair_density >= 1:
            return tuple(drawn)
        kept: list[Attribute] = []
        for attribute in drawn:
            if all(self._allowed(attribute, other) for other in kept):
                kept.append(attribute)
        return tuple(kept)

    def _allowed(self, first: Attribute, second: Attribute) -> bool:
        low, high = sorted((self._ids[first.name], self._ids[second.name]))
        return Draws(self._pair_key, low, high).chance(self.config.pair_density)

    def _values(self, values: tuple[str, ...], draws: Draws) -> tuple[str, ...]:
        count = _between(draws, self.config.axis_values)
        chosen = set(draws.sample(values, count))
        # Written order is the vocabulary's: sizes ascend on real pages too.
        return tuple(_noisy(value, draws, self.config.option_noise) for value in values if value in chosen)

    def _prices(self, price: float, draws: Draws) -> tuple[float, float]:
        low = max(1.0, round(price)) - draws.pick((0.01, 0.05, 0.5, 0.01))
        wide = draws.chance(self.config.price_ranges)
        high = round(low * (1.1 + 0.6 * draws.uniform()), 2)
        return (round(low, 2), high) if wide else (round(low, 2), round(low, 2))


def _wording_weights(main: float) -> tuple[float, float, float]:
    return main + 1e-9, 0.6 * (1 - main), 0.4 * (1 - main)


def _between(draws: Draws, bounds: tuple[int, int]) -> int:
    return bounds[0] + draws.below(bounds[1] - bounds[0] + 1)


def _noisy(value: str, draws: Draws, rate: float) -> str:
    if not draws.chance(rate):
        return value
    mark = draws.pick("abcdefghk")
    return draws.pick((f"{mark}-{value}", f"{value}-{mark}{draws.below(9) + 1}", f"{value} (new)"))


def _base36(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return digits
