"""One shopper: texts in, pages out."""

from __future__ import annotations

import random
from typing import NamedTuple

from envs.errors import UsageError, unknown_name
from envs.shop.render import MODES, observe
from envs.shop.shop import Purchase, Shop
from envs.shop.state import Page, ShopState, clickables, start, step


class Turn(NamedTuple):
    """What an agent gets back.

    Attributes:
        observation: The page, in the session's mode.
        has_search_bar: Whether the page shows a search bar.
        clickables: What can be clicked, in order, in lower case.
        reward: 0 until the purchase, in [0, 1] then.
        terminated: Whether the episode has ended. Where `ShopRules.act_after_end` holds, only the turn of the purchase
            itself says so, as in the original.
        accepted: Whether the action was understood and possible; True after a reset.
        purchase: What was bought by this action, if anything.
    """

    observation: str
    has_search_bar: bool
    clickables: tuple[str, ...]
    reward: float
    terminated: bool
    accepted: bool
    purchase: Purchase | None


class Session:
    """Plays episodes in a shop.

    Args:
        shop: Shared with other sessions, never changed.
        mode: ``text_rich``, ``text`` or ``url``.
        seed: For the hidden random search only; no other part of a session is random.

    Raises:
        UsageError: If there is no such mode.
    """

    def __init__(self, shop: Shop, mode: str = "text_rich", seed: int = 0) -> None:
        if mode not in MODES:
            raise unknown_name("observation mode", mode, MODES)
        self.shop = shop
        self.mode = mode
        self.rng = random.Random(seed)
        self._state: ShopState | None = None
        self._clickables: tuple[str, ...] = ()
        self._observation = ""

    @property
    def state(self) -> ShopState:
        """Where the shopper is.

        Raises:
            UsageError: Before the first reset.
        """
        if self._state is None:
            raise UsageError("The session has not started; reset it to a goal first.")
        return self._state

    def reset(self, goal_index: int, name: str | None = None) -> Turn:
        """Start an episode.

        Args:
            goal_index: Which goal of the shop.
            name: Name of the session in addresses; the number of the goal if None.

        Raises:
            UsageError: If there is no such goal.
        """
        goal = self.shop.goal(goal_index)
        self._enter(start(goal, str(goal_index) if name is None else name))
        return self._turn(0.0, terminated=False, accepted=True)

    def act(self, text: str) -> Turn:
        """Do what `text` says; a malformed or impossible action changes nothing and earns 0.

        Raises:
            UsageError: Before the first reset.
        """
        before = self.state
        after = step(self.shop, before, text, self.rng)
        if after is None:
            ended = before.page is Page.DONE and not self.shop.rules.act_after_end
            return self._turn(0.0, terminated=ended, accepted=False)
        self._enter(after)
        purchase = after.purchase
        return self._turn(purchase.parts.total if purchase else 0.0, purchase is not None, True, purchase)

    def _enter(self, state: ShopState) -> None:
        self._state = state
        self._clickables = tuple(clickables(self.shop, state))
        self._observation = observe(self.shop, state, self.mode)

    def _turn(self, reward: float, terminated: bool, accepted: bool, purchase: Purchase | None = None) -> Turn:
        has_bar = self.state.page is Page.SEARCH
        return Turn(self._observation, has_bar, self._clickables, reward, terminated, accepted, purchase)
