"""The training loop of several models in one process. Each ends as it would have ended alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from data.prefetch import Prefetcher
from envs.console import say
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.batches import TensorBatch
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.evaluation import evaluation_for
from trainers.loop import DivergedError, Evaluate, Run, TrainResult, advance
from trainers.mixtures import NO_CONTROLLER
from trainers.reporter import Reporter
from trainers.run_files import config_json, flat_fields
from trainers.together import VectorizedStep, check_vectorizable
from trainers.training_data import TrainingData

OWN = (
    "name",
    "seed",
    "data.",
    "evaluation.",
    "tracking.",
    "train.learning_rate",
    "train.warmup_steps",
    "train.final_learning_rate_fraction",
    "train.decay",
    "train.weight_decay",
    "train.second_moment_decay",
    "train.max_grad_norm",
    "train.average",
    "train.evaluate_every",
    "train.checkpoint_every",
    "train.log_every",
)
"""Fields in which models that train together may differ (those that begin so)."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the models."""

    config: ExperimentConfig
    run_dir: Path
    reporter: Reporter
    data: TrainingData
    resume_from: Path | None = None
    evaluate: Evaluate | None = None
    """None plays the protocol's train and validation levels."""


def train_together(
    members: Sequence[Member], context: WorkerContext, is_vectorized: bool, after_step: Callable[[], None]
) -> list[TrainResult | DivergedError]:
    """Train several models of one network, each with its own data, seed and schedule; see `OWN`.

    A model whose loss diverges leaves the others alone.

    Args:
        members: Their configs have passed `check_alike`.
        context: This process.
        is_vectorized: Whether they step as one; see `choose_vectorized`.
        after_step: Called when all of them have logged, evaluated and saved what is due.

    Returns:
        What each left, in the order of `members`.

    Raises:
        RunError: If the disk is full or a file damaged.
    """
    started = time.monotonic()
    runs = [_begin(member, context) for member in members]
    failures: dict[int, DivergedError] = {}
    _Group(runs, is_vectorized, failures).train(after_step)
    wall_s = time.monotonic() - started
    return [failures.get(index) or run.result(wall_s) for index, run in enumerate(runs)]


def check_alike(configs: Sequence[ExperimentConfig]) -> None:
    """Refuse models that are not of one kind.

    Raises:
        UsageError: Naming the field.
    """
    if configs[0].train.num_workers > 1:
        raise UsageError("Several models train in one process; set train.num_workers=1, or train them one by one.")
    if configs[0].evaluation.num_evaluators:
        raise UsageError("Models that train together are judged by their own process; set evaluation.num_evaluators=0.")
    if configs[0].mixing.controller != NO_CONTROLLER:
        raise UsageError("Models that train together draw by constant weights; set mixing.controller=none.")
    first = flat_fields(config_json(configs[0]))
    for config in configs[1:]:
        other = flat_fields(config_json(config))
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name) and not name.startswith(OWN):
                raise UsageError(
                    f"Models that train together may differ in seed, data, schedule and evaluation, but {name} is "
                    f"{first.get(name)!r} for one and {other.get(name)!r} for another; train them one by one."
                )


def choose_vectorized(config: ExperimentConfig, spec: EnvSpec, count: int) -> bool:
    """Whether so many models step as one; what "auto" decides is said.

    Raises:
        UsageError: If that is asked for and cannot be done.
    """
    if config.train.together == "in_turns":
        return False
    try:
        check_vectorizable(config, spec)
    except UsageError as error:
        if config.train.together == "vectorized":
            raise
        say(f"{count} models in turns. {error}")
        return False
    if config.train.together == "auto" and not config.train.use_gpu:
        say(f"{count} models in turns: on a CPU only tiny batches gain from one pass (train.together=vectorized).")
        return False
    say(f"{count} models, vectorized")
    return True


class _Group:
    """Runs that go on step by step, side by side."""

    def __init__(self, runs: Sequence[Run], is_vectorized: bool, failures: dict[int, DivergedError]) -> None:
        self._runs, self._is_vectorized, self._failures = runs, is_vectorized, failures
        self._vectorized: tuple[list[int], VectorizedStep] | None = None

    def train(self, after_step: Callable[[], None]) -> None:
        """All of them to their end; those that an interruption left behind catch up first."""
        last = self._runs[0].config.train.learner_steps
        going = [index for index, run in enumerate(self._runs) if run.learner.learner_step < last]
        start = max((self._runs[index].learner.learner_step for index in going), default=last)
        for index in going:
            with self._caught(index):
                advance(self._runs[index], start)
        after_step()
        going = [index for index in going if index not in self._failures]
        with Prefetcher(lambda step: self._fetch(going, step), start_step=start + 1, stop_step=last + 1) as steps:
            for batches in steps:
                alive = [index for index in going if index not in self._failures]
                if not alive:
                    return
                self._learn(alive, batches)
                for index in alive:
                    with self._others_paused(index), self._caught(index):
                        self._runs[index].conclude()
                after_step()

    def _fetch(self, going: Sequence[int], learner_step: int) -> Mapping[int, TensorBatch]:
        return {index: self._runs[index].feed.batch(learner_step) for index in going if index not in self._failures}

    def _learn(self, alive: list[int], batches: Mapping[int, TensorBatch]) -> None:
        runs = [self._runs[index] for index in alive]
        there = [batches[index].to(run.context.device) for index, run in zip(alive, runs, strict=True)]
        losses: list[dict[str, Tensor]]
        if self._is_vectorized:
            losses = self._step_of(alive).step(there)
        else:
            losses = [run.learner.step(batch) for run, batch in zip(runs, there, strict=True)]
        for run, loss in zip(runs, losses, strict=True):
            run.count(loss)

    def _step_of(self, alive: list[int]) -> VectorizedStep:
        """The step of those that are left."""
        if self._vectorized is None or self._vectorized[0] != alive:
            self._vectorized = alive, VectorizedStep([self._runs[index].learner for index in alive])
        return self._vectorized[1]

    @contextlib.contextmanager
    def _caught(self, index: int) -> Iterator[None]:
        """The divergence of one model is kept for the end."""
        try:
            yield
        except DivergedError as error:
            self._failures[index] = error

    @contextlib.contextmanager
    def _others_paused(self, index: int) -> Iterator[None]:
        """What one model plays and writes is not the others' time."""
        with contextlib.ExitStack() as stack:
            for other, run in enumerate(self._runs):
                if other != index:
                    stack.enter_context(run.clock.pause())
            yield


def _begin(member: Member, context: WorkerContext) -> Run:
    data, config = member.data, member.config
    evaluate = member.evaluate or evaluation_for(config, data.spec, data.levels, context, data.other_levels)
    run = Run(config, member.reporter, member.run_dir, context, data, evaluate)
    run.begin(member.resume_from)
    return run
