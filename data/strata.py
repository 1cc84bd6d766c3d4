"""Strata: levels grouped by what a tag says of them, and how many of each are taken."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data.dataset import Dataset
from envs.errors import UsageError
from envs.registry import level_tags

SOURCE = "source"
_QUANTILES = re.compile(r"(bucket|difficulty):([0-9]+)")


def divide(dataset: Dataset, by: str) -> dict[str, Dataset]:
    """The parts of a dataset.

    Args:
        dataset: What is divided.
        by: ``source`` (who played), ``bucket:N`` (N ranges of level numbers), ``difficulty:N`` (N parts of the levels
            by the mean return that was recorded on them, "1" the lowest), or a tag of the levels.

    Raises:
        UsageError: If there are fewer levels than parts, or levels have no such tag.
    """
    if by == SOURCE:
        return {source: dataset.select(sources=[source]) for source in dataset.sources}
    if match := _QUANTILES.fullmatch(by):
        levels = _by_difficulty(dataset) if match[1] == "difficulty" else dataset.levels.tolist()
        return {name: dataset.select(part) for name, part in _parts(levels, int(match[2]), by).items()}
    groups = group_by_tag(dataset.env.name, dataset.levels.tolist(), by)
    return {value: dataset.select(levels) for value, levels in groups.items()}


def _by_difficulty(dataset: Dataset) -> list[int]:
    """The levels, those with the lowest mean return first; ties by number."""
    levels, which = np.unique(dataset.episodes["level"], return_inverse=True)
    means = np.bincount(which, weights=dataset.episodes["return"]) / np.bincount(which)
    order: list[int] = levels[np.lexsort([levels, np.round(means, 9)])].tolist()
    return order


def _parts(levels: Sequence[int], count: int, by: str) -> dict[str, list[int]]:
    if not 1 <= count <= len(levels):
        raise UsageError(f"strata={by} makes {count} parts of {len(levels)} levels; ask for 1 to {len(levels)}.")
    return {str(n): sorted(part.tolist()) for n, part in enumerate(np.array_split(np.array(levels), count), start=1)}


def group_by_tag(env: str, levels: Sequence[int], tag: str) -> dict[str, list[int]]:
    """The levels of each value of a tag, values sorted, levels in their order.

    Raises:
        UsageError: If levels of the environment have no such tag.
    """
    groups: dict[str, list[int]] = {}
    for level, value in zip(levels, level_tags(env, levels, tag), strict=True):
        groups.setdefault(str(value), []).append(level)
    return {value: groups[value] for value in sorted(groups)}


def apportion(weights: Mapping[str, float], limits: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide `total` things over names by their weights, none getting more than its limit.

    One after the other goes to the name with the largest weight / (2 n + 1), n being what it has (Sainte-Lague), so a
    larger total never takes anything away from a name. Without enough to give, everything is given.

    Args:
        weights: Name -> weight; a name without one gets nothing.
        limits: Name -> how many it can get.
        total: How many there are to give.
    """
    counts = dict.fromkeys(limits, 0)
    queue = [(-weights[name], name) for name in limits if weights.get(name, 0) > 0 and limits[name]]
    heapq.heapify(queue)
    for _ in range(total):
        if not queue:
            break
        _, name = heapq.heappop(queue)
        counts[name] += 1
        if counts[name] < limits[name]:
            heapq.heappush(queue, (-weights[name] / (2 * counts[name] + 1), name))
    return counts
