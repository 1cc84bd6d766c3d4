"""Published facts about the 16 Procgen games: step limits, return bounds, action names."""

from __future__ import annotations

from typing import NamedTuple

Bounds = tuple[float, float]
"""(return mapped to 0, return mapped to 1)."""


class Game(NamedTuple):
    """One game. Bounds: Cobbe et al., "Leveraging Procedural Generation", ICML 2020, appendix C.

    The step limit is the same in easy and hard mode and was read out of the engine's saved states
    (`tests/envs/test_procgen.py` reads it again).
    """

    easy: Bounds
    hard: Bounds
    max_episode_steps: int = 1000


GAMES: dict[str, Game] = {
    "bigfish": Game((1, 40), (0, 40), 6000),
    "bossfight": Game((0.5, 13), (0.5, 13), 4000),
    "caveflyer": Game((3.5, 12), (2, 13.4)),
    "chaser": Game((0.5, 13), (0.5, 14.2)),
    "climber": Game((2, 12.6), (1, 12.6)),
    "coinrun": Game((5, 10), (5, 10)),
    "dodgeball": Game((1.5, 19), (1.5, 19)),
    "fruitbot": Game((-1.5, 32.4), (-0.5, 27.2)),
    "heist": Game((3.5, 10), (2, 10)),
    "jumper": Game((3, 10), (1, 10)),
    "leaper": Game((3, 10), (1.5, 10), 500),
    "maze": Game((5, 10), (4, 10), 500),
    "miner": Game((1.5, 13), (1.5, 20)),
    "ninja": Game((3.5, 10), (2, 10)),
    "plunder": Game((4.5, 30), (3, 30), 4000),
    "starpilot": Game((2.5, 64), (1.5, 35)),
}

PAPER_EASY: dict[str, Bounds] = {"jumper": (1, 10), "leaper": (1.5, 10)}
"""Where the plots of "The Generalization Gap in Offline Reinforcement Learning" (ICLR 2024) depart from the official
easy constants: they use the minima of the hard mode."""

ACTION_NAMES = (
    "left+down", "left", "left+up", "down", "none", "up", "right+down", "right", "right+up",
    "d", "a", "w", "s", "q", "e",
)  # fmt: skip

NUM_LEVELS = 2**31 - 1
"""The engine's level seeds are 0 .. 2**31 - 2."""

FRAME_SHAPE = (64, 64, 3)


def return_bounds(game: str, mode: str) -> dict[str, Bounds]:
    """Normalization tables of a game: ``official``, and in easy mode the ICLR 2024 ``paper``'s."""
    if mode == "hard":
        return {"official": GAMES[game].hard}
    return {"official": GAMES[game].easy, "paper": PAPER_EASY.get(game, GAMES[game].easy)}
