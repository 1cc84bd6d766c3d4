"""Episode source + levels + budget -> dataset on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from actors.collect_config import CollectConfig, estimate_bytes, settings_of
from actors.env_actor import RecordTask, new_task_key
from actors.mix import Part, assign, measure, pilot_jobs, pilot_return, share_for_fraction
from actors.rollout import Job
from actors.sources import SourceSpec, build_source
from actors.waves import play_rounds, play_until_enough
from data.dataset import Dataset
from data.episode import Episode
from data.files import check_disk_space
from data.schema import canonical_json
from data.writer import DatasetWriter
from envs.console import RESUMED, say
from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.spec import EnvSpec

__all__ = ["CollectConfig", "collect", "record", "recorded"]


class Progress(Protocol):
    """Called with transitions collected, transitions expected and a note."""

    def __call__(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report progress."""
        ...


def collect(
    config: CollectConfig, out: Path, progress: Progress | None = None, *, address: str | None = None
) -> Dataset:
    """Record a dataset, or go on with one that was interrupted.

    Which episodes it holds depends on the config alone, not on timing, actors, failures or interruptions; see
    `actors.waves`. What is recorded is committed every few seconds.

    Args:
        config: What to record.
        out: Directory of the dataset; it must not exist.
        progress: Called as episodes arrive.
        address: Ray cluster to join where Ray is not running here yet; None starts a local one.

    Raises:
        UsageError: For an unknown environment, source, option or level, if `out` exists, if a collection with other
            settings was interrupted there, or for an address although nothing is played by actors.
        RunError: If the disk is too small or full, or actors keep dying. The same call goes on with what was committed.
    """
    return record(config, out, make_spec(config.env), progress, address=address)


def record(
    config: CollectConfig,
    out: Path,
    stored: EnvSpec,
    progress: Progress | None = None,
    *,
    address: str | None = None,
    frameless: bool = False,
) -> Dataset:
    """What `collect` does, where the dataset may hold other columns than the environment shows.

    Args:
        config: What to record.
        out: Directory of the dataset.
        stored: The environment as the dataset describes it.
        progress: Called as episodes arrive.
        address: As of `collect`.
        frameless: Whether episodes lose their frames where they are played; see `data.pack.frameless`.
    """
    if config.num_actors == 0 and address is not None:
        raise UsageError(
            f"The cluster {address!r} was named with num_actors=0, which plays in this process; "
            "set num_actors to at least 1, or leave out --address."
        )
    stored.check_levels(config.level_set)
    sources = [build_source(part.source) for part in config.parts]  # wrong use is found here, not in a worker
    check_disk_space(out, estimate_bytes(config, stored))
    provenance = _provenance(config, privileged=any(source.privileged for source in sources))
    with (
        DatasetWriter(out, stored, provenance, license=config.license, resume=True) as writer,
        _player(config, address, frameless) as play,
    ):
        if writer.num_episodes:
            say(f"Going on with {writer.num_transitions:,} transitions in {writer.num_episodes:,} episodes")
            if progress is not None:
                progress(writer.num_transitions, max(config.min_transitions, writer.num_transitions), RESUMED)
        parts, pilot = _settle_shares(config, play)
        _Recording(config, parts, play, writer, progress).run()
        expert = sources[0].name if config.return_fraction is not None else None
        return writer.finish(measure(writer.returns, expert, pilot))


def recorded(config: CollectConfig, out: Path) -> Dataset | None:
    """The dataset of this config, if it was recorded already; None if there is none.

    Raises:
        UsageError: If another dataset lies there.
    """
    if not out.exists():
        return None
    dataset = Dataset.open(out)
    if canonical_json(dataset.info.provenance.get("config")) != canonical_json(settings_of(config)):
        raise UsageError(f"{out} holds a dataset of other settings; remove it or choose another place with --out.")
    return dataset


class Play(Protocol):
    """Plays jobs with one of the sources."""

    def __call__(self, source: SourceSpec, jobs: Sequence[Job]) -> Iterator[Episode]:
        """Yields the episode of every job as it ends."""
        ...


class _Recording:
    """Moves the episodes of wave after wave to the writer."""

    def __init__(
        self, config: CollectConfig, parts: list[Part], play: Play, writer: DatasetWriter, progress: Progress | None
    ) -> None:
        self._config, self._parts, self._play, self._writer, self._progress = config, parts, play, writer, progress
        self._recorded = writer.recorded

    def run(self) -> None:
        config = self._config
        levels = config.level_set.levels
        if config.whole_rounds:
            play_rounds(levels, config.min_transitions, self._wave)
        else:
            longest = make_spec(config.env).max_episode_steps
            play_until_enough(levels, config.min_transitions, longest, config.seed, self._wave)

    def _wave(self, jobs: Sequence[Job]) -> dict[Job, int]:
        missing = [job for job in jobs if job not in self._recorded]
        for part, own in zip(self._parts, assign(self._parts, missing, self._config.seed), strict=True):
            for episode in self._play(part.source, own) if own else ():
                self._writer.add(episode)
                self._recorded[episode.level, episode.episode] = len(episode)
                self._report()
        return {job: self._recorded[job] for job in jobs}

    def _report(self) -> None:
        if self._progress is not None:
            done = self._writer.num_transitions
            self._progress(done, max(self._config.min_transitions, done))


def _settle_shares(config: CollectConfig, play: Play) -> tuple[list[Part], dict[str, float]]:
    """The sources with their shares, and what pilot episodes said where they were asked."""
    parts = config.parts
    if config.return_fraction is None:
        return parts, {}
    jobs = pilot_jobs(config.level_set)
    expert, other = (pilot_return(play(part.source, jobs)) for part in parts)
    share = share_for_fraction(expert, other, config.return_fraction)
    say(f"Pilot episodes return {expert:.3g} and {other:.3g}: {share:.0%} are played by {parts[1].source.name!r}")
    found = {"wanted_fraction": config.return_fraction, "pilot_expert_return": expert, "pilot_other_return": other}
    return [Part(parts[0].source, 1 - share), Part(parts[1].source, share)], {**found, "other_share": share}


@contextlib.contextmanager
def _player(config: CollectConfig, address: str | None, frameless: bool) -> Iterator[Play]:
    """Plays jobs in this process, or on a pool of actors."""
    tasks = {
        _key(part.source): RecordTask(
            key=new_task_key(), source=part.source, seed=config.seed, num_envs=config.num_envs, frameless=frameless
        )
        for part in config.parts
    }
    if config.num_actors == 0:
        sources = {key: build_source(task.source) for key, task in tasks.items()}
        with contextlib.closing(make_vec(config.env, config.num_envs)) as env:
            yield lambda source, jobs: tasks[_key(source)].record(sources[_key(source)], env, jobs)
        return
    from actors.cluster import ray_session
    from actors.pool import ActorPool

    with ray_session(address), ActorPool(config.num_actors) as pool:
        yield lambda source, jobs: pool.play_episodes(tasks[_key(source)], jobs)


def _key(source: SourceSpec) -> str:
    return f"{source.name} {sorted(source.options.items())}"


def _provenance(config: CollectConfig, *, privileged: bool) -> dict[str, Any]:
    """Everything that the content depends on, and whether a source was told the level."""
    return {"command": "collect", "config": settings_of(config), "privileged": privileged}
