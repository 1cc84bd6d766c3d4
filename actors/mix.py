"""Several sources in one dataset: who plays which episode, and how much of each brings a wanted mean return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from actors.rollout import Job
from actors.sources import SourceSpec
from data.episode import Episode
from envs.errors import UsageError
from envs.seeding import derive_seed
from envs.spec import LevelSet
from metrics.protocol import evenly_spaced

PILOT_LEVELS = 64
"""Levels on which sources are tried to find their returns."""


@dataclass(frozen=True)
class Part:
    """One source of a collection and its share of the episodes."""

    source: SourceSpec
    share: float


def assign(parts: Sequence[Part], jobs: Sequence[Job], seed: int) -> list[list[Job]]:
    """The jobs of each part, in order. Who plays an episode depends on its name alone.

    Args:
        parts: P parts whose shares sum to one.
        jobs: (level, episode) pairs.
        seed: Experiment seed.

    Returns:
        P lists.
    """
    assigned: list[list[Job]] = [[] for _ in parts]
    bounds = list(accumulate(part.share for part in parts))
    for level, episode in jobs:
        uniform = derive_seed(seed, "mix", level, episode) / 2**63
        number = next((index for index, bound in enumerate(bounds) if uniform < bound), len(parts) - 1)
        assigned[number].append((level, episode))
    return assigned


def share_for_fraction(expert_return: float, other_return: float, fraction: float) -> float:
    """The share s of episodes of the other source so that the mean is a fraction f of the expert's return E.

        (1 - s) E + s W = f E   <=>   s = (1 - f) E / (E - W)

    Args:
        expert_return: E.
        other_return: W.
        fraction: f.

    Raises:
        UsageError: If no share does it.
    """
    if expert_return <= other_return or expert_return <= 0:
        raise UsageError(
            f"return_fraction needs a second source that is worse than the first, and a first that earns something; "
            f"pilot episodes returned {expert_return:.3g} and {other_return:.3g}."
        )
    share = (1 - fraction) * expert_return / (expert_return - other_return)
    if not 0 <= share <= 1:
        raise UsageError(
            f"return_fraction is {fraction:g}, but the second source alone reaches {other_return / expert_return:.2f} "
            "of the first. Choose a fraction between that and 1, or a worse second source."
        )
    return share


def pilot_return(episodes: Iterable[Episode]) -> float:
    """Mean return, the same whatever the order of the episodes."""
    return _mean([episode.episode_return for episode in episodes])


def pilot_jobs(levels: LevelSet) -> list[Job]:
    """The first episode on up to 64 of the levels."""
    return [(level, 0) for level in evenly_spaced(levels, min(PILOT_LEVELS, len(levels)))]


def measure(returns: Mapping[str, Sequence[float]], expert: str | None, pilot: Mapping[str, float]) -> dict[str, Any]:
    """What came of a collection, as JSON values for the manifest.

    Args:
        returns: Stored name of a source -> returns of its episodes.
        expert: The source that the fraction is of; None if none was asked for.
        pilot: What was found before, kept as it is.
    """
    measured: dict[str, Any] = {
        "return_mean": _mean([value for values in returns.values() for value in values]),
        "sources": {
            name: {"episodes": len(values), "return_mean": _mean(values)} for name, values in sorted(returns.items())
        },
    }
    if expert is not None and expert in returns:
        best = _mean(returns[expert])
        measured |= {"expert_return_mean": best, "return_fraction": measured["return_mean"] / best}
    return {**measured, **pilot}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
