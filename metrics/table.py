"""The long table of evaluation results, from which every array, summary and report derives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pandas as pd

from data.episode import EpisodeResult
from envs.errors import RunError, UsageError, unknown_name
from envs.seeding import rng_for
from envs.spec import EnvSpec
from metrics import statistics
from metrics.aggregates import STATISTICS
from metrics.checks import check_finite
from metrics.protocol import ACTION_MODES, ActionMode, EvaluationProtocol, Role

KEY_COLUMNS = ("protocol", "role", "env", "level", "episode", "mode", "policy", "train_seed")
"""Together they name a row; a second row with the same key is refused."""
_METRICS = "episode_metrics"
METRIC_COLUMNS = ("episode_return", "normalized_return", "length", "terminated", "truncated")
_DTYPES = {
    **dict.fromkeys(("protocol", "role", "env", "mode", "policy"), "object"),
    **dict.fromkeys(("level", "episode", "train_seed", "length"), "int64"),
    **dict.fromkeys(("episode_return", "normalized_return"), "float64"),
    **dict.fromkeys(("terminated", "truncated"), "bool"),
}


class EvaluationTable:
    """One row per played episode; columns `KEY_COLUMNS`, `METRIC_COLUMNS` and whatever environments and studies add.

    Args:
        frame: The rows.
        episode_metrics: Which further columns are measures of an episode; None keeps what the frame says itself.

    Raises:
        UsageError: If a column is missing or a key appears twice.
    """

    def __init__(self, frame: pd.DataFrame, episode_metrics: Sequence[str] | None = None) -> None:
        missing = [name for name in _DTYPES if name not in frame.columns]
        if missing:
            raise UsageError(f"An evaluation table needs the columns {list(_DTYPES)}; missing: {missing}.")
        frame = frame.astype(_DTYPES).reset_index(drop=True)
        duplicated = frame.duplicated(list(KEY_COLUMNS))
        if duplicated.any():
            key = frame.loc[duplicated.idxmax(), list(KEY_COLUMNS)].to_dict()
            raise UsageError(f"{int(duplicated.sum())} evaluation rows appear twice, the first with the key {key}.")
        self.frame = frame
        if episode_metrics is not None:
            frame.attrs[_METRICS] = [name for name in episode_metrics if name not in _DTYPES]

    @property
    def episode_metrics(self) -> tuple[str, ...]:
        """The columns that environments reported of episodes, for example ``success``; a .csv file forgets which."""
        return tuple(self.frame.attrs.get(_METRICS, ()))

    @classmethod
    def empty(cls) -> EvaluationTable:
        """A table without rows, to append to."""
        return cls(pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _DTYPES.items()}))

    @classmethod
    def from_results(
        cls,
        results: Iterable[EpisodeResult],
        *,
        spec: EnvSpec,
        protocol: EvaluationProtocol,
        role: Role,
        mode: ActionMode,
        policy: str,
        train_seed: int = 0,
        extra: Mapping[str, float | int | str] | None = None,
    ) -> EvaluationTable:
        """Rows of one policy on one split in one action mode.

        Args:
            results: The played episodes, in any order; their `metrics` become columns, see `episode_metrics`.
            spec: Normalizes returns; without any table an environment counts as bounded by (0, 1).
            protocol: Its name and normalization table are recorded.
            role: What the levels were played for.
            mode: How actions were chosen.
            policy: Name of the policy (a trial id, ``"random"``, ``"expert"``).
            train_seed: Seed the policy was trained with.
            extra: Further constant columns, for example ``{"num_levels": 100, "learning_rate": 5e-4}``.
        """
        played = sorted(results, key=lambda result: (result.level, result.episode))
        metrics = list(dict.fromkeys(name for result in played for name in result.metrics))
        names = {"protocol": protocol.name, "role": str(role), "mode": mode, "policy": policy}
        rows = [
            {**result.metrics, **names, "train_seed": train_seed, **_columns(result), **(extra or {})}
            for result in played
        ]
        if not rows:
            return cls.empty()
        frame = pd.DataFrame(rows)
        returns = frame["episode_return"].to_numpy(np.float64)
        check_finite(frame, policy)
        frame["normalized_return"] = spec.normalize(returns, protocol.normalization) if spec.return_bounds else returns
        ordered = [*_DTYPES, *(name for name in frame.columns if name not in _DTYPES)]
        return cls(frame[ordered], metrics)

    @classmethod
    def concat(cls, tables: Iterable[EvaluationTable]) -> EvaluationTable:
        """All rows of all tables; a column that one of them lacks is missing (NaN) there."""
        parts = [table for table in tables if len(table)]
        if not parts:
            return cls.empty()
        names = dict.fromkeys(name for part in parts for name in part.episode_metrics)
        return cls(pd.concat([part.frame for part in parts], ignore_index=True), list(names))

    def append(self, other: EvaluationTable) -> EvaluationTable:
        """A new table with the rows of both."""
        return EvaluationTable.concat([self, other])

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"EvaluationTable({len(self)} rows, roles={self.roles}, policies={self.policies[:5]})"

    @property
    def roles(self) -> list[str]:
        """Roles with rows, train first and test last."""
        return [role.value for role in Role if (self.frame["role"] == role.value).any()]

    @property
    def modes(self) -> list[ActionMode]:
        """Action modes with rows, sampled first."""
        return [mode for mode in ACTION_MODES if (self.frame["mode"] == mode).any()]

    @property
    def policies(self) -> list[str]:
        """Names of the policies, sorted."""
        return sorted(self.frame["policy"].unique())

    def where(self, **equals: Any) -> EvaluationTable:
        """The rows whose columns equal these values; a list, tuple or set means "any of these".

        Example:
            >>> EvaluationTable.empty().where(role="train", policy=["a", "b"])
            EvaluationTable(0 rows, roles=[], policies=[])
        """
        keep = np.ones(len(self.frame), dtype=bool)
        for name, value in equals.items():
            if name not in self.frame.columns:
                raise unknown_name("column of the evaluation table", name, self.frame.columns)
            values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
            keep &= self.frame[name].isin(values).to_numpy()
        return EvaluationTable(self.frame[keep])

    def scores(
        self, role: Role | str, mode: ActionMode = "sampled", *, metric: str = "normalized_return", **equals: Any
    ) -> npt.NDArray[np.float64]:
        """Array [runs, levels]: the mean of `metric` over the episodes of each run on each level.

        A run is a (policy, train_seed); runs and levels are in sorted order, so two arrays of the same levels pair up.

        Args:
            role: Which split.
            mode: Which action mode.
            metric: A metric column.
            equals: Further restrictions, as for `where`.

        Raises:
            UsageError: If no row matches, or a run lacks a level that another run played.
        """
        rows = self.where(role=str(role), mode=mode, **equals).frame
        if rows.empty:
            raise UsageError(
                f"No evaluation of role {str(role)!r} in mode {mode!r} with {equals} is in the table; "
                f"it holds roles {self.roles}, modes {self.modes} and policies {self.policies[:10]}."
            )
        values = rows.assign(value=rows[metric].astype("float64"))
        grid = values.pivot_table(index=["policy", "train_seed"], columns=["env", "level"], values="value", sort=True)
        scores: npt.NDArray[np.float64] = grid.to_numpy(np.float64)
        if np.isnan(scores).any():
            run = grid.index[int(np.isnan(scores).any(axis=1).argmax())]
            raise UsageError(f"The run {run} lacks levels (or values of {metric!r}) that other runs of {role!r} have.")
        return scores

    def write(self, path: Path) -> Path:
        """Write atomically; the suffix (.parquet or .csv) chooses the format."""
        writers: dict[str, Callable[[Path], Any]] = {
            ".parquet": self._to_parquet,
            ".csv": lambda target: self.frame.to_csv(target, index=False),
        }
        if path.suffix not in writers:
            raise UsageError(f"An evaluation table cannot be written as {path.name!r}; end it in .parquet or .csv.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            writers[path.suffix](temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def _to_parquet(self, target: Path) -> None:
        self.frame.to_parquet(target, index=False)

    @classmethod
    def read(cls, path: Path) -> EvaluationTable:
        """Read what `write` wrote.

        Raises:
            RunError: If the file is missing or damaged, or holds a return that is not finite.
        """
        try:
            is_text = path.suffix == ".csv"
            table = cls(pd.read_csv(path, float_precision="round_trip") if is_text else pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise RunError(
                f"The evaluation table {path} cannot be read: {str(error).rstrip('.')}. Evaluate again to rewrite it."
            ) from error
        check_finite(table.frame, str(path))
        return table


def summarize(table: EvaluationTable, *, confidence: float = 0.95, num_resamples: int = 1000) -> dict[str, float]:
    """Flat metrics of an evaluation: ``eval/<split>/<statistic>`` and ``eval/gap/<split>``, all finite.

    Measures of the environment's own follow as ``eval/<split>/<measure>``, for example ``eval/test/success``.

    Sampled actions have the plain names; where both modes were played, greedy ones are prefixed ``greedy_``. Intervals
    resample levels and, where there are several, train seeds; they are reproducible because the generator is derived
    from the metric's name. An interval that cannot be formed is left out.

    Args:
        table: Rows of one environment and protocol; usually of one policy.
        confidence: Coverage of the intervals.
        num_resamples: Bootstrap resamples.
    """
    options: dict[str, Any] = {"num_resamples": num_resamples, "confidence": confidence}
    flat: dict[str, float] = {}
    for mode in table.modes:
        prefix = "" if mode == table.modes[0] else f"{mode}_"
        scores: dict[str, npt.NDArray[np.float64]] = {}
        for role in table.where(mode=mode).roles:
            scores[role] = table.scores(role, mode)
            grids = _metric_scores(table, role, mode) | {"normalized_return": scores[role]}
            for metric, grid in grids.items():
                name = f"eval/{role}/{prefix}{metric}"
                interval = statistics.level_bootstrap(grid, statistics.mean, rng_for(name), **options)
                flat |= _named(name, interval)
            flat |= _split_statistics(table, role, mode, prefix, scores[role], options)
        for role in [role for role in scores if role != Role.TRAIN and Role.TRAIN in scores]:
            name = f"eval/gap/{prefix}{role}"
            train = scores[Role.TRAIN]
            flat |= _named(name, statistics.gap_interval(train, scores[role], rng_for(name), **options))
    return flat


def _columns(result: EpisodeResult) -> dict[str, Any]:
    names = ("env", "level", "episode", "episode_return", "length", "terminated", "truncated")
    return {name: getattr(result, name) for name in names}


def _named(name: str, interval: statistics.Interval) -> dict[str, float]:
    if interval.reason:
        return {name: interval.point}
    return {name: interval.point, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _metric_scores(table: EvaluationTable, role: str, mode: ActionMode) -> dict[str, npt.NDArray[np.float64]]:
    """The grids of the environment's own measures, where every row has a value."""
    rows = table.where(role=role, mode=mode).frame
    names = [name for name in table.episode_metrics if not rows[name].isna().any()]
    return {name: table.scores(role, mode, metric=name) for name in names}


def _split_statistics(
    table: EvaluationTable,
    role: str,
    mode: ActionMode,
    prefix: str,
    scores: npt.NDArray[np.float64],
    options: Mapping[str, Any],
) -> dict[str, float]:
    rows = table.where(role=role, mode=mode).frame
    raw = (
        ("episode_return", table.scores(role, mode, metric="episode_return").mean()),
        ("length", rows["length"].mean()),
        ("truncated", rows["truncated"].mean()),
        ("num_levels", scores.shape[1]),
    )
    flat = {f"eval/{role}/{prefix}{name}": float(value) for name, value in raw}
    for statistic in ("iqm", "optimality_gap", "level_cvar"):
        name = f"eval/{role}/{prefix}{statistic}"
        flat |= _named(name, statistics.level_bootstrap(scores, STATISTICS[statistic], rng_for(name), **options))
    return flat
