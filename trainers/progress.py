"""How far a run is: what resuming needs beside parameters and optimizer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What resuming needs beside parameters and optimizer; the sampler needs only the step."""

    learner_step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    """Sums since the last row of step metrics, so that the next row is the same as without the interruption."""
    evaluation: dict[str, float] = field(default_factory=dict)
    """The latest one; reported again on resuming, because its report may have been lost."""
    evaluated_step: int = 0
    best_step: int = 0
    best_score: float | None = None
    mixing: dict[str, Any] = field(default_factory=dict)
    """Where the controller of the mixture is."""
    pending: tuple[int, ...] = ()
    """Steps whose checkpoints were handed to evaluators and are not judged yet; they are kept."""

    def evaluated(self, learner_step: int, metrics: dict[str, float], score: float | None) -> Progress:
        """The progress after an evaluation; without a score the latest policy counts as the best."""
        better = score is None or self.best_score is None or score > self.best_score
        best = {"best_step": learner_step, "best_score": score} if better else {}
        return dataclasses.replace(self, evaluation=metrics, evaluated_step=learner_step, **best)  # type: ignore[arg-type]

    def handed_over(self, learner_step: int) -> Progress:
        """The progress when a checkpoint waits to be judged."""
        return dataclasses.replace(self, pending=(*self.pending, learner_step))

    def judged(self, learner_step: int, metrics: dict[str, float], score: float | None) -> Progress:
        """The progress after a checkpoint that waited was judged."""
        rest = tuple(step for step in self.pending if step != learner_step)
        return dataclasses.replace(self.evaluated(learner_step, metrics, score), pending=rest)
