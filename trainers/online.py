"""Online training with PPO: play fragments, learn from them, write what happened."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import EnvSpec
from metrics.loggers import JsonLinesLogger, Logger, MultiLogger
from trainers.actor_critic import ActorCriticPlayer, PPOLearner, build_actor_critic
from trainers.online_checkpoint import restore_learner, save_learner
from trainers.online_config import OnlineConfig
from trainers.ray_streams import RayStreams
from trainers.streams import Fragment, LocalStreams, Streams, finished


@dataclass
class OnlineProgress:
    """What resuming needs beside the learner; environments start fresh episodes."""

    env_steps: int = 0
    elapsed_s: float = 0.0


def train_online(config: OnlineConfig, run_dir: Path, *, extra_loggers: tuple[Logger, ...] = ()) -> dict[str, Any]:
    """Train, or go on with the training that ``run_dir`` holds.

    Args:
        config: The run.
        run_dir: Gets ``metrics.jsonl`` and ``checkpoints/last``.
        extra_loggers: Receive the same rows as ``metrics.jsonl``.

    Returns:
        The last row of metrics (only the progress if nothing was left to do), and where the checkpoint is.
    """
    torch.set_num_threads(config.threads)
    spec = make_spec(config.env)
    learner = build_learner(config, spec)
    progress = OnlineProgress()
    resumed = restore_learner(run_dir, learner)
    if resumed is not None:
        progress = OnlineProgress(**resumed)
    record = JsonLinesLogger(run_dir / "metrics.jsonl", resume_from=learner.learner_step or None)
    logger = MultiLogger([record, *extra_loggers])
    streams = build_streams(config, spec, learner)
    try:
        save = partial(save_learner, run_dir, learner, spec, config, progress)
        row = run_updates(config, learner, streams, progress, logger, save)
    finally:
        streams.close()
        logger.close()
    return {**dataclasses.asdict(progress), **row, "checkpoint": str(run_dir / "checkpoints" / "last")}


def build_learner(config: OnlineConfig, spec: EnvSpec) -> PPOLearner:
    """A learner with fresh parameters, determined by the configuration.

    Raises:
        UsageError: If a GPU is asked for and there is none.
    """
    if config.use_gpu and not torch.cuda.is_available():
        raise UsageError("use_gpu is true but no CUDA device is visible; leave it out, or run where there is one.")
    device = "cuda" if config.use_gpu else "cpu"
    module = build_actor_critic(spec, config.network, config.seed)
    return PPOLearner(module, config.ppo, seed=config.seed, device=device, precision=config.precision)


def build_streams(config: OnlineConfig, spec: EnvSpec, learner: PPOLearner) -> Streams:
    """Streams that always play the learner's present parameters."""
    if config.num_streams == 0:
        player = ActorCriticPlayer(learner.module, learner.device, config.precision)
        return LocalStreams(
            config.env, config.num_envs, config.levels, player, num_steps=config.fragment_steps, seed=config.seed
        )
    return RayStreams(
        spec,
        config.network,
        config.levels,
        learner.module,
        num_streams=config.num_streams,
        num_envs=config.num_envs,
        num_steps=config.fragment_steps,
        seed=config.seed,
        precision=config.precision,
        timeout_s=config.fragment_timeout_s,
    )


def run_updates(
    config: OnlineConfig,
    learner: PPOLearner,
    streams: Streams,
    progress: OnlineProgress,
    logger: Logger,
    save: Callable[[], object],
) -> dict[str, Any]:
    """Collect and update until the steps or the time are used up; saves now and then, and at the end.

    Returns:
        The last row of metrics.
    """
    row: dict[str, Any] = {}
    saved_at = time.monotonic()
    while done_fraction(config, progress) < 1:
        started = time.monotonic()
        fragments = streams.collect(learner.updates)
        collected = time.monotonic()
        losses = learner.update(fragments, done_fraction(config, progress))
        num_steps = sum(fragment.actions.size for fragment in fragments)
        progress.env_steps += num_steps
        progress.elapsed_s += time.monotonic() - started
        row = {
            **{f"train/loss/{name}": value for name, value in losses.items()},
            **episode_metrics(fragments),
            "train/perf/collect_s": collected - started,
            "train/perf/env_steps_per_s": num_steps / (time.monotonic() - started),
            "env_steps": progress.env_steps,
            "transitions_seen": progress.env_steps * config.ppo.epochs,
            "elapsed_s": progress.elapsed_s,
        }
        logger.write(learner.learner_step, row)
        if time.monotonic() - saved_at >= config.checkpoint_every_s:
            save()
            saved_at = time.monotonic()
    save()
    return row


def episode_metrics(fragments: list[Fragment]) -> dict[str, float]:
    """Raw return and length of the episodes that ended, with their number; means are left out where none ended."""
    episodes = finished(fragments)
    metrics: dict[str, float] = {"train/episode/count": len(episodes)}
    if episodes:
        metrics["train/episode/return_mean"] = float(np.mean([episode.episode_return for episode in episodes]))
        metrics["train/episode/length_mean"] = float(np.mean([episode.length for episode in episodes]))
    return metrics


def done_fraction(config: OnlineConfig, progress: OnlineProgress) -> float:
    """How much of the training is done, by steps or by time, whichever ends it first."""
    by_time = progress.elapsed_s / config.max_time_s if config.max_time_s else 0.0
    return max(progress.env_steps / config.env_steps, by_time)
