"""Many copies of one Procgen level, stepped together from saved states; every step is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.procgen import initial_state, native_engine
from envs.procgen_state import PlannerState, drawn_plainly

Actions = npt.NDArray[np.int32]
Rewards = npt.NDArray[np.float32]

_MAX_STATE_BYTES = 2**20  # the engine's own bound


@dataclass(eq=False)
class Node:
    """A moment of an episode that was reached: the state there, and how."""

    state: bytes | None
    """Packed; None once nothing starts here any more."""
    parent: Node | None
    actions: Actions  # [t] from the parent to here
    rewards: Rewards  # [t]
    time: int
    """Steps since the episode began."""
    gained: float
    """Undiscounted return so far."""
    score: float = 0.0
    """What the search thinks of it: the return so far and a game's sign of progress."""

    def path(self) -> tuple[Actions, Rewards]:
        """All actions and rewards from the start, [time] each."""
        actions, rewards = [], []
        node: Node | None = self
        while node is not None:
            actions.append(node.actions)
            rewards.append(node.rewards)
            node = node.parent
        return np.concatenate(actions[::-1]), np.concatenate(rewards[::-1])


@dataclass(frozen=True, eq=False)
class Ending:
    """A whole episode that was seen to end."""

    node: Node
    """Its last moment; it has no state."""
    complete: bool
    """The engine says that the level was completed."""


class Lanes:
    """B slots of one engine.

    Args:
        game: One of the 16 games.
        mode: ``"easy"`` or ``"hard"``.
        num: B.
    """

    def __init__(self, game: str, mode: str, num: int) -> None:
        self._game, self._mode, self.num = game, mode, num
        self._engine: Any = native_engine(game, mode, num)
        self._engine._reuse_arrays = True
        self._buffer = self._engine._ffi.new(f"char[{_MAX_STATE_BYTES}]")
        self._nodes: list[Node] = []
        self._alive = np.zeros(num, dtype=np.bool_)
        self.steps = 0
        """Engine steps played since `start`, all lanes counted, also those whose episode had ended."""

    def start(self, level: int) -> Node:
        """The first moment of a level."""
        self.steps = 0
        state = drawn_plainly(initial_state(self._game, self._mode, level))
        nothing = np.zeros(0, dtype=np.int32)
        return Node(state, None, nothing, nothing.astype(np.float32), 0, 0.0)

    def load(self, nodes: Sequence[Node]) -> None:
        """Put lane i at the moment ``nodes[i]``; there are B of them."""
        for lane, node in enumerate(nodes):
            assert node.state is not None
            self._engine.call_c_func("set_state", lane, node.state, len(node.state))
        self._nodes = list(nodes)
        self._alive = np.ones(self.num, dtype=np.bool_)

    def run(self, actions: Actions) -> list[Ending]:
        """Play ``actions`` [B, t] in the running lanes; returns the episodes that ended."""
        length = actions.shape[1]
        rewards = np.zeros(actions.shape, dtype=np.float32)
        ends: list[tuple[int, int, bool]] = []
        for time in range(length):
            self._engine.act(np.ascontiguousarray(actions[:, time]))
            rewards[:, time], _, first = self._engine.observe()
            self.steps += self.num
            ended = first & self._alive
            if ended.any():
                infos = self._engine.get_info()
                ends += [(lane, time + 1, bool(infos[lane]["prev_level_complete"])) for lane in np.flatnonzero(ended)]
                self._alive &= ~ended
                if not self._alive.any():
                    break
        self._played = actions, rewards
        return [Ending(self._child(lane, stop, None), complete) for lane, stop, complete in ends]

    def moments(self) -> list[tuple[Node, PlannerState]]:
        """Where `run` left the lanes that still run; the next `run` goes on from there."""
        found = []
        for lane in np.flatnonzero(self._alive).tolist():
            length = self._engine.call_c_func("get_state", lane, self._buffer, _MAX_STATE_BYTES)
            read = PlannerState(bytes(self._engine._ffi.buffer(self._buffer, length)))
            self._nodes[lane] = self._child(lane, self._played[0].shape[1], read.packed())
            found.append((self._nodes[lane], read))
        return found

    @property
    def any_running(self) -> bool:
        """Whether an episode goes on."""
        return bool(self._alive.any())

    def _child(self, lane: int, stop: int, state: bytes | None) -> Node:
        parent = self._nodes[lane]
        actions, rewards = self._played[0][lane, :stop].copy(), self._played[1][lane, :stop].copy()
        gained = parent.gained + float(rewards.sum(dtype=np.float64))
        return Node(state, parent, actions, rewards, parent.time + stop, gained)

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
