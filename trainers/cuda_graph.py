"""One learner step as a CUDA graph: the kernels of a small network take less time than launching them one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from envs.errors import RunError, UsageError
from envs.spec import EnvSpec
from trainers.batches import TensorBatch
from trainers.config import ExperimentConfig
from trainers.optim import make_capturable

WARMUP_STEPS = 3
"""Steps taken as usual before recording, so that libraries choose their kernels and the optimizer makes its state."""

Descend = Callable[[TensorBatch], dict[str, Tensor]]
"""Gradients of a batch and a step of the optimizer; returns the losses."""


class GraphedStep:
    """Records `descend` in its fourth step and replays it from then on, with every batch copied to where it was.

    The first steps run on a stream of their own, as recording demands; they learn like any other. Everything that is
    recorded must have one shape, one place in memory and no decision on the host: so target networks and averages,
    which decide by the step, follow outside.

    Args:
        descend: What is recorded.
        optimizer: Its learning rate and step counts are moved to the device.
        device: A GPU.

    Raises:
        UsageError: On another device.
    """

    def __init__(self, descend: Descend, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        if device.type != "cuda":
            raise UsageError(f"train.cuda_graphs needs a GPU, but the learner is on {device}; set it to false.")
        self._descend, self._optimizer, self._device = descend, optimizer, device
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0
        self._batch: TensorBatch | None = None
        self._losses: dict[str, Tensor] = {}

    def __call__(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Learn from a batch on the device; the losses.

        Raises:
            RunError: If the batch has another shape than the recorded one.
        """
        if self._taken < WARMUP_STEPS:
            return self._warm_up(batch)
        if self._graph is None or self._batch is None:
            self._record(batch)
        else:
            copy_batch(batch, self._batch)
        assert self._graph is not None
        self._graph.replay()
        return {name: loss.clone() for name, loss in self._losses.items()}

    def _warm_up(self, batch: TensorBatch) -> dict[str, Tensor]:
        if self._taken == 0:
            make_capturable(self._optimizer, self._device)
        self._taken += 1
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            losses = self._descend(batch)
        current.wait_stream(self._stream)
        return losses

    def _record(self, batch: TensorBatch) -> None:
        """Recording computes nothing: the first replay takes the step."""
        self._batch = batch.cloned()
        graph = torch.cuda.CUDAGraph()
        # The thread that prepares batches may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._losses = self._descend(self._batch)
        self._graph = graph


def copy_batch(source: TensorBatch, target: TensorBatch) -> None:
    """Write a batch over another one.

    Raises:
        RunError: If they do not have the same shapes.
    """
    for name, (new, old) in _pairs(source, target):
        if new is None or old is None or new.shape != old.shape or new.dtype != old.dtype:
            raise RunError(
                f"The recorded step has {name} {_shape(old)}, but the batch has {_shape(new)}; all must have "
                "one shape. Set train.cuda_graphs=false."
            )
        old.copy_(new, non_blocking=True)


def check_graphs(config: ExperimentConfig, spec: EnvSpec) -> None:
    """Refuse what cannot be recorded.

    Raises:
        UsageError: For texts and dropout, on a CPU, and with several workers.
    """
    train = config.train
    if not train.use_gpu or train.num_workers > 1:
        raise UsageError(
            f"train.cuda_graphs records the work of one GPU, but train.use_gpu is {train.use_gpu} and "
            f"train.num_workers {train.num_workers}; set use_gpu=true and num_workers=1, or cuda_graphs=false."
        )
    ragged = [name for name, column in spec.observation_columns.items() if column.ragged]
    if ragged:
        raise UsageError(
            f"train.cuda_graphs records steps of one shape, and rows of {ragged[0]!r} differ in length; set it to "
            "false."
        )
    if config.algorithm.options.get("dropout"):
        raise UsageError(
            "train.cuda_graphs would repeat the dropout of the recorded step; set one of them to false or 0."
        )


def _pairs(source: TensorBatch, target: TensorBatch) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for field in dataclasses.fields(TensorBatch):
        new, old = getattr(source, field.name), getattr(target, field.name)
        if isinstance(new, dict) and isinstance(old, dict):
            yield from ((f"{field.name}.{name}", (new.get(name), old.get(name))) for name in new.keys() | old.keys())
        elif field.name != "window" and (new is not None or old is not None):
            yield field.name, (new, old)


def _shape(tensor: Any) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}" if isinstance(tensor, Tensor) else "nothing"
