"""A search expert for Procgen's maze: explores a level in the engine itself and knows the shortest way from everywhere.

A level's engine plays nothing but this level, so a few walkers map it by trying every move in every state they see: no
training, about 20 ms for an easy level on one core. Distances to the goal follow by breadth-first search backward over
the moves seen.

A state is what the frame shows and the side that the mouse faces (left at the start, then that of the last move to
either side), because in large mazes the mouse is so small that some frames do not show it. This is exact: the same
state and move always give the same frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.experts import Advice
from actors.policy import PolicyInput
from envs import procgen
from envs.cache import LeastRecentlyUsed
from envs.errors import UsageError
from envs.procgen_tables import ACTION_NAMES

MOVES = (1, 3, 5, 7)
"""Procgen's left, down, up, right."""
MODES = {procgen.spec_name("maze", mode): mode for mode in procgen.MODES}

_WALKERS = 2  # the fewest microseconds per level: more walkers get in each other's way
_UNTRIED, _GOAL = -1, -2
_UNREACHABLE = 1 << 30
_KEPT_LEVELS = 4096  # maps of about 25 kB

Frame = npt.NDArray[np.uint8]
State = tuple[int, bool]
"""(64-bit hash of the pixels, whether the mouse faces right). A map of at most some 1,300 states holds two frames with
one hash with a probability below 1e-13."""


@dataclass
class MazeGraph:
    """Every state of one level that the four moves can reach."""

    nodes: dict[State, int] = field(default_factory=dict)
    """State -> node, in order of discovery; node 0 is the start."""
    moves: list[list[int]] = field(default_factory=list)
    """Node -> where each of `MOVES` leads; -2 is the goal."""
    distances: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # [nodes]
    best: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 4), dtype=np.bool_))  # [nodes, 4]


def explore(level: int, mode: str = "easy", max_steps: int = 20_000) -> MazeGraph:
    """Map one level.

    Args:
        level: Procgen level seed.
        mode: ``"easy"`` or ``"hard"``.
        max_steps: Engine steps after which moves not tried yet count as going nowhere.
    """
    engine = procgen.native_engine("maze", mode, _WALKERS, start_level=level, num_levels=1)
    try:
        graph = _Explorer(engine).explore(max_steps)
    finally:
        engine.close()
    graph.distances, graph.best = _solve(graph.moves)
    return graph


class _Explorer:
    """Walkers that share one map. At a goal or time-out the engine itself puts a walker back to the start."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._graph = MazeGraph()
        self._untried: list[list[int]] = []
        self._num_untried = 0
        start = engine.observe()[1]["rgb"][0].tobytes()
        self._start_state = engine.get_state()[0]
        self._places = [self._visit((hash(start), False))] * _WALKERS
        self._faces_right = [False] * _WALKERS
        self._plans: list[list[int]] = [[] for _ in range(_WALKERS)]

    def explore(self, max_steps: int) -> MazeGraph:
        actions = np.zeros(_WALKERS, dtype=np.int32)
        for _ in range(max_steps):
            if not self._num_untried:
                break
            moves = [self._next_move(walker) for walker in range(_WALKERS)]
            actions[:] = [MOVES[move] for move in moves]
            self._engine.act(actions)
            rewards, observations, first = self._engine.observe()
            for walker, move in enumerate(moves):
                self._arrive(walker, move, observations["rgb"][walker], rewards[walker], first[walker])
        return self._graph

    def _visit(self, state: State) -> int:
        graph = self._graph
        node = graph.nodes.setdefault(state, len(graph.nodes))
        if node == len(graph.moves):
            graph.moves.append([_UNTRIED] * len(MOVES))
            self._untried.append([3, 2, 1, 0])
            self._num_untried += len(MOVES)
        return node

    def _next_move(self, walker: int) -> int:
        """An untried move here, else the next step towards one, else a jump back to the start."""
        node = self._places[walker]
        if not self._untried[node] and not self._plans[walker]:
            plan = self._path_to_untried(node)
            if plan is None:
                self._engine.call_c_func("set_state", walker, self._start_state, len(self._start_state))
                node = self._places[walker] = 0
                self._faces_right[walker] = False
                plan = self._path_to_untried(0)
            self._plans[walker] = plan or []
        if self._untried[node]:
            self._plans[walker] = []
            self._num_untried -= 1
            return self._untried[node].pop()
        return self._plans[walker].pop() if self._plans[walker] else 0

    def _path_to_untried(self, start: int) -> list[int] | None:
        """Moves to the nearest node with an untried move, last one first."""
        came_from: dict[int, tuple[int, int]] = {start: (start, -1)}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if self._untried[node]:
                path = []
                while node != start:
                    node, move = came_from[node]
                    path.append(move)
                return path
            for move, following in enumerate(self._graph.moves[node]):
                if following >= 0 and following not in came_from:
                    came_from[following] = (node, move)
                    queue.append(following)
        return None

    def _arrive(self, walker: int, move: int, frame: Frame, reward: float, first: bool) -> None:
        node = self._places[walker]
        known = self._graph.moves[node]
        if first:
            if reward > 0:
                known[move] = _GOAL
            elif known[move] == _UNTRIED:  # a time-out says nothing about the move
                self._untried[node].append(move)
                self._num_untried += 1
            self._places[walker], self._plans[walker], self._faces_right[walker] = 0, [], False
            return
        self._faces_right[walker] = faces_right(MOVES[move], self._faces_right[walker])
        self._places[walker] = known[move] = self._visit((hash(frame.tobytes()), self._faces_right[walker]))


def faces_right(action: int, before: bool) -> bool:
    """Whether the mouse faces right after an action (the columns of Procgen's 3 x 3 directions)."""
    return 6 <= action <= 8 or (before and action > 2)


def _solve(moves: list[list[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Moves to the goal from every node, and which moves start a shortest way (all of them where there is none)."""
    sources: list[list[int]] = [[] for _ in moves]
    distances = np.full(len(moves), _UNREACHABLE, dtype=np.int64)
    queue: deque[int] = deque()
    for node, targets in enumerate(moves):
        for target in targets:
            if target >= 0:
                sources[target].append(node)
        if _GOAL in targets:
            distances[node] = 1
            queue.append(node)
    while queue:
        node = queue.popleft()
        for source in sources[node]:
            if distances[source] == _UNREACHABLE:
                distances[source] = distances[node] + 1
                queue.append(source)
    table = np.array(moves)
    after = np.where(table >= 0, distances[np.maximum(table, 0)], np.where(table == _GOAL, 0, _UNREACHABLE))
    return distances, after == after.min(axis=1, keepdims=True)


class MazeSearch:
    """Knows the best moves wherever an episode of a maze stands. Keeps the maps of recent levels.

    Args:
        env: ``"procgen/maze"`` or ``"procgen/maze-hard"``.
    """

    def __init__(self, env: str) -> None:
        if env not in MODES:
            raise UsageError(f"The maze search plays {sorted(MODES)}; received {env!r}.")
        self._graphs = LeastRecentlyUsed(partial(explore, mode=MODES[env]), _KEPT_LEVELS)
        self._num_actions = len(ACTION_NAMES)
        self._moves = np.isin(np.arange(self._num_actions), MOVES)
        self._faces_right = np.zeros(0, dtype=np.bool_)  # [B] memory of each row

    def advise(self, inputs: PolicyInput) -> Advice:
        """Shortest moves, [B, 15]; the four moves are what noise may play.

        A row's memory follows `inputs.starting` and `inputs.previous_actions`, so each step must be shown once.
        """
        assert inputs.levels is not None
        self._remember(inputs)
        best = np.broadcast_to(self._moves, (len(inputs), self._num_actions)).copy()
        frames = inputs.observations["image"]
        running = np.ones(len(inputs), dtype=np.bool_) if inputs.running is None else inputs.running
        for row in np.flatnonzero(running):
            graph = self._graphs.get(int(inputs.levels[row]))
            best[row, MOVES] = graph.best[graph.nodes[hash(frames[row].tobytes()), bool(self._faces_right[row])]]
        return Advice(best, np.broadcast_to(self._moves, best.shape))

    def _remember(self, inputs: PolicyInput) -> None:
        if len(self._faces_right) != len(inputs):
            self._faces_right = np.zeros(len(inputs), dtype=np.bool_)
        action = inputs.previous_actions
        turned_right = (action >= 6) & (action <= 8)
        self._faces_right = ~inputs.starting & (turned_right | (self._faces_right & (action > 2)))
