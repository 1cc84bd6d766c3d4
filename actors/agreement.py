"""How often a policy would do what was recorded, seen through a change: recorded episodes, no environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from actors.policy import Policy, PolicyInput
from data.episode import Episode
from envs.errors import UsageError

Change = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64]], npt.NDArray[np.uint8]]
"""(frames [B, height, width, 3], level of each row [B]) -> changed frames."""


def agreement(
    policy: Policy, episodes: Sequence[Episode], columns: Sequence[str], change: Change
) -> npt.NDArray[np.float64]:
    """Mean probability, over each episode, that the policy takes the recorded action.

    The episodes are shown to the policy side by side, step by step, with the recorded actions and rewards as what came
    before, so policies with a memory are asked as they would be in play.

    Args:
        policy: Is asked.
        episodes: Recorded ones, of one environment.
        columns: Names of the image columns that are changed.
        change: What they are seen through.

    Returns:
        [E], each between 0 and 1.

    Raises:
        UsageError: If there is no episode.
    """
    if not episodes:
        raise UsageError("Agreement was asked over no episodes; record more of them than are trained on.")
    lengths = np.array([len(episode) for episode in episodes])
    levels = np.array([episode.level for episode in episodes], dtype=np.int64)
    rows = np.arange(len(episodes))
    sums = np.zeros(len(episodes))
    for step in range(int(lengths.max())):
        running = step < lengths
        at = np.minimum(step, lengths - 1)
        observations = {
            name: np.stack([episode.observations[name][t] for episode, t in zip(episodes, at, strict=True)])
            for name in episodes[0].observations
        }
        observations |= {name: change(observations[name], levels) for name in columns}
        log_probs = policy.act(
            PolicyInput(
                observations,
                starting=np.full(len(episodes), step == 0),
                previous_actions=_before(episodes, "actions", at, step, -1).astype(np.int32),
                previous_rewards=_before(episodes, "rewards", at, step, 0).astype(np.float32),
                running=running,
            )
        )
        actions = np.array([episode.actions[t] for episode, t in zip(episodes, at, strict=True)])
        sums += running * np.exp(log_probs[rows, actions].astype(np.float64))
    means: npt.NDArray[np.float64] = sums / lengths
    return means


def _before(
    episodes: Sequence[Episode], name: str, at: npt.NDArray[np.int64], step: int, first: float
) -> npt.NDArray[np.float64]:
    if step == 0:
        return np.full(len(episodes), first, dtype=np.float64)
    values = [getattr(episode, name)[max(int(t) - 1, 0)] for episode, t in zip(episodes, at, strict=True)]
    return np.array(values, dtype=np.float64)
