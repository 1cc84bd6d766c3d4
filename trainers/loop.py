"""The training loop that every worker runs, alone or as one of many. Read `train` from top to bottom."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from actors.policy import Policy
from data.prefetch import Prefetcher
from envs.errors import RunError
from trainers.beside import Beside, Evaluators, Judges
from trainers.checkpoint import (
    Progress,
    averaged_checkpoint,
    averaged_path,
    checkpoint_path,
    load_policy,
    policy_id,
    restore,
    save_checkpoint,
    save_progress,
)
from trainers.clock import Clock
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import NO_PROTOCOL, evaluation_for, named_averaged
from trainers.evaluation import SCORE as SCORE
from trainers.feed import Feed, build_for_data
from trainers.learner import Learner, LossMeter
from trainers.mixing import Mixing
from trainers.reporter import Reporter
from trainers.result import TrainResult as TrainResult
from trainers.sequence_policy import build_policy
from trainers.torch_policy import TorchPolicy
from trainers.training_data import TrainingData, open_training_data

Evaluate = Callable[[Policy, int], dict[str, float]]
"""(policy, learner step) -> flat metrics. All workers call it at the same steps and must get the same answer."""


class DivergedError(RunError):
    """The loss is no longer a finite number."""


def train(
    config: ExperimentConfig,
    reporter: Reporter,
    *,
    run_dir: Path,
    context: WorkerContext | None = None,
    resume_from: Path | None = None,
    evaluate: Evaluate | None = None,
    data: TrainingData | None = None,
    judges: Judges | None = None,
) -> TrainResult:
    """Learn a policy from recorded data; evaluate and save it along the way.

    Args:
        config: The experiment.
        reporter: Gets rows of step metrics, evaluations and checkpoints.
        run_dir: ``checkpoints/`` is written in it.
        context: This worker among all of them; None for the only one.
        resume_from: Checkpoint to go on from, with exactly the batch that came next.
        evaluate: None plays the protocol's train and validation levels in this process, unless the config has
            evaluators.
        data: Opened training data; None opens what the config names.
        judges: In place of the config's evaluators; closed at the end.

    Raises:
        UsageError: For a config that does not fit the data or the environment.
        DivergedError: If the loss is not finite.
        RunError: If the disk is full or a file damaged.
    """
    started = time.monotonic()
    context = context or WorkerContext()
    data = (data or open_training_data(config)).placed(config.train, context)
    beside = evaluate is None and uses_evaluators(config)
    evaluate = evaluate or evaluation_for(config, data.spec, data.levels, context, data.other_levels)
    run = Run(config, reporter, run_dir, context, data, evaluate)
    if beside and context.is_first and judges is None:
        judges = Evaluators(config, data.spec, data.levels)
    if beside:
        batch_size, averaged = config.train.batch_size, run.averaged is not None
        run.beside = Beside(judges, context, reporter, run_dir, batch_size, averaged=averaged)
    with contextlib.closing(run):
        run.begin(resume_from)
        advance(run, config.train.learner_steps)
        run.finish()
    return run.result(time.monotonic() - started)


def uses_evaluators(config: ExperimentConfig) -> bool:
    """Whether checkpoints are judged beside training."""
    return config.evaluation.num_evaluators > 0 and config.evaluation.protocol != NO_PROTOCOL


def advance(run: Run, last: int) -> None:
    """Take the steps of a run up to and including learner step `last`.

    Batches are prepared ahead as far as the mixture's weights are known.
    """
    for start, stop in run.mixing.segments(run.learner.learner_step + 1, last):
        with Prefetcher(run.feed.batch, start_step=start, stop_step=stop) as batches:
            for learner_step in range(start, stop):
                with run.clock.measure("data_wait"):
                    batch = next(batches)
                run.count(run.learner.step(batch.to(run.context.device)))
                run.mixing.update(learner_step)
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
        self.mixing = Mixing(config, data, self.learner)
        self.policy = self._policy(self.learner.whole.policy())
        average = self.learner.average
        self.averaged = None if average is None else self._policy(average.policy.eval())
        self.meter, self.clock, self.progress = LossMeter(context), Clock(), Progress()
        self.beside: Beside | None = None

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
        self.mixing.load(self.progress.mixing)
        if self.progress.evaluation:
            # The process may have died between saving and reporting.
            self.reporter.report(self.progress.evaluated_step, self.progress.evaluation, resume_from)
        for step in self.progress.pending:
            if self.beside is not None:
                self.beside.hand_over(step)
            else:
                self._catch_up(step)

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
            self.report()
        self.settle(together=evaluating)

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
        weights = self.mixing.metrics(self.learner.learner_step)
        return {f"train/loss/{name}": value for name, value in losses.items()} | rates | weights

    def evaluate_policy(self) -> dict[str, float]:
        """Play with the policy, and with the averaged one; only mark the step where evaluators do. Collective."""
        algorithm, step = self.learner.whole, self.learner.learner_step
        if self.beside is not None:
            if self.context.is_first:
                self.progress = self.progress.handed_over(step)
            return {}
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
        sums, mixing = self.meter.sums(), self.mixing.state()
        self.progress = replace(self.progress, learner_step=step, loss_sums=sums, mixing=mixing)
        with self.clock.pause():
            save_checkpoint(self.run_dir, self.learner, self.progress, self.config, self.data.spec)

    def report(self) -> None:
        """Tell what was found of this step's checkpoint, or hand it to the evaluators."""
        step = self.learner.learner_step
        if self.beside is not None:
            self.beside.hand_over(step)
        else:
            self.reporter.report(step, self.progress.evaluation, checkpoint_path(self.run_dir, step))

    def settle(self, *, together: bool) -> None:
        """Take in what evaluators have found meanwhile."""
        if self.beside is not None:
            self.progress = self.beside.settle(self.progress, together=together)

    def finish(self) -> None:
        """Wait for the evaluators."""
        if self.beside is not None:
            self.progress = self.beside.finish(self.progress)

    def close(self) -> None:
        """End the evaluators."""
        if self.beside is not None:
            self.beside.close()

    def _catch_up(self, step: int) -> None:
        """Judge a checkpoint that evaluators of an earlier process had not judged; now there are none."""
        paths = [checkpoint_path(self.run_dir, step)]
        if self.averaged is not None:
            paths.append(averaged_path(paths[0]))
        found = [self._evaluate(load_policy(path, self.context.device), step) for path in paths]
        metrics = {**found[0], **(named_averaged(found[1]) if len(found) > 1 else {})}
        if self.context.is_first:
            self.reporter.log(step, {"transitions_seen": step * self.config.train.batch_size, **metrics})
        self.progress = self.progress.judged(step, metrics, metrics.get(SCORE))
        if self.context.is_first:
            save_progress(self.run_dir, self.progress)
        self.reporter.report(step, metrics, paths[0])

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
            data={**self.data.report, **self.mixing.report(progress.learner_step)},
            wall_s=wall_s,
            averaged=averaged_checkpoint(self.run_dir) if self.averaged is not None else None,
        )

    def _policy(self, network: nn.Module) -> TorchPolicy:
        return build_policy(network, self.data.spec, "", self.context.device, self.config.train.precision)
