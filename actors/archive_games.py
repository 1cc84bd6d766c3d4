"""What the archive search knows of each Procgen game: useful actions, how coarse a cell is, what progress means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.procgen_state import HEALTH, TYPE, PlannerState

Progress = Callable[[PlannerState], float]

_FOUR = (1, 3, 5, 7)  # left, down, up, right
_NINE = (0, 1, 2, 3, 4, 5, 6, 7, 8)
_JUMPS = (1, 2, 4, 5, 7, 8)  # down does nothing
_SIDES = (1, 4, 7)  # left, nothing, right
_FIRE = (9,)


@dataclass(frozen=True, kw_only=True)
class GameSettings:
    """How one game is searched."""

    method: Literal["archive", "beam"]
    """Cells kept for ever and returned to (games of places), or moments of one time side by side (games of timing)."""
    actions: tuple[int, ...]
    fire: tuple[int, ...] = ()
    """Actions that shoot."""
    fire_rates: tuple[float, ...] = (0.0, 0.15, 0.4)
    """Shots per step; every lane draws one."""
    segment: int = 6
    """Steps between two looks at the lanes."""
    grain: float = 1.0
    """Side of a cell, in world units."""
    progress: Progress | None = None
    """Added to the return when moments are compared."""
    stop_at_complete: bool = True
    """Whether no episode can be better than one that completed the level."""
    highest: tuple[float, float] | None = None
    """Return in easy and hard mode below which a completed level is not the best after all."""


def _few_entities(state: PlannerState) -> float:
    """Keys taken and doors opened are gone."""
    return -float(state.num_entities)


def _height(state: PlannerState) -> float:
    return float(int(state.agent[1]))


def _damage(kind: int) -> Progress:
    """Health that enemies of this type have left; 0.3 is less than what ending one pays."""

    def progress(state: PlannerState) -> float:
        entities = state.entities
        return -0.3 * float(entities[entities.view(np.int32)[:, TYPE] == kind, HEALTH].sum())

    return progress


def _ammunition(state: PlannerState) -> float:
    """Plunder's energy from 0 to 1: an episode ends without it, a shot costs 0.02 and a right hit gives 0.1."""
    return 3.0 * float(state.tail(5)[0])


_BOSS, _FLYER = 2, 4

GAMES: dict[str, GameSettings] = {
    "bigfish": GameSettings(method="beam", actions=_NINE, grain=2.0),
    "bossfight": GameSettings(method="beam", actions=_NINE, fire=_FIRE, grain=2.0, progress=_damage(_BOSS)),
    "caveflyer": GameSettings(method="archive", actions=_NINE, fire=_FIRE, stop_at_complete=False),
    "chaser": GameSettings(method="beam", actions=_FOUR, segment=4),
    "climber": GameSettings(method="archive", actions=_JUMPS),
    "coinrun": GameSettings(method="archive", actions=_JUMPS),
    "dodgeball": GameSettings(method="archive", actions=_NINE, fire=_FIRE),
    "fruitbot": GameSettings(method="beam", actions=_SIDES, fire=_FIRE, stop_at_complete=False),
    "heist": GameSettings(method="archive", actions=_NINE, progress=_few_entities),
    "jumper": GameSettings(method="archive", actions=_JUMPS),
    "leaper": GameSettings(method="beam", actions=(4, *_FOUR), segment=5, progress=_height),
    "maze": GameSettings(method="archive", actions=_FOUR, segment=5),
    # Diamonds are counted only after the first step: an exit beside the start then takes an empty-handed miner.
    "miner": GameSettings(method="archive", actions=_FOUR, segment=5, highest=(13.0, 22.0)),
    "ninja": GameSettings(method="archive", actions=_JUMPS),
    "plunder": GameSettings(
        method="beam", actions=_SIDES, fire=_FIRE, fire_rates=(0.0, 0.05, 0.1), segment=20, progress=_ammunition
    ),
    "starpilot": GameSettings(
        method="beam", actions=_NINE, fire=_FIRE, segment=5, grain=2.0, progress=_damage(_FLYER), stop_at_complete=False
    ),
}
"""Game -> its settings, the same in both modes."""
