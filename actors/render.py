"""Recorded levels and actions -> observations and rewards, in batches. No policy, no randomness, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.arena import ArenaPool
from actors.choice import Choice
from actors.recorder import Recorder
from actors.rollout import Job
from data.episode import Column
from envs.registry import make_vec
from envs.vector import LevelVectorEnv

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scripts:
    """The actions of many episodes, one after the other."""

    env: str
    levels: Indices  # [E]
    starts: Indices  # [E + 1] first transition of each episode
    actions: npt.NDArray[Any]  # [N] in any integer type

    def __len__(self) -> int:
        return len(self.levels)


@dataclass(frozen=True)
class Rendering:
    """What an environment showed while it was given recorded actions."""

    level: int
    index: int
    """Which script."""
    observations: dict[str, Column]
    """A row for each step that was played, and the row after the last one where the environment shows it."""
    rewards: npt.NDArray[np.float32]
    """One for each step played: fewer than there are actions where the episode ended before."""
    terminated: bool
    truncated: bool

    @property
    def job(self) -> Job:
        """(level, index)."""
        return self.level, self.index


def long_first(scripts: Scripts, indices: Sequence[int]) -> list[int]:
    """An order in which all slots stay busy to the end."""
    chosen = np.asarray(indices, dtype=np.int64)
    lengths = scripts.starts[chosen + 1] - scripts.starts[chosen]
    order: list[int] = chosen[np.argsort(-lengths, kind="stable")].tolist()
    return order


def render(
    env: LevelVectorEnv, scripts: Scripts, indices: Iterable[int], stopped: Callable[[], bool] = lambda: False
) -> Iterator[Rendering]:
    """Play scripts to the end of their actions or of the episode.

    Args:
        env: Plays; its slots are reset.
        scripts: What to play.
        indices: Which of them, drawn as slots become free; yields them in the order in which they end.
        stopped: Asked before each step; True ends the work without the rest.
    """
    before = env.set_copy(False)
    try:
        yield from _Renderer(env, scripts, indices, stopped).run()
    finally:
        env.set_copy(before)


class _Renderer:
    """The state of B slots between steps."""

    def __init__(
        self, env: LevelVectorEnv, scripts: Scripts, indices: Iterable[int], stopped: Callable[[], bool]
    ) -> None:
        self._env, self._scripts, self._stopped = env, scripts, stopped
        self._waiting = iter(indices)
        size = env.num_envs
        self._scripts_of = np.zeros(size, dtype=np.int64)  # idle slots play something valid
        self._cursors = scripts.starts[self._scripts_of].copy()  # [B] the next action
        self._stops = self._cursors + 1
        self._running = np.zeros(size, dtype=np.bool_)
        self._recorder = Recorder(env.task, size, ArenaPool(), with_log_probs=False)
        self._no_logp = np.zeros(size, dtype=np.float32)

    def run(self) -> Iterator[Rendering]:
        """Step until the scripts are used up."""
        everything = np.ones(len(self._running), dtype=np.bool_)
        self._running = self._next_scripts(np.arange(len(everything)))
        if not self._running.any():
            return
        observations, _ = self._env.reset(options={"levels": self._levels()})
        self._recorder.start(everything)
        while self._running.any() and not self._stopped():
            actions = self._scripts.actions[np.minimum(self._cursors, self._stops - 1)].astype(np.int32)
            self._recorder.observe(observations, self._running)
            observations, rewards, terminated, truncated, infos = self._env.step(actions)
            self._recorder.complete(rewards, Choice(actions, self._no_logp, None))
            self._cursors += self._running
            ended = terminated | truncated
            over = self._running & (ended | (self._cursors == self._stops))
            if not over.any():
                continue
            slots = np.flatnonzero(over)
            for slot in slots.tolist():
                shown = observations if infos["final_observation_known"][slot] or not ended[slot] else None
                fields = self._recorder.take(slot, shown)
                yield Rendering(
                    level=int(self._scripts.levels[self._scripts_of[slot]]),
                    index=int(self._scripts_of[slot]),
                    observations=fields["observations"],
                    rewards=fields["rewards"],
                    terminated=bool(terminated[slot]),
                    truncated=bool(truncated[slot]),
                )
            mask = self._next_scripts(slots)
            self._running = self._running & ~over | mask
            if mask.any():
                observations, _ = self._env.reset(options={"levels": self._levels(), "reset_mask": mask})
                self._recorder.start(mask)

    def _next_scripts(self, slots: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Give free slots their next script; returns the slots that got one, as a mask [B]."""
        mask = np.zeros(len(self._running), dtype=np.bool_)
        for slot, index in zip(slots.tolist(), self._waiting, strict=False):
            self._scripts_of[slot] = index
            self._cursors[slot], self._stops[slot] = self._scripts.starts[index : index + 2]
            mask[slot] = True
        return mask

    def _levels(self) -> Indices:
        return self._scripts.levels[self._scripts_of]


@dataclass(frozen=True, kw_only=True)
class RenderTask:
    """Scripts for the actors of a pool; a job is (level, index)."""

    key: str
    """See `actors.env_actor.new_task_key`."""
    scripts: Scripts
    num_envs: int
    """Slots per actor."""

    def build(self) -> RenderPlayer:
        """The environment; called in the actor."""
        return RenderPlayer(self)


class RenderPlayer:
    """A `RenderTask`, built."""

    def __init__(self, task: RenderTask) -> None:
        self._scripts = task.scripts
        self._env: LevelVectorEnv = make_vec(task.scripts.env, task.num_envs)

    def play(self, jobs: Sequence[Job]) -> Iterator[Rendering]:
        """Yields every job's rendering as it ends."""
        return render(self._env, self._scripts, long_first(self._scripts, [index for _, index in jobs]))

    def close(self) -> None:
        """Free the environment."""
        self._env.close()
