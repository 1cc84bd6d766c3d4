"""Writing a dataset: episodes stream into a temporary directory that gets its name only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.episode import Episode, Ragged
from data.files import atomic_write_json, disk_errors, rename_directory
from data.partial import ColumnFile
from data.remote import remote_url
from data.schema import (
    EPISODE_DTYPE,
    EPISODES,
    MANIFEST,
    SCHEMA_VERSION,
    FileSpec,
    Table,
    canonical_json,
    check_columns,
    content_fingerprint,
    episode_checksum,
    episode_dtype,
    manifest_checksum,
    metric_field,
    metric_names,
    observation_files,
    step_files,
)
from data.validation import canonical_episode
from envs.errors import UsageError
from envs.files import create_partial
from envs.spec import EnvSpec


class DatasetWriter:
    """Writes one dataset directory, crash-safe, in memory that does not grow with the frames.

    Example:
        >>> with DatasetWriter(path, spec, {"command": "gengap collect maze"}) as writer:  # doctest: +SKIP
        ...     for episode in episodes:
        ...         writer.add(episode)
        ...     dataset = writer.finish()

    Leaving the block finishes the dataset; leaving it by an exception removes everything. A killed process leaves only
    a hidden ``.NAME.partial-*`` directory, which does not open and which the next writer of that name removes.
    """

    def __init__(self, path: Path | str, env: EnvSpec, provenance: Mapping[str, Any], license: str = "MIT") -> None:
        """Start writing.

        Args:
            path: Directory to create; it must not exist.
            env: The environment that every episode belongs to.
            provenance: How the data came to be, as JSON values: command, configuration, versions.
            license: SPDX identifier of the terms under which the data may be used.

        Raises:
            UsageError: If the directory exists or is remote, or the provenance is not JSON.
            RunError: If the disk is full or not writable.
        """
        if remote_url(path):
            raise UsageError(f"{path} is remote; write a local directory and send it with `gengap data push`.")
        self.path = Path(path).absolute()
        self.env = env
        self.num_episodes = 0
        self.num_transitions = 0
        self._finished: Dataset | None = None
        self._header = {"provenance": _json_object(provenance), "license": license}
        check_columns(env)
        if self.path.exists():
            raise UsageError(
                f"{self.path} exists already; a dataset is never overwritten. Remove it or choose another."
            )
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial, self._lock = create_partial(self.path)
        self._open = True
        self._columns: dict[str, ColumnFile] | None = None
        self._rows: list[npt.NDArray[np.void]] = []
        self._metrics: list[dict[str, float]] = []
        self._num_rows = 0
        self._sources: dict[str, int] = {}
        self._policies: dict[str, int] = {}
        self._keys: set[tuple[int, int, str, int, str]] = set()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._open:
            self.finish()

    @property
    def fingerprint(self) -> str:
        """Of the episodes added so far."""
        return content_fingerprint(self.env, np.stack(self._rows) if self._rows else np.empty(0, EPISODE_DTYPE))

    def add(self, episode: Episode) -> bytes:
        """Append one whole episode; any order gives the same dataset.

        Returns:
            The episode's checksum.

        Raises:
            UsageError: If it does not fit the environment or is already there.
            RunError: If the disk is full; nothing is left behind.
        """
        self._check_open()
        episode = canonical_episode(self.env, episode)
        key = (episode.level, episode.episode, episode.source, episode.seed, episode.policy_id)
        if key in self._keys:
            raise UsageError(
                f"Episode {episode.episode} of level {episode.level} by {episode.source!r} was added twice."
            )
        self._check_log_probs(episode)
        try:
            with disk_errors(self.path):
                self._append(episode)
        except BaseException:  # columns of unequal length can never be completed
            self.abort()
            raise
        self._keys.add(key)
        self._rows.append(self._record(episode))
        self._metrics.append(episode.metrics)
        self.num_episodes += 1
        self.num_transitions += len(episode)
        self._num_rows += _num_rows(episode)
        return bytes(self._rows[-1]["checksum"].tobytes())

    def finish(self) -> Dataset:
        """Complete the dataset, give it its name, and open it.

        Raises:
            UsageError: If no episode was added.
            RunError: If the disk is full; nothing is left behind.
        """
        if self._finished is not None:
            return self._finished
        self._check_open()
        if not self._rows:
            self.abort()
            raise UsageError(f"No episode was added to {self.path}; a dataset needs at least one.")
        try:
            with disk_errors(self.path):
                self._complete()
        except BaseException:
            self.abort()
            raise
        self._open = False
        os.close(self._lock)
        self._finished = Dataset.open(self.path)
        return self._finished

    def abort(self) -> None:
        """Remove everything that was written; a finished dataset stays."""
        if not self._open:
            return
        self._open = False
        for file in (self._columns or {}).values():
            file.discard()
        shutil.rmtree(self._partial, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"The writer of {self.path} is closed; open a new one under another name.")

    def _check_log_probs(self, episode: Episode) -> None:
        if self._columns is None:
            return
        if ("behavior_log_probs" in self._columns) != (episode.behavior_log_probs is not None):
            raise UsageError(
                "Some episodes have behavior_log_probs and some have not; record them for all or for none."
            )

    def _append(self, episode: Episode) -> None:
        has_log_probs = episode.behavior_log_probs is not None
        if self._columns is None:
            self._columns = self._open_columns(has_log_probs)
        for name in step_files(self.env, has_log_probs):
            self._columns[name].write(getattr(episode, name))
        for name, column in episode.observations.items():
            if isinstance(column, Ragged):
                start = self._columns[f"{name}.values"].rows
                self._columns[f"{name}.values"].write(column.values)
                self._columns[f"{name}.offsets"].write(column.offsets[1:] + start)
            else:
                self._columns[f"{name}.values"].write(column)

    def _open_columns(self, has_log_probs: bool) -> dict[str, ColumnFile]:
        columns = {name: ColumnFile(self._partial, spec) for name, spec in step_files(self.env, has_log_probs).items()}
        for name, column in self.env.observation_columns.items():
            for part, spec in observation_files(name, column).items():
                columns[f"{name}.{part}"] = ColumnFile(self._partial, spec)
                if part == "offsets":
                    columns[f"{name}.{part}"].write(np.zeros(1, dtype=np.int64))
        return columns

    def _record(self, episode: Episode) -> npt.NDArray[np.void]:
        row = np.zeros((), dtype=EPISODE_DTYPE)
        for name in ("level", "episode", "seed", "terminated", "truncated", "final_observation_known"):
            row[name] = getattr(episode, name)
        row["source"] = self._sources.setdefault(episode.source, len(self._sources))
        row["policy"] = self._policies.setdefault(episode.policy_id, len(self._policies))
        row["length"], row["return"] = len(episode), episode.episode_return
        row["first_step"], row["first_row"] = self.num_transitions, self._num_rows
        row["checksum"] = np.frombuffer(episode_checksum(episode), dtype=np.uint8)
        return row

    def _complete(self) -> None:
        assert self._columns is not None
        files = [file.close() for file in self._columns.values()]
        table, sources, policies = self._canonical_table()
        episodes = ColumnFile(self._partial, FileSpec(EPISODES, "<u1", (table.dtype.itemsize,)))
        episodes.write(np.frombuffer(table.tobytes(), dtype=np.uint8).reshape(len(table), -1))
        manifest = {
            "format": "gengap-dataset",
            "schema_version": SCHEMA_VERSION,
            "env": self.env.to_json(),
            "num_episodes": len(table),
            "num_transitions": self.num_transitions,
            "sources": sources,
            "policies": policies,
            "metrics": list(metric_names(table)),
            "files": [*files, episodes.close()],
            **self._header,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "fingerprint": content_fingerprint(self.env, table),
        }
        atomic_write_json(self._partial / MANIFEST, {**manifest, "checksum": manifest_checksum(manifest)})
        rename_directory(self._partial, self.path)

    def _canonical_table(self) -> tuple[Table, list[str], list[str]]:
        """The episode table in an order that depends on nothing but the episodes, and its names, sorted."""
        table = self._table()
        sources, policies = sorted(self._sources), sorted(self._policies)
        for column, arrival, names in (("source", self._sources, sources), ("policy", self._policies, policies)):
            renumber = np.empty(len(names), dtype=np.int32)
            renumber[[arrival[name] for name in names]] = np.arange(len(names))
            table[column] = renumber[table[column]]
        order = np.lexsort([table[name] for name in ("policy", "seed", "source", "episode", "level")])
        return table[order], sources, policies

    def _table(self) -> Table:
        """The episode table in order of arrival, with a column for every metric that some episode has."""
        rows = np.stack(self._rows)
        table = np.zeros(len(rows), dtype=episode_dtype(sorted({name for known in self._metrics for name in known})))
        for name in EPISODE_DTYPE.names or ():
            table[name] = rows[name]
        for name in metric_names(table):
            table[metric_field(name)] = [known.get(name, np.nan) for known in self._metrics]
        return table


def _num_rows(episode: Episode) -> int:
    return len(episode) + int(episode.final_observation_known)


def _json_object(value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(dict(value))
    except (TypeError, ValueError) as error:
        raise UsageError(f"The provenance of a dataset must be JSON values: {error}.") from error
    return dict(value)
