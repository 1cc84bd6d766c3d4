"""What an online run writes while it trains: checkpoints, kept policies, the record of its episodes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.training_episodes import RECORD
from data.training_record import RecordWriter
from envs.spec import EnvSpec
from trainers.actor_critic import PPOLearner
from trainers.fragment import Fragment, finished
from trainers.kept import forget_after, keep_policy
from trainers.online_checkpoint import restore_learner, save_learner
from trainers.online_config import OnlineConfig
from trainers.record import EpisodeCutter

RECENT = 200
"""Training episodes that a kept policy's mean return is over."""


@dataclass
class OnlineProgress:
    """What resuming needs beside the learner; environments start fresh episodes."""

    env_steps: int = 0
    elapsed_s: float = 0.0
    recent_returns: list[float] = field(default_factory=list)
    """Of the training episodes that ended last, oldest first."""


class OnlineFiles:
    """The files of one run.

    Args:
        run_dir: The run.
        config: Says what is kept, and how often.
        spec: The environment.
        learner: Whose state is saved; put into the state of the last checkpoint, if there is one.

    Attributes:
        progress: Of the last checkpoint; the loop moves it on.
    """

    def __init__(self, run_dir: Path, config: OnlineConfig, spec: EnvSpec, learner: PPOLearner) -> None:
        self.run_dir, self._config, self._spec, self._learner = run_dir, config, spec, learner
        found = restore_learner(run_dir, learner)
        self.progress = OnlineProgress(**(found or {}))
        forget_after(run_dir, self.progress.env_steps)
        self._record = RecordWriter(run_dir / RECORD, spec) if config.record_episodes else None
        self._cutter = EpisodeCutter()
        self._saved_at = time.monotonic()
        self._kept_at = self.progress.env_steps

    def updated(self, fragments: Sequence[Fragment]) -> None:
        """Write what is due after an update from these fragments, which `progress` counts already."""
        returns = [episode.episode_return for episode in finished(fragments)]
        self.progress.recent_returns = (self.progress.recent_returns + returns)[-RECENT:]
        if self._record is not None:
            self._record.append(self._learner.updates - 1, self._cutter.cut(fragments))
        every = self._config.keep_every_env_steps
        if every is not None and self.progress.env_steps // every > self._kept_at // every:
            self.keep()
        if time.monotonic() - self._saved_at >= self._config.checkpoint_every_s:
            self.save()

    def finished(self) -> None:
        """Write what is due at the end of the whole training."""
        if self._config.keep_every_env_steps is not None and self._kept_at < self.progress.env_steps:
            self.keep()

    def keep(self) -> None:
        """Keep the policy as it is now."""
        keep_policy(
            self.run_dir,
            self._learner.module.policy,
            self._spec,
            self._config.network,
            env_steps=self.progress.env_steps,
            learner_step=self._learner.learner_step,
            elapsed_s=self.progress.elapsed_s,
            returns=self.progress.recent_returns,
        )
        self._kept_at = self.progress.env_steps

    def save(self) -> None:
        """Write a checkpoint to go on from."""
        if self._record is not None:
            self._record.sync()
        save_learner(self.run_dir, self._learner, self._spec, self._config, self.progress)
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Close what is open."""
        if self._record is not None:
            self._record.close()
