"""Online training with PPO: play fragments, learn from them, write what happened."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.registry import make_spec
from metrics.loggers import JsonLinesLogger, Logger, MultiLogger
from trainers.actor_critic import PPOLearner
from trainers.fragment import Fragment, finished
from trainers.online_config import OnlineConfig
from trainers.online_files import OnlineFiles, OnlineProgress
from trainers.online_parts import build_learner, build_streams
from trainers.stopping import Stopping
from trainers.streams import Streams


def train_online(config: OnlineConfig, run_dir: Path, *, extra_loggers: tuple[Logger, ...] = ()) -> dict[str, Any]:
    """Train, or go on with the training that ``run_dir`` holds, until it is done, the lease ends or SIGTERM comes.

    Args:
        config: The run.
        run_dir: Gets ``metrics.jsonl`` and ``checkpoints/last``, and ``kept/`` and ``episodes.record`` if asked for.
        extra_loggers: Receive the same rows as ``metrics.jsonl``.

    Returns:
        The last row of metrics (only the progress if nothing was left to do), where the checkpoint is, whether the
        training is ``finished``, and what it was otherwise ``stopped_by``.
    """
    stopping = Stopping(config.lease_s)
    torch.set_num_threads(config.threads)
    spec = make_spec(config.env)
    learner = build_learner(config, spec)
    files = OnlineFiles(run_dir, config, spec, learner)
    record = JsonLinesLogger(run_dir / "metrics.jsonl", resume_from=learner.learner_step or None)
    logger = MultiLogger([record, *extra_loggers])
    streams = build_streams(config, spec, learner)
    try:
        with stopping.on_sigterm():
            row = run_updates(config, learner, streams, files, logger, stopping)
    finally:
        streams.close()
        logger.close()
        files.close()
    done = done_fraction(config, files.progress) >= 1
    return {
        "env_steps": files.progress.env_steps,
        "elapsed_s": files.progress.elapsed_s,
        **row,
        "finished": done,
        "stopped_by": None if done else stopping.reason(),
        "checkpoint": str(run_dir / "checkpoints" / "last"),
    }


def run_updates(
    config: OnlineConfig, learner: PPOLearner, streams: Streams, files: OnlineFiles, logger: Logger, stopping: Stopping
) -> dict[str, Any]:
    """Play and learn until the steps or the time are used up or it is to stop; saves now and then, and at the end.

    Returns:
        The last row of metrics.
    """
    row: dict[str, Any] = {}
    progress, round_s, begun = files.progress, 0.0, False
    while done_fraction(config, progress) < 1 and stopping.reason(round_s) is None:
        started = time.monotonic()
        if not begun:
            streams.begin(learner.updates)
        fragments = streams.finish()
        collected = time.monotonic()
        num_steps = sum(fragment.actions.size for fragment in fragments)
        begun = config.overlap and progress.env_steps + num_steps < config.env_steps
        if begun:
            streams.begin(learner.updates + 1)
        losses = learner.update(fragments, done_fraction(config, progress))
        round_s = time.monotonic() - started
        progress.env_steps += num_steps
        progress.elapsed_s += round_s
        row = {
            **{f"train/loss/{name}": value for name, value in losses.items()},
            **episode_metrics(fragments),
            "train/perf/collect_s": collected - started,
            "train/perf/update_s": started + round_s - collected,
            "train/perf/env_steps_per_s": num_steps / round_s,
            "env_steps": progress.env_steps,
            "transitions_seen": progress.env_steps * config.ppo.epochs,
            "elapsed_s": progress.elapsed_s,
        }
        logger.write(learner.learner_step, row)
        files.updated(fragments)
    if done_fraction(config, progress) >= 1:
        files.finished()
    files.save()
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
