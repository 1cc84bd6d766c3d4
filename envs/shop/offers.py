"""What a shopper may do next, as texts that a policy scores: candidate index -> action."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs.shop.memo import Memo
from envs.shop.product import Product
from envs.shop.queries import visible_queries
from envs.shop.shop import Shop
from envs.shop.state import RESULTS_PER_PAGE, Page, ShopState, clickables
from envs.text import SEPARATOR, encode_text

MAX_QUERIES = 8
LEAVE = "leave"
"""The only candidate of the last page; the episode has ended there."""


class Offered(NamedTuple):
    """The candidates of one page.

    Attributes:
        actions: What each does, as `envs.shop.state.step` reads it.
        row: Their texts as a read-only row of the candidate column.
    """

    actions: tuple[str, ...]
    row: npt.NDArray[np.uint8]


class Offers:
    """Makes the candidates of pages and keeps what they are made of.

    Args:
        shop: Where the pages are.
        limit: Most products and pages remembered.
    """

    def __init__(self, shop: Shop, limit: int = 40_000) -> None:
        self._shop = shop
        # Apart from the shop's own memo, which pages need for themselves.
        self._memo = Memo(limit)

    def at(self, state: ShopState) -> Offered:
        """The candidates of a page, in the order of the page.

        The search page offers the queries that can be read off the instruction, other pages what can be clicked. A link
        to a product reads as its title and price, because its identifier says nothing.
        """
        if state.page is Page.SEARCH:
            instruction = state.goal.instruction
            return self._memo.get(("search", instruction), lambda: _labels(visible_queries(instruction), "search"))
        if state.page is Page.DONE:
            return Offered((LEAVE,), encode_text(LEAVE))
        targets = clickables(self._shop, state)
        if state.page is Page.ITEM:
            return self._memo.get(("item", state.asin), lambda: _labels(targets, "click"))
        actions = tuple([f"click[{label}]" for label in targets])
        texts = [f"click[{label}]" if asin is None else self._link(asin) for label, asin in targets.items()]
        return Offered(actions, _row(texts))

    def _link(self, asin: str) -> str:
        return self._memo.get(asin, lambda: _link_text(self._shop.product(asin)))


def max_offers(axes: int, values: int) -> int:
    """The most candidates that any page can have.

    Args:
        axes: Option groups of a product, at most.
        values: Values in a group, at most.
    """
    on_results = 3 + RESULTS_PER_PAGE  # back, previous and next
    on_item = 7 + axes * values  # back, previous, four sub-pages, buy
    return max(MAX_QUERIES, on_results, on_item)


def _labels(labels: Iterable[str], verb: str) -> Offered:
    actions = [f"{verb}[{label}]" for label in labels]
    return Offered(tuple(actions), _row(actions))


def _link_text(product: Product) -> str:
    return f"click[{product.title}, {product.price_tag}]"


def _row(texts: list[str]) -> npt.NDArray[np.uint8]:
    joined = SEPARATOR.join(texts)
    if joined.count(SEPARATOR) >= len(texts):  # a text of real data that holds the separator itself
        joined = SEPARATOR.join([text.replace(SEPARATOR, " ") for text in texts])
    return encode_text(joined)
