"""Choosing rows of an episode table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from data.schema import EPISODE_DTYPE, Table, episode_dtype, metric_field, metric_names
from data.store import Store
from envs.errors import UsageError

Positions = npt.NDArray[np.int64]


def make_view(table: Table, store: int, metrics: Sequence[str]) -> Table:
    """A view of a whole episode table.

    Args:
        table: Of a store, or a view already.
        store: What to add to the number of the store that an episode lies in (0 in a table).
        metrics: Metrics to have fields for; NaN where the table does not have them.

    Returns:
        [E] with the fields of `episode_dtype` and ``store``.
    """
    view = np.zeros(len(table), dtype=[*episode_dtype(metrics).descr, ("store", "<i4")])
    for name in EPISODE_DTYPE.names or ():
        view[name] = table[name]
    known = metric_names(table)
    for name in metrics:
        view[metric_field(name)] = table[metric_field(name)] if name in known else np.nan
    view["store"] = store + (table["store"] if "store" in (table.dtype.names or ()) else 0)
    return view


def check_positions(episodes: Iterable[int], num_episodes: int) -> Positions:
    """The positions [n] as an array.

    Raises:
        UsageError: If one is not in 0 .. num_episodes - 1.
    """
    positions = np.fromiter(episodes, dtype=np.int64)
    if len(positions) and (positions.min() < 0 or positions.max() >= num_episodes):
        raise UsageError(f"Episodes {positions.min()}..{positions.max()} were asked; allowed: 0..{num_episodes - 1}.")
    return positions


def rank_within(groups: npt.NDArray[np.generic]) -> Positions:
    """How many equal entries stand before each entry of `groups` [n]."""
    order = np.argsort(groups, kind="stable")
    _, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(first, counts)
    return rank


def cut(view: Table, max_transitions: int, stores: Sequence[Store]) -> Table:
    """The first episodes of `view` with exactly `max_transitions` transitions.

    The last episode may be cut: it is then truncated, its final observation known (the next stored row), its return
    that of the transitions kept, and its metrics, which are of the whole episode, unknown.

    Raises:
        UsageError: If the view holds fewer.
    """
    ends = np.cumsum(view["length"])
    available = int(ends[-1]) if len(ends) else 0
    if not 1 <= max_transitions <= available:
        raise UsageError(
            f"{max_transitions} transitions were asked of a view of {available}; allowed: 1 to {available}."
        )
    last = int(np.searchsorted(ends, max_transitions))
    kept = max_transitions - int(ends[last] - view["length"][last])
    view = view[: last + 1].copy()
    if kept < view["length"][last]:
        record = view[last : last + 1]
        first = int(record["first_step"][0])
        rewards = stores[int(record["store"][0])].steps["rewards"][first : first + kept]
        record["length"], record["return"] = kept, rewards.sum(dtype=np.float64)
        record["terminated"], record["truncated"], record["final_observation_known"] = False, True, True
        for name in metric_names(view):
            record[metric_field(name)] = np.nan
    return view
