"""The Ray actor that hosts environments and plays episodes in them. All of acting is in `actors.slots`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from actors.policy import Policy
from actors.render import Rendering
from actors.rollout import Job, Stage, make_stage, play_on
from actors.sources import Source, SourceSpec, build_source, load_policy
from data.episode import Episode, EpisodeResult, Ragged
from data.pack.frameless import without_frames
from envs.plugins import load_in_worker
from envs.registry import make_vec
from envs.vector import LevelVectorEnv
from metrics.protocol import ActionMode

Item = Episode | EpisodeResult | Rendering

_BATCH_BYTES = 32 * 2**20
_BATCH_S = 1.0
_KEPT = 2  # built tasks an actor keeps


class TaskPlayer(Protocol):
    """A task, built."""

    def play(self, jobs: Sequence[Job]) -> Iterator[Item]:
        """Yields every job's item as it ends."""
        ...

    def close(self) -> None:
        """Free the environment."""
        ...


class Task(Protocol):
    """What an actor builds once and then plays many jobs with."""

    @property
    def key(self) -> str:
        """Two tasks with the same key are the same; `new_task_key` makes one."""
        ...

    @property
    def num_envs(self) -> int:
        """Slots per actor."""
        ...

    def build(self) -> TaskPlayer:
        """Called in the actor."""
        ...


@dataclass(frozen=True, kw_only=True)
class PlayTask:
    """What an actor builds once and then plays many jobs with. It returns results only."""

    key: str
    """Two tasks with the same key are the same; `new_task_key` makes one."""
    source: SourceSpec
    seed: int
    """Experiment seed."""
    num_envs: int
    """Slots per actor."""
    mode: ActionMode = "sampled"
    temperature: float = 1.0
    epsilon: float = 0.0
    """Of greedy actions."""
    policy: Policy | None = None
    """Plays in place of the source's policy."""

    def build(self) -> TaskPlayer:
        """The environment and who acts in it."""
        return Player(self)


@dataclass(frozen=True, kw_only=True)
class RecordTask:
    """The same for whole episodes, played as the source says."""

    key: str
    source: SourceSpec
    seed: int
    num_envs: int
    frameless: bool = False
    """Leave away the frames once their checksum is taken."""

    def build(self) -> TaskPlayer:
        """The environment and who acts in it."""
        return Player(self)

    def record(self, source: Source, env: LevelVectorEnv, jobs: Sequence[Job]) -> Iterator[Episode]:
        """Yields every job's episode as it ends."""
        episodes = source.play_jobs(env, jobs, self.seed)
        return (without_frames(env.task, episode) for episode in episodes) if self.frameless else episodes


def new_task_key() -> str:
    """A key that no other task has."""
    return uuid4().hex


@dataclass(frozen=True)
class Reply:
    """Some of the episodes that were asked for."""

    incarnation: int
    items: list[Any]  # what the task's player yields


@dataclass(frozen=True)
class ActorInfo:
    """Who answers."""

    pid: int
    incarnation: int


class Player:
    """A `PlayTask` or `RecordTask`, built."""

    def __init__(self, task: PlayTask | RecordTask) -> None:
        self._task = task
        if isinstance(task, RecordTask):
            self._source = build_source(task.source)
            self._stage: Stage = [make_vec(task.source.env, task.num_envs)]
        else:
            self._policy = task.policy or load_policy(task.source)
            self._stage = make_stage(task.source.env, self._policy, task.num_envs)

    def play(self, jobs: Sequence[Job]) -> Iterator[Item]:
        """Yields every job's episode as it ends."""
        if isinstance(self._task, RecordTask):
            return self._task.record(self._source, self._stage[0], jobs)
        task = self._task
        return play_on(
            self._stage,
            self._policy,
            jobs,
            seed=task.seed,
            mode=task.mode,
            temperature=task.temperature,
            epsilon=task.epsilon,
        )

    def close(self) -> None:
        """Free the environments."""
        for env in self._stage:
            env.close()


class EnvActor:
    """Hosts environments in a process of its own. Calls are idempotent: an episode depends on its name alone.

    Args:
        incarnation: Counts how often this place in the pool was filled; it stands in every reply.
    """

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation
        self._players: dict[str, TaskPlayer] = {}

    def info(self) -> ActorInfo:
        """Answers once the actor is ready.

        Raises:
            UsageError: If a plugin is missing here or a folder hides one of our packages. Raised in a call, because an
                error in the constructor would look like a death, and be tried again.
        """
        load_in_worker()
        return ActorInfo(os.getpid(), self._incarnation)

    def play(self, task: Task, jobs: Sequence[Job]) -> Iterator[Reply]:
        """Yields the episodes of these jobs in the order in which they end, some tens of megabytes at a time."""
        items: list[Item] = []
        size, started_s = 0, time.monotonic()
        for item in self._player(task).play(jobs):
            items.append(item)
            size += num_bytes(item)
            if size > _BATCH_BYTES or time.monotonic() - started_s > _BATCH_S:
                yield Reply(self._incarnation, items)
                items, size, started_s = [], 0, time.monotonic()
        if items:
            yield Reply(self._incarnation, items)

    def _player(self, task: Task) -> TaskPlayer:
        if task.key not in self._players:
            while len(self._players) >= _KEPT:
                self._players.pop(next(iter(self._players))).close()
            self._players[task.key] = task.build()
        return self._players[task.key]


def num_bytes(item: Item) -> int:
    """Memory of an episode's observations; a result counts nothing."""
    if isinstance(item, EpisodeResult):
        return 0
    columns = item.observations.values()
    return sum((column.values if isinstance(column, Ragged) else column).nbytes for column in columns)
