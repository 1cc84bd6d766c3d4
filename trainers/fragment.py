"""A fragment of experience, and how it is filled step by step. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.policy import BatchedColumn
from data.episode import EpisodeResult
from envs.vector import Observations
from trainers.slots import SlotStep

Floats = npt.NDArray[np.float32]
Rows = dict[str, Any]
"""Observations of some environments, where the network wants them: columns as in `BatchedColumn`, or tensors."""
Act = Callable[[Rows], tuple[Floats, Floats]]
"""Observations of B environments to log-probabilities [B, A] and values [B]."""


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """T steps of B environments, played by one set of parameters.

    Its observations are valid until the fragment after the next one begins, because their memory is used in turn.
    """

    stream: int
    incarnation: int
    number: int
    """Which fragment of the training; it names the fragment's randomness."""
    observations: Rows  # [T * B, *shape], time first; a tuple of T * B arrays, or a tensor on the learner's device
    actions: npt.NDArray[np.int32]  # [T, B]
    log_probs: Floats  # [T, B] of the actions
    values: Floats  # [T, B]
    rewards: Floats  # [T, B] raw
    terminated: npt.NDArray[np.bool_]  # [T, B]
    truncated: npt.NDArray[np.bool_]  # [T, B]
    bootstrap_values: Floats  # [T, B] where truncated: the value of the last observation known
    last_values: Floats  # [B] of the observations after the last step
    episodes: tuple[EpisodeResult, ...]
    """Episodes that ended in this fragment, in order of steps and then of environments."""


class Frames(Protocol):
    """Memory for the observations of one fragment."""

    def write(self, t: int, slots: slice, observations: Observations) -> Rows:
        """Keep what these slots show before step t; returns it for the network."""
        ...

    def columns(self) -> Rows:
        """Everything that was written, time first: [T * B, *shape]."""
        ...


MakeFrames = Callable[[int, int], Frames]
"""From T and B."""


class HostFrames:
    """Frames in ordinary memory; ragged columns are kept row by row and must be written for all slots at once."""

    def __init__(self, num_steps: int, num_envs: int) -> None:
        self._shape = (num_steps, num_envs)
        self._fixed: dict[str, npt.NDArray[Any]] = {}  # [T, B, *shape]
        self._ragged: dict[str, list[tuple[npt.NDArray[Any], ...]]] = {}  # [T]

    def write(self, t: int, slots: slice, observations: Observations) -> Rows:
        """See `Frames`."""
        rows: Rows = {}
        for name, column in observations.items():
            if isinstance(column, tuple):
                self._ragged.setdefault(name, [()] * self._shape[0])[t] = rows[name] = column
                continue
            if name not in self._fixed:
                self._fixed[name] = np.empty((*self._shape, *column.shape[1:]), dtype=column.dtype)
            self._fixed[name][t, slots] = column
            rows[name] = self._fixed[name][t, slots]
        return rows

    def columns(self) -> dict[str, BatchedColumn]:
        """See `Frames`."""
        fixed = {name: column.reshape(-1, *column.shape[2:]) for name, column in self._fixed.items()}
        return {**fixed, **{name: tuple(row for step in steps for row in step) for name, steps in self._ragged.items()}}


class FramesInTurn:
    """Two memories used in turn: one is learned from while the other is filled. New memory would be slow to touch."""

    def __init__(self, make: MakeFrames, num_steps: int, num_envs: int) -> None:
        self._frames = [make(num_steps, num_envs) for _ in range(2)]

    def next(self) -> Frames:
        """The one that was not handed out last."""
        self._frames.reverse()
        return self._frames[0]


class Tape:
    """Everything but the observations of a fragment in the making. Slots may be filled range by range."""

    def __init__(self, num_steps: int, num_envs: int) -> None:
        shape = (num_steps, num_envs)
        self.actions = np.zeros(shape, dtype=np.int32)
        self.log_probs = np.zeros(shape, dtype=np.float32)
        self.values = np.zeros(shape, dtype=np.float32)
        self.rewards = np.zeros(shape, dtype=np.float32)
        self.terminated = np.zeros(shape, dtype=np.bool_)
        self.truncated = np.zeros(shape, dtype=np.bool_)
        self.bootstrap_values = np.zeros(shape, dtype=np.float32)

    def choose(
        self, t: int, slots: slice, output: tuple[Floats, Floats], uniforms: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int32]:
        """Sample the actions of these slots in step t.

        Args:
            t: The step.
            slots: A range of b of the B slots.
            output: Log-probabilities [b, A] and values [b].
            uniforms: In [0, 1), [b].
        """
        log_probs, values = output
        actions = sample_actions(log_probs, uniforms)
        self.actions[t, slots] = actions
        self.log_probs[t, slots] = np.take_along_axis(log_probs, actions[:, None].astype(np.int64), axis=1)[:, 0]
        self.values[t, slots] = values
        return actions

    def settle(self, t: int, slots: slice, step: SlotStep, act: Act) -> None:
        """Take in what step t of these slots led to.

        The last observation known of a truncated episode is its final one, or the one acted on where the environment
        never shows the final one.
        """
        self.rewards[t, slots] = step.rewards
        self.terminated[t, slots] = step.terminated
        self.truncated[t, slots] = step.truncated
        if step.truncated.any():
            values = self.values[t, slots] if step.finals is None else act(step.finals)[1]
            self.bootstrap_values[t, slots] = np.where(step.truncated, values, 0)


def sample_actions(log_probs: Floats, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
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


def finished(fragments: Sequence[Fragment]) -> list[EpisodeResult]:
    """Every episode that ended in these fragments."""
    return [episode for fragment in fragments for episode in fragment.episodes]
