"""What a finished run leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves."""

    learner_step: int
    transitions_seen: int
    metrics: dict[str, float]
    """The last evaluation."""
    best_step: int
    best_score: float | None
    """Validation return of the best checkpoint; None if validation was never played."""
    last: Path
    best: Path
    data: dict[str, Any]
    """The realised mixture."""
    wall_s: float
    wandb_url: str = ""
    """Address of the run's page, if it is online."""
    averaged: Path | None = None
    """The checkpoint of averaged weights, if they were averaged."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with paths as texts."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainResult:
        """The inverse of `to_json`."""
        names = [name for name in ("last", "best", "averaged") if value.get(name) is not None]
        return cls(**{**value, **{name: Path(value[name]) for name in names}})
