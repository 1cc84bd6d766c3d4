"""One recorded episode, and the short record of a played one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Ragged:
    """Rows of different length: row t is ``values[offsets[t]:offsets[t + 1]]``."""

    values: Array  # [sum of n_t, *shape]
    offsets: npt.NDArray[np.int64]  # [rows + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @classmethod
    def from_rows(cls, rows: list[Array]) -> Ragged:
        """Pack a non-empty list of rows."""
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate(rows), offsets)


Column = Array | Ragged


@dataclass(frozen=True)
class EpisodeResult:
    """What evaluation keeps of an episode: no frames."""

    env: str
    level: int
    episode: int
    """Which repetition on this level, from 0."""
    episode_return: float
    length: int
    terminated: bool
    truncated: bool
    metrics: dict[str, float] = field(default_factory=dict)
    """Further columns of the evaluation table, for example strict success in the shop."""

    @property
    def job(self) -> tuple[int, int]:
        """(level, episode): what was asked for."""
        return self.level, self.episode


@dataclass(frozen=True)
class Episode:
    """A whole episode of T transitions.

    Observation columns have T + 1 rows if `final_observation_known`, else T: the frame after the last action is then
    unknown and a truncated end bootstraps from the last frame seen.
    """

    env: str
    level: int
    episode: int
    """Which repetition on this level, from 0: (experiment seed, env, level, episode) names the randomness."""
    seed: int
    """The experiment seed under which it was played."""
    source: str
    """Named origin, for example ``"maze-search-e0.3"``."""
    policy_id: str
    """Fingerprint of the behavior policy and its settings."""
    observations: dict[str, Column]
    actions: npt.NDArray[np.int32]  # [T]
    rewards: npt.NDArray[np.float32]  # [T]
    behavior_logp: npt.NDArray[np.float32]  # [T] log-probability of the action taken
    terminated: bool
    truncated: bool
    final_observation_known: bool
    behavior_log_probs: npt.NDArray[np.float16] | None = None  # [T, A]
    metrics: dict[str, float] = field(default_factory=dict)
    """As in `EpisodeResult`; part of the content, so a dataset stores them and its fingerprint depends on them."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def job(self) -> tuple[int, int]:
        """(level, episode): what was asked for."""
        return self.level, self.episode

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of raw rewards."""
        return float(self.rewards.sum(dtype=np.float64))

    def result(self) -> EpisodeResult:
        """The short record."""
        return EpisodeResult(
            env=self.env,
            level=self.level,
            episode=self.episode,
            episode_return=self.episode_return,
            length=len(self),
            terminated=self.terminated,
            truncated=self.truncated,
            metrics=dict(self.metrics),
        )

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}[{len(column)}]" for name, column in self.observations.items())
        return f"Episode({self.env!r}, level={self.level}, T={len(self)}, return={self.episode_return:g}, {columns})"


@dataclass(frozen=True)
class FramelessEpisode(Episode):
    """An episode without its observations, where its level and actions determine them."""

    checksum: bytes = b""
    """`data.schema.episode_checksum` of the whole episode, taken when it still had them."""
