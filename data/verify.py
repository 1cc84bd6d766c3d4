"""Finding damage in a dataset directory, down to the episode."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.remote import local_dataset
from data.schema import content_fingerprint, episode_checksum
from data.store import DatasetInfo, Store, read_episode, read_manifest
from envs.errors import RunError

_CHUNK_BYTES = 1 << 24


def verify(path: Path | str) -> list[str]:
    """Read everything in a dataset directory against its checksums.

    Every byte is covered: the manifest by its own checksum, each file by one of the file, each episode by one of its
    content, and the fingerprint is computed again.

    Returns:
        One line per problem; empty if the dataset is sound.

    Raises:
        UsageError: If there is no dataset at `path`.
    """
    place = local_dataset(path)
    try:
        info = read_manifest(place)
    except RunError as error:
        return [str(error)]
    problems = [problem for name in info.files if (problem := _file_problem(info, name))]
    try:
        store = Store(place)
    except RunError as error:
        return problems or [str(error)]
    return [*problems, *_episode_problems(store)]


def _file_problem(info: DatasetInfo, name: str) -> str | None:
    file, entry = info.path / name, info.files[name]
    if not file.is_file():
        return f"{name}: missing"
    found = file.stat().st_size
    if found != entry["bytes"]:
        return f"{name}: {found} bytes, {entry['bytes']} expected"
    checksum = 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    if f"{checksum:08x}" != entry["crc32"]:
        return f"{name}: content does not match its checksum"
    return None


def _episode_problems(store: Store) -> Iterator[str]:
    fingerprint = content_fingerprint(store.info.env, store.table)
    if fingerprint != store.info.fingerprint:
        yield f"fingerprint is {fingerprint}, the manifest says {store.info.fingerprint}"
    for record in store.table:
        name = f"level {record['level']} episode {record['episode']} seed {record['seed']}"
        try:
            found = episode_checksum(read_episode(store, record))
        except (IndexError, ValueError) as error:  # damaged offsets point anywhere
            yield f"{name}: cannot be read ({error})"
            continue
        if found != np.asarray(record["checksum"]).tobytes():
            yield f"{name}: content does not match its checksum"
