"""Every statistic of an evaluation with its interval, or the reason why it has none: per environment and over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from envs.errors import UsageError
from envs.seeding import Name, rng_for
from metrics import statistics
from metrics.aggregates import STATISTICS, Array
from metrics.profiles import profile_with_bands
from metrics.protocol import ActionMode, Role
from metrics.table import EvaluationTable

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(21))
"""Of performance profiles, in normalized return."""
OF_LEVELS = "levels and train seeds"
OF_SEEDS = "train seeds within each environment"


def scorecard(
    table: EvaluationTable, *, seed: int = 0, confidence: float = 0.95, num_resamples: int = 1000
) -> list[dict[str, Any]]:
    """One entry per policy group, environment, split and action mode, and one over all environments if there are more.

    Policies that differ by their train seed only (the same `config_id`, or the same name) count as one group.

    Args:
        table: What was played.
        seed: Of the bootstrap; the same seed gives the same intervals.
        confidence: Coverage of the intervals.
        num_resamples: Bootstrap resamples.

    Returns:
        Entries ``{"protocol", "policies", "env", "role", "mode", "num_runs", "num_levels", "resampled", "statistics":
        {name: interval}, "profile", "gap"}``; an interval is what `metrics.statistics.Interval.to_json` gives.
    """
    options = {"confidence": confidence, "num_resamples": num_resamples}
    entries: list[dict[str, Any]] = []
    for (protocol, group), part in _groups(table):
        for mode in part.modes:
            for role in part.where(mode=mode).roles:
                names = (seed, protocol, group, role, mode)
                entries += _of_split(part, group, Role(role), mode, names, options)
    return entries


def _groups(table: EvaluationTable) -> list[tuple[tuple[str, str], EvaluationTable]]:
    frame = table.frame
    names = frame["policy"].astype(str)
    if "config_id" in frame.columns:
        configs = frame["config_id"].fillna("").astype(str)
        names = names.where(configs == "", configs)
    pairs = sorted(set(zip(frame["protocol"], names, strict=True)))
    keep = {pair: (frame["protocol"] == pair[0]) & (names == pair[1]) for pair in pairs}
    return [(pair, EvaluationTable(frame[rows], table.episode_metrics)) for pair, rows in keep.items()]


def _of_split(
    part: EvaluationTable,
    group: str,
    role: Role,
    mode: ActionMode,
    names: tuple[Name, ...],
    options: Mapping[str, Any],
) -> list[dict[str, Any]]:
    rows = part.where(role=role.value, mode=mode)
    entries, by_env = [], {}
    for env in sorted(rows.frame["env"].unique()):
        scores = rows.scores(role, mode, env=env)
        by_env[str(env)] = scores
        entry = _entry(part, group, str(env), role, mode, scores) | {"resampled": OF_LEVELS}
        entry |= _with_intervals(scores, statistics.level_bootstrap, (*names, env), over_levels=True, options=options)
        gap = _gap(part, role, mode, str(env), scores, (*names, env, "gap"), options)
        entries.append(entry | ({"gap": gap.to_json()} if gap is not None else {}))
    if len(by_env) > 1:
        entries.append(_over_envs(part, group, role, mode, by_env, names, options))
    return entries


def _over_envs(
    part: EvaluationTable,
    group: str,
    role: Role,
    mode: ActionMode,
    by_env: Mapping[str, Array],
    names: tuple[Name, ...],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    scores = aggregate_scores(by_env)
    entry = _entry(part, group, f"{len(by_env)} environments", role, mode, scores) | {"resampled": OF_SEEDS}
    entry["num_levels"] = sum(values.shape[1] for values in by_env.values())
    return entry | _with_intervals(
        scores, statistics.stratified_bootstrap, (*names, "all"), over_levels=False, options=options
    )


def aggregate_scores(by_env: Mapping[str, Array]) -> Array:
    """Array [runs, environments]: each run's mean over its levels, for aggregates over a fixed set of games.

    Args:
        by_env: Environment -> scores [runs, levels].

    Raises:
        UsageError: If one environment has more runs than another.
    """
    counts = {env: len(scores) for env, scores in by_env.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(
            f"An aggregate over environments needs as many train seeds in each; there are {counts}. Train the missing "
            "ones, or leave an environment out."
        )
    return np.stack([scores.mean(axis=1) for scores in by_env.values()], axis=1)


def _entry(part: EvaluationTable, group: str, env: str, role: Role, mode: ActionMode, scores: Array) -> dict[str, Any]:
    return {
        "protocol": str(part.frame["protocol"].iloc[0]),
        "group": group,
        "policies": part.policies,
        "env": env,
        "role": role.value,
        "mode": mode,
        "num_runs": len(scores),
        "num_levels": scores.shape[1],
    }


def _with_intervals(
    scores: Array,
    bootstrap: Callable[..., statistics.Interval],
    names: tuple[Name, ...],
    *,
    over_levels: bool,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    intervals = {
        name: bootstrap(scores, statistic, rng_for("scorecard", name, *names), **options).to_json()
        for name, statistic in STATISTICS.items()
    }
    rng = rng_for("scorecard", "profile", *names)
    profile = profile_with_bands(scores, THRESHOLDS, rng, over_levels=over_levels, **options)
    return {"statistics": intervals, "profile": profile.to_json()}


def _gap(
    part: EvaluationTable,
    role: Role,
    mode: ActionMode,
    env: str,
    scores: Array,
    names: tuple[Name, ...],
    options: Mapping[str, Any],
) -> statistics.Interval | None:
    """Train minus this split; None for training itself, or where it is unclear what it was trained in."""
    played = part.where(role=Role.TRAIN.value, mode=mode)
    trained = sorted(played.frame["env"].unique())
    if env not in trained and len(trained) != 1:
        return None
    if role == Role.TRAIN or not len(played):
        return None
    train = played.scores(Role.TRAIN, mode, env=env if env in trained else trained[0])
    if len(train) != len(scores):
        return None
    return statistics.gap_interval(train, scores, rng_for("scorecard", *names), **options)
