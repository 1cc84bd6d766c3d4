"""The training loop that every worker runs, alone or as one of many. Read `train` from top to bottom."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from actors.policy import Policy
from data.prefetch import Prefetcher
from envs.errors import RunError
from trainers.batches import TensorBatch
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
from trainers.mixing import Mixing
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
    data = data or open_training_data(config)
    evaluate = evaluate or evaluation_for(config, data.spec, data.levels, context)
    run = _Run(config, reporter, run_dir, context, data, evaluate)
    run.begin(resume_from)

    first, last = run.learner.learner_step + 1, config.train.learner_steps
    with contextlib.closing(run.batches(first, last)) as batches:
        for learner_step, batch in batches:
            run.learn(batch)
            run.mixing.update(learner_step)

            row: dict[str, float] = {}
            if run.is_due(config.train.log_every):
                row |= run.step_metrics()
            if evaluating := run.is_due(config.train.evaluate_every):
                row |= run.evaluate_policy()
            if row:
                reporter.log(learner_step, {"transitions_seen": run.transitions_seen, **row})
            if evaluating or run.is_due(config.train.checkpoint_every):
                run.save()
            if evaluating:
                reporter.report(learner_step, run.progress.evaluation, checkpoint_path(run_dir, learner_step))
    return run.result(time.monotonic() - started)


class _Run:
    """The parts that one call of `train` moves."""

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
        self.mixing = Mixing(config, data, self.learner)
        self.policy = self._policy(algorithm.policy())
        average = self.learner.average
        self.averaged = None if average is None else self._policy(average.policy.eval())
        self.meter, self.clock, self.progress = LossMeter(context), Clock(), Progress()

    @property
    def transitions_seen(self) -> int:
        return self.learner.learner_step * self.config.train.batch_size

    def is_due(self, every: int) -> bool:
        """Whether something done `every` so many steps (0: only at the end) is due after the current step."""
        step = self.learner.learner_step
        return step == self.config.train.learner_steps or (every > 0 and step % every == 0)

    def begin(self, resume_from: Path | None) -> None:
        if resume_from is None:
            self.reporter.log(0, {"transitions_seen": 0, **self.data.diversity})
            return
        self.progress = restore(resume_from, self.learner)
        self.meter.load(self.progress.loss_sums)
        self.mixing.load(self.progress.mixing)
        if self.progress.evaluation:
            # The process may have died between saving and reporting.
            self.reporter.report(self.progress.evaluated_step, self.progress.evaluation, resume_from)

    def batches(self, first: int, last: int) -> Generator[tuple[int, TensorBatch]]:
        """Learner steps with their batches, prepared ahead as far as the mixture's weights are known."""
        for start, stop in self.mixing.segments(first, last):
            with Prefetcher(self.feed.batch, start_step=start, stop_step=stop) as prepared:
                for learner_step in range(start, stop):
                    with self.clock.measure("data_wait"):
                        batch = next(prepared)
                    yield learner_step, batch

    def learn(self, batch: TensorBatch) -> None:
        self.meter.add(self.learner.step(batch.to(self.context.device)))
        self.clock.tick()

    def step_metrics(self) -> dict[str, float]:
        losses = self.meter.flush()
        if not all(math.isfinite(value) for value in losses.values()):
            raise DivergedError(
                f"The losses at learner step {self.learner.learner_step} are {losses}. Lower train.learning_rate "
                f"(now {self.config.train.learning_rate}) or set train.max_grad_norm."
            )
        rates = self.clock.flush(self.config.train.batch_size)
        weights = self.mixing.metrics(self.learner.learner_step)
        return {f"train/loss/{name}": value for name, value in losses.items()} | rates | weights

    def evaluate_policy(self) -> dict[str, float]:
        algorithm, step = self.learner.algorithm, self.learner.learner_step
        started = time.perf_counter()
        with self.clock.pause():
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
        step = self.learner.learner_step
        self.progress = replace(
            self.progress, learner_step=step, loss_sums=self.meter.sums(), mixing=self.mixing.state()
        )
        if self.context.is_first:
            with self.clock.pause():
                save_checkpoint(self.run_dir, self.learner, self.progress, self.config, self.data.spec)

    def result(self, wall_s: float) -> TrainResult:
        progress = self.progress
        return TrainResult(
            learner_step=progress.learner_step,
            transitions_seen=self.transitions_seen,
            metrics=progress.evaluation,
            best_step=progress.best_step,
            best_score=progress.best_score,
            last=checkpoint_path(self.run_dir, progress.learner_step),
            best=checkpoint_path(self.run_dir, progress.best_step),
            data={**self.data.report, **self.mixing.report(progress.learner_step)},
            wall_s=wall_s,
            averaged=averaged_checkpoint(self.run_dir) if self.averaged is not None else None,
        )

    def _policy(self, network: nn.Module) -> TorchPolicy:
        return build_policy(network, self.data.spec, "", self.context.device, self.config.train.precision)


def named_averaged(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the policy of averaged weights: ``eval/<split>/averaged_<statistic>``."""
    return {f"{Path(name).parent}/averaged_{Path(name).name}": value for name, value in metrics.items()}
