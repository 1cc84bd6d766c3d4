"""The archive of a search: the best moment of every cell, and which ones to go on from."""

from __future__ import annotations

import numpy as np

from actors.archive_lanes import Node

_DECAY = 0.6
"""How much less often each lower score is chosen than the next higher one."""

Key = tuple[int, ...]


class Archive:
    """Moments by cell; of two in one cell the one with the higher score stays, then the earlier one.

    Args:
        rng: Draws the choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._places: dict[Key, int] = {}
        self._nodes: list[Node] = []
        self._visits = np.zeros(256)
        self._scores = np.zeros(256)

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def best(self) -> Node:
        """The moment with the highest score, the first of several."""
        return self._nodes[int(self._scores[: len(self)].argmax())]

    def add(self, node: Node, key: Key) -> None:
        """Offer a moment. What is not kept gives its saved state up."""
        place = self._places.setdefault(key, len(self))
        if place == len(self):
            self._nodes.append(node)
            if place == len(self._scores):
                self._visits = np.concatenate([self._visits, np.zeros(place)])
                self._scores = np.concatenate([self._scores, np.zeros(place)])
        else:
            kept = self._nodes[place]
            if (node.score, -node.time) <= (kept.score, -kept.time):
                node.state = None
                return
            kept.state = None
            self._nodes[place] = node
        self._scores[place] = node.score

    def choose(self, num: int) -> list[Node]:
        """Moments to go on from, drawn with repetition: high scores first, and rarely chosen cells among equals."""
        count = len(self)
        _, groups = np.unique(-self._scores[:count], return_inverse=True)
        novelty = 1 / np.sqrt(1 + self._visits[:count])
        weights = novelty * (_DECAY ** np.arange(groups.max() + 1) / np.bincount(groups, novelty))[groups]
        chosen = self._rng.choice(count, num, p=weights / weights.sum())
        np.add.at(self._visits, chosen, 1)
        return [self._nodes[place] for place in chosen]
