"""How few rows a network may compute at once without any row's answer changing by a bit.

An evaluation ends with a handful of long episodes, and of a full part for five rows two thirds are wasted. But a
library may sum in another order for a smaller matrix. So each kind of layer is asked, once per process: products that
cancel out leave nothing but rounding errors, which tell any two orders of summation apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PART_ROWS = 16
"""A full part. It fits the caches of a core; convolutions over 64 frames at once are slower, frame by frame."""
_PRODUCTS = ("mm", "mv", "matmul", "einsum", "dot", "conv", "linear", "attention")
"""Parts of the names of operations that sum over products."""


@dataclass(frozen=True)
class Layer:
    """A layer as it was called: all that the choice of an algorithm can depend on, but the number of rows."""

    row_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    dtype: torch.dtype
    has_bias: bool
    channels_last: tuple[bool, bool]
    """Of inputs and weight."""
    convolution: tuple[tuple[str, Any], ...] = ()
    """Keywords of `conv2d`; empty for a linear layer."""


class PartSizes:
    """The sizes of parts for one network; all are full if it computes with more than convolutions and linear layers.

    Args:
        network: Its parameters may change, not its layers.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._found: dict[int, int] = {}

    def smallest(self, rows: int, forward: Callable[[int], Any]) -> int:
        """The smallest part with room for so many rows in which each gets the answer of a full part.

        Args:
            rows: Up to `PART_ROWS`.
            forward: Computes a part of a size with the network.
        """
        if rows not in self._found:
            self._found[rows] = next(
                (size for size in range(rows, PART_ROWS) if self._is_exact(size, forward)), PART_ROWS
            )
        return self._found[rows]

    def _is_exact(self, size: int, forward: Callable[[int], Any]) -> bool:
        layers = _layers(self._network, lambda: forward(size))
        threads = torch.get_num_threads()
        return layers is not None and all(rows in exact_sizes(layer, threads) for layer, rows in layers)


@lru_cache(maxsize=1024)
def exact_sizes(layer: Layer, num_threads: int) -> frozenset[int]:
    """Sizes of parts in which every row gets the same answer, bit for bit, as in a full one.

    Args:
        layer: Which kind.
        num_threads: That the process computes with now; answers are remembered, and may differ for another number.
    """
    inputs, weight = _cancelling(layer)
    bias = torch.zeros(layer.weight_shape[0], dtype=layer.dtype) if layer.has_bias else None

    def answers(part: Tensor) -> Tensor:
        if layer.convolution:
            return F.conv2d(part, weight, bias, **dict(layer.convolution))
        return F.linear(part, weight, bias)

    with torch.inference_mode():
        full = answers(inputs)
        return frozenset(rows for rows in range(1, PART_ROWS + 1) if torch.equal(answers(inputs[:rows]), full[:rows]))


def _cancelling(layer: Layer) -> tuple[Tensor, Tensor]:
    """Inputs [PART_ROWS, ...] and a weight whose products have many magnitudes and sum up to almost nothing."""
    generator = torch.Generator().manual_seed(0)

    def spread(*size: int) -> Tensor:
        exponents = torch.randint(-6, 7, size, generator=generator)
        return torch.randn(size, generator=generator) * torch.exp2(exponents.float())

    depth = layer.weight_shape[1]
    first, second = torch.randperm(depth, generator=generator)[: depth // 2 * 2].chunk(2)
    inputs = spread(PART_ROWS, *layer.row_shape) / 1024  # what is left of an odd depth is lost beside the others
    inputs[:, first] = spread(PART_ROWS, depth // 2, *layer.row_shape[1:])
    inputs[:, second] = -inputs[:, first]
    weight = spread(*layer.weight_shape)
    weight[:, second] = weight[:, first]
    formats = [torch.channels_last if last else torch.contiguous_format for last in layer.channels_last]
    return (
        inputs.to(layer.dtype).contiguous(memory_format=formats[0]),
        weight.to(layer.dtype).contiguous(memory_format=formats[1]),
    )


def _layers(network: nn.Module, forward: Callable[[], Any]) -> set[tuple[Layer, int]] | None:
    """Every layer that a forward pass calls, and with how many rows.

    None if it computes other products, or with other parameters.
    """
    called: list[tuple[nn.Module, Layer, int]] = []

    def note(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        called.append((module, _layer(module, inputs[0], output), len(inputs[0])))

    hooks = [module.register_forward_hook(note) for module in network.modules() if _is_plain(module)]
    try:
        with _Products() as products:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    known = {module for module, _, _ in called}
    owners = [module for module in network.modules() if next(module.parameters(recurse=False), None) is not None]
    if products.count != len(called) or not known.issuperset(owners):
        return None
    return {(layer, rows) for _, layer, rows in called}


class _Products(TorchFunctionMode):
    """Counts products of matrices and convolutions."""

    count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        self.count += any(part in name for part in _PRODUCTS)
        return func(*args, **(kwargs or {}))


def _is_plain(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.padding_mode == "zeros" and module.in_channels > 1
    return type(module) is nn.Linear and module.in_features > 1


def _layer(module: Any, inputs: Tensor, output: Tensor) -> Layer:
    convolution = isinstance(module, nn.Conv2d)
    names = ("stride", "padding", "dilation")
    return Layer(
        row_shape=tuple(inputs.shape[1:]),
        weight_shape=tuple(module.weight.shape),
        dtype=output.dtype,
        has_bias=module.bias is not None,
        channels_last=(_channels_last(inputs), _channels_last(module.weight)) if convolution else (False, False),
        convolution=tuple((name, getattr(module, name)) for name in names) if convolution else (),
    )


def _channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)
