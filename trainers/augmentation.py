"""Random changes of images, drawn from (seed, learner step) for every item of the batch: no rank or thread matters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.seeding import rng_for
from envs.spec import EnvSpec
from trainers.config import AugmentationConfig
from trainers.networks.inputs import TensorObservations


class Draws(NamedTuple):
    """Uniforms in [0, 1) of n rows."""

    shift: Tensor  # [n, 2] along rows and columns
    color: Tensor  # [n, 2, C] factor and offset of each channel
    cutout: Tensor  # [n, 2] place along rows and columns
    paint: Tensor  # [n, C] color of the square


def draw(seed: int, learner_step: int, use: str, items: int, chosen: slice, rows_per_item: int) -> Draws:
    """The draws of a rank's rows; rows of the same item share theirs.

    Args:
        seed: The experiment seed.
        learner_step: Counted from 1.
        use: Keeps the draws of observations and of next observations apart.
        items: Of the batch of all ranks.
        chosen: The items of this rank.
        rows_per_item: Above 1 for windows.
    """
    uniforms = rng_for(seed, "augmentation", use, learner_step).random((items, 2 + 6 + 2 + 3), dtype=np.float32)
    rows = torch.from_numpy(uniforms[chosen].repeat(rows_per_item, axis=0))
    return Draws(rows[:, :2], rows[:, 2:8].unflatten(1, (2, 3)), rows[:, 8:10], rows[:, 10:13])


def augment(
    observations: TensorObservations, columns: list[str], draws: Draws, config: AugmentationConfig
) -> TensorObservations:
    """The observations with the image columns changed; they stay ``uint8``."""
    changed = dict(observations)
    for name in columns:
        image = changed[name]
        assert isinstance(image, Tensor)
        changed[name] = _change(image, draws, config)
    return changed


def image_columns(spec: EnvSpec) -> list[str]:
    """The columns that can be changed: fixed ``uint8`` [height, width, 3]."""
    return [
        name
        for name, column in spec.observation_columns.items()
        if not column.ragged and column.dtype == "uint8" and len(column.shape) == 3 and column.shape[2] == 3
    ]


def _change(image: Tensor, draws: Draws, config: AugmentationConfig) -> Tensor:
    if config.shift:
        image = shifted(image, _whole(draws.shift, 2 * config.shift + 1) - config.shift)
    if config.color:
        image = recolored(image, config.color * (2 * draws.color - 1))
    if config.cutout:
        height, width = image.shape[1:3]
        size = min(config.cutout, height, width)
        rows, columns = height - size + 1, width - size + 1
        corner = torch.stack([_whole(draws.cutout[:, 0], rows), _whole(draws.cutout[:, 1], columns)], dim=1)
        image = cut_out(image, corner, size, _whole(draws.paint, 256).to(torch.uint8))
    return image


def shifted(image: Tensor, by: Tensor) -> Tensor:
    """Images [B, H, W, C] moved by int [B, 2] rows and columns; what is left free repeats the border."""
    items, height, width = (torch.arange(size, device=image.device) for size in image.shape[:3])
    rows = (height - by[:, :1]).clamp(0, len(height) - 1)  # [B, H]
    columns = (width - by[:, 1:]).clamp(0, len(width) - 1)  # [B, W]
    return image[items[:, None, None], rows[:, :, None], columns[:, None, :]]


def recolored(image: Tensor, by: Tensor) -> Tensor:
    """Images p [B, H, W, C] as p (1 + f) + 255 s, cut to bytes, with f and s of `by` [B, 2, C] for each channel."""
    factor, offset = (by[:, part, None, None] for part in (0, 1))
    values = image.float() * (1 + factor) + 255 * offset
    return values.round().clamp(0, 255).to(torch.uint8)


def cut_out(image: Tensor, corner: Tensor, size: int, paint: Tensor) -> Tensor:
    """Images [B, H, W, C] with a square from `corner` int [B, 2] on painted in `paint` uint8 [B, C]."""
    rows, columns = (torch.arange(size, device=image.device) for size in image.shape[1:3])
    inside_rows = (rows >= corner[:, :1]) & (rows < corner[:, :1] + size)  # [B, H]
    inside_columns = (columns >= corner[:, 1:]) & (columns < corner[:, 1:] + size)  # [B, W]
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return torch.where(inside, paint[:, None, None, :], image)


def _whole(uniforms: Tensor, count: int) -> Tensor:
    """Uniforms as whole numbers 0 .. count - 1."""
    return (uniforms * count).long().clamp(max=count - 1)
