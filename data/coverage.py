"""How much of what there is has been visited: states, and combinations of what a goal asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt


def seen_share(cells: npt.ArrayLike) -> float:
    """The probability that the next draw falls into a cell seen before: 1 - singletons / n (Good 1953, Eq. 9).

    Args:
        cells: [n] cell of each draw.
    """
    _, counts = np.unique(np.asarray(cells), return_counts=True)
    return 1.0 - float((counts == 1).sum()) / float(counts.sum())


def distinct_share(cells: npt.ArrayLike) -> float:
    """Distinct cells among n draws, divided by n: 1 / n (always the same) to 1 (never the same)."""
    drawn = np.asarray(cells)
    return len(np.unique(drawn)) / len(drawn)


def goal_coverage(
    known: Sequence[Mapping[str, object]], wanted: Sequence[Mapping[str, object]], support: int = 1
) -> float:
    """Share of wanted goals of which every pair of slot values was seen together in at least `support` known goals.

    After the k-support of "The Coverage Principle" (2025); pairs in place of all fragments are ours, because training
    goals of a shop rarely share more.

    Args:
        known: Goals of the data; slot -> value.
        wanted: Goals to be reached; at least one.
        support: k, at least 1.
    """
    pairs = Counter(pair for goal in known for pair in _pairs(goal))
    covered = sum(all(pairs[pair] >= support for pair in _pairs(goal)) for goal in wanted)
    return covered / len(wanted)


def _pairs(goal: Mapping[str, object]) -> list[tuple[tuple[str, object], tuple[str, object]]]:
    slots = sorted(goal.items())
    return list(combinations(slots, 2)) if len(slots) > 1 else [(slot, slot) for slot in slots]
