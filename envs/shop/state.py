"""Where a shopper is, and where an action leads: pure functions of an immutable state."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from envs.shop.actions import parse_action
from envs.shop.goals import Goal
from envs.shop.product import Product
from envs.shop.shop import Purchase, Shop

BASE_ADDRESS = "http://127.0.0.1:3000"
RESULTS_PER_PAGE = 10
SECTIONS = {"description": "Description", "features": "Features", "reviews": "Reviews", "attributes": "Attributes"}
"""Sub-pages of an item: button in lower case -> name in the address."""


class Page(Enum):
    """The kinds of pages; the value is the word the address has for it."""

    SEARCH = ""
    RESULTS = "search_results"
    ITEM = "item_page"
    SECTION = "item_sub_page"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopState:
    """Everything that decides what a page shows and what an action does.

    Attributes:
        goal: What is to be bought.
        session: Name of the session; a part of every address.
        page: Kind of the current page.
        keywords: The query, split at single blanks; None before a search.
        number: Page of the results, from 1 (0 only through `ShopRules.routes_by_address`); None before a search.
        hits: Identifiers of all products found.
        asin: The open product; None on the search and result pages.
        options: Chosen option values by group, in the order of the first click. Never changed in place.
        visited: Products opened since the last return to the search page.
        section: The open sub-page, a key of `SECTIONS`; empty elsewhere.
        purchase: What was bought, on the last page only.
    """

    goal: Goal
    session: str
    page: Page = Page.SEARCH
    keywords: tuple[str, ...] | None = None
    number: int | None = None
    hits: tuple[str, ...] = ()
    asin: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    visited: frozenset[str] = frozenset()
    section: str = ""
    purchase: Purchase | None = None

    def shown(self) -> tuple[str, ...]:
        """Identifiers on the current page of results."""
        last = (self.number or 0) * RESULTS_PER_PAGE
        return self.hits[max(last - RESULTS_PER_PAGE, 0) : last]


def address(state: ShopState) -> str:
    """The address of the page, as the original writes it."""
    if state.page is Page.SEARCH:
        return f"{BASE_ADDRESS}/{state.session}"
    words = "+".join(state.keywords or ())
    start = f"{BASE_ADDRESS}/{state.page.value}/{state.session}"
    if state.page is Page.RESULTS:
        return f"{start}/{words}/{state.number}"
    if state.page is Page.ITEM:
        return f"{start}/{state.asin}/{words}/{state.number}/{json.dumps(state.options)}"
    if state.page is Page.SECTION:
        return f"{start}/{state.asin}/{words}/{state.number}/{SECTIONS[state.section]}/{state.options}"
    return f"{start}/{state.asin}/{state.options}"


def clickables(shop: Shop, state: ShopState) -> dict[str, str | None]:
    """What can be clicked, in order, in lower case.

    Returns:
        Name -> None for a button, the identifier for a product, the group for an option value. Do not change it.
    """
    if state.page is Page.ITEM:
        product = shop.product(state.asin or "")
        return shop.memo.get(("targets", product.asin), lambda: _item_targets(shop, product))
    if state.page is Page.SEARCH:
        return {"search": None}
    if state.page is Page.DONE:
        return {}
    targets: dict[str, str | None] = {"back to search": None}
    if state.page is Page.SECTION or (state.number or 0) > 1:
        targets["< prev"] = None
    if state.page is Page.RESULTS:
        if has_next(shop, state):
            targets["next >"] = None
        targets.update((asin.lower(), asin) for asin in state.shown())
    return targets


def has_next(shop: Shop, state: ShopState) -> bool:
    """Whether a page of results offers the next one."""
    return shop.rules.endless_pages or len(state.hits) > (state.number or 0) * RESULTS_PER_PAGE


def _item_targets(shop: Shop, product: Product) -> dict[str, str | None]:
    buttons = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    if shop.rules.show_attributes:
        buttons.insert(-1, "attributes")
    targets: dict[str, str | None] = dict.fromkeys(buttons)
    for group, values in product.options.items():
        for value in values:
            if value not in buttons:
                targets[value] = group
    return targets


def step(shop: Shop, state: ShopState, text: str, rng: random.Random | None = None) -> ShopState | None:
    """The state after an action; None if the action is refused.

    Args:
        shop: Where it happens.
        state: Where the shopper is.
        text: The action as the agent wrote it.
        rng: Draws the products of the hidden random search, see `ShopRules.hidden_prefixes`.
    """
    rules = shop.rules
    if state.page is Page.DONE and not rules.act_after_end:
        return None
    action = parse_action(text, rules.split_at_last_bracket)
    if action is None:
        return None
    if action.verb == "search":
        if not action.argument or not (rules.search_anywhere or state.page is Page.SEARCH):
            return None
        return _results(shop, state, tuple(action.argument.split(" ")), 1, rng)
    if action.verb != "click":
        return None
    targets = clickables(shop, state)
    label = action.argument
    # The search button only submits the search bar; the original refuses its label wherever it stands.
    if label not in targets or (label == "search" and (rules.labels_win or targets[label] is None)):
        return None
    target = targets[label]
    if target is None or rules.labels_win:
        press = _BUTTONS.get(label)
        after = press(shop, state, label, rng) if press else None
        if after is not None:
            return after
    return _open_or_choose(state, label, target)


def _open_or_choose(state: ShopState, label: str, target: str | None) -> ShopState:
    if state.page is Page.RESULTS and target is not None:
        return replace(state, page=Page.ITEM, asin=target, visited=state.visited | {target})
    options = state.options if target is None else {**state.options, target: label}
    return replace(state, page=Page.ITEM, options=options, section="")


def _results(
    shop: Shop, state: ShopState, keywords: tuple[str, ...], number: int, rng: random.Random | None
) -> ShopState | None:
    """A page of results; every visit searches again and forgets the product and its options."""
    hits = shop.hits(keywords, rng)
    if hits is None:
        return None
    return ShopState(
        goal=state.goal,
        session=state.session,
        page=Page.RESULTS,
        keywords=keywords,
        number=number,
        hits=hits,
        visited=state.visited,
    )


def start(goal: Goal, session: str) -> ShopState:
    """The search page of a new episode."""
    return ShopState(goal=goal, session=session)


def _routed_page(shop: Shop, state: ShopState) -> Page:
    if not shop.rules.routes_by_address:
        return state.page
    text = address(state)
    return next(
        (page for page in (Page.RESULTS, Page.ITEM, Page.SECTION, Page.DONE) if page.value in text), Page.SEARCH
    )


def _back(shop: Shop, state: ShopState, label: str, rng: random.Random | None) -> ShopState | None:
    return start(state.goal, state.session)


def _turn_page(shop: Shop, state: ShopState, label: str, rng: random.Random | None) -> ShopState | None:
    """``< prev`` and ``next >``; None where they lead nowhere."""
    page = _routed_page(shop, state)
    keywords, number = state.keywords or (), state.number or 0
    if page is Page.RESULTS:
        return _results(shop, state, keywords, number + (1 if label == "next >" else -1), rng)
    if label == "next >":
        return None
    if page is Page.ITEM:
        return _results(shop, state, keywords, number, rng)
    return replace(state, page=Page.ITEM, section="")


def _open_section(shop: Shop, state: ShopState, label: str, rng: random.Random | None) -> ShopState | None:
    return replace(state, page=Page.SECTION, section=label)


def _buy(shop: Shop, state: ShopState, label: str, rng: random.Random | None) -> ShopState | None:
    return replace(state, page=Page.DONE, purchase=shop.judge(state.goal, state.asin or "", state.options))


_BUTTONS: dict[str, Callable[[Shop, ShopState, str, random.Random | None], ShopState | None]] = {
    "back to search": _back,
    "< prev": _turn_page,
    "next >": _turn_page,
    "buy now": _buy,
    **dict.fromkeys(SECTIONS, _open_section),
}
