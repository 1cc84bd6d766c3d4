"""Scripted shoppers: planners that know the goal behind the instruction, and readers that see pages only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from actors.experts import Advice
from actors.policy import PolicyInput
from actors.shop_reading import buy_best_match, buy_first_hit
from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.registry import make_spec
from envs.shop.offers import LEAVE, Offers
from envs.shop.reward import strict_success
from envs.shop.shop import Shop
from envs.shop.state import RESULTS_PER_PAGE, Page, ShopState, clickables, start, step
from envs.shop.stock import world_shop
from envs.shop.world.config import WORLDS, world_config
from envs.text import decode_text, decode_texts

Aim = Literal["truth", "choice"]
"""``truth``: every constraint met, by any offered query; ``choice``: the best purchase among the hits of the first."""

_CACHED_PLANS = 4096
_BUY = "click[buy now]"
_BACK = "click[back to search]"
_FAR = 10**6


@dataclass(frozen=True)
class Plan:
    """How to shop for one level.

    Attributes:
        start: The search page.
        wishes: Products worth buying -> options to choose there.
        costs: Steps to the purchase from the search page, by query.
    """

    start: ShopState
    wishes: dict[str, dict[str, str]]
    costs: dict[str, int]

    @property
    def from_search(self) -> int:
        """Steps to the purchase from the search page."""
        return min(self.costs.values(), default=_FAR)


class ShopPlanner:
    """Knows the goal of a level and the shop, and takes a shortest way to a best purchase from wherever it is.

    It plays the episode along from the previous actions, so it recovers from any that it would not have taken.

    Args:
        env: Name of a shop.
        aim: What it looks for. Where no offered query finds a product that meets every constraint, ``truth`` takes the
            best purchase that some query finds.
    """

    def __init__(self, env: str, aim: Aim = "truth") -> None:
        self._shop = _shop_of(env)
        self._aim = aim
        self._offers = Offers(self._shop)
        self._num_actions = make_spec(env).num_actions
        self._plans = LeastRecentlyUsed(self.plan, _CACHED_PLANS)
        self._states: list[ShopState | None] = []

    def advise(self, inputs: PolicyInput) -> Advice:
        """Every action on a shortest way, [B, A]; noise may play any candidate."""
        assert inputs.levels is not None
        best = np.zeros((len(inputs), self._num_actions), dtype=np.bool_)
        allowed = np.zeros_like(best)
        if len(self._states) != len(inputs):
            self._states = [None] * len(inputs)
        for row, level in enumerate(inputs.levels.tolist()):
            plan = self._plans.get(level)
            state = self._states[row]
            if inputs.starting[row] or state is None:
                state = plan.start
            else:
                state = self._after(state, int(inputs.previous_actions[row]))
            self._states[row] = state
            actions = self._offers.at(state).actions
            wanted = best_actions(self._shop, plan, state)
            best[row, [place for place, action in enumerate(actions) if action in wanted] or [0]] = True
            allowed[row, : len(actions)] = True
        return Advice(best, allowed)

    def plan(self, level: int) -> Plan:
        """What to look for on a level, and how."""
        first = start(self._shop.goal(level), str(level))
        actions = self._offers.at(first).actions
        found = {action: self._hits(first, action) for action in (actions if self._aim == "truth" else actions[:1])}
        wishes = self._wishes(first, dict.fromkeys(asin for hits in found.values() for asin in hits))
        costs = {action: 1 + _cost_in(hits, 1, wishes)[0] for action, hits in found.items()}
        return Plan(first, wishes, costs)

    def _after(self, state: ShopState, choice: int) -> ShopState:
        actions = self._offers.at(state).actions
        return (step(self._shop, state, actions[choice]) if 0 <= choice < len(actions) else None) or state

    def _hits(self, first: ShopState, action: str) -> tuple[str, ...]:
        results = step(self._shop, first, action)
        return results.hits if results else ()

    def _wishes(self, first: ShopState, asins: Iterable[str]) -> dict[str, dict[str, str]]:
        """The best purchases among some products."""
        shop, goal = self._shop, first.goal
        options = {asin: wanted_options(shop, first, asin) for asin in asins}
        if self._aim == "truth":
            met = {
                asin: choice
                for asin, choice in options.items()
                if strict_success(goal, shop.product(asin), choice, shop.prices[asin])
            }
            options = met or options
        bought = {asin: shop.judge(goal, asin, choice) for asin, choice in options.items()}
        worth = {asin: (item.parts.total, (item.released or item.parts).total) for asin, item in bought.items()}
        highest = max(worth.values(), default=None)
        return {asin: options[asin] for asin, value in worth.items() if value == highest}


def wanted_options(shop: Shop, state: ShopState, asin: str) -> dict[str, str]:
    """The wanted options that can be clicked on the page of a product, group -> value.

    Args:
        shop: Where it is sold.
        state: Any state of the episode.
        asin: The product.
    """
    offered = clickables(shop, ShopState(goal=state.goal, session=state.session, page=Page.ITEM, asin=asin))
    wanted = state.goal.options
    if isinstance(wanted, dict):
        return {name: value for name, value in wanted.items() if offered.get(value) == name}
    return {name: value for value in wanted if (name := offered.get(value)) is not None}


def best_actions(shop: Shop, plan: Plan, state: ShopState) -> set[str]:
    """The first actions of all shortest ways to a purchase of the plan.

    Args:
        shop: Where the shopper is.
        plan: What is wanted.
        state: Where exactly.
    """
    back = 1 + plan.from_search
    if state.page is Page.DONE:
        return {LEAVE}
    if state.page is Page.SEARCH:
        return {query for query, cost in plan.costs.items() if cost == plan.from_search}
    on_results, moves = _cost_in(state.hits, state.number or 1, plan.wishes)
    if state.page is Page.RESULTS:
        return _cheapest({_BACK: back, **dict.fromkeys(moves, on_results)})
    wish = plan.wishes.get(state.asin or "")
    if state.page is Page.ITEM and wish is not None:
        open_clicks = {f"click[{value}]" for name, value in wish.items() if state.options.get(name) != value}
        return open_clicks or {_BUY}
    if wish is not None:
        return {"click[< prev]"}
    steps_up = 1 if state.page is Page.ITEM else 2
    return _cheapest({_BACK: back, "click[< prev]": steps_up + on_results})


def _cost_in(hits: Sequence[str], number: int, wishes: dict[str, dict[str, str]]) -> tuple[int, set[str]]:
    """Steps from a page of results to the cheapest purchase among its hits, and the actions that begin with it."""
    cost, moves = _FAR, set[str]()
    for rank, asin in enumerate(hits):
        if asin in wishes:
            page = rank // RESULTS_PER_PAGE + 1
            steps = abs(page - number) + 1 + len(wishes[asin]) + 1
            if steps <= cost:
                moves = moves if steps == cost else set()
                cost = steps
                link = f"click[{asin.lower()}]"
                moves.add(link if page == number else "click[next >]" if page > number else "click[< prev]")
    return cost, moves


def _cheapest(costs: dict[str, int]) -> set[str]:
    lowest = min(costs.values())
    return {action for action, cost in costs.items() if cost == lowest}


class ShopReader:
    """Chooses by what the page says and nothing else.

    Args:
        env: Name of a shop.
        choose: Page and candidates -> which candidate.
    """

    def __init__(self, env: str, choose: Callable[[str, Sequence[str]], int]) -> None:
        _shop_name(env)
        self._num_actions = make_spec(env).num_actions
        self._choose = choose

    def advise(self, inputs: PolicyInput) -> Advice:
        """The chosen candidate, [B, A]; noise may play any candidate."""
        best = np.zeros((len(inputs), self._num_actions), dtype=np.bool_)
        allowed = np.zeros_like(best)
        for row in range(len(inputs)):
            candidates = decode_texts(inputs.observations["candidates"][row])
            best[row, self._choose(decode_text(inputs.observations["page"][row]), candidates)] = True
            allowed[row, : len(candidates)] = True
        return Advice(best, allowed)


def _shop_of(env: str) -> Shop:
    return world_shop(world_config(_shop_name(env)))


def _shop_name(env: str) -> str:
    if env not in WORLDS:
        raise UsageError(f"The shop agents play {sorted(WORLDS)}; received {env!r}.")
    return env


SHOP_AGENTS: dict[str, Callable[[str], ShopPlanner | ShopReader]] = {
    "shop-expert": ShopPlanner,
    "shop-oracle": partial(ShopPlanner, aim="choice"),
    "shop-limited": partial(ShopReader, choose=buy_best_match),
    "shop-rule": partial(ShopReader, choose=buy_first_hit),
}
"""Name -> agent for a shop."""
