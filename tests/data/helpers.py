"""Synthetic episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.episode import Column, Episode, Ragged
from data.writer import DatasetWriter
from envs.spec import ColumnSpec, EnvSpec

PIXELS = EnvSpec(
    name="toy/pixels",
    observation_columns={"image": ColumnSpec("uint8", (4, 4, 3))},
    num_actions=5,
    max_episode_steps=50,
    level_universe=1000,
    return_bounds={"official": (0.0, 1.0)},
    final_observation_known=False,
)
TEXT = EnvSpec(
    name="toy/text",
    observation_columns={"page": ColumnSpec("uint8", ragged=True), "position": ColumnSpec("float32", (2,))},
    num_actions=6,
    max_episode_steps=50,
    level_universe=1000,
)


def make_column(spec: ColumnSpec, rows: int, rng: np.random.Generator) -> Column:
    if not spec.ragged:
        return (rng.random((rows, *spec.shape)) * 250).astype(spec.dtype)
    return Ragged.from_rows(
        [rng.integers(0, 250, size=(rng.integers(0, 9), *spec.shape)).astype(spec.dtype) for _ in range(rows)]
    )


def make_episode(
    env: EnvSpec = PIXELS,
    level: int = 0,
    episode: int = 0,
    length: int = 5,
    *,
    source: str = "expert",
    seed: int = 0,
    policy_id: str = "p0",
    truncated: bool = False,
    final_known: bool | None = None,
    log_probs: bool = False,
    metrics: dict[str, float] | None = None,
) -> Episode:
    rng = np.random.default_rng([level, episode, length, seed, *source.encode(), *policy_id.encode()])
    known = env.final_observation_known if final_known is None else final_known
    probs = rng.random((length, env.num_actions)).astype(np.float16) if log_probs else None
    return Episode(
        env=env.name,
        level=level,
        episode=episode,
        seed=seed,
        source=source,
        policy_id=policy_id,
        observations={name: make_column(spec, length + known, rng) for name, spec in env.observation_columns.items()},
        actions=rng.integers(0, env.num_actions, length).astype(np.int32),
        rewards=rng.random(length).astype(np.float32),
        behavior_logp=-rng.random(length).astype(np.float32),
        terminated=not truncated,
        truncated=truncated,
        final_observation_known=known,
        behavior_log_probs=probs,
        metrics=metrics or {},
    )


def write(
    path: Path, episodes: list[Episode], env: EnvSpec = PIXELS, provenance: dict[str, Any] | None = None
) -> Dataset:
    with DatasetWriter(path, env, provenance or {"test": True}) as writer:
        for episode in episodes:
            writer.add(episode)
        return writer.finish()
