"""Strata: levels grouped by what a tag says of them, and how many of each are taken."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from envs.registry import level_tags


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
