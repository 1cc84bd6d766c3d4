"""Levels of the grid: explicit factors, layouts, rules and shortest paths, all as pure functions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.seeding import rng_for

ACTION_NAMES = ("stay", "up", "right", "down", "left")
UNREACHABLE = -1

Walls = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GridConfig:
    """The distribution that the levels of one variant come from; every range is [low, high], both included."""

    name: str
    size: int = 8
    """Cells per side, border walls included."""
    themes: tuple[int, int] = (0, 7)
    """Color schemes of floor, walls and agent; there are 16."""
    chain: tuple[int, int] = (1, 2)
    """Items to collect in order, the goal being the last."""
    distractors: tuple[int, int] = (0, 3)
    """Colored cells without any effect."""
    num_walls: tuple[int, int] = (4, 10)
    """Inner wall cells; fewer where the level would fall apart."""
    max_episode_steps: int = 60


VARIANTS = {
    config.name: config
    for config in (
        GridConfig("grid/default"),
        GridConfig("grid/chain-3", chain=(3, 3)),
        GridConfig("grid/distractors", distractors=(6, 10)),
        GridConfig("grid/themes", themes=(8, 15)),
    )
}
"""``grid/default``, and one variant for each factor that can shift: chain length, distractors, colors."""


@dataclass(frozen=True)
class GridLevel:
    """One level. A cell is an index into the flattened grid, row by row."""

    size: int
    theme: int
    walls: Walls  # [cells]
    start: int
    items: tuple[int, ...]
    """Cells of the items in the order in which they must be collected; the last is the goal."""
    distractors: tuple[int, ...]
    distractor_colors: tuple[int, ...]


def make_level(config: GridConfig, level: int) -> GridLevel:
    """The level with this number; its factors are independent draws keyed by (variant, level)."""
    rng = rng_for(config.name, level)
    theme, chain_length, num_distractors, num_walls = (
        int(rng.integers(low, high + 1))
        for low, high in (config.themes, config.chain, config.distractors, config.num_walls)
    )
    walls = _carve_walls(rng, config.size, num_walls)
    free = rng.permutation(np.flatnonzero(~walls))[: 1 + chain_length + num_distractors]
    cells = tuple(int(cell) for cell in free)
    return GridLevel(
        size=config.size,
        theme=theme,
        walls=walls,
        start=cells[0],
        items=cells[1 : 1 + chain_length],
        distractors=cells[1 + chain_length :],
        distractor_colors=tuple(int(color) for color in rng.integers(0, 6, num_distractors)),
    )


def _carve_walls(rng: np.random.Generator, size: int, num_walls: int) -> Walls:
    """Border walls and up to `num_walls` inner ones that leave the free cells connected."""
    walls = np.ones((size, size), dtype=np.bool_)
    walls[1:-1, 1:-1] = False
    flat = walls.reshape(-1)
    for cell in rng.permutation(np.flatnonzero(~flat))[:num_walls]:
        flat[cell] = True
        free = np.flatnonzero(~flat)
        if (distances(flat, size, int(free[0]))[free] == UNREACHABLE).any():
            flat[cell] = False
    return flat


def step_offsets(size: int) -> tuple[int, ...]:
    """What each action adds to the agent's cell."""
    return (0, -size, 1, size, -1)


def move(level: GridLevel, position: int, collected: int, action: int) -> tuple[int, int, float, bool]:
    """The rules: (cell, items collected) and an action -> (cell, items collected, reward, finished).

    A wall stops the agent. Entering the cell of the next item of the chain collects it and pays 1 / chain length;
    other items and distractors do nothing.
    """
    target = position + step_offsets(level.size)[action]
    position = position if level.walls[target] else target
    if position != level.items[collected]:
        return position, collected, 0.0, False
    collected += 1
    return position, collected, 1.0 / len(level.items), collected == len(level.items)


def distances(walls: Walls, size: int, target: int) -> npt.NDArray[np.int64]:
    """Steps from every cell to the target, `UNREACHABLE` for walls and cut-off cells; breadth-first search."""
    steps = np.full(len(walls), UNREACHABLE, dtype=np.int64)
    steps[target] = 0
    queue = deque([target])
    while queue:
        cell = queue.popleft()
        for offset in step_offsets(size)[1:]:
            neighbor = cell + offset
            if not walls[neighbor] and steps[neighbor] == UNREACHABLE:
                steps[neighbor] = steps[cell] + 1
                queue.append(neighbor)
    return steps


def optimal_actions(level: GridLevel, position: int, collected: int) -> tuple[int, ...]:
    """Every action on a shortest path to the next item.

    Raises:
        UsageError: If the whole chain is collected already.
    """
    if collected >= len(level.items):
        raise UsageError("The chain is complete, so no action is left to choose; reset the level first.")
    steps = distances(level.walls, level.size, level.items[collected])
    offsets = step_offsets(level.size)
    closer = [a for a in range(1, len(offsets)) if steps[position + offsets[a]] == steps[position] - 1]
    return tuple(a for a in closer if not level.walls[position + offsets[a]])


def solve(level: GridLevel) -> list[int]:
    """A shortest sequence of actions that completes the level."""
    position, collected, actions = level.start, 0, list[int]()
    while collected < len(level.items):
        actions.append(optimal_actions(level, position, collected)[0])
        position, collected, _, _ = move(level, position, collected, actions[-1])
    return actions
