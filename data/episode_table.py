"""The rows of a dataset in the making: one per episode, in order of arrival."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from data.episode import Episode
from data.schema import (
    EPISODE_DTYPE,
    Table,
    content_fingerprint,
    episode_dtype,
    metric_field,
    metric_names,
)
from envs.errors import UsageError
from envs.spec import EnvSpec

_NAMES = ("level", "episode", "seed", "terminated", "truncated", "final_observation_known")


class EpisodeTable:
    """What is known of the episodes that were written, and the names they refer to.

    Attributes:
        num_transitions: Of all of them.
        num_rows: Rows of an observation column: one more for every final observation that is known.
    """

    def __init__(self) -> None:
        self.num_transitions = 0
        self.num_rows = 0
        self._rows: list[npt.NDArray[np.void]] = []
        self._metrics: list[dict[str, float]] = []
        self._sources: dict[str, int] = {}
        self._policies: dict[str, int] = {}
        self._keys: set[tuple[int, int, str, int, str]] = set()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def lengths(self) -> dict[tuple[int, int], int]:
        """(level, episode) -> transitions; where several sources played a pair, those of the last."""
        return {(int(row["level"]), int(row["episode"])): int(row["length"]) for row in self._rows}

    @property
    def returns(self) -> dict[str, list[float]]:
        """Source -> returns of its episodes, in order of arrival."""
        values: dict[str, list[float]] = {name: [] for name in self._sources}
        names = list(self._sources)
        for row in self._rows:
            values[names[row["source"]]].append(float(row["return"]))
        return values

    def check_new(self, episode: Episode) -> None:
        """Refuse an episode that is there already.

        Raises:
            UsageError: Naming it.
        """
        if (episode.level, episode.episode, episode.source, episode.seed, episode.policy_id) in self._keys:
            raise UsageError(
                f"Episode {episode.episode} of level {episode.level} by {episode.source!r} was added twice."
            )

    def fingerprint(self, env: EnvSpec) -> str:
        """What a dataset of these episodes has as its fingerprint."""
        return content_fingerprint(env, np.stack(self._rows) if self._rows else np.empty(0, EPISODE_DTYPE))

    def add(self, episode: Episode, checksum: bytes) -> None:
        """Append an episode.

        Args:
            episode: Which; `check_new` has seen it.
            checksum: Its `episode_checksum`.
        """
        values = {name: getattr(episode, name) for name in _NAMES}
        values |= {"length": len(episode), "return": episode.episode_return}
        row = np.frombuffer(checksum, dtype=np.uint8)
        self._add(values, episode.source, episode.policy_id, row, dict(episode.metrics))

    def entries(self, start: int) -> list[dict[str, Any]]:
        """The episodes from number `start` on as JSON values; NaN may occur among the metrics."""
        sources, policies = list(self._sources), list(self._policies)
        return [
            {
                **{name: row[name].item() for name in (*_NAMES, "length", "return")},
                "source": sources[row["source"]],
                "policy": policies[row["policy"]],
                "checksum": row["checksum"].tobytes().hex(),
                "metrics": metrics,
            }
            for row, metrics in zip(self._rows[start:], self._metrics[start:], strict=True)
        ]

    def load(self, entries: list[dict[str, Any]]) -> None:
        """Append what `entries` gave."""
        for entry in entries:
            checksum = np.frombuffer(bytes.fromhex(entry["checksum"]), dtype=np.uint8)
            self._add(entry, entry["source"], entry["policy"], checksum, entry["metrics"])

    def canonical(self) -> tuple[Table, list[str], list[str]]:
        """The table in an order that depends on nothing but the episodes, and its sources and policies, sorted."""
        table = self._table()
        sources, policies = sorted(self._sources), sorted(self._policies)
        for column, arrival, names in (("source", self._sources, sources), ("policy", self._policies, policies)):
            renumber = np.empty(len(names), dtype=np.int32)
            renumber[[arrival[name] for name in names]] = np.arange(len(names))
            table[column] = renumber[table[column]]
        order = np.lexsort([table[name] for name in ("policy", "seed", "source", "episode", "level")])
        return table[order], sources, policies

    def _add(
        self,
        values: dict[str, Any],
        source: str,
        policy: str,
        checksum: npt.NDArray[np.uint8],
        metrics: dict[str, float],
    ) -> None:
        row = np.zeros((), dtype=EPISODE_DTYPE)
        for name in (*_NAMES, "length", "return"):
            row[name] = values[name]
        row["source"] = self._sources.setdefault(source, len(self._sources))
        row["policy"] = self._policies.setdefault(policy, len(self._policies))
        row["first_step"], row["first_row"], row["checksum"] = self.num_transitions, self.num_rows, checksum
        self._keys.add((int(row["level"]), int(row["episode"]), source, int(row["seed"]), policy))
        self._rows.append(row)
        self._metrics.append(metrics)
        self.num_transitions += int(row["length"])
        self.num_rows += int(row["length"]) + int(row["final_observation_known"])

    def _table(self) -> Table:
        """In order of arrival, with a column for every metric that some episode has."""
        rows = np.stack(self._rows)
        table = np.zeros(len(rows), dtype=episode_dtype(sorted({name for known in self._metrics for name in known})))
        for name in EPISODE_DTYPE.names or ():
            table[name] = rows[name]
        for name in metric_names(table):
            table[metric_field(name)] = [known.get(name, np.nan) for known in self._metrics]
        return table
