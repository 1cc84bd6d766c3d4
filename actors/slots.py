"""What the slots of one environment play: from (level, episode) to actions, from steps to episodes.

An episode is a function of (experiment seed, env, level, episode, policy): actions are drawn by inverse CDF from the
uniforms of that name, and the policy always sees a full batch. Slots, neighbors and the order of jobs change nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.arena import ArenaPool
from actors.choice import Choice, choose_greedy, choose_sampled, mixed_with_uniform
from actors.policy import Policy, PolicyInput
from actors.recorder import Recorder
from data.episode import Episode, EpisodeResult
from envs.errors import RunError
from envs.seeding import rng_for
from envs.vector import LevelVectorEnv, Observations, Step
from metrics.protocol import ActionMode

Job = tuple[int, int]
"""(level, episode): which level, and which repetition on it, from 0."""

_UNIFORMS = 128  # drawn at once per episode; any size gives the same stream
_ARRAYS = "levels episodes running starting previous_actions previous_rewards lengths returns uniforms"
_PER_SLOT = tuple(f"_{name}" for name in _ARRAYS.split())


@dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """What is kept of each episode besides its result."""

    source: str
    """Name of the origin, stored with the episode."""
    log_probs: bool = False
    """Keep the whole distribution, `Episode.behavior_log_probs`."""
    labeler: Policy | None = None
    """Whose most probable action is stored in place of the one taken (as in DAgger), with log-probability 0."""
    arenas: ArenaPool = field(default_factory=ArenaPool)
    """Memory that rollouts with these options use one after the other."""


class SlotPlayer:
    """The state of B slots between steps: `think` says what they do, `settle` takes in what came of it."""

    def __init__(
        self,
        env: LevelVectorEnv,
        policy: Policy,
        jobs: Iterator[Job],
        idle_level: int,
        seed: int,
        mode: ActionMode,
        temperature: float,
        epsilon: float,
        record: RecordOptions | None,
    ) -> None:
        size = env.num_envs
        self._env, self._policy, self._seed = env, policy, seed
        self._own_env: LevelVectorEnv | None = None
        self._mode, self._temperature, self._epsilon = mode, temperature, epsilon
        self._privileged = is_privileged(policy)
        self._jobs = jobs
        self._moves = record is None and bool(getattr(policy, "memoryless", False))
        self._all_slots = np.arange(size)
        self._no_slots = np.zeros(size, dtype=np.bool_)
        # Slots beyond the jobs play some level unseen, so that the batch is always full and valid.
        self._levels = np.full(size, idle_level, dtype=np.int64)
        self._episodes = np.full(size, -1, dtype=np.int64)
        self._running = np.zeros(size, dtype=np.bool_)
        self._starting = np.zeros(size, dtype=np.bool_)
        self._previous_actions = np.full(size, -1, dtype=np.int32)
        self._previous_rewards = np.zeros(size, dtype=np.float32)
        self._lengths = np.zeros(size, dtype=np.int64)
        self._returns = np.zeros(size)
        self._rngs = [rng_for("idle")] * size
        self._uniforms = np.zeros((size, _UNIFORMS))
        self._record = record
        self._keeps_all = record is not None and record.log_probs
        self._recorder = Recorder(env.task, size, record.arenas, with_log_probs=record.log_probs) if record else None

    @property
    def env(self) -> LevelVectorEnv:
        """Where the slots are now."""
        return self._env

    @property
    def running(self) -> bool:
        """Whether any slot plays a job."""
        return bool(self._running.any())

    def start(self) -> None:
        """Begin the first jobs, as many as there are slots."""
        mask = self._next_jobs(self._all_slots)
        self._observations, _ = self._env.reset(options={"levels": self._levels})
        self._begin(np.ones_like(mask), mask)

    def think(self) -> npt.NDArray[np.int32]:
        """The next action of each slot [B]."""
        inputs = self._inputs(self._observations)
        choice = self._choose(inputs)
        self._actions, self._stored = choice.actions, self._labels(inputs) or choice
        if self._recorder is not None:
            self._recorder.observe(self._observations, self._running)
        return self._actions

    def settle(self, step: Step) -> Iterator[Episode | EpisodeResult]:
        """Take in what the environment made of the actions; yields the episodes that ended and starts the next."""
        self._observations, rewards, terminated, truncated, infos = step
        if self._recorder is not None:
            self._recorder.complete(rewards, self._stored)
        self._account(self._actions, rewards)
        ended = (terminated | truncated) & self._running
        if not ended.any():
            return
        slots = np.flatnonzero(ended)
        for slot in slots.tolist():  # one by one, so that the memory of one can serve the next
            yield self._finish(slot, terminated[slot], truncated[slot], infos, self._observations)
        self._running = self._running & ~ended
        if (mask := self._next_jobs(slots)).any():
            self._observations, _ = self._env.reset(options={"levels": self._levels, "reset_mask": mask})
            self._begin(mask, mask)
        if self._moves and mask.sum() < len(slots) and 0 < self._running.sum() <= len(mask) // 2:
            self._observations = self._move(self._observations)

    def _move(self, observations: Observations) -> Observations:
        """No job is left and half of the slots are idle: go on in an environment without those, if it can be had."""
        slots = np.flatnonzero(self._running)
        smaller = self._env.moved(slots)
        if smaller is None:
            self._moves = False
            return observations
        self.close()
        smaller.set_copy(False)
        self._env = self._own_env = smaller
        for name in _PER_SLOT:
            setattr(self, name, getattr(self, name)[slots])
        self._rngs = [self._rngs[slot] for slot in slots.tolist()]
        self._all_slots, self._no_slots = np.arange(len(slots)), np.zeros(len(slots), dtype=np.bool_)
        return {name: rows[slots] for name, rows in observations.items() if isinstance(rows, np.ndarray)}

    def close(self) -> None:
        """Free the environment that running episodes were moved to."""
        if self._own_env is not None:
            self._own_env.close()

    def _next_jobs(self, slots: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Give the next jobs to free slots; returns the slots that got one, as a mask [B]."""
        mask = np.zeros(len(self._levels), dtype=np.bool_)
        for slot, (level, episode) in zip(slots, self._jobs, strict=False):
            self._levels[slot], self._episodes[slot] = level, episode
            self._rngs[slot] = rng_for(self._seed, self._env.task.drawn_as or self._env.task.name, level, episode)
            mask[slot] = True
        return mask

    def _begin(self, reset: npt.NDArray[np.bool_], running: npt.NDArray[np.bool_]) -> None:
        self._running = self._running | running
        self._starting = reset
        self._previous_actions = np.where(reset, np.int32(-1), self._previous_actions)
        self._previous_rewards = np.where(reset, np.float32(0), self._previous_rewards)
        self._lengths[reset] = 0
        self._returns[reset] = 0
        if self._recorder is not None:
            self._recorder.start(reset)

    def _inputs(self, observations: Observations) -> PolicyInput:
        levels = self._levels.copy() if self._privileged else None
        return PolicyInput(
            observations, self._starting, self._previous_actions, self._previous_rewards, levels, self._running
        )

    def _choose(self, inputs: PolicyInput) -> Choice:
        log_probs = self._policy.act(inputs)
        try:
            if self._mode == "greedy" and self._epsilon:
                mixed = mixed_with_uniform(log_probs, self._epsilon)
                return choose_sampled(mixed, self._draw(), keep_all=self._keeps_all)
            if self._mode == "greedy":
                return choose_greedy(log_probs)
            return choose_sampled(log_probs, self._draw(), self._temperature, keep_all=self._keeps_all)
        except ValueError as error:
            raise RunError(f"The policy {self._policy.policy_id!r} on {self._env.task.name!r}: {error}") from None

    def _labels(self, inputs: PolicyInput) -> Choice | None:
        labeler = self._record.labeler if self._record else None
        if labeler is None:
            return None
        if is_privileged(labeler) and inputs.levels is None:
            inputs = dataclasses.replace(inputs, levels=self._levels.copy())
        return choose_greedy(labeler.act(inputs))

    def _draw(self) -> npt.NDArray[np.float64]:
        """The next uniform of each running slot [B]; what idle slots get has no effect."""
        column = self._lengths % _UNIFORMS
        if not column.all():
            for slot in np.flatnonzero((column == 0) & self._running):
                self._uniforms[slot] = self._rngs[slot].random(_UNIFORMS)
        uniforms: npt.NDArray[np.float64] = self._uniforms[self._all_slots, column]
        return uniforms

    def _account(self, actions: npt.NDArray[np.int32], rewards: npt.NDArray[np.float32]) -> None:
        self._lengths += self._running
        self._returns += self._running * rewards
        self._starting = self._no_slots
        self._previous_actions, self._previous_rewards = actions, rewards

    def _finish(
        self, slot: int, terminated: bool, truncated: bool, infos: dict[str, Any], final: Observations
    ) -> Episode | EpisodeResult:
        names: dict[str, Any] = {
            "env": self._env.task.name,
            "level": int(self._levels[slot]),
            "episode": int(self._episodes[slot]),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
            "metrics": {name: float(values[slot]) for name, values in infos.get("episode_metrics", {}).items()},
        }
        if self._recorder is None or self._record is None:
            return EpisodeResult(**names, episode_return=float(self._returns[slot]), length=int(self._lengths[slot]))
        known = bool(infos["final_observation_known"][slot])
        return Episode(
            **names,
            seed=self._seed,
            source=self._record.source,
            policy_id=self._policy.policy_id,
            final_observation_known=known,
            **self._recorder.take(slot, final if known else None),
        )


def is_privileged(policy: Policy) -> bool:
    """Whether a policy is told the level it plays."""
    return bool(getattr(policy, "privileged", False))
