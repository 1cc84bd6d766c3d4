"""Streams: environments that keep running between calls and hand out fragments of experience. No torch here.

A stream is stateful: its episodes go on from fragment to fragment. When it is lost, a new *incarnation* begins with
fresh episodes, and what the old one still had to deliver is discarded whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from data.episode import EpisodeResult
from envs.registry import make_vec
from envs.spec import LevelSet
from envs.vector import LevelVectorEnv, Observations
from trainers.fragment import Act, Fragment, Frames, FramesInTurn, HostFrames, MakeFrames, Tape
from trainers.slots import Draws, EnvSlots, EpisodeBook


class Streams(Protocol):
    """Where the learner gets its fragments from."""

    def begin(self, number: int) -> None:
        """Let every stream play fragment ``number`` with the parameters that the learner has now.

        What the learner does to them afterwards changes nothing.
        """
        ...

    def finish(self) -> list[Fragment]:
        """The fragments that were begun, one from each stream that delivers; at least one."""
        ...

    def close(self) -> None:
        """Stop the environments, also in the middle of a fragment."""
        ...


class Source(Protocol):
    """Streams that are played by whoever calls `collect`."""

    def collect(self, number: int) -> list[Fragment]:
        """Play fragment ``number`` to its end."""
        ...

    def stop(self) -> None:
        """Let a `collect` that runs in another thread end soon, with an error."""
        ...

    def close(self) -> None:
        """Close the environments."""
        ...


class EnvStream:
    """One vector environment whose episodes start on levels drawn uniformly from a set, with replacement."""

    def __init__(self, env: LevelVectorEnv, levels: LevelSet, *, seed: int, stream: int, incarnation: int = 0) -> None:
        env.task.check_levels(levels)
        self.env = env
        self.stream, self.incarnation = stream, incarnation
        self._seed = seed
        self._levels = np.asarray(levels.levels, dtype=np.int64)
        self._slots = EnvSlots(env)
        self._book = EpisodeBook(env.task.name, env.num_envs)
        self._observations: Observations | None = None

    def collect(
        self,
        act: Act,
        num_steps: int,
        number: int,
        frames: Frames | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Fragment:
        """Play ``num_steps`` more steps in every environment.

        Args:
            act: The policy and value function.
            num_steps: T.
            number: Names the randomness of this fragment, together with seed, stream and incarnation.
            frames: Memory for the observations.
            stopped: Asked before each step.

        Raises:
            InterruptedError: If it was stopped.
        """
        num_envs = self.env.num_envs
        everybody = slice(0, num_envs)
        names = (self._seed, "stream", self.stream, self.incarnation, number)
        draws = Draws.named(names, self._levels, num_steps, num_envs)
        tape, frames = Tape(num_steps, num_envs), frames or HostFrames(num_steps, num_envs)
        episodes: list[EpisodeResult] = []
        if self._observations is None:
            self._observations = self._slots.start(draws.levels[0])
            self._book.start(draws.levels[0])
        for t in range(num_steps):
            if stopped():
                raise InterruptedError("the stream was closed")
            actions = tape.choose(t, everybody, act(frames.write(t, everybody, self._observations)), draws.uniforms[t])
            step = self._slots.step(actions, draws.levels[t + 1])
            tape.settle(t, everybody, step, act)
            episodes += self._book.add(everybody, step, draws.levels[t + 1])
            self._observations = step.observations
        return Fragment(
            stream=self.stream,
            incarnation=self.incarnation,
            number=number,
            observations=frames.columns(),
            last_values=act(dict(self._observations))[1],
            episodes=tuple(episodes),
            **vars(tape),
        )


class LocalStreams:
    """One stream in the calling process."""

    def __init__(
        self,
        env_name: str,
        num_envs: int,
        levels: LevelSet,
        act: Act,
        *,
        num_steps: int,
        seed: int,
        make_frames: MakeFrames = HostFrames,
    ) -> None:
        self._stream = EnvStream(make_vec(env_name, num_envs), levels, seed=seed, stream=0)
        self._act, self._num_steps = act, num_steps
        self._frames = FramesInTurn(make_frames, num_steps, num_envs)
        self._stopped = False

    def collect(self, number: int) -> list[Fragment]:
        """The stream's next fragment."""
        frames = self._frames.next()
        return [self._stream.collect(self._act, self._num_steps, number, frames, stopped=lambda: self._stopped)]

    def stop(self) -> None:
        """Let the fragment in the making end before its next step."""
        self._stopped = True

    def close(self) -> None:
        """Close the environment."""
        self._stream.env.close()
