"""Which number format and memory layout the hardware gains from; training and acting share the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn

from envs.errors import RunError
from trainers.config import Precision

Module = TypeVar("Module", bound=nn.Module)


def has_fast_bfloat16(device: torch.device | str) -> bool:
    """Whether bfloat16 arithmetic is native here (CUDA of compute capability 8 or more; AVX512-BF16 or AMX)."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def autocast(device: torch.device | str, precision: Precision = "auto") -> torch.autocast:
    """The autocast context of forward passes; parameters, gradients and losses stay float32.

    Args:
        device: Where the forward pass runs.
        precision: "auto" is bfloat16 where it is native and float32 elsewhere.
    """
    enabled = uses_bfloat16(device, precision)
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled)


def uses_bfloat16(device: torch.device | str, precision: Precision) -> bool:
    """Whether `autocast` computes in bfloat16 there."""
    return precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))


def keep_cast(encoder: nn.Module, device: torch.device | str, precision: Precision) -> None:
    """Store an image encoder's weights as autocast would cast them at every call; what it computes stays the same.

    For a copy of a network that acts and never learns.
    """
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if uses_bfloat16(device, precision) and any(isinstance(layer, nn.Conv2d) for layer in layers):
        for layer in layers:
            layer.to(torch.bfloat16)


def place(network: Module, device: torch.device | str) -> Module:
    """The network on its device, with channels-last convolution weights (write checkpoints from contiguous copies)."""
    return network.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]


def compiled(module: nn.Module) -> Callable[..., Any]:
    """The module's forward pass, compiled when it is first called; the module itself and its names stay as they are.

    Call it and its backward pass within `compile_errors`.
    """
    call: Callable[..., Any] = torch.compile(module)
    return call


@contextlib.contextmanager
def compile_errors(option: str = "compile") -> Iterator[None]:
    """Say in one line that compiling does not work here.

    Args:
        option: What turns it on.

    Raises:
        RunError: In place of the compiler's own errors.
    """
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"torch.compile does not work here: {reason} A C++ compiler and, on a GPU, Triton are needed; "
            f"{option}=false does without, more slowly."
        ) from error
