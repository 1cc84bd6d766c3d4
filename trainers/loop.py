"""The training loop that every worker runs, alone or as one of many. Read `train` from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from actors.policy import Policy
from data.prefetch import Prefetcher
from envs.errors import RunError
from trainers.checkpoint import (
    Progress,
    averaged_checkpoint,
    checkpoint_path,
    policy_id,
    restore,
    save_checkpoint,
)
from trainers.clock import Clock
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import evaluation_for
from trainers.feed import Feed, build_for_data
from trainers.learner import Learner, LossMeter
from trainers.reporter import Reporter
from trainers.sequence_policy import build_policy
from trainers.torch_policy import TorchPolicy
from trainers.training_data import TrainingData, open_training_data

SCORE = "eval/validation/normalized_return"
"""What the best checkpoint is best in."""

Evaluate = Callable[[Policy, int], dict[str, float]]
"""(policy, learner step) -> flat metrics. All workers call it at the same steps and must get the same answer."""


class DivergedError(RunError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves."""

    learner_step: int
    transitions_seen: int
    metrics: dict[str, float]
    """The last evaluation."""
    best_step: int
    best_score: float | None
    """Validation return of the best checkpoint; None if validation was never played."""
    last: Path
    best: Path
    data: dict[str, Any]
    """The realised mixture."""
    wall_s: float
    wandb_url: str = ""
    """Address of the run's page, if it is online."""
    averaged: Path | None = None
    """The checkpoint of averaged weights, if they were averaged."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with paths as texts."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainResult:
        """The inverse of `to_json`."""
        names = [name for name in ("last", "best", "averaged") if value.get(name) is not None]
        return cls(**{**value, **{name: Path(value[name]) for name in names}})


def train(
    config: ExperimentConfig,
    reporter: Reporter,
    *,
    run_dir: Path,
    context: WorkerContext | None = None,
    resume_from: Path | None = None,
    evaluate: Evaluate | None = None,
    data: TrainingData | None = None,
) -> TrainResult:
    """Learn a policy from recorded data; evaluate and save it along the way.

    Args:
        config: The experiment.
        reporter: Gets rows of step metrics, evaluations and checkpoints.
        run_dir: ``checkpoints/`` is written in it.
        context: This worker among all of them; None for the only one.
        resume_from: Checkpoint to go on from, with exactly the batch that came next.
        evaluate: None plays the protocol's train and validation levels in this process.
        data: Opened training data; None opens what the config names.

    Raises:
        UsageError: For a config that does not fit the data or the environment.
        DivergedError: If the loss is not finite.
        RunError: If the disk is full or a file damaged.
    """
    started = time.monotonic()
    context = context or WorkerContext()
    data = (data or open_training_data(config)).placed(config.train, context)
    evaluate = evaluate or evaluation_for(config, data.spec, data.levels, context)
    run = Run(config, reporter, run_dir, context, data, evaluate)
    run.begin(resume_from)
    advance(run, config.train.learner_steps)
    return run.result(time.monotonic() - started)


def advance(run: Run, last: int) -> None:
    """Take the steps of a run up to and including learner step `last`."""
    first = run.learner.learner_step + 1
    with Prefetcher(run.feed.batch, start_step=first, stop_step=last + 1) as batches:
        for _ in range(first, last + 1):
            with run.clock.measure("data_wait"):
                batch = next(batches)
            run.count(run.learner.step(batch.to(run.context.device)))
            run.conclude()


class Run:
    """The parts that one training moves."""

    def __init__(
        self,
        config: ExperimentConfig,
        reporter: Reporter,
        run_dir: Path,
        context: WorkerContext,
        data: TrainingData,
        evaluate: Evaluate,
    ) -> None:
        self.config, self.reporter, self.run_dir, self.context = config, reporter, run_dir, context
        self.data, self._evaluate = data, evaluate
        algorithm = build_for_data(config, data.spec, data.view)
        self.feed = Feed(data, algorithm, config, context)
        self.learner = Learner(algorithm, config.train, context, config.seed)
        self.policy = self._policy(self.learner.whole.policy())
        average = self.learner.average
        self.averaged = None if average is None else self._policy(average.policy.eval())
        self.meter, self.clock, self.progress = LossMeter(context), Clock(), Progress()

    @property
    def transitions_seen(self) -> int:
        """Over all workers."""
        return self.learner.learner_step * self.config.train.batch_size

    def is_due(self, every: int) -> bool:
        """Whether something done `every` so many steps (0: only at the end) is due after the current step."""
        step = self.learner.learner_step
        return step == self.config.train.learner_steps or (every > 0 and step % every == 0)

    def begin(self, resume_from: Path | None) -> None:
        """Write the first row, or go on from a checkpoint."""
        if resume_from is None:
            resident = self.data.resident
            memory = {} if resident is None else {"data/resident_bytes": float(resident.num_bytes)}
            self.reporter.log(0, {"transitions_seen": 0, **self.data.diversity, **memory})
            return
        self.progress = restore(resume_from, self.learner)
        self.meter.load(self.progress.loss_sums)
        if self.progress.evaluation:
            # The process may have died between saving and reporting.
            self.reporter.report(self.progress.evaluated_step, self.progress.evaluation, resume_from)

    def count(self, losses: dict[str, Tensor]) -> None:
        """Take in the losses of a step."""
        self.meter.add(losses)
        self.clock.tick()

    def conclude(self) -> None:
        """What is due after a step: a row of metrics, an evaluation, a checkpoint."""
        step, settings = self.learner.learner_step, self.config.train
        row: dict[str, float] = {}
        if self.is_due(settings.log_every):
            row |= self.step_metrics()
        if evaluating := self.is_due(settings.evaluate_every):
            row |= self.evaluate_policy()
        if row:
            self.reporter.log(step, {"transitions_seen": self.transitions_seen, **row})
        if evaluating or self.is_due(settings.checkpoint_every):
            self.save()
        if evaluating:
            self.reporter.report(step, self.progress.evaluation, checkpoint_path(self.run_dir, step))

    def step_metrics(self) -> dict[str, float]:
        """Mean losses and rates since the last row.

        Raises:
            DivergedError: If a loss is not finite.
        """
        losses = self.meter.flush()
        if not all(math.isfinite(value) for value in losses.values()):
            raise DivergedError(
                f"The losses at learner step {self.learner.learner_step} are {losses}. Lower train.learning_rate "
                f"(now {self.config.train.learning_rate}) or set train.max_grad_norm."
            )
        rates = self.clock.flush(self.config.train.batch_size)
        return {f"train/loss/{name}": value for name, value in losses.items()} | rates

    def evaluate_policy(self) -> dict[str, float]:
        """Play with the policy, and with the averaged one. Collective."""
        algorithm, step = self.learner.whole, self.learner.learner_step
        started = time.perf_counter()
        with self.clock.pause():
            self.learner.gather()
            self.policy.policy_id = policy_id(self.policy.network)
            algorithm.eval()
            metrics = self._evaluate(self.policy, step)
            algorithm.train()
            if self.averaged is not None:
                self.averaged.policy_id = policy_id(self.averaged.network)
                metrics = {**metrics, **named_averaged(self._evaluate(self.averaged, step))}
        self.progress = self.progress.evaluated(step, metrics, metrics.get(SCORE))
        return {**metrics, "train/perf/evaluation_s": time.perf_counter() - started}

    def save(self) -> None:
        """Write a checkpoint. Collective."""
        step = self.learner.learner_step
        self.progress = replace(self.progress, learner_step=step, loss_sums=self.meter.sums())
        with self.clock.pause():
            save_checkpoint(self.run_dir, self.learner, self.progress, self.config, self.data.spec)

    def result(self, wall_s: float) -> TrainResult:
        """What the finished run leaves."""
        progress = self.progress
        return TrainResult(
            learner_step=progress.learner_step,
            transitions_seen=self.transitions_seen,
            metrics=progress.evaluation,
            best_step=progress.best_step,
            best_score=progress.best_score,
            last=checkpoint_path(self.run_dir, progress.learner_step),
            best=checkpoint_path(self.run_dir, progress.best_step),
            data=self.data.report,
            wall_s=wall_s,
            averaged=averaged_checkpoint(self.run_dir) if self.averaged is not None else None,
        )

    def _policy(self, network: nn.Module) -> TorchPolicy:
        return build_policy(network, self.data.spec, "", self.context.device, self.config.train.precision)


def named_averaged(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the policy of averaged weights: ``eval/<split>/averaged_<statistic>``."""
    return {f"{Path(name).parent}/averaged_{Path(name).name}": value for name, value in metrics.items()}
