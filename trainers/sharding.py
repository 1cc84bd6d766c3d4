"""Parameters, gradients and optimizer state divided among the workers (fully sharded; Zhao et al. 2023).

What this needs of torch takes seconds to import, so only those who shard import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from envs.errors import UsageError
from trainers.config import ExperimentConfig
from trainers.distributed import WorkerContext
from trainers.networks.hf import HuggingFaceEncoder


def shard(module: nn.Module, context: WorkerContext) -> nn.Module:
    """Divide the parameters of a module, in place: each layer of a Hugging Face encoder by itself, then the rest.

    A layer's parameters are gathered for its forward and backward pass and dropped in between; gradients are averaged
    over the workers and each keeps its part. A loss that is a mean over the local batch then has the gradient of the
    mean over the whole batch, as in `trainers.distributed.wrap`. Collective.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if context.device.type == "cuda":
        torch.cuda.set_device(context.device)
    mesh = init_device_mesh(context.device.type, (context.world_size,))
    for encoder in [part for part in module.modules() if isinstance(part, HuggingFaceEncoder)]:
        for layer in transformer_layers(encoder.model):
            fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def transformer_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a transformer: the members of its outermost lists of modules."""
    if isinstance(model, nn.ModuleList):
        return list(model)
    return [layer for child in model.children() for layer in transformer_layers(child)]


def check_shard(config: ExperimentConfig) -> None:
    """Refuse what cannot be divided, or is not worth it.

    Raises:
        UsageError: For a single worker, another encoder than "hf", compiled steps and averaged weights.
    """
    train = config.train
    if train.num_workers == 1:
        raise UsageError(
            "train.shard divides a model among several workers, but train.num_workers is 1; set it to 2 or more, or "
            "train.shard=false."
        )
    if train.compile or train.average != "none":
        raise UsageError(
            f"train.shard goes neither with train.compile (now {train.compile}) nor with train.average (now "
            f"{train.average!r}); set compile=false and average=none."
        )
    if config.network.encoder != "hf":
        raise UsageError(
            f"train.shard is for large pretrained encoders, and network.encoder is {config.network.encoder!r}: its "
            "parameters fit every worker many times. Set train.shard=false, or network.encoder=hf."
        )


def gather(value: Any) -> Any:
    """A tensor, or a nested dict or list of tensors, with every sharded one whole. Collective."""
    from torch.distributed.tensor import DTensor

    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {name: gather(entry) for name, entry in value.items()}
    return [gather(entry) for entry in value] if isinstance(value, list) else value


def load_sharded(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a sharded module the parameters and buffers of a whole one; every worker holds the same `tensors`."""
    own = module.state_dict()
    module.load_state_dict({name: like(tensor, own[name]) for name, tensor in tensors.items()})


def load_sharded_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """A whole optimizer's saved state, divided as the parameters of this one."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    divided = {
        index: {
            name: like(value, parameters[index]) if value.shape == parameters[index].shape else value
            for name, value in moments.items()
        }
        for index, moments in state["state"].items()
    }
    return {**state, "state": divided}


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, divided as another one is; without communication, because every worker has all of it."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(other, DTensor):
        return tensor
    whole = tensor.to(other.device)
    return distribute_tensor(whole, other.device_mesh, other.placements, src_data_rank=None)
