"""Dataset views, the slow and obvious way: lists of whole episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.episode import Column, Episode, Ragged


@dataclass(frozen=True)
class Oracle:
    episodes: tuple[Episode, ...]

    def __len__(self) -> int:
        return sum(len(episode) for episode in self.episodes)

    def select(
        self,
        levels: Iterable[int] | None = None,
        sources: Iterable[str] | None = None,
        max_transitions: int | None = None,
        episodes: Sequence[int] | None = None,
        max_episodes_per_level: int | None = None,
    ) -> Oracle:
        kept: list[Episode] = []
        per_level: dict[int, int] = {}
        for position in range(len(self.episodes)) if episodes is None else episodes:
            episode = self.episodes[position]
            if levels is not None and episode.level not in set(levels):
                continue
            if sources is not None and episode.source not in set(sources):
                continue
            per_level[episode.level] = per_level.get(episode.level, 0) + 1
            if max_episodes_per_level is None or per_level[episode.level] <= max_episodes_per_level:
                kept.append(episode)
        return Oracle(tuple(kept)) if max_transitions is None else Oracle(tuple(cut(kept, max_transitions)))

    def shard(self, rank: int, world_size: int) -> Oracle:
        return Oracle(tuple(e for i, e in enumerate(self.episodes) if i % world_size == rank))

    @staticmethod
    def concat(parts: Sequence[Oracle]) -> Oracle:
        return Oracle(tuple(episode for part in parts for episode in part.episodes))

    def transitions(self) -> list[dict[str, Any]]:
        """One dict per transition, in order."""
        return [transition(episode, t) for episode in self.episodes for t in range(len(episode))]


def cut(episodes: list[Episode], budget: int) -> Iterable[Episode]:
    for episode in episodes:
        if budget >= len(episode):
            yield episode
            budget -= len(episode)
        elif budget > 0:
            yield shorten(episode, budget)
            return


def shorten(episode: Episode, length: int) -> Episode:
    log_probs = episode.behavior_log_probs
    return replace(
        episode,
        observations={name: head(column, length + 1) for name, column in episode.observations.items()},
        actions=episode.actions[:length],
        rewards=episode.rewards[:length],
        behavior_logp=episode.behavior_logp[:length],
        behavior_log_probs=None if log_probs is None else log_probs[:length],
        terminated=False,
        truncated=True,
        final_observation_known=True,
        metrics={},
    )


def head(column: Column, rows: int) -> Column:
    return Ragged.from_rows([column[row] for row in range(rows)]) if isinstance(column, Ragged) else column[:rows]


def transition(episode: Episode, t: int) -> dict[str, Any]:
    last = t == len(episode) - 1
    known = not last or episode.final_observation_known
    return {
        "observations": {name: column[t] for name, column in episode.observations.items()},
        "next_observations": {name: column[t + known] for name, column in episode.observations.items()},
        "successor_known": known,
        "actions": episode.actions[t],
        "rewards": episode.rewards[t],
        "behavior_logp": episode.behavior_logp[t],
        "terminated": last and episode.terminated,
        "truncated": last and episode.truncated,
        "level": episode.level,
        "source": episode.source,
        "timestep": t,
    }


def assert_same_episode(left: Episode, right: Episode) -> None:
    for name in ("env", "level", "episode", "seed", "source", "policy_id", "terminated", "truncated"):
        assert getattr(left, name) == getattr(right, name), name
    assert left.final_observation_known == right.final_observation_known
    for name in ("actions", "rewards", "behavior_logp"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    if left.behavior_log_probs is not None or right.behavior_log_probs is not None:
        np.testing.assert_array_equal(left.behavior_log_probs, right.behavior_log_probs)
    assert left.metrics == right.metrics
    assert left.observations.keys() == right.observations.keys()
    for name, column in left.observations.items():
        other = right.observations[name]
        assert len(column) == len(other)
        for row in range(len(column)):
            np.testing.assert_array_equal(column[row], other[row])
