"""The end of writing a dataset: its table of episodes and its manifest."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.episode_table import EpisodeTable
from data.files import atomic_write_json
from data.schema import (
    EPISODES,
    MANIFEST,
    SCHEMA_VERSION,
    FileSpec,
    Table,
    content_fingerprint,
    file_entry,
    manifest_checksum,
    metric_names,
)
from envs.spec import EnvSpec


def complete_dataset(
    directory: Path, env: EnvSpec, episodes: EpisodeTable, columns: list[dict[str, Any]], header: Mapping[str, Any]
) -> None:
    """Write what makes a directory of columns a dataset; it opens from then on.

    Args:
        directory: Where the columns lie, durable.
        env: The environment of the episodes.
        episodes: All of them.
        columns: The columns' entries in the manifest.
        header: ``provenance`` and ``license``.

    Raises:
        OSError: If it cannot be written.
        RunError: If the disk is full.
    """
    table, sources, policies = episodes.canonical()
    manifest = {
        "format": "gengap-dataset",
        "schema_version": SCHEMA_VERSION,
        "env": env.to_json(),
        "num_episodes": len(table),
        "num_transitions": episodes.num_transitions,
        "sources": sources,
        "policies": policies,
        "metrics": list(metric_names(table)),
        "files": [*columns, _write_table(directory, table)],
        **header,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fingerprint": content_fingerprint(env, table),
    }
    atomic_write_json(directory / MANIFEST, {**manifest, "checksum": manifest_checksum(manifest)})


def _write_table(directory: Path, table: Table) -> dict[str, Any]:
    spec, content = FileSpec(EPISODES, "<u1", (table.dtype.itemsize,)), table.tobytes()
    with (directory / spec.name).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return file_entry(spec, len(table), zlib.crc32(content))
