"""The episodes that a training with ``record_episodes`` played, with their frames: rendered again and proven equal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.collect_config import row_bytes
from actors.render import Rendering, Scripts, render
from data.dataset import Dataset
from data.episode import Episode
from data.files import check_disk_space
from data.training_record import PlayedEpisode, TrainingRecord
from data.writer import DatasetWriter
from envs.errors import RunError, UsageError
from envs.overrides import apply_overrides, parse_overrides
from envs.registry import make_vec

RECIPE = "ppo-suboptimal"
SOURCE = "ppo-training"
RECORD = "episodes.record"
_CHUNK_STEPS = 4_000_000  # actions in memory at once
_CHUNK_EPISODES = 4096


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Which part of a training becomes a dataset."""

    run: str = ""
    """Directory of an online run that recorded its episodes."""
    max_transitions: int | None = None
    """Whole episodes spread evenly over the training, about so many transitions; None takes all."""
    num_envs: int = 64
    """Slots to render in."""
    license: str = "MIT"
    """SPDX identifier stored with the dataset."""


def build_training(words: Sequence[str]) -> TrainingConfig:
    """The configuration of ``run=DIR`` and other overrides.

    Raises:
        UsageError: For an unknown field, or without a run.
    """
    config = apply_overrides(TrainingConfig(), parse_overrides(words))
    if not config.run:
        raise UsageError(f"Name the training: gengap collect {RECIPE} run=DIR, the directory of an online run.")
    if config.num_envs < 1 or (config.max_transitions is not None and config.max_transitions < 1):
        raise UsageError(f"num_envs is {config.num_envs}, max_transitions {config.max_transitions}; both start at 1.")
    return config


def episodes_of_training(run_dir: Path, *, num_envs: int = 64, max_transitions: int | None = None) -> Iterator[Episode]:
    """Every recorded episode with observations and raw rewards, about in the order in which they were played.

    The policy of an episode is named by the run and the update after which it ended; ``behavior_logp`` are those of
    the parameters that played each step, rounded to float16.

    Args:
        run_dir: The run.
        num_envs: Slots to render in.
        max_transitions: As in `TrainingConfig`.

    Raises:
        UsageError: If the run has no record.
        RunError: If an episode's return or end comes out otherwise: another build of the environment, or damage.
    """
    record = TrainingRecord(run_dir / RECORD)
    counts: dict[int, int] = {}
    run_id = _run_id(run_dir)
    with contextlib.closing(make_vec(record.env.name, num_envs)) as env:
        for chunk in _chunks(_chosen(record, max_transitions)):
            scripts = _scripts(record.env.name, [played for _, played in chunk])
            numbers = []
            for _, played in chunk:
                numbers.append(counts.get(played.level, 0))
                counts[played.level] = numbers[-1] + 1
            for rendering in render(env, scripts, range(len(chunk))):
                update, played = chunk[rendering.index]
                _check(played, rendering, update)
                yield Episode(
                    env=record.env.name,
                    level=played.level,
                    episode=numbers[rendering.index],
                    seed=0,
                    source=SOURCE,
                    policy_id=f"{run_id}-update-{update:06d}",
                    observations=rendering.observations,
                    actions=played.actions,
                    rewards=rendering.rewards,
                    behavior_logp=played.log_probs.astype(np.float32),
                    terminated=played.terminated,
                    truncated=played.truncated,
                    final_observation_known=record.env.final_observation_known,
                )


def collect_training(
    config: TrainingConfig, out: Path, advance: Callable[[float, float], None] | None = None
) -> Dataset:
    """Write them as a dataset.

    Args:
        config: Which training.
        out: Directory of the dataset; it must not exist.
        advance: Told transitions written and transitions expected.

    Raises:
        UsageError: If the run has no record, or `out` exists.
        RunError: If the disk is too small or full, or episodes come out otherwise; nothing is left behind.
    """
    run_dir = Path(config.run)
    record = TrainingRecord(run_dir / RECORD)
    total = sum(len(played.actions) for _, played in _chosen(record, config.max_transitions))
    if total == 0:
        raise UsageError(f"{run_dir} recorded no episode that ended; train longer.")
    check_disk_space(out, total * row_bytes(record.env))
    provenance = {"command": f"collect {RECIPE}", "run": _run_id(run_dir), "max_transitions": config.max_transitions}
    episodes = episodes_of_training(run_dir, num_envs=config.num_envs, max_transitions=config.max_transitions)
    with DatasetWriter(out, record.env, provenance, license=config.license) as writer:
        for episode in episodes:
            writer.add(episode)
            if advance is not None:
                advance(writer.num_transitions, total)
        return writer.finish()


def _chosen(record: TrainingRecord, max_transitions: int | None) -> Iterator[tuple[int, PlayedEpisode]]:
    """All episodes, or every k-th with k such that the budget is about met."""
    if max_transitions is None:
        yield from record
        return
    total = sum(len(played.actions) for _, played in record)
    share, owed = min(1.0, max_transitions / max(1, total)), 0.0
    for entry in record:
        owed += share
        if owed >= 1 - 1e-9:
            owed -= 1
            yield entry


def _chunks(entries: Iterator[tuple[int, PlayedEpisode]]) -> Iterator[list[tuple[int, PlayedEpisode]]]:
    chunk: list[tuple[int, PlayedEpisode]] = []
    steps = 0
    for entry in entries:
        chunk.append(entry)
        steps += len(entry[1].actions)
        if steps >= _CHUNK_STEPS or len(chunk) >= _CHUNK_EPISODES:
            yield chunk
            chunk, steps = [], 0
    if chunk:
        yield chunk


def _scripts(env: str, episodes: Sequence[PlayedEpisode]) -> Scripts:
    starts = np.cumsum([0, *(len(played.actions) for played in episodes)])
    levels = np.array([played.level for played in episodes], dtype=np.int64)
    return Scripts(env, levels, starts, np.concatenate([played.actions for played in episodes]))


def _check(played: PlayedEpisode, rendering: Rendering, update: int) -> None:
    episode_return = float(rendering.rewards.sum(dtype=np.float64))
    same_end = (rendering.terminated, rendering.truncated) == (played.terminated, played.truncated)
    same_length = len(rendering.rewards) == len(played.actions)
    if not same_end or not same_length or not np.isclose(episode_return, played.episode_return, atol=1e-5):
        raise RunError(
            f"An episode on level {played.level} (update {update}) was recorded with {len(played.actions)} steps and "
            f"return {played.episode_return:g}, and comes out with {len(rendering.rewards)} and {episode_return:g}. "
            "Render it with the build of the environment that the training used."
        )


def _run_id(run_dir: Path) -> str:
    try:
        values: dict[str, Any] = json.loads((run_dir / "run.json").read_text())
        return str(values["run_id"])
    except (OSError, ValueError, KeyError):
        return run_dir.resolve().name  # trained through the Python interface, which writes no run.json
