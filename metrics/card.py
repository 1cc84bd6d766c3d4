"""What a dataset holds, as plain data: counts, returns, levels, actions and behavior policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.diversity import describe, effective_number, summarize_returns
from data.measures import measure
from data.store import DatasetInfo, Store
from envs.spec import describe_levels

NUM_BINS = 16
_CHUNK = 1 << 20  # transitions read at a time

Values = npt.NDArray[Any]


def make_card(directory: Path) -> dict[str, Any]:
    """Everything about a dataset that fits on a page, as JSON values.

    Args:
        directory: The dataset.

    Returns:
        ``path``, ``env``, ``fingerprint``, ``license``, ``created``, ``schema_version``, ``num_bytes``, ``sources``,
        ``policies``, ``provenance``, the counts of `data.diversity.describe`, and

        - ``episode_return``: mean, spread and quartiles; ``return_histogram`` and ``length_histogram``: bars;
        - ``levels``: the numbers in words, and episodes per level (least, median, most);
        - ``actions``: shares, entropy in nats and effective number of what was done, and ``mean_surprise``, the mean
          of -log p of the actions taken under their behavior policies, None where that is unknown;
        - ``behavior``: one entry for each source and policy;
        - ``ends``: how many episodes terminated and were truncated;
        - ``measures``: of diversity and quality, by the names of `data.measures.MEASURES`;
        - ``metrics``: mean of what the environment reported, and of how many episodes; ``columns``: the observations.

    Raises:
        UsageError: If there is no dataset.
        RunError: If it is damaged.
    """
    dataset = Dataset.open(directory)
    info, episodes = dataset.info, dataset.episodes
    return {
        **_identity(info),
        "sources": list(dataset.sources),
        "policies": sorted(set(episodes["policy_id"].tolist())),
        "provenance": dict(info.provenance),
        **describe(dataset),
        "measures": measure(dataset),
        "episode_return": summarize_returns(episodes["return"]),
        "return_histogram": histogram(episodes["return"]),
        "length_histogram": histogram(episodes["length"]),
        "levels": _levels(dataset),
        "actions": _actions(Store(info.path)),
        "behavior": _behavior(episodes),
        "ends": {name: int(episodes[name].sum()) for name in ("terminated", "truncated")},
        "metrics": _metrics(dataset.metrics),
        "columns": {name: column.to_json() for name, column in dataset.env.observation_columns.items()},
    }


def _identity(info: DatasetInfo) -> dict[str, Any]:
    kept = ("fingerprint", "license", "created", "schema_version", "num_bytes")
    return {"path": str(info.path), "env": info.env.name, **{name: getattr(info, name) for name in kept}}


def histogram(values: Values, num_bins: int = NUM_BINS) -> list[dict[str, float]]:
    """Bars of a histogram: one for each value where there are few, bins of equal width otherwise.

    Returns:
        For each bar ``low``, ``high`` (its edges; equal where it is one value) and ``count``.
    """
    kinds, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    if len(kinds) <= num_bins:
        bars = zip(kinds.tolist(), kinds.tolist(), counts.tolist(), strict=True)
    else:
        binned, edges = np.histogram(values, bins=num_bins)
        bars = zip(edges[:-1].tolist(), edges[1:].tolist(), binned.tolist(), strict=True)
    return [{"low": low, "high": high, "count": int(count)} for low, high, count in bars]


def _levels(dataset: Dataset) -> dict[str, Any]:
    _, counts = np.unique(dataset.episodes["level"], return_counts=True)
    return {
        "described": describe_levels(tuple(dataset.levels.tolist())),
        "universe": dataset.env.level_universe,
        "episodes_per_level": {
            "min": int(counts.min()),
            "median": float(np.median(counts)),
            "max": int(counts.max()),
        },
    }


def _actions(store: Store) -> dict[str, Any]:
    actions, logp, env = store.steps["actions"], store.steps["behavior_logp"], store.info.env
    counts = np.zeros(env.num_actions, dtype=np.int64)
    surprise = 0.0
    for start in range(0, len(actions), _CHUNK):
        counts += np.bincount(actions[start : start + _CHUNK].astype(np.int64), minlength=len(counts))
        surprise -= float(logp[start : start + _CHUNK].sum(dtype=np.float64))
    kind = "candidate" if env.candidate_column else "action"
    names = env.action_names or tuple(f"{kind} {number}" for number in range(len(counts)))
    used = np.flatnonzero(counts)
    effective = effective_number(counts)
    mean_surprise = surprise / len(actions)
    return {
        "counts": {names[number]: int(counts[number]) for number in used.tolist()},
        "num_actions": len(counts),
        "entropy": float(np.log(effective)),
        "effective": effective,
        "mean_surprise": mean_surprise if np.isfinite(mean_surprise) else None,
    }


def _behavior(episodes: Mapping[str, Values]) -> list[dict[str, Any]]:
    pairs = np.stack([episodes["source"].astype(object), episodes["policy_id"].astype(object)], axis=1)
    found = []
    for source, policy in sorted({(str(source), str(policy)) for source, policy in pairs}):
        chosen = (pairs[:, 0] == source) & (pairs[:, 1] == policy)
        found.append(
            {
                "source": source,
                "policy": policy,
                "episodes": int(chosen.sum()),
                "transitions": int(episodes["length"][chosen].sum()),
                "levels": len(np.unique(episodes["level"][chosen])),
                "mean_return": float(episodes["return"][chosen].mean()),
            }
        )
    return found


def _metrics(metrics: Mapping[str, Values]) -> dict[str, dict[str, float]]:
    known = {name: values[~np.isnan(values)] for name, values in metrics.items()}
    return {
        name: {"mean": float(values.mean()), "num_episodes": len(values)}
        for name, values in known.items()
        if len(values)
    }
