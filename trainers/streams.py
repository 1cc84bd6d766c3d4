"""Streams: environments that keep running between calls and hand out fragments of experience. No torch here.

A stream is stateful: its episodes go on from fragment to fragment. When it is lost, a new *incarnation* begins with
fresh episodes, and what the old one still had to deliver is discarded whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.policy import BatchedColumn
from data.episode import EpisodeResult
from envs.registry import make_vec
from envs.seeding import rng_for
from envs.spec import LevelSet
from envs.vector import LevelVectorEnv

Act = Callable[[dict[str, BatchedColumn]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""Observations of B environments to log-probabilities [B, A] and values [B]."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """T steps of B environments, played by one set of parameters."""

    stream: int
    incarnation: int
    number: int
    """Which fragment of the training; it names the fragment's randomness."""
    observations: dict[str, BatchedColumn]  # [T * B, *shape], or a tuple of T * B arrays; time first
    actions: npt.NDArray[np.int32]  # [T, B]
    log_probs: npt.NDArray[np.float32]  # [T, B] of the actions
    values: npt.NDArray[np.float32]  # [T, B]
    rewards: npt.NDArray[np.float32]  # [T, B] raw
    terminated: npt.NDArray[np.bool_]  # [T, B]
    truncated: npt.NDArray[np.bool_]  # [T, B]
    bootstrap_values: npt.NDArray[np.float32]  # [T, B] where truncated: the value of the last observation known
    last_values: npt.NDArray[np.float32]  # [B] of the observations after the last step
    episodes: tuple[EpisodeResult, ...]
    """Episodes that ended in this fragment."""


class Streams(Protocol):
    """Where the learner gets its fragments from."""

    def collect(self, number: int) -> list[Fragment]:
        """Fragment ``number`` of every stream, played by the learner's present parameters; at least one."""
        ...

    def close(self) -> None:
        """Stop the environments."""
        ...


def sample_actions(log_probs: npt.NDArray[np.float32], uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Inverse-CDF sampling in float64.

    Args:
        log_probs: [B, A].
        uniforms: In [0, 1), [B].

    Returns:
        [B]; an action of probability zero is never drawn.
    """
    cumulative = np.exp(log_probs.astype(np.float64)).cumsum(axis=1)
    total = cumulative[:, -1]
    # Rounding must not push the threshold up to the total, which no action exceeds.
    threshold = np.minimum(uniforms * total, np.nextafter(total, 0))
    return (cumulative <= threshold[:, None]).sum(axis=1).astype(np.int32)


class EnvStream:
    """One vector environment whose episodes start on levels drawn uniformly from a set, with replacement."""

    def __init__(self, env: LevelVectorEnv, levels: LevelSet, *, seed: int, stream: int, incarnation: int = 0) -> None:
        env.task.check_levels(levels)
        self.env = env
        self.stream, self.incarnation = stream, incarnation
        self._seed = seed
        self._levels = np.asarray(levels.levels, dtype=np.int64)
        self._playing = np.zeros(env.num_envs, dtype=np.int64)  # [B] the level each environment is on
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)
        self._observations: dict[str, BatchedColumn] | None = None

    def collect(self, act: Act, num_steps: int, number: int) -> Fragment:
        """Play ``num_steps`` more steps in every environment.

        Args:
            act: The policy and value function.
            num_steps: T.
            number: Names the randomness of this fragment, together with seed, stream and incarnation.
        """
        rng = rng_for(self._seed, "stream", self.stream, self.incarnation, number)
        if self._observations is None:
            self._start(np.ones(self.env.num_envs, dtype=np.bool_), rng)
        steps: list[dict[str, Any]] = []
        frames = _Frames(num_steps)
        episodes: list[EpisodeResult] = []
        for _ in range(num_steps):
            assert self._observations is not None
            frames.add(self._observations)
            steps.append(self._step(act, rng, episodes))
        assert self._observations is not None
        _, last_values = act(self._observations)
        return Fragment(
            stream=self.stream,
            incarnation=self.incarnation,
            number=number,
            observations=frames.columns(),
            last_values=last_values,
            episodes=tuple(episodes),
            **{name: np.stack([step[name] for step in steps]) for name in steps[0]},
        )

    def _step(self, act: Act, rng: np.random.Generator, episodes: list[EpisodeResult]) -> dict[str, Any]:
        assert self._observations is not None
        log_probs, values = act(self._observations)
        actions = sample_actions(log_probs, rng.random(len(values)))
        observations, rewards, terminated, truncated, _ = self.env.step(actions)
        self._returns += rewards
        self._lengths += 1
        bootstrap = np.zeros_like(values)
        if truncated.any():
            # The returned observation is the final one, or (Procgen) the last frame seen.
            bootstrap = np.where(truncated, act(observations)[1], bootstrap).astype(np.float32)
        self._observations = observations
        if (terminated | truncated).any():
            episodes += self._results(terminated, truncated)
            self._start(terminated | truncated, rng)
        taken = np.take_along_axis(log_probs, actions[:, None].astype(np.int64), axis=1)[:, 0]
        return {
            "actions": actions,
            "log_probs": taken,
            "values": values,
            "rewards": rewards.astype(np.float32),
            "terminated": terminated.astype(np.bool_),
            "truncated": truncated.astype(np.bool_),
            "bootstrap_values": bootstrap,
        }

    def _start(self, mask: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
        self._playing = np.where(mask, rng.choice(self._levels, size=len(mask)), self._playing)
        self._returns[mask] = 0.0
        self._lengths[mask] = 0
        # In place: what was returned last has been valued already, and the frames that count are kept as copies.
        options = {"levels": self._playing, "reset_mask": mask, "in_place": True}
        self._observations, _ = self.env.reset(options=options)

    def _results(self, terminated: npt.NDArray[np.bool_], truncated: npt.NDArray[np.bool_]) -> list[EpisodeResult]:
        return [
            EpisodeResult(
                env=self.env.task.name,
                level=int(self._playing[slot]),
                episode=0,
                episode_return=float(self._returns[slot]),
                length=int(self._lengths[slot]),
                terminated=bool(terminated[slot]),
                truncated=bool(truncated[slot]),
            )
            for slot in np.flatnonzero(terminated | truncated)
        ]


class LocalStreams:
    """One stream in the calling process."""

    def __init__(self, env_name: str, num_envs: int, levels: LevelSet, act: Act, *, num_steps: int, seed: int) -> None:
        self._stream = EnvStream(make_vec(env_name, num_envs), levels, seed=seed, stream=0)
        self._act, self._num_steps = act, num_steps

    def collect(self, number: int) -> list[Fragment]:
        """The stream's next fragment."""
        return [self._stream.collect(self._act, self._num_steps, number)]

    def close(self) -> None:
        """Stop the environment."""
        self._stream.env.close()


class _Frames:
    """Observations of T steps: fixed columns go straight into one array."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._step = 0
        self._fixed: dict[str, npt.NDArray[Any]] = {}  # [T, B, *shape]
        self._ragged: dict[str, list[npt.NDArray[Any]]] = {}

    def add(self, observations: dict[str, BatchedColumn]) -> None:
        for name, column in observations.items():
            if isinstance(column, tuple):
                self._ragged.setdefault(name, []).extend(column)
                continue
            if name not in self._fixed:
                self._fixed[name] = np.empty((self._num_steps, *column.shape), dtype=column.dtype)
            self._fixed[name][self._step] = column
        self._step += 1

    def columns(self) -> dict[str, BatchedColumn]:
        fixed = {name: column.reshape(-1, *column.shape[2:]) for name, column in self._fixed.items()}
        return {**fixed, **{name: tuple(rows) for name, rows in self._ragged.items()}}


def finished(fragments: Sequence[Fragment]) -> list[EpisodeResult]:
    """Every episode that ended in these fragments."""
    return [episode for fragment in fragments for episode in fragment.episodes]
