"""The shop: an immutable bundle of products, goals, search, nouns, prices and rules that sessions share."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from envs.errors import UsageError, unknown_name
from envs.shop.goals import Goal
from envs.shop.memo import Memo
from envs.shop.nouns import Nouns
from envs.shop.product import Product
from envs.shop.reward import RewardParts, compat_reward, strict_reward, strict_success
from envs.shop.rules import STRICT, ShopRules
from envs.shop.search import SearchBackend

MAX_HITS = 50


class Products(Protocol):
    """A catalogue: products by position, and the position of an identifier."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Product: ...

    def __contains__(self, asin: object, /) -> bool: ...

    def index(self, asin: str, /) -> int:
        """The position of a product; a UsageError if there is no such product."""

    def asin(self, index: int, /) -> str:
        """The identifier at a position."""


class ProductList:
    """Products held as objects, for small catalogues and files.

    Args:
        products: All products, in catalogue order; identifiers differ.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = tuple(products)
        self._index = {product.asin: position for position, product in enumerate(self._products)}

    def __len__(self) -> int:
        return len(self._products)

    def __getitem__(self, index: int) -> Product:
        return self._products[index]

    def __contains__(self, asin: object) -> bool:
        return asin in self._index

    def index(self, asin: str) -> int:
        """The position of a product.

        Raises:
            UsageError: If it is not in the catalogue.
        """
        if asin not in self._index:
            raise unknown_name("product", asin, self._index)
        return self._index[asin]

    def asin(self, index: int) -> str:
        """The identifier at a position."""
        return self._products[index].asin


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What was bought and what it earned.

    Attributes:
        asin: The product.
        options: Chosen option values by group.
        price: Its hidden price in dollars.
        parts: The reward by the shop's rules, total and parts.
        released: The original's released reward, under every preset; None where it is not defined (no attributes).
        strict_success: Whether every constraint of the goal holds, under every preset.
    """

    asin: str
    options: dict[str, str]
    price: float
    parts: RewardParts
    released: RewardParts | None
    strict_success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Everything that does not change while people shop.

    Attributes:
        products: The catalogue.
        goals: What may be asked for, by number.
        search: Query -> positions in the catalogue.
        nouns: Knows the nouns of titles, for the type factor of the reward.
        prices: Hidden price of every product in dollars.
        rules: The fidelity switches.
        memo: What pages are made of, per product; filled while shopping.
    """

    products: Products
    goals: Sequence[Goal]
    search: SearchBackend
    nouns: Nouns
    prices: Mapping[str, float]
    rules: ShopRules = STRICT
    memo: Memo = field(default_factory=Memo, init=False, repr=False, compare=False)

    def product(self, asin: str) -> Product:
        """The product with this identifier.

        Raises:
            UsageError: If it is not in the catalogue.
        """
        return self.products[self.products.index(asin)]

    def goal(self, index: int) -> Goal:
        """The goal with this number.

        Raises:
            UsageError: If there is no such goal.
        """
        first = -len(self.goals) if self.rules.negative_goals else 0
        if not first <= index < len(self.goals):
            raise UsageError(f"There is no goal {index}; the shop has the goals {first} to {len(self.goals) - 1}.")
        return self.goals[index]

    def hits(self, keywords: tuple[str, ...], rng: random.Random | None = None) -> tuple[str, ...] | None:
        """Identifiers of the products a query finds, best first; None if a hidden prefix cannot be followed.

        Args:
            keywords: The query, split at single blanks.
            rng: Draws the random products of the prefix ``<r>``.
        """
        if self.rules.hidden_prefixes and keywords[0] in ("<r>", "<a>", "<c>", "<q>"):
            return self._prefixed(keywords[0], keywords[1:], rng)
        query = " ".join(keywords)
        return self.memo.get(("hits", query), lambda: self._asins(self.search.search(query)))

    def judge(self, goal: Goal, asin: str, options: dict[str, str]) -> Purchase:
        """Buy a product with these options, for this goal.

        Raises:
            UsageError: If the product has no price or the goal cannot be rewarded.
        """
        product = self.product(asin)
        if asin not in self.prices:
            raise UsageError(f"Product {asin} has no price; the table of prices must hold every product.")
        price, nouns = self.prices[asin], (self._goal_nouns(goal), self.nouns.of_product(product))
        released = compat_reward(goal, product, options, price, *nouns) if goal.attributes else None
        parts = released if self.rules.released_reward else strict_reward(goal, product, options, price, *nouns)
        if parts is None:
            raise UsageError(f"Goal {goal.goal_id} wants no attribute; the released reward is not defined for it.")
        success = strict_success(goal, product, options, price)
        return Purchase(
            asin=asin, options=dict(options), price=price, parts=parts, released=released, strict_success=success
        )

    def _goal_nouns(self, goal: Goal) -> tuple[str, ...]:
        product = self.product(goal.asin) if goal.asin in self.products else None
        same = product is not None and product.title == goal.title
        return self.nouns.of_product(product) if product and same else self.nouns.of_title(goal.title)

    def _asins(self, positions: Iterable[int]) -> tuple[str, ...]:
        return tuple(self.products.asin(position) for position in positions)

    def _prefixed(self, prefix: str, words: tuple[str, ...], rng: random.Random | None) -> tuple[str, ...] | None:
        """The original's hidden searches. ``<a>`` and ``<c>`` without a word crash there and are refused here."""
        if prefix == "<a>" or (prefix == "<c>" and not words):
            return None
        products = (self.products[position] for position in range(len(self.products)))
        if prefix == "<c>":
            return tuple(product.asin for product in products if product.department == words[0].strip())
        if prefix == "<q>":
            query = " ".join(words).strip()
            return tuple(product.asin for product in products if product.query == query)
        drawn = (rng or random.Random(0)).sample(range(len(self.products)), min(MAX_HITS, len(self.products)))
        return self._asins(drawn)
