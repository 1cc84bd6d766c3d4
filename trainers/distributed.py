"""Who a worker is, how a module is wrapped, and how sums become global numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """One worker's place among all of them."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and logs."""
        return self.rank == 0


def wrap(module: nn.Module, context: WorkerContext) -> nn.Module:
    """The module, averaging its gradients over all workers where there are several.

    A loss that is a mean over the local batch then has the gradient of the mean over the whole batch, because every
    worker holds an equal share of it.
    """
    if context.world_size == 1:
        return module
    ids = [context.device.index] if context.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=ids)


def sum_over_workers(values: Tensor, context: WorkerContext) -> Tensor:
    """The elementwise sum over all workers, known to every one of them. Collective."""
    if context.world_size > 1:
        dist.all_reduce(values, op=dist.ReduceOp.SUM)
    return values


def gather_objects(value: Any, context: WorkerContext) -> list[Any]:
    """Every worker's value in rank order, known to every one of them. Collective."""
    if context.world_size == 1:
        return [value]
    gathered: list[Any] = [None] * context.world_size
    dist.all_gather_object(gathered, value)
    return gathered
