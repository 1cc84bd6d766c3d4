"""Episode source + levels + budget -> dataset on disk."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from actors.env_actor import RecordTask, new_task_key
from actors.rollout import Job
from actors.sources import Option, SourceSpec, build_source
from data.dataset import Dataset
from data.episode import Episode
from data.files import check_disk_space, format_bytes
from data.writer import DatasetWriter
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec, LevelSet
from metrics.protocols import is_shift, training_levels

_RAGGED_ROW_BYTES = 1024  # a guess, replaced by what the first round holds
_GUESSED_LENGTH = 50
_CAUTION = 0.9  # share of what seems missing that one wave may collect


class Progress(Protocol):
    """Called with transitions collected, transitions expected and a note."""

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report progress."""
        ...


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Which episodes are recorded. The dataset depends on all of it but `num_actors` and `num_envs`."""

    env: str
    source: str
    """``"random"``, ``"maze-search"``, ``"grid-expert"``, ``"quiz-expert"``, or a checkpoint's path."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Settings of the source, for example ``noise`` and ``relabel``; see `actors.sources.SourceSpec`."""
    levels: LevelSet | None = None
    """Exactly these levels; None takes `num_levels` of the protocol, or from `first_level` up."""
    protocol: str = "strict"
    """Evaluation protocol that the data is for; a shift such as "shop-I3" trains on the first levels that it allows."""
    first_level: int = 0
    num_levels: int = 100
    min_transitions: int = 10_000
    """Rounds of one episode per level are played until at least so many transitions are recorded."""
    seed: int = 0
    """Experiment seed; with env, level and episode it names the randomness of an episode."""
    num_actors: int = 2
    """Ray actors; 0 plays in this process."""
    num_envs: int = 32
    """Slots per actor."""
    license: str = "MIT"
    """SPDX identifier stored with the dataset."""

    def __post_init__(self) -> None:
        if self.min_transitions < 1:
            raise UsageError(f"min_transitions is {self.min_transitions}; it must be at least 1.")
        if is_shift(self.protocol) and (self.levels is not None or self.first_level):
            raise UsageError(
                f"protocol={self.protocol} chooses the levels itself; leave out levels and first_level, or it."
            )
        if self.num_actors < 0 or self.num_envs < 1:
            raise UsageError(f"num_actors is {self.num_actors} and num_envs {self.num_envs}; they start at 0 and at 1.")

    @property
    def level_set(self) -> LevelSet:
        """The levels that are played."""
        if self.levels is not None:
            return self.levels
        if is_shift(self.protocol):
            return training_levels(self.protocol, self.env, self.num_levels)
        return LevelSet.range(self.env, self.first_level, self.first_level + self.num_levels)

    @property
    def source_spec(self) -> SourceSpec:
        """The source that plays."""
        return SourceSpec(env=self.env, name=self.source, options=dict(self.options))


def collect(
    config: CollectConfig, out: Path, progress: Progress | None = None, *, address: str | None = None
) -> Dataset:
    """Record a dataset.

    Round k is episode k on every level. Rounds are played in waves: after each one, the mean length so far says how
    many more are surely needed. So every level gets the same number of episodes, and which episodes the dataset holds
    depends on the config alone, not on timing, actors or failures.

    Args:
        config: What to record.
        out: Directory of the dataset; it must not exist.
        progress: Called as episodes arrive.
        address: Ray cluster to join where Ray is not running here yet; None starts a local one.

    Raises:
        UsageError: For an unknown environment, source, option or level, or if `out` exists.
        RunError: If the disk is too small or full, or actors keep dying; nothing is left behind.
    """
    spec = make_spec(config.env)
    spec.check_levels(config.level_set)
    build_source(config.source_spec)  # wrong use is found here, not in a worker
    check_disk_space(out, estimate_bytes(config))
    with (
        DatasetWriter(out, spec, _provenance(config), license=config.license) as writer,
        _player(config, address) as play,
    ):
        _play_waves(config, play, writer, progress)
        return writer.finish()


def estimate_bytes(config: CollectConfig) -> int:
    """About how large the dataset will be, from the size of its observations."""
    transitions = max(config.min_transitions, len(config.level_set) * _GUESSED_LENGTH)
    return int(transitions * row_bytes(make_spec(config.env)))


def row_bytes(spec: EnvSpec) -> int:
    """Bytes of one transition on disk; ragged columns are guessed."""
    columns = spec.observation_columns.values()
    sizes = (int(np.prod(column.shape)) * np.dtype(column.dtype).itemsize for column in columns if not column.ragged)
    return sum(sizes) + _RAGGED_ROW_BYTES * sum(column.ragged for column in columns) + 12


Play = Callable[[Sequence[Job]], Iterator[Episode]]


def _play_waves(config: CollectConfig, play: Play, writer: DatasetWriter, progress: Progress | None) -> None:
    levels, next_round = config.level_set.levels, 0
    while writer.num_transitions < config.min_transitions:
        rounds = 1
        if next_round:
            per_round = writer.num_transitions / next_round
            missing = config.min_transitions - writer.num_transitions
            rounds = max(1, int(_CAUTION * missing / per_round))
        # Episodes of one level stay together: a planner's map of it is then made once.
        jobs = [(level, episode) for level in levels for episode in range(next_round, next_round + rounds)]
        for episode in play(jobs):
            writer.add(episode)
            if progress is not None:
                progress(writer.num_transitions, max(config.min_transitions, writer.num_transitions))
        next_round += rounds


@contextlib.contextmanager
def _player(config: CollectConfig, address: str | None) -> Iterator[Play]:
    """Plays jobs in this process, or on a pool of actors."""
    if config.num_actors == 0:
        source = build_source(config.source_spec)
        with contextlib.closing(make_vec(config.env, config.num_envs)) as env:
            yield lambda jobs: source.play_jobs(env, jobs, config.seed)
        return
    from actors.cluster import ray_session
    from actors.pool import ActorPool

    task = RecordTask(key=new_task_key(), source=config.source_spec, seed=config.seed, num_envs=config.num_envs)
    with ray_session(address), ActorPool(config.num_actors) as pool:
        yield lambda jobs: pool.play_episodes(task, jobs)


def _provenance(config: CollectConfig) -> dict[str, Any]:
    """Everything that the content depends on."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    fields["levels"] = config.level_set.to_json()
    fields["options"] = dict(config.options)
    for name in ("num_actors", "num_envs", "first_level", "num_levels", "protocol", "license"):
        del fields[name]
    return {"command": "collect", "config": fields}


def describe(config: CollectConfig) -> str:
    """One line for a person: what will be recorded, and about how large it will be."""
    return (
        f"{config.source} on {config.env}, {config.level_set!r}: at least {config.min_transitions:,} transitions, "
        f"about {format_bytes(estimate_bytes(config))}"
    )
