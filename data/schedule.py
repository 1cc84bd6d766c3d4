"""How the weights of a mixture's groups change while a policy learns, and who changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ConstantSchedule:
    """The same weights at every learner step."""

    values: tuple[float, ...]  # [S]

    def weights(self, step: int) -> Weights:
        """The weights [S]."""
        return np.array(self.values)


@dataclass(frozen=True, kw_only=True)
class GroupStatistics:
    """What a controller is told about S groups of the training data and T groups of the target.

    Every number is over the same rows on every rank, so all ranks decide alike. Only what the controller `needs` is
    measured.
    """

    learner_step: int
    weights: Weights  # [S] of the steps since the last update
    losses: Weights | None = None
    """[S] mean loss on training rows of each group."""
    reference_losses: Weights | None = None
    """[S] of a fixed reference policy on the same rows."""
    target_losses: Weights | None = None
    """[T] mean loss on rows of each target group: training or validation levels."""
    alignments: Weights | None = None
    """[S] inner products of each group's gradient with the target's."""
    gradient_norms: Weights | None = None
    """[S]"""


class MixtureController(Protocol):
    """Moves the weights of a mixture during training; see `trainers.mixtures`."""

    needs: frozenset[str]
    """Fields of `GroupStatistics`."""

    @property
    def interval(self) -> int:
        """Learner steps until the next update."""
        ...

    def update(self, statistics: GroupStatistics) -> Weights:
        """The weights [S] from the next learner step on."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON values; `load` goes on from them."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        ...


class ControlledSchedule:
    """Weights that were set one after the other; those of a step are the last that were set for it or before.

    Args:
        initial: [S] weights of the first steps.
    """

    def __init__(self, initial: Sequence[float]) -> None:
        self._steps: list[int] = [0]
        self._values: list[tuple[float, ...]] = [tuple(float(value) for value in initial)]

    def weights(self, step: int) -> Weights:
        """The weights [S] of a sampler's step."""
        index = int(np.searchsorted(self._steps, step, side="right")) - 1
        return np.array(self._values[index])

    def set(self, step: int, weights: Weights) -> None:
        """Draw by `weights` from `step` on.

        Raises:
            UsageError: If they are not on the simplex, or weights of a later step are set already.
        """
        if len(weights) != len(self._values[0]) or not on_simplex(weights):
            raise UsageError(
                f"A controller gave the weights {np.round(weights, 4).tolist()}; there must be one for each of "
                f"{len(self._values[0])} groups, none negative, summing to one."
            )
        if step < self._steps[-1]:
            raise UsageError(f"Weights were set for step {step} after those of step {self._steps[-1]}.")
        if step == self._steps[-1]:
            self._steps.pop()
            self._values.pop()
        self._steps.append(step)
        self._values.append(tuple(float(value) for value in weights))

    def average(self, step: int) -> Weights:
        """The mean weights [S] over the steps before `step`: the answer of group-DRO and gradient alignment."""
        ends = np.minimum([*self._steps[1:], max(1, step)], max(1, step))
        spans = np.maximum(ends - np.array(self._steps), 0)
        mean: Weights = spans @ np.array(self._values) / spans.sum()
        return mean

    def to_json(self) -> list[list[Any]]:
        """``[[step, [weights]], ...]``."""
        return [[step, list(values)] for step, values in zip(self._steps, self._values, strict=True)]

    def load(self, value: Sequence[Sequence[Any]]) -> None:
        """The inverse of `to_json`."""
        self._steps = [int(step) for step, _ in value]
        self._values = [tuple(map(float, values)) for _, values in value]


def on_simplex(weights: npt.ArrayLike, tolerance: float = 1e-6) -> bool:
    """Whether numbers are finite, non-negative and sum to one."""
    values = np.asarray(weights, dtype=np.float64)
    return bool(np.isfinite(values).all() and (values >= 0).all() and abs(values.sum() - 1) <= tolerance)
