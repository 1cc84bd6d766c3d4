"""A tiny deterministic grid with explicit factors: for tests, the README, and controlled shifts between levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from envs.cache import LeastRecentlyUsed
from envs.grid_levels import (
    ACTION_NAMES,
    VARIANTS,
    GridConfig,
    GridLevel,
    distances,
    make_level,
    move,
    optimal_actions,
    solve,
    step_offsets,
)
from envs.shifts import EnvShift
from envs.spec import ColumnSpec, EnvSpec
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition

__all__ = [
    "VARIANTS",
    "GridConfig",
    "GridLevel",
    "GridVectorEnv",
    "distances",
    "make_level",
    "make_spec",
    "move",
    "optimal_actions",
    "render",
    "solve",
]

CELL_PIXELS = 4
NUM_LEVELS = 2**31 - 1
_CACHED_LEVELS = 4096

_ITEM_COLORS = np.array([[60, 200, 90], [240, 200, 40], [230, 60, 60], [70, 120, 240]], dtype=np.uint8)
"""By what remains: the goal is green whatever the chain's length, the item before it yellow, the one before red."""
_DISTRACTOR_COLORS = np.array(
    [[150, 80, 160], [90, 160, 170], [200, 120, 60], [120, 120, 220], [170, 170, 90], [200, 110, 150]], dtype=np.uint8
)


def entries() -> dict[str, tuple[Callable[[], EnvSpec], Callable[..., LevelVectorEnv]]]:
    """All variants for the registry."""
    return {name: (partial(make_spec, config), partial(GridVectorEnv, config)) for name, config in VARIANTS.items()}


def level_tags(name: str, level: int) -> dict[str, str | int]:
    """The factors of a level of a named variant."""
    made = make_level(VARIANTS[name], level)
    return {"theme": made.theme, "chain": len(made.items), "distractors": len(made.distractors)}


def shifts() -> dict[str, Callable[[], EnvShift]]:
    """Every shift for the registry: the held-out roles play other variants."""
    envs = {"train": "grid/default", "train_heldout": "grid/default"}
    held_out = {"validation": "grid/distractors", "test": "grid/chain-3"}
    return {"grid-variants": lambda: EnvShift("more distractors, then longer chains", envs | held_out)}


def make_spec(config: GridConfig) -> EnvSpec:
    """The contract of a variant; returns lie in [0, 1] and 1 means complete."""
    side = config.size * CELL_PIXELS
    return EnvSpec(
        name=config.name,
        observation_columns={"image": ColumnSpec("uint8", (side, side, 3))},
        num_actions=len(ACTION_NAMES),
        max_episode_steps=config.max_episode_steps,
        level_universe=NUM_LEVELS,
        return_bounds={"official": (0.0, 1.0)},
        action_names=ACTION_NAMES,
    )


class GridVectorEnv(LevelVectorEnv):
    """B slots of one variant, stepped together in NumPy.

    Args:
        config: The variant.
        num_envs: Slots.
    """

    def __init__(self, config: GridConfig, num_envs: int) -> None:
        super().__init__(make_spec(config), num_envs)
        self._made = LeastRecentlyUsed(partial(make_level, config), _CACHED_LEVELS)
        self._playing: list[GridLevel | None] = [None] * num_envs
        cells = config.size**2
        self._offsets = np.array(step_offsets(config.size))
        self._position = np.zeros(num_envs, dtype=np.int64)
        self._collected = np.zeros(num_envs, dtype=np.int64)
        self._chain_length = np.ones(num_envs, dtype=np.int64)
        self._walls = np.ones((num_envs, cells), dtype=np.bool_)
        self._items = np.full((num_envs, config.chain[1]), -1, dtype=np.int64)  # -1: shorter chain
        self._background = np.zeros((num_envs, *self.task.observation_columns["image"].shape), dtype=np.uint8)
        self._agent_color = np.zeros((num_envs, 3), dtype=np.uint8)
        self._pixels = cell_pixels(config.size)

    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        for slot in slots:
            level = self._made.get(int(self._levels[slot]))
            self._playing[slot] = level
            self._walls[slot] = level.walls
            self._items[slot] = -1
            self._items[slot, : len(level.items)] = level.items
            self._chain_length[slot] = len(level.items)
            self._position[slot], self._collected[slot] = level.start, 0
            self._background[slot] = render_background(level)
            self._agent_color[slot] = theme_colors(level.theme)[2]

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        rows = np.arange(self.num_envs)
        target = self._position + self._offsets[actions]
        blocked = ~active | self._walls[rows, target]
        self._position = np.where(blocked, self._position, target)
        # A finished chain has no next item; the clipped index is then ignored because its slot has ended.
        following = self._items[rows, np.minimum(self._collected, self._chain_length - 1)]
        hit = active & (self._position == following)
        self._collected += hit
        terminated = hit & (self._collected == self._chain_length)
        truncated = ~terminated & (self._steps >= self.task.max_episode_steps)
        return Transition((hit / self._chain_length).astype(np.float32), terminated, truncated)

    def _observe(self) -> Observations:
        frames = self._background.copy()
        flat = frames.reshape(self.num_envs, -1, 3)
        for order in range(self._items.shape[1]):
            rows = np.flatnonzero((order >= self._collected) & (order < self._chain_length))
            colors = item_colors(self._chain_length[rows] - order)
            flat[rows[:, None], self._pixels[self._items[rows, order]]] = colors[:, None]
        rows = np.flatnonzero(self._levels >= 0)
        flat[rows[:, None], _inner(self._pixels)[self._position[rows]]] = self._agent_color[rows, None]
        return {"image": frames}


def render(level: GridLevel, position: int, collected: int) -> npt.NDArray[np.uint8]:
    """The frame of one state, uint8 [size * 4, size * 4, 3]: what `GridVectorEnv` returns, written for one slot."""
    frame = render_background(level)
    flat, pixels = frame.reshape(-1, 3), cell_pixels(level.size)
    for order, cell in enumerate(level.items[collected:], start=collected):
        flat[pixels[cell]] = item_colors(np.array([len(level.items) - order]))[0]
    flat[_inner(pixels)[position]] = theme_colors(level.theme)[2]
    return frame


def render_background(level: GridLevel) -> npt.NDArray[np.uint8]:
    """Floor, walls and distractors."""
    floor, wall, _ = theme_colors(level.theme)
    cells = np.where(level.walls[:, None], wall, floor)
    for cell, color in zip(level.distractors, level.distractor_colors, strict=True):
        cells[cell] = _DISTRACTOR_COLORS[color]
    square: npt.NDArray[np.uint8] = cells.reshape(level.size, level.size, 3)
    frame: npt.NDArray[np.uint8] = square.repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)
    return frame


def theme_colors(theme: int) -> npt.NDArray[np.uint8]:
    """Colors [3, 3] of floor, wall and agent: dark floor, mid-tone wall, light agent, hue by theme."""
    hue = np.pi * theme / 8
    tint = 0.5 + 0.5 * np.cos(hue + np.array([0.0, 2.1, 4.2]))
    scale = np.array([[20.0, 50.0], [80.0, 60.0], [190.0, 60.0]])  # base, range
    colors: npt.NDArray[np.uint8] = np.rint(scale[:, :1] + scale[:, 1:] * tint).astype(np.uint8)
    return colors


def item_colors(remaining: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.uint8]:
    """Colors [n, 3] of items by their place counted from the end of the chain (1: the goal)."""
    colors: npt.NDArray[np.uint8] = _ITEM_COLORS[np.asarray(remaining) - 1]
    return colors


def cell_pixels(size: int) -> npt.NDArray[np.int64]:
    """Flat pixel indices of every cell, [cells, 16]."""
    side = size * CELL_PIXELS
    pixels = np.arange(side * side).reshape(size, CELL_PIXELS, size, CELL_PIXELS)
    return pixels.transpose(0, 2, 1, 3).reshape(size * size, -1)


def _inner(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The middle 2 x 2 pixels of every cell: an item stays visible under the agent."""
    square = pixels.reshape(-1, CELL_PIXELS, CELL_PIXELS)
    return square[:, 1:-1, 1:-1].reshape(len(pixels), -1)
