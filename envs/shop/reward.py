"""What a purchase is worth: the released reward of the original, and a strict one without its leniency.

Both are ``r_type * (n_att + n_opt + [price <= cap]) / (|attributes| + |options| + 1)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from envs.errors import UsageError
from envs.shop.goals import Goal
from envs.shop.product import DUMMY_ATTRIBUTE, Product
from envs.shop.text_rules import matched_options, matches

NO_NOUNS_SCORE = 0.2
"""The title score of a goal whose title has no nouns."""
CLOSE_TITLE = 0.2
FAR_TITLE = 0.1
SHARED_CATEGORIES = 2
CATEGORY_SEPARATOR = "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardParts:
    """The reward of a purchase and where it comes from.

    Attributes:
        total: The reward, 0 to 1.
        r_type: 1, 0.5, 0.1 or 0: how well the kind of product fits.
        query_match: Whether both products were found under the same search words.
        category_match: Whether they share at least two categories.
        title_score: Shared title nouns / title nouns of the goal (repeats count in the denominator only).
        r_att: Share of wanted attributes met.
        w_att: Weight of the attributes in the total.
        n_att: Number of wanted attributes met.
        r_option: Share of wanted options met; None if none is wanted.
        w_option: Weight of the options; None if none is wanted.
        n_opt: Number of wanted options met.
        r_price: Whether the price is within the cap.
        w_price: Weight of the price.
    """

    total: float
    r_type: float
    query_match: bool
    category_match: bool
    title_score: float
    r_att: float
    w_att: float
    n_att: int
    r_option: float | None
    w_option: float | None
    n_opt: int
    r_price: bool
    w_price: float

    @property
    def success(self) -> bool:
        """Whether the reward is exactly 1."""
        return self.total == 1.0

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """The parts by name, as the recordings hold them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TypeParts:
    """The type factor of the reward and its three tests; see `RewardParts`."""

    r_type: float
    query_match: bool
    category_match: bool
    title_score: float


def compat_reward(
    goal: Goal,
    product: Product,
    options: Mapping[str, str],
    price: float | None,
    goal_nouns: Sequence[str],
    product_nouns: Sequence[str],
) -> RewardParts:
    """The released reward: fuzzy matches above 85, options by value only, after colour substitution.

    Args:
        goal: What was wanted.
        product: What was bought.
        options: Chosen options of the purchase, name -> value; names do not count.
        price: Hidden price of the product in dollars.
        goal_nouns: Nouns of the goal's title, in any case, repeats kept.
        product_nouns: Nouns of the product's title.

    Raises:
        UsageError: Where the original fails too: goal without attributes, cap not above 0 or not a number, no price.
    """
    if not goal.attributes:
        raise UsageError("A goal without attributes has no reward: its share of attributes would be 0 / 0.")
    n_att = matched_attributes(goal.attributes, product)
    n_opt = matched_options(options.values(), goal.options)
    return _combine(goal, type_parts(goal, product, goal_nouns, product_nouns), n_att, n_opt, _affordable(goal, price))


def strict_reward(
    goal: Goal,
    product: Product,
    options: Mapping[str, str],
    price: float | None,
    goal_nouns: Sequence[str],
    product_nouns: Sequence[str],
) -> RewardParts:
    """The same formula with exact constraints: an option counts by name and value, an attribute if the product has it.

    Case and blanks do not matter. Goals that list values only are met by any group with that value. Products of
    unknown attributes (the dummy) are judged by their text as in `compat_reward`. A goal may want no attribute.

    Args:
        goal: What was wanted.
        product: What was bought.
        options: Chosen options of the purchase, name -> value.
        price: Hidden price of the product in dollars.
        goal_nouns: Nouns of the goal's title.
        product_nouns: Nouns of the product's title.

    Raises:
        UsageError: If the cap is not above 0 or not a number, or there is no price.
    """
    n_att, n_opt = _exact_attributes(goal, product), _exact_options(goal, options)
    return _combine(goal, type_parts(goal, product, goal_nouns, product_nouns), n_att, n_opt, _affordable(goal, price))


def strict_success(goal: Goal, product: Product, options: Mapping[str, str], price: float | None) -> bool:
    """Whether every constraint holds: same kind (search words), all attributes, all options, price within the cap.

    Raises:
        UsageError: If the cap is not above 0 or not a number, or there is no price.
    """
    return (
        _affordable(goal, price)
        and goal.query == product.query
        and _exact_attributes(goal, product) == len(goal.attributes)
        and _exact_options(goal, options) == len(goal.options)
    )


def type_parts(goal: Goal, product: Product, goal_nouns: Sequence[str], product_nouns: Sequence[str]) -> TypeParts:
    """How well the kind of the bought product fits: same search, shared categories, shared title nouns.

    Args:
        goal: What was wanted.
        product: What was bought.
        goal_nouns: Nouns of the goal's title, in any case, repeats kept.
        product_nouns: Nouns of the product's title.
    """
    query_match = goal.query == product.query
    category_match = len(_categories(goal.breadcrumb) & _categories(product.breadcrumb)) >= SHARED_CATEGORIES
    shared = len(_lowered(tuple(goal_nouns)) & _lowered(tuple(product_nouns)))
    title_score = shared / len(goal_nouns) if goal_nouns else NO_NOUNS_SCORE
    if title_score == 0.0:
        r_type = 0.0
    elif title_score < FAR_TITLE:
        r_type = 0.1
    elif query_match or category_match or title_score > CLOSE_TITLE:
        r_type = 1.0
    else:
        r_type = 0.5
    return TypeParts(r_type, query_match, category_match, title_score)


def matched_attributes(wanted: Sequence[str], product: Product) -> int:
    """How many wanted attributes a product meets by the released rule.

    An attribute is met by a fuzzy match with a hidden attribute of the product, or if it occurs as it is in the
    lower-cased title, features (joined by blanks) or description.
    """
    return sum(
        any(matches(owned, attribute) for owned in product.attributes) or _in_text(attribute, product)
        for attribute in wanted
    )


def _in_text(attribute: str, product: Product) -> bool:
    return (
        attribute in product.title.lower()
        or attribute in " ".join(product.features).lower()
        or attribute in product.description.lower()
    )


@lru_cache(maxsize=1 << 14)
def _categories(breadcrumb: str) -> frozenset[str]:
    return frozenset(part.strip() for part in breadcrumb.split(CATEGORY_SEPARATOR))


@lru_cache(maxsize=1 << 14)
def _lowered(nouns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(noun.lower() for noun in nouns)


def _affordable(goal: Goal, price: float | None) -> bool:
    if price is None:
        raise UsageError("The bought product has no price; give its hidden price in dollars.")
    if not goal.price_upper > 0:
        raise UsageError(f"The highest price of the goal is {goal.price_upper}; it must be above 0 dollars.")
    return price <= goal.price_upper


def _exact_attributes(goal: Goal, product: Product) -> int:
    if product.attributes == (DUMMY_ATTRIBUTE,):
        return sum(_in_text(_plain(attribute), product) for attribute in goal.attributes)
    owned = {_plain(attribute) for attribute in product.attributes}
    return sum(_plain(attribute) in owned for attribute in goal.attributes)


def _exact_options(goal: Goal, options: Mapping[str, str]) -> int:
    chosen = {_plain(name): _plain(value) for name, value in options.items()}
    if isinstance(goal.options, dict):
        return sum(chosen.get(_plain(name)) == _plain(value) for name, value in goal.options.items())
    values = set(chosen.values())
    return sum(_plain(value) in values for value in goal.options)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _combine(goal: Goal, kind: TypeParts, n_att: int, n_opt: int, r_price: bool) -> RewardParts:
    attributes, options = len(goal.attributes), len(goal.options)
    parts = attributes + options + 1
    return RewardParts(
        total=(n_att + n_opt + r_price) / parts * kind.r_type,
        r_type=kind.r_type,
        query_match=kind.query_match,
        category_match=kind.category_match,
        title_score=kind.title_score,
        r_att=n_att / attributes if attributes else 1.0,
        w_att=attributes / parts,
        n_att=n_att,
        r_option=n_opt / options if options else None,
        w_option=options / parts if options else None,
        n_opt=n_opt,
        r_price=r_price,
        w_price=1 / parts,
    )
