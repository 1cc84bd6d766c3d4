"""What a W&B run can hold besides numbers: described here in plain data, made into W&B's own objects by its logger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Cell = float | int | str | bool | None


@dataclass(frozen=True)
class PictureFile:
    """A PNG file."""

    path: Path
    caption: str = ""


@dataclass(frozen=True)
class AnimationFile:
    """A GIF file, which W&B plays."""

    path: Path
    caption: str = ""


@dataclass(frozen=True)
class PageFile:
    """An HTML file that needs nothing else."""

    path: Path


@dataclass(frozen=True)
class TableData:
    """A table that W&B can sort and filter; every column holds one type, or None."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class LinesData:
    """Several lines over one axis, as one plot of W&B's."""

    x: Sequence[float]
    lines: Mapping[str, Sequence[float]]
    """Label -> one value for each x."""
    title: str
    x_name: str


def to_wandb(value: Any, wandb: Any) -> Any:
    """The W&B object that a description stands for; anything else as it is.

    Args:
        value: A description of this module, or a plain value.
        wandb: The module.
    """
    match value:
        case PictureFile():
            return wandb.Image(str(value.path), caption=value.caption)
        case AnimationFile():
            return wandb.Video(str(value.path), caption=value.caption, format="gif")
        case PageFile():
            return wandb.Html(value.path.read_text(encoding="utf-8"), inject=False)
        case TableData():
            return wandb.Table(columns=list(value.columns), data=[list(row) for row in value.rows])
        case LinesData():
            return wandb.plot.line_series(
                xs=list(value.x),
                ys=[list(line) for line in value.lines.values()],
                keys=list(value.lines),
                title=value.title,
                xname=value.x_name,
            )
    return value
