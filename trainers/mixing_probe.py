"""Losses and gradients of each group on rows drawn for the purpose: a function of the learner step alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from data.sampler import BatchSampler
from data.schedule import ConstantSchedule, GroupStatistics, Weights
from envs.errors import UsageError
from envs.seeding import derive_seed
from trainers.algorithms import Algorithm
from trainers.config import AugmentationConfig, ExperimentConfig
from trainers.distributed import WorkerContext, sum_over_workers
from trainers.feed import Feed
from trainers.learner import Learner
from trainers.mixing_data import load_reference
from trainers.training_data import TrainingData


class Probe:
    """Measures what a controller needs; every rank takes its share of the rows and all get the same numbers.

    Args:
        config: The experiment; `mixing.probe_size` rows of each group are read at every measurement.
        data: The training data with its groups.
        target: The groups whose loss is to fall; None takes those of the training data.
        learner: The policy that learns.
        needs: Fields of `GroupStatistics`.

    Raises:
        UsageError: If the rows cannot be split evenly over the workers, or the reference does not fit.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        data: TrainingData,
        target: TrainingData | None,
        learner: Learner,
        needs: frozenset[str],
    ) -> None:
        self._context, self._learner, self._needs = learner.context, learner, needs
        if config.mixing.probe_size % self._context.world_size:
            raise UsageError(
                f"mixing.probe_size is {config.mixing.probe_size}; it must be a multiple of the number of workers, "
                f"{self._context.world_size}."
            )
        self._groups = _feeds(config, data, learner.algorithm, self._context, "train")
        self._target = _feeds(config, target, learner.algorithm, self._context, "target") if target else self._groups
        reference = config.mixing.reference if "reference_losses" in needs else ""
        self._reference = load_reference(reference, data, self._context.device) if reference else None

    def measure(self, learner_step: int, weights: Weights) -> GroupStatistics:
        """What the controller needs after a learner step that was drawn with `weights` [S]. Collective."""
        algorithm, needs = self._learner.algorithm, self._needs
        algorithm.eval()
        try:
            alignments, norms = self._gradients(learner_step) if "alignments" in needs else (None, None)
            return GroupStatistics(
                learner_step=learner_step,
                weights=weights,
                losses=self._losses(algorithm, self._groups, learner_step) if "losses" in needs else None,
                reference_losses=self._losses(self._reference, self._groups, learner_step) if self._reference else None,
                target_losses=self._losses(algorithm, self._target, learner_step) if "target_losses" in needs else None,
                alignments=alignments,
                gradient_norms=norms,
            )
        finally:
            algorithm.train()

    @torch.no_grad()
    def _losses(self, algorithm: Algorithm, feeds: list[Feed], learner_step: int) -> Weights:
        return self._reduced(torch.stack([self._loss(algorithm, feed, learner_step).double() for feed in feeds]))

    def _gradients(self, learner_step: int) -> tuple[Weights, Weights]:
        """Inner products [S] with the target's gradient, and norms [S]."""
        groups = torch.stack([self._gradient(feed, learner_step) for feed in self._groups])  # [S, P]
        target = groups.mean(dim=0)
        if self._target is not self._groups:
            target = torch.stack([self._gradient(feed, learner_step) for feed in self._target]).mean(dim=0)
        norms = groups.norm(dim=1)
        return (groups @ target).double().cpu().numpy(), norms.double().cpu().numpy()

    def _gradient(self, feed: Feed, learner_step: int) -> Tensor:
        """Of a group's mean loss over all workers' rows, [P]; leaves the optimizer's gradients alone."""
        loss = self._loss(self._learner.algorithm, feed, learner_step)
        parameters = self._learner.parameters
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
        flat = torch.cat(
            [(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in zip(parameters, parts, strict=True)]
        )
        return sum_over_workers(flat, self._context) / self._context.world_size

    def _loss(self, algorithm: Algorithm, feed: Feed, learner_step: int) -> Tensor:
        loss: Tensor = algorithm(feed.batch(learner_step).to(self._context.device))["total"]
        return loss

    def _reduced(self, values: Tensor) -> Weights:
        total = sum_over_workers(values.clone(), self._context) / self._context.world_size
        numbers: Weights = total.cpu().numpy().astype(np.float64)
        return numbers


def _feeds(
    config: ExperimentConfig, data: TrainingData, algorithm: Algorithm, context: WorkerContext, use: str
) -> list[Feed]:
    """One per group: batches of that group alone, unchanged images."""
    plain = dataclasses.replace(config, augmentation=AugmentationConfig())
    size, feeds = config.mixing.probe_size, []
    for index, name in enumerate(data.groups):
        alone = tuple(float(other == index) for other in range(len(data.groups)))
        seed = derive_seed(config.seed, "probe", use, name)
        sampler = BatchSampler(data.group_sizes, size, seed, ConstantSchedule(alone))
        feeds.append(Feed(dataclasses.replace(data, sampler=sampler), algorithm, plain, context))
    return feeds
