"""What the shop asks for: goals, how the original makes them from its files, and their identity."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envs.errors import UsageError
from envs.shop.checks import NUMBER, TEXT, TEXT_OR_NULL, TEXTS, WANTED_OPTIONS, Kind, check_kinds, few
from envs.shop.prices import NO_CAP, CapRule, price_clause
from envs.shop.product import Product

__all__ = [
    "NO_CAP",
    "Goal",
    "HumanInstruction",
    "SyntheticInstruction",
    "goal_from_record",
    "goal_id",
    "human_goals",
    "synthetic_goals",
]

GOAL_KEYS = ("attributes", "goal_options", "price_upper")
"""What every ready goal has."""
_GOAL_KINDS: dict[str, Kind] = {
    "attributes": TEXTS,
    "goal_options": WANTED_OPTIONS,
    "price_upper": NUMBER,
    "weight": NUMBER,
    "asin": TEXT_OR_NULL,
    **dict.fromkeys(("query", "name", "product_category", "category", "instruction_text"), TEXT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One instruction with the truth behind it.

    Attributes:
        goal_id: Stable hash of the content, see `goal_id`.
        asin: The product the goal was made from.
        query: That product's search words.
        title: That product's title.
        breadcrumb: That product's categories.
        department: That product's department.
        instruction: The text an agent reads, price clause included.
        attributes: Wanted attributes.
        options: Wanted options: by name (synthetic goals) or values only (human goals).
        price_upper: Highest price in dollars; `NO_CAP` if the instruction names none.
        weight: How often the goal is drawn, relative to others.
        tags: Strata, for splits and tables.
    """

    goal_id: str
    asin: str
    query: str
    title: str
    breadcrumb: str
    department: str
    instruction: str
    attributes: tuple[str, ...]
    options: dict[str, str] | tuple[str, ...]
    price_upper: float
    weight: float = 1.0
    tags: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HumanInstruction:
    """One entry of the human-instruction file: its text, wanted attributes and wanted option values."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]

    @classmethod
    def from_record(cls, asin: str, record: Mapping[str, Any]) -> HumanInstruction:
        """Read one entry.

        Raises:
            UsageError: If a key is missing or holds something else than expected; names product and key.
        """
        texts = {key: _texts(asin, record, key) for key in ("instruction_attributes", "instruction_options")}
        if not isinstance(record.get("instruction"), str):
            raise UsageError(f"Instructions of product {asin!r}: 'instruction' must be a text.")
        return cls(record["instruction"], texts["instruction_attributes"], texts["instruction_options"])


@dataclass(frozen=True, slots=True)
class SyntheticInstruction:
    """What an entry of the attribute file says about synthetic goals: base text and wanted attributes."""

    text: str
    attributes: tuple[str, ...]

    @classmethod
    def from_record(cls, asin: str, record: Mapping[str, Any]) -> SyntheticInstruction | None:
        """Read one entry; None if it holds no instruction.

        Raises:
            UsageError: If the instruction wants no attribute; names product and key.
        """
        if record.get("instruction") is None:
            return None
        attributes = _texts(asin, record, "instruction_attributes")
        if not attributes:
            raise UsageError(
                f"Product {asin!r}: 'instruction_attributes' is empty although there is an 'instruction'; "
                "the reward of a goal without attributes is not defined. Remove the instruction."
            )
        return cls(str(record["instruction"]), attributes)


def human_goals(
    products: Iterable[Product],
    instructions: Mapping[str, Sequence[HumanInstruction]],
    prices: Mapping[str, float],
    caps: CapRule,
) -> list[Goal]:
    """Goals from human instructions in catalogue order, not shuffled; weight 1.

    Instructions without attributes are left out and draw no cap. Full stops around the text are removed before the
    price clause is added.

    Args:
        products: Every product, in catalogue order.
        instructions: asin -> its instructions; entries of unknown products are ignored.
        prices: asin -> hidden price in dollars.
        caps: Where price caps come from; called once a goal, in order.
    """
    goals = []
    for product in products:
        for wish in instructions.get(product.asin, ()):
            if wish.attributes:
                cap = caps(f"{product.asin}/{wish.text}", prices[product.asin])
                text = wish.text.strip(".") + price_clause(cap)
                goals.append(_goal(product, text, wish.attributes, wish.options, cap))
    return goals


def synthetic_goals(
    products: Iterable[Product],
    instructions: Mapping[str, SyntheticInstruction],
    prices: Mapping[str, float],
    caps: CapRule,
) -> list[Goal]:
    """Goals for every combination of option values, groups by name, in catalogue order, not shuffled.

    All goals of a product share one cap, drawn even if an empty option group leaves no combination. The weight is
    the mean over wanted attributes of 1 / number of goals that want it.

    Args:
        products: Every product, in catalogue order.
        instructions: asin -> base instruction; products without one have no goals.
        prices: asin -> hidden price in dollars.
        caps: Where price caps come from; called once a product with an instruction, in order.
    """
    goals = []
    for product in products:
        wish = instructions.get(product.asin)
        if wish is None:
            continue
        cap = caps(f"{product.asin}/{wish.text}", prices[product.asin])
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            wanted = ", and ".join(f"{name}: {value}" for name, value in options.items())
            text = wish.text + (f" with {wanted}" if wanted else "") + price_clause(cap)
            goals.append(_goal(product, text, wish.attributes, options, cap))
    counts = Counter(attribute for goal in goals for attribute in goal.attributes)
    return [replace(goal, weight=_rarity(goal.attributes, counts)) for goal in goals]


def goal_id(
    asin: str,
    instruction: str,
    attributes: Sequence[str],
    options: Mapping[str, str] | Sequence[str],
    price_upper: float,
) -> str:
    """Sixteen hexadecimal digits that depend on nothing but the content of a goal."""
    wanted = dict(options) if isinstance(options, Mapping) else list(options)
    content = json.dumps([asin, instruction, list(attributes), wanted, repr(float(price_upper))], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def goal_from_record(record: Mapping[str, Any]) -> Goal:
    """A goal as the original holds it, for ready goal lists and for the recordings.

    Args:
        record: ``attributes``, ``goal_options`` and ``price_upper``; ``asin``, ``query``, ``name``,
            ``product_category``, ``category``, ``instruction_text`` and ``weight`` where known.

    Raises:
        UsageError: If a required key is missing, or a value is of another type.
    """
    for key in GOAL_KEYS:
        if key not in record:
            raise UsageError(f"A goal has no key {key!r}; it has {few(record)}.")
    check_kinds("A goal", record, _GOAL_KINDS)
    wanted = record["goal_options"]
    options = dict(wanted) if isinstance(wanted, Mapping) else tuple(wanted)
    attributes, cap = tuple(record["attributes"]), record["price_upper"]
    asin, text = record.get("asin") or "", record.get("instruction_text", "")
    return Goal(
        goal_id=goal_id(asin, text, attributes, options, cap),
        asin=asin,
        query=record.get("query", ""),
        title=record.get("name", ""),
        breadcrumb=record.get("product_category", ""),
        department=record.get("category", ""),
        instruction=text,
        attributes=attributes,
        options=options,
        price_upper=cap,
        weight=float(record.get("weight", 1.0)),
    )


def _goal(
    product: Product, text: str, attributes: tuple[str, ...], options: dict[str, str] | tuple[str, ...], cap: float
) -> Goal:
    return Goal(
        goal_id=goal_id(product.asin, text, attributes, options, cap),
        asin=product.asin,
        query=product.query,
        title=product.title,
        breadcrumb=product.breadcrumb,
        department=product.department,
        instruction=text,
        attributes=attributes,
        options=options,
        price_upper=cap,
    )


def _rarity(attributes: Sequence[str], counts: Mapping[str, int]) -> float:
    return sum(1.0 / counts[attribute] for attribute in attributes) / len(attributes)


def _texts(asin: str, record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = record.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"Instructions of product {asin!r}: {key!r} must be a list of texts, found {values!r}.")
    return tuple(values)
