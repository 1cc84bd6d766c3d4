"""What a fragment draws, and environments that go on with the next episode by themselves. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.episode import EpisodeResult
from envs.seeding import rng_for
from envs.vector import Actions, LevelVectorEnv, Mask, Observations

Levels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """All randomness of one fragment. A slot reads its own column, so it does not matter who plays which slots."""

    uniforms: npt.NDArray[np.float64]  # [T, B] for the actions
    levels: Levels  # [T + 1, B] row 0 starts a fresh stream, row t + 1 follows an episode that ends in step t

    @classmethod
    def named(cls, names: tuple[str | int, ...], levels: Levels, num_steps: int, num_envs: int) -> Draws:
        """The draws of a name; levels come uniformly from `levels`, with replacement."""
        rng = rng_for(*names)
        return cls(rng.random((num_steps, num_envs)), rng.choice(levels, size=(num_steps + 1, num_envs)))


class SlotStep(NamedTuple):
    """What one step of B slots led to."""

    observations: Observations  # after an end those of the next episode
    rewards: npt.NDArray[np.float32]  # [B]
    terminated: Mask  # [B]
    truncated: Mask  # [B]
    finals: Observations | None
    """Where some slot was truncated and the environment shows an episode's end: what the slots showed in place of
    `observations`."""


class EnvSlots:
    """B slots; one whose episode ends starts the next in the same step.

    Args:
        env: What it returns must be used or copied before the next step.
    """

    def __init__(self, env: LevelVectorEnv) -> None:
        self.env = env
        self._shows_ends = env.task.final_observation_known
        self._levels = np.zeros(env.num_envs, dtype=np.int64)  # [B]
        if not self._shows_ends:  # otherwise the end would be lost with the copy
            env.set_copy(False)

    def start(self, levels: Levels) -> Observations:
        """Begin an episode in every slot."""
        self._levels = levels.copy()
        return self.env.reset(options={"levels": self._levels, "in_place": True})[0]

    def step(self, actions: Actions, following: Levels) -> SlotStep:
        """Play one step.

        Args:
            actions: [B].
            following: [B] the level that a slot goes on with if its episode ends now.
        """
        observations, rewards, terminated, truncated, _ = self.env.step(actions)
        ended, finals = terminated | truncated, None
        if ended.any():
            if self._shows_ends and truncated.any():
                finals = {name: rows if isinstance(rows, tuple) else rows.copy() for name, rows in observations.items()}
            self._levels = np.where(ended, following, self._levels)
            options = {"levels": self._levels, "reset_mask": ended, "in_place": True}
            observations, _ = self.env.reset(options=options)
        return SlotStep(observations, rewards.astype(np.float32, copy=False), terminated, truncated, finals)


class EpisodeBook:
    """Which level each of B slots is on, and what its running episode has brought."""

    def __init__(self, env_name: str, num_envs: int) -> None:
        self._env_name = env_name
        self._levels = np.zeros(num_envs, dtype=np.int64)  # [B]
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, dtype=np.int64)

    def start(self, levels: Levels) -> None:
        """New episodes everywhere, on these levels [B]."""
        self._levels = levels.copy()
        self._returns[:] = 0
        self._lengths[:] = 0

    def add(self, slots: slice, step: SlotStep, following: Levels) -> list[EpisodeResult]:
        """Take in a step of these slots; returns the episodes that ended, in order of slots."""
        self._returns[slots] += step.rewards
        self._lengths[slots] += 1
        ended = np.flatnonzero(step.terminated | step.truncated)
        results = [self._result(slots.start + row, step, row) for row in ended.tolist()]
        places = ended + slots.start
        self._levels[places] = following[ended]
        self._returns[places] = 0
        self._lengths[places] = 0
        return results

    def _result(self, slot: int, step: SlotStep, row: int) -> EpisodeResult:
        return EpisodeResult(
            env=self._env_name,
            level=int(self._levels[slot]),
            episode=0,
            episode_return=float(self._returns[slot]),
            length=int(self._lengths[slot]),
            terminated=bool(step.terminated[row]),
            truncated=bool(step.truncated[row]),
        )
