"""The shop as an ordinary Gymnasium environment: text in, text out, for language models and other harnesses."""

from __future__ import annotations

import operator
import random
from typing import Any, SupportsIndex

import gymnasium
from gymnasium import spaces

from envs.errors import UsageError, unknown_name
from envs.shop.env import METRICS, judged
from envs.shop.files import ShopFiles, open_shop
from envs.shop.goal_order import GoalSampler
from envs.shop.rules import preset
from envs.shop.session import Session, Turn
from envs.shop.shop import Shop
from envs.shop.stock import WorldGoals, world_shop
from envs.shop.world.config import world_config

MAX_PAGE_CHARACTERS = 1_000_000
MAX_ACTION_CHARACTERS = 1_000


class AnyText(spaces.Text):
    """Text of any characters up to a length; samples are letters, digits and the marks of actions.

    Args:
        max_length: In characters.
        sample_length: Longest sample.
    """

    def __init__(self, max_length: int, sample_length: int = 64) -> None:
        super().__init__(max_length, min_length=0, charset="abcdefghijklmnopqrstuvwxyz0123456789[] ")
        self._sample_length = min(sample_length, max_length)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random short text."""
        if mask is None and probability is None:
            mask = (int(self.np_random.integers(self._sample_length + 1)), None)
        return super().sample(mask, probability)

    def contains(self, x: Any) -> bool:
        """Whether it is a text of at most the greatest length."""
        return isinstance(x, str) and len(x) <= self.max_length


class ShopTextEnv(gymnasium.Env[str, str]):
    """One shopper with text actions such as ``search[red shoes]`` and ``click[buy now]``.

    Malformed and impossible actions change nothing and earn 0. Infos hold ``clickables``, ``has_search_bar``,
    ``accepted`` (whether the action was possible) and ``goal``; at the end also ``score``, ``success`` and
    ``strict_success`` (see `envs.shop.env`), 0 where nothing was bought.

    Args:
        shop: What is played; `open_text_env` makes one from a name or from files.
        mode: Form of the pages: ``text_rich``, ``text`` or ``url``.
        max_steps: Steps after which an episode is cut off; None never does.

    Raises:
        UsageError: If there is no such mode, or `max_steps` is below 1.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, shop: Shop, mode: str = "text_rich", max_steps: int | None = None) -> None:
        if max_steps is not None and max_steps < 1:
            raise UsageError(f"max_steps is {max_steps}; allowed: 1 or more, or None for no limit.")
        self.session = Session(shop, mode)
        self.observation_space = AnyText(MAX_PAGE_CHARACTERS)
        self.action_space = AnyText(MAX_ACTION_CHARACTERS)
        self._max_steps = max_steps
        self._steps = 0
        self._goal = -1
        self._over = True
        self._sampler: GoalSampler | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the draw of goals, and the hidden random search where the rules have it.
            options: ``{"goal": index}``; without it a goal is drawn by weight.

        Raises:
            UsageError: For another option, or a goal that does not exist.
        """
        super().reset(seed=seed)
        for name in options or {}:
            if name != "goal":
                raise unknown_name("reset option", name, ["goal"])
        goal = (options or {}).get("goal")
        if goal is not None and (isinstance(goal, bool) or not isinstance(goal, SupportsIndex)):
            raise UsageError(
                f"The reset option 'goal' is {goal!r}; allowed: the whole number of a goal, for example "
                '{"goal": 3}, or no such option to draw one.'
            )
        if seed is not None:
            self.session.rng.seed(seed)
        self._goal = self._draw() if goal is None else operator.index(goal)
        turn = self.session.reset(self._goal)
        self._steps, self._over = 0, False
        return turn.observation, self._info(turn)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Do what the text says; whatever is no text is refused like a malformed one.

        Raises:
            ResetNeeded: Before the first reset, and after the end of an episode.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("The episode has ended or never began; call reset() first.")
        turn = self.session.act(action if isinstance(action, str) else "")
        self._steps += 1
        truncated = not turn.terminated and self._steps == self._max_steps
        self._over = turn.terminated or truncated
        info = self._info(turn)
        if self._over:
            values = judged(turn.purchase) if turn.purchase else (0.0, 0.0, 0.0)
            info |= dict(zip(METRICS, values, strict=True))
        return turn.observation, turn.reward, turn.terminated, truncated, info

    def _draw(self) -> int:
        goals, rules = self.session.shop.goals, self.session.shop.rules
        if isinstance(goals, WorldGoals):  # two billion of equal weight: no table of sums is needed
            drawn = int(self.np_random.integers(len(goals)))
            return min(drawn + 1, len(goals) - 1) if rules.off_by_one_goals else drawn
        if self._sampler is None:
            self._sampler = GoalSampler([goal.weight for goal in goals], off_by_one=rules.off_by_one_goals)
        return self._sampler.draw(random.Random(int(self.np_random.integers(2**63))))

    def _info(self, turn: Turn) -> dict[str, Any]:
        return {
            "goal": self._goal,
            "has_search_bar": turn.has_search_bar,
            "clickables": turn.clickables,
            "accepted": turn.accepted,
        }


def open_text_env(
    source: str | ShopFiles = "shop/default",
    rules: str = "strict",
    mode: str = "text_rich",
    max_steps: int | None = 30,
) -> ShopTextEnv:
    """The text environment of a built-in world or of files.

    Args:
        source: Name of a world, or files in the original's schemas.
        rules: ``strict`` or ``compat``.
        mode: Form of the pages.
        max_steps: Steps after which an episode is cut off; None never does.

    Raises:
        UsageError: For an unknown name, or files that do not hold what they should.
    """
    chosen = preset(rules)
    shop = world_shop(world_config(source), chosen) if isinstance(source, str) else open_shop(source, chosen)
    return ShopTextEnv(shop, mode, max_steps)
