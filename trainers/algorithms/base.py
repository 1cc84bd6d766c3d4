"""What every algorithm is: a module from a batch to named losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from envs.errors import UsageError, unknown_name
from envs.spec import EnvSpec
from trainers.batches import TensorBatch
from trainers.config import NetworkConfig
from trainers.networks import PolicyNetwork

OptionsT = TypeVar("OptionsT")


class Algorithm(nn.Module):
    """Named losses of a batch. It never steps an optimizer, so any wrapper for distributed training fits it.

    A subclass is built as ``Algorithm(spec, network, options)`` and may own further networks beside the policy's.
    """

    needs_successors = False
    """Whether batches must carry the next observations."""

    def __init__(self, spec: EnvSpec, network: NetworkConfig, options: Mapping[str, Any]) -> None:
        super().__init__()

    def forward(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Scalar losses by name; the gradient of ``"total"`` is followed, the others are shown."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after every optimizer step, for target networks and the like."""

    def policy(self) -> PolicyNetwork:
        """The network that acts."""
        raise NotImplementedError


def read_options(kind: type[OptionsT], options: Mapping[str, Any], algorithm: str) -> OptionsT:
    """An algorithm's own config from `AlgorithmConfig.options`.

    Raises:
        UsageError: For a key that the algorithm does not read, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in options.items():
        if not fields:
            raise UsageError(f"The algorithm {algorithm!r} has no options, but {name!r} was given; leave it out.")
        if name not in fields:
            raise unknown_name(f"option of the algorithm {algorithm!r}", name, fields)
        default = fields[name].default
        if not isinstance(value, type(default)) and not (isinstance(default, float) and type(value) is int):
            raise UsageError(
                f"The option {name!r} of {algorithm!r} is {value!r}; it must be of type {type(default).__name__}."
            )
    return kind(**options)
