"""The batch of every learner step, as the algorithm wants it: transitions or windows, and images changed at random."""

from __future__ import annotations

import dataclasses

import torch

from data.dataset import Dataset
from data.returns import returns_to_go
from data.sampler import SequenceSampler, rank_slice
from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.algorithms import Algorithm, build_algorithm
from trainers.augmentation import Draws, augment, draw, image_columns
from trainers.batches import TensorBatch
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.networks import TensorObservations
from trainers.training_data import TrainingData


def build_for_data(config: ExperimentConfig, spec: EnvSpec, view: Dataset) -> Algorithm:
    """The experiment's algorithm, freshly initialized, that has read what is constant about its data.

    Raises:
        UsageError: If it cannot learn from such data, or an option is wrong.
    """
    algorithm = build_algorithm(spec, config.algorithm, config.network, config.seed)
    algorithm.read_data(view)
    for module in algorithm.modules():
        if isinstance(module, Algorithm):
            module.consistency = config.augmentation.consistency
    return algorithm


class Feed:
    """Batches of one worker; a batch is a function of the learner step alone.

    Args:
        data: What is learned from.
        algorithm: Says whether it reads windows.
        config: The experiment.
        context: This worker among all of them.

    Raises:
        UsageError: If images are to be changed where there are none, or consistency is asked of a sequence model.
    """

    def __init__(
        self, data: TrainingData, algorithm: Algorithm, config: ExperimentConfig, context: WorkerContext
    ) -> None:
        self._data, self._config, self._context = data, config, context
        self._window = algorithm.window
        self._images = _images_to_change(data, algorithm, config)
        if self._window > 1:
            starts = data.view.episode_starts
            self._windows = SequenceSampler(data.sampler, starts, self._window, clamped=algorithm.clamped_windows)
            self._returns = torch.from_numpy(returns_to_go(data.view.steps("rewards"), starts))

    def batch(self, learner_step: int) -> TensorBatch:
        """This worker's share of the batch of a learner step (counted from 1); see `TrainingData.rows`."""
        batch = self._windowed(learner_step) if self._window > 1 else self._data.batch(learner_step, self._context)
        if not self._images:
            return batch
        changed = self._changed(batch, learner_step)
        return changed.pin_memory() if self._context.device.type == "cuda" else changed

    def _windowed(self, learner_step: int) -> TensorBatch:
        indices, valid = self._windows.windows(learner_step - 1, self._context.rank, self._context.world_size)
        rows = indices.reshape(-1)
        batch = self._data.rows(rows, self._context)
        batch = dataclasses.replace(
            batch,
            returns_to_go=self._returns[rows].to(batch.device),
            valid=torch.from_numpy(valid.reshape(-1)).to(batch.device),
            window=self._window,
        )
        return batch.pin_memory() if self._context.device.type == "cuda" else batch

    def _changed(self, batch: TensorBatch, learner_step: int) -> TensorBatch:
        observations = self._change(batch.observations, learner_step, "observations")
        if self._config.augmentation.consistency:
            return dataclasses.replace(batch, changed=observations)
        following = batch.next_observations
        if following is not None:
            following = self._change(following, learner_step, "next observations")
        return dataclasses.replace(batch, observations=observations, next_observations=following)

    def _change(self, observations: TensorObservations, learner_step: int, use: str) -> TensorObservations:
        items = self._config.train.batch_size
        chosen = rank_slice(items, self._context.rank, self._context.world_size)
        draws = draw(self._config.seed, learner_step, use, items, chosen, self._window)
        if self._data.resident is not None:
            draws = Draws(*(uniforms.to(self._context.device, non_blocking=True) for uniforms in draws))
        return augment(observations, self._images, draws, self._config.augmentation)


def _images_to_change(data: TrainingData, algorithm: Algorithm, config: ExperimentConfig) -> list[str]:
    if not config.augmentation.active:
        return []
    if config.augmentation.consistency and algorithm.window > 1:
        raise UsageError(
            f"augmentation.consistency compares single observations, but {config.algorithm.name!r} reads windows; set "
            "it to 0 to train on changed images."
        )
    names = image_columns(data.spec)
    if not names:
        raise UsageError(
            f"augmentation changes images of three channels, and {data.spec.name!r} has none; set it to 0."
        )
    return names
