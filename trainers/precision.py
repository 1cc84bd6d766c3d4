"""Which number format and memory layout the hardware gains from; training and acting share the answer."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

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
    device = torch.device(device)
    bfloat16 = precision == "bfloat16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16)


def place(network: Module, device: torch.device | str) -> Module:
    """The network on its device, with channels-last convolution weights (write checkpoints from contiguous copies)."""
    return network.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
