"""Fragments -> whole episodes, for the record of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from data.training_record import PlayedEpisode
from trainers.fragment import Fragment

Steps = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Actions and their log-probabilities, each [T]."""


class EpisodeCutter:
    """Joins the steps of episodes that go on over fragments.

    An episode whose beginning is unknown never counts: a new incarnation starts fresh ones, and what an old one left
    unfinished is dropped.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], list[list[Steps]]] = {}  # (stream, incarnation) -> [B] pieces

    def cut(self, fragments: Sequence[Fragment]) -> list[PlayedEpisode]:
        """The episodes that ended in the next fragments, in order of steps within each."""
        return [episode for fragment in fragments for episode in self._cut(fragment)]

    def _cut(self, fragment: Fragment) -> Iterator[PlayedEpisode]:
        key, num_envs = (fragment.stream, fragment.incarnation), fragment.actions.shape[1]
        pieces = self._open.get(key) or [[] for _ in range(num_envs)]
        self._open = {other: value for other, value in self._open.items() if other[0] != key[0]}
        self._open[key] = pieces
        starts = [0] * num_envs
        times, slots = np.nonzero(fragment.terminated | fragment.truncated)  # in order of steps, then of slots
        for t, slot, result in zip(times.tolist(), slots.tolist(), fragment.episodes, strict=True):
            pieces[slot].append(_steps(fragment, slot, starts[slot], t + 1))
            starts[slot] = t + 1
            actions, log_probs = (np.concatenate(part) for part in zip(*pieces[slot], strict=True))
            pieces[slot] = []
            assert len(actions) == result.length
            yield PlayedEpisode(
                level=result.level,
                actions=actions,
                log_probs=log_probs.astype(np.float16),
                episode_return=result.episode_return,
                terminated=result.terminated,
                truncated=result.truncated,
            )
        for slot, start in enumerate(starts):
            pieces[slot].append(_steps(fragment, slot, start, len(fragment.actions)))


def _steps(fragment: Fragment, slot: int, start: int, stop: int) -> Steps:
    return fragment.actions[start:stop, slot].copy(), fragment.log_probs[start:stop, slot].copy()
