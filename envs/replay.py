"""Render an episode again from its level and actions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError
from envs.registry import make_spec, make_vec
from envs.spec import LevelSet
from envs.vector import Observations


def replay(name: str, level: int, actions: npt.ArrayLike) -> dict[str, Any]:
    """Play `level` with `actions` [T], stopping at the end of the episode.

    Returns:
        ``length``, ``episode_return``, ``terminated``, ``truncated``, ``unused_actions`` and ``observations_hash``,
        which covers every observation returned, the one at the reset first.

    Raises:
        UsageError: For an unknown environment, a level that does not exist or actions outside the action space.
    """
    sequence = np.asarray(actions)  # the environment checks its numbers, as they are
    if sequence.ndim != 1 or len(sequence) == 0:
        raise UsageError(f"Actions have shape {sequence.shape}; a replay needs a non-empty list of them.")
    make_spec(name).check_levels(LevelSet.of(name, [level]))
    env = make_vec(name, 1)
    try:
        observations, _ = env.reset(options={"levels": np.array([level], dtype=np.int64)})
        digest = hashlib.blake2b(digest_size=16)
        _update(digest, observations)
        episode_return, terminated, truncated, length = 0.0, False, False, 0
        while length < len(sequence) and not (terminated or truncated):
            observations, rewards, ended, cut, _ = env.step(sequence[length : length + 1])
            _update(digest, observations)
            length += 1
            episode_return, terminated, truncated = episode_return + float(rewards[0]), bool(ended[0]), bool(cut[0])
    finally:
        env.close()
    return {
        "env": name,
        "level": level,
        "length": length,
        "episode_return": episode_return,
        "terminated": terminated,
        "truncated": truncated,
        "unused_actions": len(sequence) - length,
        "observations_hash": digest.hexdigest(),
    }


def _update(digest: Any, observations: Observations) -> None:
    for _, rows in sorted(observations.items()):
        row = np.ascontiguousarray(rows[0])
        digest.update(len(row).to_bytes(8, "little"))  # keeps ragged rows apart
        digest.update(row)
