"""What is still to come in an episode, for every transition of a view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.batch import Indices


def returns_to_go(
    rewards: npt.NDArray[np.float32], episode_starts: Indices, discount: float = 1.0
) -> npt.NDArray[np.float32]:
    """The (discounted) sum of a transition's reward and all later ones of its episode, [N].

    G_t = r_t + discount * G_{t + 1}, computed for all episodes at once from their ends.

    Args:
        rewards: [N] of every transition.
        episode_starts: [E + 1] as `Dataset.episode_starts`.
        discount: From 0 to 1.
    """
    starts, ends = episode_starts[:-1], episode_starts[1:]
    result = np.empty(len(rewards), dtype=np.float32)
    order = np.argsort(starts - ends, kind="stable")  # longest first, so that the running ones are a prefix
    lengths = (ends - starts)[order]
    running = np.zeros(len(order))
    for back in range(1, int(lengths.max(initial=0)) + 1):
        count = int(np.searchsorted(-lengths, -back, side="right"))
        at = ends[order[:count]] - back
        running[:count] = rewards[at] + discount * running[:count]
        result[at] = running[:count]
    return result
