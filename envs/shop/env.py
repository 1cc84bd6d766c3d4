"""The shop as a vector environment: pages and candidate actions as text, one session a slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.shifts import LEVEL_UNIVERSE
from envs.shop.offers import Offered, Offers, max_offers
from envs.shop.render import observe
from envs.shop.rules import preset
from envs.shop.shop import Purchase, Shop
from envs.shop.state import ShopState, start, step
from envs.shop.stock import world_shop
from envs.shop.world.config import WORLDS, WorldConfig, world_config
from envs.shop.world.goals import Tags, world
from envs.spec import ColumnSpec, EnvSpec
from envs.text import encode_text
from envs.vector import Actions, EpisodeMetrics, LevelVectorEnv, Mask, Observations, Transition

MAX_STEPS = 30
METRICS = ("score", "success", "strict_success")

Text = npt.NDArray[np.uint8]

_NOTHING = encode_text("")  # what a slot shows that was never started


def entries() -> dict[str, tuple[Callable[[], EnvSpec], Callable[..., LevelVectorEnv]]]:
    """Every named world for the registry."""
    return {name: (partial(make_spec, name), Builder(name)) for name in WORLDS}


@dataclass(frozen=True)
class Builder:
    """Builds the environment of a named world."""

    name: str

    def __call__(self, num_envs: int, rules: str = "strict") -> ShopVectorEnv:
        """An environment with `num_envs` slots.

        Args:
            num_envs: Slots.
            rules: ``strict`` or ``compat``.
        """
        return ShopVectorEnv(make_spec(self.name), world_shop(world_config(self.name), preset(rules)), num_envs)


def make_spec(name: str) -> EnvSpec:
    """The contract of a named world; builds no catalogue.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    return spec_of(world_config(name))


def spec_of(config: WorldConfig, max_steps: int = MAX_STEPS) -> EnvSpec:
    """The contract of a world; a return is the score of the purchase, 0 to 1.

    Args:
        config: The world.
        max_steps: Steps after which an episode is cut off.
    """
    text = ColumnSpec("uint8", ragged=True)
    return EnvSpec(
        name=config.name,
        observation_columns={"page": text, "candidates": text},
        num_actions=max_offers(config.axes[1], config.axis_values[1]),
        max_episode_steps=max_steps,
        level_universe=LEVEL_UNIVERSE,
        return_bounds={"official": (0.0, 1.0)},
        candidate_column="candidates",
    )


def level_tags(name: str, level: int) -> Tags:
    """The strata of a level of a named world: department, sub_category, family, num_constraints and more."""
    return world(name).tags(level)


@dataclass(slots=True)
class Slot:
    """One shopper: where it is, what it sees and what it may do."""

    state: ShopState
    page: Text
    offers: Offered


class ShopVectorEnv(LevelVectorEnv):
    """B shoppers in one shop; a level is a goal.

    ``page`` is the page in the form ``text_rich``, ``candidates`` what can be done (see `envs.shop.offers`). The
    purchase ends an episode and pays its score under the shop's rules. An index beyond the row's candidates spends a
    step and changes nothing. Episodes report ``score`` (the original's released reward), ``success`` (that reward is 1)
    and ``strict_success`` (every constraint holds); 0 where nothing was bought.

    Args:
        task: The contract.
        shop: Shared by all slots and never changed; its goals are the levels.
        num_envs: Slots.

    Raises:
        UsageError: If the shop has fewer goals than the contract has levels.
    """

    def __init__(self, task: EnvSpec, shop: Shop, num_envs: int) -> None:
        super().__init__(task, num_envs)
        if len(shop.goals) < task.level_universe:
            raise UsageError(f"{task.name!r} has {task.level_universe} levels, but its shop {len(shop.goals)} goals.")
        self.shop = shop
        self.offers = Offers(shop)
        self._slots: list[Slot | None] = [None] * num_envs
        self._copies = True

    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        for slot in slots.tolist():
            level = int(self._levels[slot])
            self._slots[slot] = self._enter(start(self.shop.goal(level), str(level)))

    def _enter(self, state: ShopState) -> Slot:
        return Slot(state, encode_text(observe(self.shop, state, "text_rich")), self.offers.at(state))

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        finished = np.zeros(self.num_envs, dtype=np.bool_)
        metrics: EpisodeMetrics = {name: np.zeros(self.num_envs) for name in METRICS}
        chosen = actions.tolist()
        for slot in np.flatnonzero(active).tolist():
            purchase = self._act(slot, chosen[slot])
            if purchase is not None:
                rewards[slot], finished[slot] = purchase.parts.total, True
                for name, value in zip(METRICS, judged(purchase), strict=True):
                    metrics[name][slot] = value
        truncated = ~finished & (self._steps >= self.task.max_episode_steps)
        return Transition(rewards, finished, truncated, metrics)

    def _act(self, slot: int, choice: int) -> Purchase | None:
        shopper = self._slots[slot]
        assert shopper is not None
        if choice >= len(shopper.offers.actions):
            return None
        after = step(self.shop, shopper.state, shopper.offers.actions[choice])
        if after is None:
            return None
        self._slots[slot] = self._enter(after)
        return after.purchase

    def set_copy(self, copy: bool) -> bool:
        """Rows are read-only and never written to; without copies the same one may be returned again."""
        before, self._copies = self._copies, copy
        return before

    def _observe(self) -> Observations:
        pages = [slot.page if slot else _NOTHING for slot in self._slots]
        candidates = [slot.offers.row if slot else _NOTHING for slot in self._slots]
        if self._copies:
            pages, candidates = [row.copy() for row in pages], [row.copy() for row in candidates]
        return {"page": tuple(pages), "candidates": tuple(candidates)}


def judged(purchase: Purchase) -> tuple[float, float, float]:
    """The values of `METRICS` for a purchase."""
    score = (purchase.released or purchase.parts).total
    return score, float(score == 1.0), float(purchase.strict_success)
