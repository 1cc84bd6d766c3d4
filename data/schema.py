"""The layout of a dataset directory, version 2.

It holds ``manifest.json``, the episode table ``episodes.bin`` (one `episode_dtype` record per episode, in canonical
order) and one raw little-endian array per column, rows in order of arrival: ``actions.bin``, ``rewards.bin``,
``behavior_logp.bin``, optionally ``behavior_log_probs.bin``, and ``observation.<column>.bin`` or, for a ragged column,
``observation.<column>.values.bin`` and ``observation.<column>.offsets.bin``. Nothing in it can execute code.

Version 1 is the same without metrics: its manifest has no ``metrics`` and its episode table no column of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.episode import Episode, FramelessEpisode, Ragged
from envs.errors import UsageError
from envs.spec import ColumnSpec, EnvSpec

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
MANIFEST = "manifest.json"
EPISODES = "episodes.bin"

EPISODE_DTYPE = np.dtype(
    [
        ("level", "<i8"),
        ("episode", "<i8"),
        ("seed", "<i8"),
        ("source", "<i4"),  # index into the manifest's sources
        ("policy", "<i4"),  # index into the manifest's policies
        ("length", "<i8"),
        ("return", "<f8"),
        ("terminated", "?"),
        ("truncated", "?"),
        ("final_observation_known", "?"),
        ("first_step", "<i8"),  # row of the first transition
        ("first_row", "<i8"),  # row of the first observation
        ("checksum", "u1", (16,)),
    ]
)

Table = npt.NDArray[np.void]
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names of files in a dataset directory; none leads out of it."""
_COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LONGEST_SIDE = 2**20
_METRIC = "metric."
"""Starts the names of the episode table's fields that hold `Episode.metrics`."""


def episode_dtype(metrics: Iterable[str]) -> np.dtype[np.void]:
    """The record of an episode: `EPISODE_DTYPE` and one float64 per metric, NaN where the episode does not have it."""
    return np.dtype([*EPISODE_DTYPE.descr, *((_METRIC + name, "<f8") for name in metrics)])


def metric_names(table: Table | np.void) -> tuple[str, ...]:
    """The metrics that a table or one of its records has fields for, in their order."""
    names = table.dtype.names or ()
    return tuple(name.removeprefix(_METRIC) for name in names if name.startswith(_METRIC))


def metric_field(name: str) -> str:
    """The field of the episode table that holds a metric."""
    return _METRIC + name


def check_metric_names(names: Iterable[str]) -> None:
    """Refuse names of metrics that are no identifiers.

    Raises:
        UsageError: Naming the metric.
    """
    for name in names:
        if not _COLUMN_NAME.fullmatch(name):
            raise UsageError(f"Metric {name!r} of an episode is not letters, digits and underscores; rename it.")


@dataclass(frozen=True)
class FileSpec:
    """One raw array: `rows` rows of `shape`; a ragged values file has its own row count."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=np.int64))


def check_columns(env: EnvSpec) -> None:
    """Refuse column names that are no file names, shapes that no array has, and types that could carry code.

    Raises:
        UsageError: Naming the column.
    """
    for name, column in env.observation_columns.items():
        if not _COLUMN_NAME.fullmatch(name):
            raise UsageError(f"Observation column {name!r} of {env.name!r} is not letters, digits and underscores.")
        if not all(type(side) is int and 0 <= side <= _LONGEST_SIDE for side in column.shape):
            raise UsageError(f"Observation column {name!r} has rows of shape {column.shape}; sides are whole numbers.")
        if np.dtype(column.dtype).kind not in "biuf":
            raise UsageError(
                f"Observation column {name!r} has dtype {column.dtype!r}; allowed: bool, int, uint, float."
            )


def file_entry(spec: FileSpec, rows: int, crc32: int) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"name": spec.name, "rows": rows, "bytes": rows * spec.row_bytes, "crc32": f"{crc32:08x}"}


def step_files(env: EnvSpec, with_log_probs: bool) -> dict[str, FileSpec]:
    """Files with one row per transition, by `Episode` field."""
    files = {
        "actions": FileSpec("actions.bin", "<i4", ()),
        "rewards": FileSpec("rewards.bin", "<f4", ()),
        "behavior_logp": FileSpec("behavior_logp.bin", "<f4", ()),
    }
    if with_log_probs:
        files["behavior_log_probs"] = FileSpec("behavior_log_probs.bin", "<f2", (env.num_actions,))
    return files


def observation_files(name: str, column: ColumnSpec) -> dict[str, FileSpec]:
    """Files of one observation column: ``{"values": ...}``, and ``"offsets"`` where it is ragged."""
    dtype = np.dtype(column.dtype).newbyteorder("<").str
    if not column.ragged:
        return {"values": FileSpec(f"observation.{name}.bin", dtype, column.shape)}
    return {
        "values": FileSpec(f"observation.{name}.values.bin", dtype, column.shape),
        "offsets": FileSpec(f"observation.{name}.offsets.bin", "<i8", ()),
    }


def episode_checksum(episode: Episode) -> bytes:
    """Sixteen bytes that depend on everything in an episode and on nothing else."""
    if isinstance(episode, FramelessEpisode):
        return episode.checksum
    header: dict[str, Any] = {
        "env": episode.env,
        "level": int(episode.level),
        "episode": int(episode.episode),
        "seed": int(episode.seed),
        "source": episode.source,
        "policy_id": episode.policy_id,
        "length": len(episode),
        "terminated": bool(episode.terminated),
        "truncated": bool(episode.truncated),
        "final_observation_known": bool(episode.final_observation_known),
    }
    if episode.metrics:  # episodes without keep the checksums they had before metrics were stored
        header["metrics"] = {name: float(value) for name, value in episode.metrics.items()}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    arrays: dict[str, Any] = {name: getattr(episode, name) for name in ("actions", "rewards", "behavior_logp")}
    if episode.behavior_log_probs is not None:
        arrays["behavior_log_probs"] = episode.behavior_log_probs
    for name, column in sorted(episode.observations.items()):
        arrays[f"observation.{name}"] = column.values if isinstance(column, Ragged) else column
        if isinstance(column, Ragged):
            arrays[f"observation.{name}.offsets"] = column.offsets
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"\0{name} {little.dtype.str} {little.shape}\0".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.digest()[:16]


def content_fingerprint(env: EnvSpec, table: Table) -> str:
    """32 hex digits of the env and the multiset of (episode checksum, transitions kept), whatever their order."""
    rows = np.zeros((len(table), 24), dtype=np.uint8)
    rows[:, :16] = table["checksum"]
    rows[:, 16:] = table["length"].astype("<i8").reshape(-1, 1).view(np.uint8)
    order = np.lexsort(rows.view(">u8").T)
    digest = hashlib.sha256(canonical_json(env.to_json()).encode())
    digest.update(rows[order].tobytes())
    return digest.hexdigest()[:32]


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """32 hex digits of several contents, whatever their order."""
    return hashlib.sha256("".join(sorted(fingerprints)).encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Checksum of everything else in a manifest."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(rest).encode()).hexdigest()[:32]


def json_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a mapping that is sure to be JSON.

    Raises:
        UsageError: If it is not.
    """
    try:
        canonical_json(dict(value))
    except (TypeError, ValueError) as error:
        raise UsageError(f"The provenance of a dataset must be JSON values: {error}.") from error
    return dict(value)
