"""Named changes of what is seen: ``procgen/maze+blur-2`` is the maze, its levels and returns, seen through a blur.

Only images change. Each change is a pure function of the frame, the level and the strength, so an episode stays a
function of its name. Ten-family crafted shifts (Efthymiadis et al., "Crafting Distribution Shifts for Validation and
Training in Single Source Domain Generalization", WACV 2025) are the model for the two folds; geometric changes that
move things, such as mirror images, would change which action is right and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError, unknown_name
from envs.seeding import rng_for
from envs.spec import EnvSpec
from envs.vector import Actions, LevelVectorEnv, Mask, Observations, Transition

SEPARATOR = "+"
"""Between the name of an environment and the change."""
STRENGTHS = (1, 2, 3)
"""Mild, clear, strong; 0 changes nothing."""

Frames = npt.NDArray[np.uint8]
"""[B, height, width, 3]."""
Floats = npt.NDArray[np.float32]
Change = Callable[[Floats, npt.NDArray[np.int64], int], Floats]
"""(frames as numbers 0 to 255, level of each row [B], strength 1 to 3) -> changed frames."""

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def _color(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Turns every hue by 40, 90 or 160 degrees about the grey axis; brightness stays."""
    angle = np.deg2rad((40, 90, 160)[strength - 1])
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    return np.asarray(frames @ turn.T.astype(np.float32))


def _contrast(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Pulls every pixel toward middle grey."""
    return 128 + (frames - 128) * (0.7, 0.45, 0.25)[strength - 1]


def _noise(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Adds a grain that is the level's own and does not move."""
    grain = np.stack([_grain(int(level), *frames.shape[1:3]) for level in levels])
    return frames + grain * (8, 20, 40)[strength - 1]


def _blur(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """A Gaussian blur of 0.8, 1.5 or 2.5 pixels."""
    sigma = (0.8, 1.5, 2.5)[strength - 1]
    reach = int(np.ceil(2 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (1, 2):
        pad = [(0, 0), (0, 0), (0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded, size = np.pad(frames, pad, mode="edge"), frames.shape[axis]
        parts = (np.take(padded, np.arange(at, at + size), axis) * w for at, w in enumerate(weights))
        frames = np.asarray(sum(parts))
    return frames


def _cutout(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Paints a square of 1/8, 2/9 or 1/3 of the side, at a place and in a color of the level's own."""
    height, width = frames.shape[1:3]
    side = max(1, round(min(height, width) * (1 / 8, 2 / 9, 1 / 3)[strength - 1]))
    changed = frames.copy()
    for row, level in enumerate(levels):
        rng = rng_for("visual cutout", int(level))
        top, left = (int(rng.integers(size - side + 1)) for size in (height, width))
        changed[row, top : top + side, left : left + side] = rng.integers(256, size=3)
    return changed


def _resolution(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Halves, quarters or eighths the resolution: means of blocks, shown at the old size."""
    factor = (2, 4, 8)[strength - 1]
    height, width = frames.shape[1:3]
    padded = np.pad(frames, [(0, 0), (0, -height % factor), (0, -width % factor), (0, 0)], mode="edge")
    rows, columns = padded.shape[1] // factor, padded.shape[2] // factor
    coarse = padded.reshape(len(frames), rows, factor, columns, factor, 3).mean(axis=(2, 4))
    return np.asarray(coarse.repeat(factor, axis=1).repeat(factor, axis=2)[:, :height, :width])


def _edges(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Fades the colors toward a drawing of the outlines."""
    share = (0.25, 0.5, 0.8)[strength - 1]
    grey = frames @ _GREY
    slope = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) + np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    return np.asarray((1 - share) * frames + share * np.minimum(2 * slope, 255.0)[..., None])


def _fog(frames: Floats, levels: npt.NDArray[np.int64], strength: int) -> Floats:
    """Fades everything toward a light grey, the top more than the bottom."""
    share = (0.3, 0.5, 0.7)[strength - 1]
    depth = np.linspace(1.0, 0.6, frames.shape[1], dtype=np.float32)[:, None, None] * share
    return np.asarray(frames * (1 - depth) + 225 * depth)


CHANGES: dict[str, Change] = {
    "color": _color,
    "contrast": _contrast,
    "noise": _noise,
    "blur": _blur,
    "cutout": _cutout,
    "resolution": _resolution,
    "edges": _edges,
    "fog": _fog,
}
FOLDS: dict[str, tuple[str, ...]] = {
    "1": ("color", "contrast", "noise", "blur"),
    "2": ("cutout", "resolution", "edges", "fog"),
}
"""Two folds of families that have little in common: what was trained with one is validated on the other."""


@lru_cache(maxsize=4096)
def _grain(level: int, height: int, width: int) -> Floats:
    return rng_for("visual noise", level).standard_normal((height, width, 3), dtype=np.float32)


def visual_name(env: str, change: str, strength: int) -> str:
    """The name of a changed environment, for example ``"procgen/maze+blur-2"``."""
    return f"{env}{SEPARATOR}{change}-{strength}"


def parse_visual(name: str) -> tuple[str, str, int]:
    """The environment, the change and its strength that a name means.

    Raises:
        UsageError: For an unknown change, answered with the closest, or a strength that there is not.
    """
    base, _, shift = name.partition(SEPARATOR)
    change, _, text = shift.rpartition("-")
    if not text.isdigit() or int(text) not in (0, *STRENGTHS):
        raise UsageError(
            f"{name!r} is no visual change; write ENV{SEPARATOR}CHANGE-STRENGTH with a strength from 0 to "
            f"{STRENGTHS[-1]}, for example {visual_name(base, 'blur', 2)}."
        )
    if change not in CHANGES:
        raise unknown_name("visual change", change, CHANGES)
    return base, change, int(text)


def changed_frames(frames: Frames, levels: npt.NDArray[np.int64], change: str, strength: int) -> Frames:
    """Frames uint8 [B, height, width, 3] as the change shows them; strength 0 returns them as they are."""
    if strength == 0:
        return frames
    values = CHANGES[change](frames.astype(np.float32), levels, strength)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def image_columns(spec: EnvSpec) -> list[str]:
    """The columns that can be changed: fixed ``uint8`` [height, width, 3].

    Raises:
        UsageError: If there is none.
    """
    names = [
        name
        for name, column in spec.observation_columns.items()
        if not column.ragged and column.dtype == "uint8" and len(column.shape) == 3 and column.shape[2] == 3
    ]
    if not names:
        raise UsageError(f"{spec.name!r} shows no image, so visual changes mean nothing there; it shows texts.")
    return names


def visual_spec(spec: EnvSpec, name: str) -> EnvSpec:
    """The contract of a changed environment: all but the name is that of the plain one, the random draws included."""
    image_columns(spec)
    return replace(spec, name=name, drawn_as=spec.drawn_as or spec.name)


class VisualEnv(LevelVectorEnv):
    """An environment seen through a change.

    Args:
        inner: The plain environment; belongs to this one.
        name: Of this one.
    """

    def __init__(self, inner: LevelVectorEnv, name: str) -> None:
        super().__init__(visual_spec(inner.task, name), inner.num_envs)
        self._inner = inner
        _, change, strength = parse_visual(name)
        self._change = partial(changed_frames, change=change, strength=strength)
        self._columns = image_columns(inner.task)
        self._seen: Observations = {}

    def set_copy(self, copy: bool) -> bool:
        """As of the plain environment."""
        return self._inner.set_copy(copy)

    def first_looks(self, levels: npt.NDArray[np.int64]) -> list[bytes]:
        """Of the plain environment: a change hides no difference between levels."""
        return self._inner.first_looks(levels)

    def _start(self, slots: npt.NDArray[np.intp], in_place: bool) -> None:
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        mask[slots] = True
        options: Mapping[str, Any] = {"levels": self._levels, "reset_mask": mask}
        self._seen, _ = self._inner.reset(options=options)

    def _advance(self, actions: Actions, active: Mask) -> Transition:
        self._seen, rewards, terminated, truncated, infos = self._inner.step(actions)
        return Transition(rewards, terminated, truncated, infos.get("episode_metrics"))

    def _observe(self) -> Observations:
        levels = np.maximum(self._levels, 0)
        changed: Observations = {name: self._change(np.asarray(self._seen[name]), levels) for name in self._columns}
        return {**self._seen, **changed}

    def close_extras(self, **kwargs: Any) -> None:
        """Close the plain environment."""
        self._inner.close()
