"""Every knob of the built-in shop, and the named worlds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from envs.errors import UsageError, unknown_name
from envs.shop.world.language_data import FAMILY_NAMES

MAX_SEED = 36**3 - 1


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """A catalogue and the goals on it; equal configurations make equal worlds. Ranges include both ends.

    Shares and rates lie in [0, 1]; weights need not sum to 1.

    Raises:
        UsageError: For a value outside its range.
    """

    name: str = "shop/default"
    """Name of the environment that plays it; not part of the fingerprint."""
    seed: int = 0
    """Catalogue seed, 0 to 46,655. Worlds of different seeds share no product identifier."""
    products: int = 1000

    departments: int = 5
    """The first so many departments are stocked."""
    sub_categories: int = 20
    """At most so many sub-categories of each department are stocked."""
    category_skew: float = 0.8
    """Zipf exponent of the number of products over sub-categories; 0: all alike."""

    attributes: tuple[int, int] = (3, 4)
    """Attributes of a product."""
    attribute_skew: float = 0.6
    """Zipf exponent within the attributes of a sub-category."""
    pair_density: float = 1.0
    """Share of all attribute pairs that products may have together."""
    synonyms: int = 3
    """Wordings in use of a concept or head noun, 1 to 3."""
    main_wording: float = 0.97
    """Share of pages that use the first wording of a concept or head noun; the rest is split 3 : 2."""

    axes: tuple[int, int] = (1, 3)
    """Option groups of a product."""
    axis_values: tuple[int, int] = (6, 16)
    """Values in an option group."""
    option_noise: float = 0.06
    """Share of option values written in a merchant's own way ("a-navy blue")."""

    family_size: tuple[int, int] = (4, 20)
    """Products of one family: the first is drawn, the others are near misses of it."""
    near_misses: tuple[float, float, float, float] = (0.9, 0.05, 0.05, 0.0)
    """Weights of what a near miss changes: an attribute, the option values, the price (dearer), or no constraint."""
    brands: int = 60

    price_spread: float = 0.2
    """Standard deviation of the logarithm of the price within a sub-category."""
    price_ranges: float = 0.25
    """Share of products that show a range of prices."""
    price_steps: int = 4
    """A cap is the larger of two among the next so many multiples of 10 above the price."""

    mentions: tuple[float, float, float, float] = (0.3, 0.35, 0.25, 0.1)
    """Weights of where the text of a product mentions an attribute: title, features, description, nowhere."""
    filler_sentences: tuple[int, int] = (8, 16)
    """Sentences of the description that say nothing of use."""
    cross_mentions: float = 0.65
    """Share of those sentences that name another kind of product."""

    goal_attributes: tuple[float, float, float] = (0.42, 0.39, 0.19)
    """Weights of 1, 2 and 3 wanted attributes."""
    goal_options: tuple[float, float, float, float] = (0.29, 0.42, 0.23, 0.06)
    """Weights of 0 to 3 wanted options."""
    common_axes: float = 5.0
    """How much likelier color and size are wanted than another option group of the same product."""
    priced: float = 0.95
    """Share of goals with a price cap."""

    estranged: float = 0.54
    """Share of instructions that take another wording than the page's wherever there is one; the next three rates
    hold for the others."""
    noun_gap: float = 0.0
    """Share of instructions that name the product by another word than its page."""
    attribute_gap: float = 0.05
    """Share of wanted attributes in another wording than on the page."""
    option_gap: float = 0.1
    """Share of option values that have a second wording and appear in it ("2xl" for "xx-large")."""
    explicit_options: float = 0.65
    """Share of option values that come with the name of their group ("size 8" instead of "8")."""
    families: tuple[str, ...] = ()
    """Template families in use; empty: all."""
    paraphrases: int = 0
    """At most so many paraphrases of each family; 0: all."""
    informal: float = 0.35
    """Share of instructions without apostrophes, "im" and the like."""
    typos: float = 0.04
    """Share of instructions with one misspelt word."""
    polite: float = 0.03
    """Share of instructions with a greeting or a "please"."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(self, field.name, getattr(self, field.name))
        if self.products < self.departments:
            raise UsageError(f"products is {self.products}; a world needs at least one for each department.")

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of every knob but the name."""
        knobs = {name: value for name, value in self.to_json().items() if name != "name"}
        return hashlib.blake2b(json.dumps(knobs, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> WorldConfig:
        """The inverse of `to_json`; knobs that are left out keep their defaults.

        Raises:
            UsageError: For an unknown knob, with the closest match.
        """
        known = {field.name for field in fields(cls)}
        for name in value:
            if name not in known:
                raise unknown_name("knob of the shop", name, known)
        knobs: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
        return cls(**knobs)


_BOUNDS: dict[str, tuple[float, float]] = {
    "seed": (0, MAX_SEED),
    "products": (1, 2_000_000),
    "departments": (1, 5),
    "sub_categories": (1, 100),
    "category_skew": (0, 5),
    "attributes": (1, 20),
    "attribute_skew": (0, 5),
    "synonyms": (1, 3),
    "axes": (0, 3),
    "axis_values": (1, 40),
    "family_size": (1, 1000),
    "brands": (1, 2000),
    "common_axes": (0.01, 100),
    "price_spread": (0, 3),
    "price_steps": (1, 90),
    "filler_sentences": (0, 200),
    "paraphrases": (0, 1000),
}
_RANGES = ("attributes", "axes", "axis_values", "family_size", "filler_sentences")
_WEIGHTS = ("near_misses", "mentions", "goal_attributes", "goal_options")


def _check(config: WorldConfig, name: str, value: Any) -> None:
    if name == "name":
        return
    if name == "families":
        for family in value:
            if family not in FAMILY_NAMES:
                raise unknown_name("template family in families", family, FAMILY_NAMES)
        return
    values = value if isinstance(value, tuple) else (value,)
    low, high = _BOUNDS.get(name, (0, 1) if name not in _WEIGHTS else (0, float("inf")))
    if name in _WEIGHTS or name in _RANGES:
        expected = len(getattr(WorldConfig, name))
        if len(values) != expected:
            raise UsageError(f"{name} is {value!r}; it needs {expected} numbers.")
    if any(isinstance(item, str) or not low <= item <= high for item in values):
        raise UsageError(f"{name} of {config.name!r} is {value!r}; allowed: {low} to {high}.")
    if name in _RANGES and values[0] > values[1]:
        raise UsageError(f"{name} is {value!r}; the first number must not exceed the second.")
    if name in _WEIGHTS and not sum(values) > 0:
        raise UsageError(f"{name} is {value!r}; at least one weight must be positive.")


WORLDS: dict[str, WorldConfig] = {
    config.name: config
    for config in (
        WorldConfig(),
        WorldConfig(name="shop/catalogue-b", seed=1),
        WorldConfig(name="shop/catalogue-c", seed=2),
        WorldConfig(name="shop/3k", seed=3, products=3_000, family_size=(6, 30)),
        WorldConfig(name="shop/10k", seed=4, products=10_000, family_size=(8, 40)),
        WorldConfig(name="shop/100k", seed=5, products=100_000, family_size=(8, 40)),
        WorldConfig(name="shop/tiny", seed=6, products=200, sub_categories=6),
    )
}
"""Name of an environment -> its world."""


def world_config(name: str) -> WorldConfig:
    """The configuration of a named world.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    if name not in WORLDS:
        raise unknown_name("shop", name, WORLDS)
    return WORLDS[name]
