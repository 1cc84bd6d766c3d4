"""Packing a dataset directory into one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.episode import Episode
from data.pack.blocks import Array, BlockWriter, narrowest
from data.pack.layout import ACTIONS, FORMAT, FRAMES, ColumnsWriter, write_table
from data.pack.patches import Patch, PatchWriter
from data.schema import Table, content_fingerprint, episode_checksum
from data.store import Store, read_episode
from envs.errors import RunError
from envs.spec import EnvSpec

STEP_LEVEL = 19
FRAME_LEVEL = 9
"""Of zstd: with level 19 frames take up to half the space and forty times the time."""

Advance = Callable[[int], None]
"""Told the transitions written so far."""


@dataclass(frozen=True)
class PackReport:
    """What was written."""

    kind: str
    fingerprint: str
    num_episodes: int
    num_transitions: int
    num_bytes: int
    num_patched_episodes: int
    num_patched_rows: int

    @property
    def bytes_per_transition(self) -> float:
        """Of the file."""
        return self.num_bytes / self.num_transitions


def pack_actions(
    store: Store,
    path: Path,
    patches: Iterable[Patch] = (),
    *,
    checked: bool,
    half: bool = False,
    level: int = FRAME_LEVEL,
    env: EnvSpec | None = None,
) -> PackReport:
    """Write levels, actions and log-probabilities, and the rows that cannot be rendered here.

    Args:
        store: The dataset.
        path: The file; it must not exist.
        patches: Drawn while the file is open; an exception in it removes the file.
        checked: Whether every episode was compared.
        half: Round the log-probabilities of the actions to half precision, which makes another dataset.
        level: Of zstd for the patched rows.
        env: The environment, where the store holds frameless episodes of it; see `data.pack.frameless`.

    Raises:
        UsageError: If the file exists.
        RunError: If it cannot be written.
    """
    table, fingerprint = _identity(store, half)
    header = _header(store, ACTIONS, fingerprint, checked)
    if env is not None:
        fingerprint = content_fingerprint(env, table)
        header |= {"env": env.to_json(), "fingerprint": fingerprint}
    num_patches = num_rows = 0
    with BlockWriter(path) as file:
        write_table(file, table)
        _write_steps(file, store, table, half)
        writer = PatchWriter(file, env or store.info.env, level)
        for patch in patches:
            writer.write(patch)
            num_patches, num_rows = num_patches + 1, num_rows + patch.num_rows
        size = file.finish(header)
    return PackReport(ACTIONS, fingerprint, len(table), store.info.num_transitions, size, num_patches, num_rows)


def pack_frames(
    store: Store, path: Path, *, half: bool = False, level: int = FRAME_LEVEL, advance: Advance | None = None
) -> PackReport:
    """Write everything, compressed.

    Args:
        store: The dataset.
        path: The file; it must not exist.
        half: As in `pack_actions`.
        level: Of zstd for the observations, 1 (fast) to 19 (small).
        advance: Called as episodes are written.

    Raises:
        UsageError: If the file exists.
        RunError: If it cannot be written, or the dataset does not hold what its checksums say.
    """
    table, fingerprint = _identity(store, half)
    with BlockWriter(path) as file:
        write_table(file, table)
        _write_steps(file, store, table, half)
        rewards = file.array("rewards", "<f4", level=STEP_LEVEL)
        columns = ColumnsWriter(file, store.info.env, "observation.", level)
        written = 0
        for episode in sound_episodes(store):
            rewards.write(episode.rewards)
            for name, column in episode.observations.items():
                columns.write(name, column)
            written += len(episode)
            if advance is not None:
                advance(written)
        size = file.finish(_header(store, FRAMES, fingerprint, checked=True))
    return PackReport(FRAMES, fingerprint, len(table), written, size, 0, 0)


def sound_episodes(store: Store) -> Iterator[Episode]:
    """The episodes of a store in canonical order.

    Raises:
        RunError: If one is not what its checksum says.
    """
    for index in range(len(store.table)):
        yield sound_episode(store, index)


def sound_episode(store: Store, index: int) -> Episode:
    """One of them."""
    record = store.table[index]
    episode = read_episode(store, record)
    if episode_checksum(episode) != record["checksum"].tobytes():
        raise RunError(
            f"Episode {record['episode']} of level {record['level']} in {store.path} does not match its checksum. "
            f"`gengap data verify {store.path}` lists the damage; make the dataset again."
        )
    return episode


def rounded(episode: Episode) -> Episode:
    """The same with `behavior_logp` in half precision."""
    with np.errstate(over="ignore"):
        return replace(episode, behavior_logp=episode.behavior_logp.astype(np.float16).astype(np.float32))


def _identity(store: Store, half: bool) -> tuple[Table, str]:
    """The episode table, and the fingerprint of what is packed."""
    if not half:
        return store.table, store.info.fingerprint
    table = store.table.copy()
    for position, episode in enumerate(sound_episodes(store)):
        table["checksum"][position] = np.frombuffer(episode_checksum(rounded(episode)), dtype=np.uint8)
    return table, content_fingerprint(store.info.env, table)


def _write_steps(file: BlockWriter, store: Store, table: Table, half: bool) -> None:
    """Actions and log-probabilities, episodes in canonical order; log-probabilities are exact unless `half`."""
    file.put("actions", _in_order(store.steps["actions"], table))
    logp = _in_order(store.steps["behavior_logp"], table)
    with np.errstate(over="ignore"):
        file.put("behavior_logp", logp.astype(np.float16) if half else logp)
    if "behavior_log_probs" in store.steps:
        array = file.array("behavior_log_probs", "<f2", (store.info.env.num_actions,), level=STEP_LEVEL)
        for record in table:
            array.write(_steps(store.steps["behavior_log_probs"], record))


def _in_order(column: Array, table: Table) -> Array:
    return narrowest(np.concatenate([_steps(column, record) for record in table]))


def _steps(column: Array, record: np.void) -> Array:
    first = int(record["first_step"])
    return column[first : first + int(record["length"])]


def _header(store: Store, kind: str, fingerprint: str, checked: bool) -> dict[str, Any]:
    info = store.info
    return {
        "format": FORMAT,
        "kind": kind,
        "env": info.env.to_json(),
        "provenance": dict(info.provenance),
        "license": info.license,
        "created": info.created,
        "fingerprint": fingerprint,
        "rounded_from": None if fingerprint == info.fingerprint else info.fingerprint,
        "num_episodes": info.num_episodes,
        "num_transitions": info.num_transitions,
        "sources": list(info.sources),
        "policies": list(info.policies),
        "metrics": list(info.metrics),
        "checked": checked,
    }
