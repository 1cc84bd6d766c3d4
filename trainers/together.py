"""Several models of one network that take their steps together: one forward and backward pass for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from envs.errors import UsageError
from envs.spec import EnvSpec
from trainers.batches import TensorBatch
from trainers.config import ExperimentConfig
from trainers.learner import Learner
from trainers.precision import autocast

_CAST = (F.conv2d, torch.conv2d, F.linear, F.scaled_dot_product_attention)
"""Functions that autocast computes in the lower precision; matrix products it casts by itself."""
REMEDY = "Set train.together=in_turns."


class VectorizedStep:
    """K learners step at once, each as it would alone but for the order in which numbers are added up.

    Parameters and buffers of all models lie in one tensor [K, ...] per name, of which each model's own are views. So
    every model stays an ordinary one, with its own optimizer, target networks, average, checkpoints and policy; only
    the losses and gradients

        grad_k = d total_k / d w_k    for all k

    are computed at once, as the gradient of sum_k total_k by vectorization over k (`torch.func.vmap`).

    Args:
        learners: Of one architecture and one algorithm that `check_vectorizable` lets pass.
    """

    def __init__(self, learners: Sequence[Learner]) -> None:
        self._learners = learners
        self._config, self._device = learners[0].config, learners[0].context.device
        self._base = learners[0].algorithm
        models = [learner.algorithm for learner in learners]
        self._parameters = {
            name: _shared([model.get_parameter(name) for model in models]) for name, _ in self._base.named_parameters()
        }
        self._buffers = {
            name: _shared([model.get_buffer(name) for model in models]) for name, _ in self._base.named_buffers()
        }
        self._trained = [(name, tensor) for name, tensor in self._parameters.items() if tensor.requires_grad]
        self._own = [[learner.algorithm.get_parameter(name) for name, _ in self._trained] for learner in learners]

    def step(self, batches: Sequence[TensorBatch]) -> list[dict[str, Tensor]]:
        """Every model learns from its own batch on the device; the losses of each: detached scalars.

        Raises:
            UsageError: If the batches do not have the same columns.
        """
        for learner in self._learners:
            learner.begin_step()
        losses = self._gradients(batches)
        for index, learner in enumerate(self._learners):
            for own, (_, shared) in zip(self._own[index], self._trained, strict=True):
                own.grad = None if shared.grad is None else shared.grad[index]
            learner.update()
            learner.finish_step()
        return [{name: loss[index] for name, loss in losses.items()} for index in range(len(self._learners))]

    def _gradients(self, batches: Sequence[TensorBatch]) -> dict[str, Tensor]:
        """Losses [K] by name; gradients are left in the shared parameters."""
        for _, shared in self._trained:
            shared.grad = None
        parts = self._config.accumulation_steps
        sums: dict[str, Tensor] = {}
        for columns in zip(*(batch.split(parts) for batch in batches), strict=True):
            with autocast(self._device, self._config.precision):
                losses = self._losses(stacked(columns), columns[0].window)
            (losses["total"].sum() / parts).backward()
            for name, loss in losses.items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        return {name: total / parts for name, total in sums.items()} if parts > 1 else sums

    def _losses(self, columns: dict[str, Any], window: int) -> dict[str, Tensor]:
        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], rows: dict[str, Any]) -> dict[str, Tensor]:
            with CastsOfAutocast():
                batch = TensorBatch(**rows, window=window)
                losses: dict[str, Tensor] = functional_call(self._base, (parameters, buffers), (batch,))
                return losses

        losses: dict[str, Tensor] = vmap(one)(self._parameters, self._buffers, columns)
        return losses


class CastsOfAutocast(TorchFunctionMode):
    """Casts as autocast does, which passes over the tensors that `vmap` hands to convolutions and linear layers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = "cuda" if torch.is_autocast_enabled("cuda") else "cpu"
        if func in _CAST and torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            args = [_cast(value, dtype) for value in args]
            kwargs = {name: _cast(value, dtype) for name, value in (kwargs or {}).items()}
        return func(*args, **(kwargs or {}))


def check_vectorizable(config: ExperimentConfig, spec: EnvSpec) -> None:
    """Refuse what one pass over several models cannot do.

    Raises:
        UsageError: With the reason.
    """
    if config.train.compile or config.train.cuda_graphs:
        raise UsageError(f"Vectorized models are neither compiled nor recorded as a CUDA graph. {REMEDY}")
    ragged = [name for name, column in spec.observation_columns.items() if column.ragged]
    if ragged:
        raise UsageError(
            f"Rows of {ragged[0]!r} differ in length, and vectorized models need rows of one length. {REMEDY}"
        )
    if config.algorithm.options.get("dropout"):
        raise UsageError(f"Models with dropout would draw other numbers when vectorized than alone. {REMEDY}")


def stacked(batches: Sequence[TensorBatch]) -> dict[str, Any]:
    """The columns of K batches, each with a leading axis K.

    Raises:
        UsageError: If only some of them have a column.
    """
    names = [field.name for field in dataclasses.fields(TensorBatch) if field.name != "window"]
    columns = {name: [getattr(batch, name) for batch in batches] for name in names}
    present = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    for name, values in present.items():
        if any(value is None for value in values):
            raise UsageError(
                f"Only the data of some of these models has {name}, so they cannot be vectorized. {REMEDY}"
            )
    return {name: _stack(values) for name, values in present.items()}


def _stack(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _stack([value[name] for value in values]) for name in values[0]}
    return torch.stack(values)


def _shared(tensors: Iterable[Tensor]) -> Tensor:
    """One tensor [K, ...] with the values of K tensors, which become views of it, laid out in memory as before."""
    own = list(tensors)
    first = own[0]
    shape, stride = (len(own), *first.shape), (first.numel(), *first.stride())
    shared = torch.empty_strided(shape, stride, dtype=first.dtype, device=first.device)
    for index, tensor in enumerate(own):
        shared[index] = tensor.detach()
        tensor.data = shared[index]
    is_trained = isinstance(first, nn.Parameter) and first.requires_grad
    return shared.requires_grad_(is_trained)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    is_number = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
    return value.to(dtype) if is_number else value
