"""Opening a dataset directory: the episode table in memory, every column memory-mapped."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.episode import Array, Column, Episode, Ragged
from data.remote import local_dataset, remote_url
from data.schema import (
    EPISODES,
    FILE_NAME,
    MANIFEST,
    READABLE_VERSIONS,
    FileSpec,
    Table,
    check_columns,
    check_metric_names,
    episode_dtype,
    manifest_checksum,
    metric_field,
    metric_names,
    observation_files,
    step_files,
)
from envs.errors import RunError, UsageError
from envs.spec import EnvSpec


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What the manifest of a dataset directory says."""

    path: Path
    schema_version: int
    env: EnvSpec
    provenance: Mapping[str, Any]
    license: str
    """SPDX identifier of the terms under which the data may be used."""
    created: str
    """ISO 8601, UTC; not part of the fingerprint."""
    fingerprint: str
    num_episodes: int
    num_transitions: int
    num_bytes: int
    sources: tuple[str, ...]
    policies: tuple[str, ...]
    metrics: tuple[str, ...]
    """Names of what the environment reported of episodes besides their return, sorted."""
    files: Mapping[str, Mapping[str, Any]]
    """File name -> rows, bytes, crc32."""


class Store:
    """One opened dataset directory. It travels to other processes as its path and is opened again there."""

    def __init__(self, path: Path, fingerprint: str | None = None) -> None:
        """Open a dataset directory.

        Args:
            path: The directory, perhaps a remote one; see `data.remote`.
            fingerprint: What it must hold; None accepts anything.

        Raises:
            UsageError: If there is no dataset.
            RunError: If it is damaged or holds something else.
        """
        self._origin = path if remote_url(path) else path.absolute()
        self.path = path = local_dataset(path)
        self.info = read_manifest(path)
        if fingerprint not in (None, self.info.fingerprint):
            raise RunError(f"{path} holds {self.info.fingerprint} where {fingerprint} was expected; it was replaced.")
        self.table = _read_table(self.info)
        with_log_probs = "behavior_log_probs.bin" in self.info.files
        self.steps = {name: _map(self.info, spec) for name, spec in step_files(self.info.env, with_log_probs).items()}
        self.columns = {name: self._column(name) for name in self.info.env.observation_columns}

    def _column(self, name: str) -> Column:
        parts = observation_files(name, self.info.env.observation_columns[name])
        arrays = {part: _map(self.info, spec) for part, spec in parts.items()}
        return Ragged(arrays["values"], arrays["offsets"]) if "offsets" in arrays else arrays["values"]  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[type[Store], tuple[Path, str]]:
        return Store, (self._origin, self.info.fingerprint)  # another machine makes its own copy

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {self.info.num_episodes} episodes, {self.info.num_transitions} transitions)"


def read_episode(store: Store, record: np.void) -> Episode:
    """Copy one episode out of a store.

    Args:
        store: Where it lies.
        record: Its `episode_dtype` fields, perhaps with a shorter length.
    """
    length, known = int(record["length"]), bool(record["final_observation_known"])
    steps = slice(int(record["first_step"]), int(record["first_step"]) + length)
    rows = slice(int(record["first_row"]), int(record["first_row"]) + length + known)
    arrays: dict[str, Any] = {name: array[steps].copy() for name, array in store.steps.items()}
    return Episode(
        env=store.info.env.name,
        level=int(record["level"]),
        episode=int(record["episode"]),
        seed=int(record["seed"]),
        source=store.info.sources[record["source"]],
        policy_id=store.info.policies[record["policy"]],
        observations={name: _copy_rows(column, rows) for name, column in store.columns.items()},
        terminated=bool(record["terminated"]),
        truncated=bool(record["truncated"]),
        final_observation_known=known,
        metrics=_read_metrics(record),
        **arrays,
    )


def _read_metrics(record: np.void) -> dict[str, float]:
    values = {name: float(record[metric_field(name)]) for name in metric_names(record)}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _copy_rows(column: Column, rows: slice) -> Column:
    if not isinstance(column, Ragged):
        return column[rows].copy()
    offsets = column.offsets[rows.start : rows.stop + 1]
    return Ragged(column.values[offsets[0] : offsets[-1]].copy(), offsets - offsets[0])


def read_manifest(path: Path) -> DatasetInfo:
    """Read and check the manifest of a dataset directory.

    Raises:
        UsageError: If there is no dataset there, or it is of a newer schema version.
        RunError: If the manifest is damaged.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise UsageError(
            f"There is no dataset at {path} (no {MANIFEST}). Give the directory that was written as a whole."
        )
    try:
        manifest = json.loads(file.read_text())
        version = manifest["schema_version"]
        if manifest["format"] != "gengap-dataset":
            raise KeyError("format")
        checksum = manifest_checksum(manifest)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file, "is not a dataset manifest") from error
    if manifest.get("checksum") != checksum:
        raise _damaged(file, "does not match its own checksum")
    if version not in READABLE_VERSIONS:
        raise UsageError(
            f"{path} has schema version {version}; this version of gengap reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}."
        )
    return _info(path, manifest)


def _info(path: Path, manifest: Mapping[str, Any]) -> DatasetInfo:
    try:
        files = {entry["name"]: entry for entry in manifest["files"]}
        _check_numbers(manifest, files)
        info = DatasetInfo(
            path=path,
            schema_version=manifest["schema_version"],
            env=EnvSpec.from_json(manifest["env"]),
            provenance=manifest["provenance"],
            license=manifest["license"],
            created=manifest["created"],
            fingerprint=manifest["fingerprint"],
            num_episodes=manifest["num_episodes"],
            num_transitions=manifest["num_transitions"],
            num_bytes=sum(entry["bytes"] for entry in files.values()),
            sources=tuple(manifest["sources"]),
            policies=tuple(manifest["policies"]),
            metrics=tuple(manifest["metrics"]) if manifest["schema_version"] > 1 else (),
            files=files,
        )
        check_columns(info.env)
        check_metric_names(info.metrics)
        episode_dtype(info.metrics)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path / MANIFEST, f"lacks or misstates {error}") from error
    return info


def _check_numbers(manifest: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> None:
    """A checksum that fits says who wrote a manifest no more than anything else in it does.

    Raises:
        ValueError: Naming what is no count, or no name of a file in the directory.
    """
    counts = {name: manifest[name] for name in ("num_episodes", "num_transitions")}
    counts |= {name: manifest["env"][name] for name in ("num_actions", "max_episode_steps", "level_universe")}
    counts |= {f"{name}: {key}": entry[key] for name, entry in files.items() for key in ("rows", "bytes")}
    for name, count in counts.items():
        if type(count) is not int or not 0 <= count < 2**63:
            raise ValueError(f"{name} as {count!r}")
    for name, entry in files.items():
        if not isinstance(name, str) or not FILE_NAME.fullmatch(name) or not isinstance(entry["crc32"], str):
            raise ValueError(f"a file {name!r}")
    for key in ("sources", "policies"):
        if not all(isinstance(name, str) for name in manifest[key]):
            raise ValueError(f"{key} as {manifest[key]!r}")


def _read_table(info: DatasetInfo) -> Table:
    file = info.path / EPISODES
    dtype = episode_dtype(info.metrics)
    content = _map(info, FileSpec(EPISODES, "<u1", (dtype.itemsize,)))
    # A damaged table would send reads anywhere, so this one file is checked on every opening.
    if f"{zlib.crc32(content.data):08x}" != info.files[EPISODES]["crc32"]:
        raise _damaged(file, "does not match its checksum")
    table = np.frombuffer(content.tobytes(), dtype=dtype)
    if len(table) != info.num_episodes or int(table["length"].sum()) != info.num_transitions:
        raise _damaged(file, "disagrees with the manifest about the number of episodes or transitions")
    if not _points_inside(table, info):
        raise _damaged(file, "names sources, policies or steps that are not there")
    return table


def _points_inside(table: Table, info: DatasetInfo) -> bool:
    """Whether every number that counts from the start of something stays within it."""
    bounds = {"source": len(info.sources), "policy": len(info.policies), "length": info.num_transitions + 1}
    ends = table["first_step"] + table["length"]
    inside = all(((table[name] >= 0) & (table[name] < bound)).all() for name, bound in bounds.items())
    return bool(inside and (table["first_step"] >= 0).all() and (ends <= info.num_transitions).all())


def _map(info: DatasetInfo, spec: FileSpec) -> Array:
    """A read-only memory map of one file, after checking that it is there in full."""
    file = info.path / spec.name
    if spec.name not in info.files:
        raise _damaged(info.path / MANIFEST, f"does not list {spec.name}")
    rows, size = info.files[spec.name]["rows"], info.files[spec.name]["bytes"]
    found = file.stat().st_size if file.is_file() else None
    if found is None:
        raise _damaged(file, "is missing")
    if found != size or rows * spec.row_bytes != size:
        raise _damaged(file, f"is truncated or has grown: {found} bytes, {size} expected")
    if rows == 0 or size == 0:
        return np.empty((rows, *spec.shape), dtype=spec.dtype)
    mapped = np.memmap(file, dtype=spec.dtype, mode="r", shape=(rows, *spec.shape))
    return np.asarray(mapped)  # a plain array indexes faster than np.memmap and keeps the map alive


def _damaged(file: Path, reason: str) -> RunError:
    return RunError(f"{file} {reason}. `gengap data verify {file.parent}` lists the damage; make the dataset again.")
