"""Mixture weights as a search space: sampling, encoding, what is feasible, and proxies that repeat data alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import helmert

from data.shares import fill
from envs.errors import UsageError

Weights = npt.NDArray[np.float64]
Encoding = Literal["dirichlet", "ilr", "softmax"]
_FLOOR = 1e-9
_REACH = 4.0
"""Bounds of one log-ratio or logit: weights that differ by a factor of about 3,000."""


@dataclass(frozen=True, kw_only=True)
class Simplex:
    """The weights [K] that are allowed: summing to one, each between a minimum and a limit.

    Raises:
        UsageError: Naming the source that makes it empty.
    """

    names: tuple[str, ...]
    minimum: float = 0.0
    """Least weight of every source."""
    limits: tuple[float, ...] = ()
    """[K] largest weight of each source; empty: 1."""

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise UsageError(f"A mixture is over {list(self.names)}; give at least one source, and none twice.")
        if not 0 <= self.minimum * len(self.names) <= 1 + 1e-9:
            raise UsageError(
                f"A minimum weight of {self.minimum} for each of {len(self.names)} sources is more than there is; "
                f"it may be at most {1 / len(self.names):.4g}."
            )
        for name, limit in zip(self.names, self.upper, strict=True):
            if limit < self.minimum - 1e-12:
                raise UsageError(
                    f"The source {name!r} can have a weight of at most {limit:.4g}, less than the minimum "
                    f"{self.minimum:.4g}; lower the minimum or the budget, or record more of it."
                )
        if self.upper.sum() < 1 - 1e-9:
            raise UsageError(
                f"The sources {list(self.names)} can have weights of at most {np.round(self.upper, 4).tolist()}, which "
                "sum to less than one; lower the budget, or record more."
            )

    @classmethod
    def of_sizes(cls, sizes: Mapping[str, int], max_transitions: int | None = None, minimum: float = 0.0) -> Simplex:
        """The weights with which no source runs out.

        Args:
            sizes: Source -> transitions that it holds.
            max_transitions: Distinct transitions of the mixture, shared out by weight; None sets no limit.
            minimum: Least weight of every source.

        Raises:
            UsageError: Naming the source that runs out and by how much.
        """
        names = tuple(sizes)
        unlimited = cls(names=names, minimum=minimum)
        if max_transitions is None:
            return unlimited
        total = sum(sizes.values())
        for name, size in sizes.items():
            least = math.ceil(minimum * max_transitions - 1e-6)
            if size < least:
                raise UsageError(
                    f"A minimum weight of {minimum:g} asks for {least} of {max_transitions} transitions from {name!r}; "
                    f"it holds {size}, {least - size} too few. Record more of it, lower the minimum or the budget."
                )
        if total < max_transitions:
            smallest = min(sizes, key=lambda name: sizes[name])
            raise UsageError(
                f"The mixture asks for {max_transitions} transitions; the sources hold {total}, "
                f"{max_transitions - total} too few (least of all {smallest!r}: {sizes[smallest]}). Record more, or "
                "ask for fewer."
            )
        limits = tuple(min(1.0, size / max_transitions) for size in sizes.values())
        return cls(names=names, minimum=minimum, limits=limits)

    @property
    def upper(self) -> Weights:
        """[K] largest weights."""
        return np.array(self.limits) if self.limits else np.ones(len(self.names))

    def admit(self, weights: npt.ArrayLike) -> Weights:
        """The allowed weights [K] next to any on the whole simplex.

        They are drawn together towards equal weights until each has its minimum; then what is above a limit is given
        to the others in proportion. So a draw always becomes one that is feasible, where rejecting would fail: with
        64 sources next to no Dirichlet draw respects every limit.
        """
        inner = self.minimum + (1 - self.minimum * len(self.names)) * np.asarray(weights, dtype=np.float64)
        filled = fill(inner, self.upper)
        room = self.upper - filled
        if (missing := 1 - filled.sum()) > 1e-12:  # the sources with any weight are all at their limits
            filled = filled + missing * room / room.sum()
        return filled

    def check(self, weights: Mapping[str, float]) -> Weights:
        """The weights [K] of named sources, as they are.

        Raises:
            UsageError: If they are off the simplex, of an unknown source, or not feasible, saying which and by how
                much.
        """
        unknown = [name for name in weights if name not in self.names]
        values = np.array([weights.get(name, 0.0) for name in self.names])
        if unknown or not np.isfinite(values).all() or values.min() < 0 or abs(values.sum() - 1) > 1e-6:
            raise UsageError(
                f"The weights {dict(weights)} must be of {list(self.names)}, not negative, and sum to one; they sum to "
                f"{sum(weights.values()):g}."
            )
        for name, value, limit in zip(self.names, values, self.upper, strict=True):
            if value > limit + 1e-9 or value < self.minimum - 1e-9:
                raise UsageError(
                    f"The weight {value:.4g} of {name!r} is {_beyond(value, self.minimum, limit):.4g} outside what it "
                    f"can have, {self.minimum:.4g} to {limit:.4g}."
                )
        return values

    def sample(self, rng: np.random.Generator, concentrations: npt.ArrayLike = 1.0) -> Weights:
        """A draw from a Dirichlet distribution, admitted.

        Args:
            rng: The draw depends on it alone.
            concentrations: One for all sources (1: all mixtures alike; less: few sources; more: near equal), or [K].
        """
        alphas = np.broadcast_to(np.asarray(concentrations, dtype=np.float64), (1, len(self.names)))
        return self.sample_rows(rng, alphas)[0]

    def sample_rows(self, rng: np.random.Generator, concentrations: Weights) -> Weights:
        """One draw for each row of concentrations [n, K], admitted: [n, K]."""
        # Gamma draws of tiny concentrations underflow to zero; a smallest number keeps the sum positive.
        amounts = rng.standard_gamma(np.maximum(concentrations, 1e-3)) + 1e-300
        rows = amounts / amounts.sum(axis=1, keepdims=True)
        inner = self.minimum + (1 - self.minimum * len(self.names)) * rows
        beyond = (inner > self.upper).any(axis=1)
        inner[beyond] = [self.admit(row) for row in rows[beyond]] or inner[beyond]
        return inner

    def encode(self, weights: npt.ArrayLike) -> Weights:
        """Isometric log-ratio coordinates [K - 1] (Egozcue et al. 2003): an orthonormal basis of log weights.

        Weights are taken beyond the minimum; zero counts as 1e-9.
        """
        if len(self.names) == 1:
            return np.zeros(0)
        free = 1 - self.minimum * len(self.names)
        relative = (np.asarray(weights, dtype=np.float64) - self.minimum) / max(free, _FLOOR)
        coordinates: Weights = _basis(len(self.names)) @ np.log(np.maximum(relative, _FLOOR))
        return coordinates

    def decode(self, coordinates: npt.ArrayLike) -> Weights:
        """The weights [K] of isometric log-ratio coordinates [K - 1]; the inverse of `encode` within the limits."""
        if len(self.names) == 1:
            return np.ones(1)
        return self.admit(_softmax(_basis(len(self.names)).T @ np.asarray(coordinates, dtype=np.float64)))

    def bounds(self, encoding: Encoding) -> tuple[int, float, float]:
        """How many numbers encode a mixture for a black-box optimizer, and the range of each."""
        if encoding == "dirichlet":
            return len(self.names), 1e-6, 1.0
        return len(self.names) - (encoding == "ilr"), -_REACH, _REACH

    def from_numbers(self, numbers: npt.ArrayLike, encoding: Encoding) -> Weights:
        """The weights [K] of numbers within `bounds`.

        "dirichlet": -ln u_k / sum of uniform u, which makes all mixtures alike; "ilr": `decode`; "softmax" of logits.
        """
        values = np.asarray(numbers, dtype=np.float64)
        if encoding == "ilr":
            return self.decode(values)
        if encoding == "softmax":
            return self.admit(_softmax(values))
        amounts = -np.log(np.clip(values, 1e-12, 1 - 1e-12))
        return self.admit(amounts / amounts.sum())

    def named(self, weights: npt.ArrayLike) -> dict[str, float]:
        """Source -> weight."""
        return {name: float(value) for name, value in zip(self.names, np.asarray(weights), strict=True)}

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"names": list(self.names), "minimum": self.minimum, "limits": list(self.limits)}


def proxy_fraction(proxy_steps: int, full_steps: int) -> float:
    """The share of every source, and of the budget, that a short run may use to repeat data as often as a long one.

    A source of n transitions with weight w is repeated w * steps * batch / n times, so n must shrink with the steps.
    Proxies that do not match prefer scarce sources too much (arXiv 2606.07597).

    Raises:
        UsageError: If the proxy is longer than the full run.
    """
    if not 1 <= proxy_steps <= full_steps:
        raise UsageError(f"A proxy of {proxy_steps} learner steps stands for a run of {full_steps}; it is shorter.")
    return proxy_steps / full_steps


def _beyond(value: float, low: float, high: float) -> float:
    return max(value - high, low - value)


@lru_cache(maxsize=64)
def _basis(size: int) -> Weights:
    basis: Weights = helmert(size)  # [K - 1, K]
    return basis


def _softmax(logits: Weights) -> Weights:
    amounts: Weights = np.exp(logits - logits.max())
    return amounts / amounts.sum()
