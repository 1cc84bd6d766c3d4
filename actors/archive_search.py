"""Plans of whole Procgen episodes, found by search in saved engine states in the spirit of Go-Explore; no training.

Lanes play random actions from moments chosen in an archive and add what they reach to it. Games of places keep one
moment for each cell (where the agent is, its score so far) and go on from high scores and rarely tried cells. Games of
timing keep a beam: moments of one time, at most one for each place, and go back in time when all of them end.

Every number comes from the engine; a plan is a list of actions that the same level answers in the same way again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.archive_cells import Archive, Key
from actors.archive_games import GAMES, GameSettings
from actors.archive_lanes import Actions, Ending, Lanes, Node, Rewards
from envs.procgen_state import PlannerState
from envs.procgen_tables import GAMES as LIMITS
from envs.seeding import rng_for

LANES = 64
LAST_LANES = 2
"""Lanes that bring an unfinished plan to its end."""

_SEGMENTS = 4  # looks at the lanes of an archive before they start elsewhere
_BRANCHES = 4  # lanes for each moment of a beam
_LAYERS = 128  # how far a beam can go back
_CHANGES = (0.05, 0.2, 0.5)  # probabilities, one a lane, that an action is not that of the step before
_STILLBORN = 8  # rounds after which a level that kills at once is given up
_NOTHING = 4


@dataclass(frozen=True, eq=False)
class Plan:
    """The best whole episode that was found on a level."""

    actions: Actions  # [T]
    rewards: Rewards  # [T]
    complete: bool
    """Whether the engine calls the level completed."""
    steps: int
    """Engine steps that finding it took."""

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of raw rewards."""
        return float(self.rewards.sum(dtype=np.float64))


class ArchiveSearch:
    """Searches levels of one game; keeps its engines from one level to the next.

    Args:
        game: One of the 16 games.
        mode: ``"easy"`` or ``"hard"``.
        budget: Engine steps for a level at most, at least `least_budget`.
    """

    def __init__(self, game: str, mode: str, budget: int) -> None:
        self._game, self._mode, self._budget = game, mode, budget
        self._lanes, self._last_lanes = Lanes(game, mode, LANES), Lanes(game, mode, LAST_LANES)

    def plan(self, level: int, *names: int | str) -> Plan:
        """Search a level.

        Args:
            level: Procgen level seed.
            names: Name the randomness of this search, together with the game, the mode and the level.
        """
        rng = rng_for("archive-search", self._game, self._mode, level, *names)
        search = _LevelSearch(self._lanes, self._last_lanes, self._game, self._mode, self._budget, rng)
        return search.run(level)

    def close(self) -> None:
        """Free the engines."""
        self._lanes.close()
        self._last_lanes.close()


def least_budget(game: str) -> int:
    """Engine steps that playing to the step limit and one round of search take."""
    return LAST_LANES * LIMITS[game].max_episode_steps + LANES * _round_length(GAMES[game])


def _round_length(settings: GameSettings) -> int:
    return settings.segment * (_SEGMENTS if settings.method == "archive" else 1)


class _LevelSearch:
    """One search of one level."""

    def __init__(
        self, lanes: Lanes, last_lanes: Lanes, game: str, mode: str, budget: int, rng: np.random.Generator
    ) -> None:
        self._lanes, self._last_lanes = lanes, last_lanes
        self._settings = GAMES[game]
        self._highest = (self._settings.highest or (0.0, 0.0))[mode != "easy"]
        self._limit, self._budget, self._rng = LIMITS[game].max_episode_steps, budget, rng
        self._best: Ending | None = None

    def run(self, level: int) -> Plan:
        root = self._lanes.start(level)
        self._last_lanes.steps = 0
        reached = self._explore(root) if self._settings.method == "archive" else self._beam(root)
        if not self._solved and (self._best is None or reached.gained > self._best.node.gained):
            self._finish(reached)
        assert self._best is not None
        actions, rewards = self._best.node.path()
        return Plan(actions, rewards, self._best.complete, self._lanes.steps + self._last_lanes.steps)

    @property
    def _solved(self) -> bool:
        best = self._best
        may_stop = self._settings.stop_at_complete
        return may_stop and best is not None and best.complete and best.node.gained >= self._highest

    def _may_go_on(self, reached: Node) -> bool:
        """Whether there is something to find, and the budget pays for a round and then for the end of an episode."""
        round_steps = _round_length(self._settings) * self._lanes.num
        end_steps = LAST_LANES * (self._limit - reached.time)
        return not self._solved and self._lanes.steps + round_steps + end_steps <= self._budget

    def _explore(self, root: Node) -> Node:
        """Search by places; returns the best moment of all."""
        archive, rounds = Archive(self._rng), 0
        archive.add(root, (0,))
        length = self._settings.segment
        while self._may_go_on(archive.best) and (len(archive) > 1 or rounds < _STILLBORN):
            rounds += 1
            self._lanes.load(archive.choose(self._lanes.num))
            actions = self._draw(self._lanes.num, _SEGMENTS * length)
            for start in range(0, _SEGMENTS * length, length):
                self._see(self._lanes.run(actions[:, start : start + length]))
                for node, state in self._lanes.moments():
                    archive.add(node, (round(10 * self._rate(node, state)), *self._place(state)))
                if self._solved or not self._lanes.any_running:
                    break
        return archive.best

    def _beam(self, root: Node) -> Node:
        """Search by time; returns the best moment of the last time reached."""
        layers = deque([[root]], maxlen=_LAYERS)
        back, reached = 1, root
        while self._may_go_on(reached):
            following = self._next_layer(layers[-1])
            if following:
                layers.append(following)
                reached = following[0]
                continue
            if len(layers) == 1 and reached is root and self._lanes.steps > _STILLBORN * self._lanes.num:
                break
            for _ in range(min(back, len(layers) - 1)):
                layers.pop()
            back = 2 * back if len(layers) > 1 else 1
        return reached

    def _next_layer(self, nodes: Sequence[Node]) -> list[Node]:
        """Moments one segment later, at most one for each place: half of them the best, half of them any."""
        starts = np.sort(self._rng.permutation(self._lanes.num) % len(nodes))
        self._lanes.load([nodes[index] for index in starts])
        self._see(self._lanes.run(self._draw(self._lanes.num, self._settings.segment)))
        places: dict[Key, Node] = {}
        for node, state in self._lanes.moments():
            score, place = self._rate(node, state), self._place(state)
            if place not in places or score > places[place].score:
                places[place] = node
        ranked = sorted(places.values(), key=lambda node: -node.score)
        half = self._lanes.num // _BRANCHES // 2
        others = half + self._rng.permutation(max(len(ranked) - half, 0))[:half]
        return ranked[:half] + [ranked[index] for index in np.sort(others)]

    def _finish(self, node: Node) -> None:
        """Bring an episode to its end: of a few lanes the best goes on, one of them doing nothing."""
        while True:
            self._last_lanes.load([node] * self._last_lanes.num)
            actions = self._draw(self._last_lanes.num, self._settings.segment)
            actions[0] = _NOTHING
            self._see(self._last_lanes.run(actions))
            following = self._last_lanes.moments()
            if not following:
                return
            node = max(following, key=lambda moment: self._rate(*moment))[0]

    def _see(self, endings: Sequence[Ending]) -> None:
        """Remember the best episode: the highest return, then the shortest."""
        for ending in endings:
            if self._best is None or _value(ending) > _value(self._best):
                self._best = ending

    def _rate(self, node: Node, state: PlannerState) -> float:
        node.score = node.gained + (self._settings.progress(state) if self._settings.progress else 0.0)
        return node.score

    def _place(self, state: PlannerState) -> Key:
        x, y = state.agent[:2] / self._settings.grain
        return int(x), int(y)

    def _draw(self, num: int, length: int) -> Actions:
        """Random actions [num, length]: every lane repeats, changes and shoots at rates of its own."""
        rng, settings = self._rng, self._settings
        shape = (num, length)
        changes = rng.random(shape) < rng.choice(_CHANGES, (num, 1))
        changes[:, 0] = True
        since = np.maximum.accumulate(np.where(changes, np.arange(length), 0), axis=1)
        drawn = rng.choice(np.array(settings.actions, dtype=np.int32), shape)
        actions: Actions = np.take_along_axis(drawn, since, axis=1)
        if settings.fire:
            shots = rng.random(shape) < rng.choice(settings.fire_rates, (num, 1))
            actions = np.where(shots, rng.choice(np.array(settings.fire, dtype=np.int32), shape), actions)
        return actions


def _value(ending: Ending) -> tuple[float, int]:
    return round(ending.node.gained, 4), -ending.node.time
