"""Returns of policies on levels, with intervals: what reports, comparisons and regrets are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.seeding import Name, rng_for
from metrics import statistics
from metrics.protocol import ActionMode, Role
from metrics.statistics import Interval
from metrics.table import EvaluationTable

RAW, NORMALIZED = "episode_return", "normalized_return"
ROLES = (Role.TRAIN, Role.TRAIN_HELDOUT, Role.VALIDATION, Role.TEST)
HELDOUT_ROLES = (Role.TEST, Role.VALIDATION, Role.TRAIN_HELDOUT)
"""The gap is formed to the first of these that was played."""
AGGREGATES = ("median", "optimality_gap", "cvar", "level_cvar")
"""Beside mean and IQM; see `metrics.aggregates`."""


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are formed; the same settings give the same report, whatever else it contains."""

    seed: int = 0
    num_resamples: int = 2000
    confidence: float = 0.95

    def rng(self, *names: Name) -> np.random.Generator:
        """The generator of one interval."""
        return rng_for("report", self.seed, *names)

    @property
    def options(self) -> dict[str, Any]:
        """Keywords that every interval function takes."""
        return {"num_resamples": self.num_resamples, "confidence": self.confidence}


@dataclass(frozen=True)
class LevelScores:
    """Scores of some policies on the levels that all of them played."""

    values: npt.NDArray[np.float64]  # [runs, L]
    levels: npt.NDArray[np.int64]  # [L], increasing


def level_scores(
    table: EvaluationTable, role: Role, mode: ActionMode, metric: str, policies: Sequence[str]
) -> LevelScores | None:
    """Mean of `metric` over the episodes of each policy on each level they share; None if nothing was played."""
    frame = table.frame
    rows = frame[(frame["role"] == role.value) & (frame["mode"] == mode) & frame["policy"].isin(list(policies))]
    if rows.empty:
        return None
    grid = rows.pivot_table(index=["policy", "train_seed"], columns="level", values=metric, sort=True).dropna(axis=1)
    if grid.empty:
        return None
    return LevelScores(grid.to_numpy(np.float64), grid.columns.to_numpy(np.int64))


def policy_returns(
    table: EvaluationTable, policies: Sequence[str], mode: ActionMode, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Raw and normalized return with intervals on every split that these policies played together.

    A policy that was only played in the other action mode (an expert's recorded episodes, say) is left out.
    """
    returns: dict[str, Any] = {"returns": {}, "normalized": {}, "statistics": {}}
    for role in ROLES:
        names: tuple[Name, ...] = (*policies, role.value, mode)
        raw = level_scores(table, role, mode, RAW, policies)
        normalized = level_scores(table, role, mode, NORMALIZED, policies)
        if raw is None or normalized is None:
            continue
        returns["returns"][role.value] = _summary(raw, bootstrap, *names)
        returns["normalized"][role.value] = _summary(normalized, bootstrap, *names)
        returns["statistics"][role.value] = _statistics(normalized, bootstrap, *names)
    return returns


def level_aggregates(
    table: EvaluationTable, policies: Sequence[str], mode: ActionMode, bootstrap: Bootstrap
) -> dict[str, Any]:
    """On each split, what the mean and the IQM do not say: the middle level, the worst ones, what lacks to the best."""
    found: dict[str, Any] = {}
    for role in ROLES:
        scores = level_scores(table, role, mode, NORMALIZED, policies)
        if scores is not None:
            found[role.value] = {
                name: statistics.level_bootstrap(
                    scores.values,
                    statistics.STATISTICS[name],
                    bootstrap.rng(name, *policies, role.value, mode),
                    **bootstrap.options,
                ).to_json()
                for name in AGGREGATES
            }
    return found


def _summary(scores: LevelScores, bootstrap: Bootstrap, *names: Name) -> dict[str, Any]:
    rng = bootstrap.rng("mean", *names)
    interval = statistics.level_bootstrap(scores.values, statistics.mean, rng, **bootstrap.options)
    runs, levels = scores.values.shape
    value = interval.to_json()
    return {"mean": value.pop("point"), **value, "num_runs": runs, "num_levels": levels}


def _statistics(scores: LevelScores, bootstrap: Bootstrap, *names: Name) -> dict[str, Any]:
    """Aggregates with two intervals: of new levels and seeds, and (stratified) of new seeds on the same levels."""
    table: dict[str, Any] = {}
    for name in ("mean", "iqm"):
        statistic = statistics.STATISTICS[name]
        intervals: Mapping[str, Interval] = {
            name: statistics.level_bootstrap(
                scores.values, statistic, bootstrap.rng(name, *names), **bootstrap.options
            ),
            f"{name}_stratified": statistics.stratified_bootstrap(
                scores.values, statistic, bootstrap.rng(name, "stratified", *names), **bootstrap.options
            ),
        }
        table |= {key: interval.to_json() for key, interval in intervals.items()}
    return table
