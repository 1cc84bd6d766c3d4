"""Episodes planned by the archive search: searched first, then played, and proven by what the play returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from actors.archive_search import ArchiveSearch, Plan, least_budget
from actors.policy import PolicyInput
from actors.rollout import Job, RecordOptions, play
from actors.sources import Option, Source, SourceSpec, flag_option
from data.episode import Episode
from envs.errors import RunError, UsageError, unknown_name
from envs.procgen import MODES, spec_name
from envs.procgen_tables import ACTION_NAMES, GAMES
from envs.vector import LevelVectorEnv

NAME = "archive-search"
DEFAULT_BUDGET = 60_000

_OPTIONS = ("budget", "log_probs")
_ENVS = {spec_name(game, mode): (game, mode) for game in GAMES for mode in MODES}
_NOTHING = 4
_KEPT_PLANS = 256


class Planner:
    """Plans levels of one game on demand.

    Args:
        env: Name of a Procgen game.
        budget: Engine steps of a search at most.

    Raises:
        UsageError: For another environment, or a budget that may not suffice for a whole episode.
    """

    def __init__(self, env: str, budget: int = DEFAULT_BUDGET) -> None:
        if env not in _ENVS:
            raise UsageError(
                f"{NAME} saves and restores states of the Procgen engine; received env {env!r}. "
                "Choose one of the 16 games, for example env=procgen/coinrun; "
                "the grid, the quiz and the shop have experts of their own."
            )
        self._game, self._mode = _ENVS[env]
        if budget < least_budget(self._game):
            raise UsageError(
                f"budget is {budget} engine steps a level; {env!r} needs at least {least_budget(self._game)}, "
                "so that an episode can be played to its step limit."
            )
        self.env, self.budget = env, budget
        self._search: ArchiveSearch | None = None
        self._plans: dict[tuple[int, int, int], Plan] = {}

    def plan(self, level: int, episode: int = 0, seed: int = 0) -> Plan:
        """The plan named by (seed, level, episode); recent ones are kept."""
        key = (seed, level, episode)
        if key not in self._plans:
            if self._search is None:
                self._search = ArchiveSearch(self._game, self._mode, self.budget)
            while len(self._plans) >= _KEPT_PLANS:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = self._search.plan(level, seed, episode)
        return self._plans[key]

    def close(self) -> None:
        """Free the engines."""
        if self._search is not None:
            self._search.close()


class PlanPolicy:
    """Plays the plan of each row's level, action by action. It looks at no observation.

    Args:
        planner: Makes the plans.
        plan: Level -> plan; by default the one named by seed 0 and episode 0.
    """

    privileged = True

    def __init__(self, planner: Planner, plan: Callable[[int], Plan] | None = None) -> None:
        self._plan = plan or planner.plan
        self._times = np.zeros(0, dtype=np.int64)
        self.policy_id = f"{NAME}-b{planner.budget}"

    def act(self, inputs: PolicyInput) -> npt.NDArray[np.float32]:
        """Log-probabilities [B, 15]: 0 for the planned action.

        Raises:
            RunError: If an episode outlives its plan.
        """
        assert inputs.levels is not None
        if len(self._times) != len(inputs):
            self._times = np.zeros(len(inputs), dtype=np.int64)
        self._times = np.where(inputs.starting, 0, self._times)
        running = np.ones(len(inputs), dtype=np.bool_) if inputs.running is None else inputs.running
        log_probs = np.full((len(inputs), len(ACTION_NAMES)), -np.inf, dtype=np.float32)
        log_probs[~running, _NOTHING] = 0
        for row in np.flatnonzero(running):
            actions = self._plan(int(inputs.levels[row])).actions
            if self._times[row] >= len(actions):
                raise RunError(f"Level {inputs.levels[row]} goes on after the last planned action; {_WHY}")
            log_probs[row, actions[self._times[row]]] = 0
        self._times = self._times + running
        return log_probs


_WHY = "it was not played as planned from its start, or this engine differs from the planner's."


@dataclass(kw_only=True)
class PlannedSource(Source):
    """Plans each episode by itself, plays it in one slot and compares what it got with the plan."""

    planner: Planner

    def play_jobs(self, env: LevelVectorEnv, jobs: Sequence[Job], seed: int) -> Iterator[Episode]:
        """Yields the episode of every job, in order.

        Args:
            env: Not stepped: one slot of the source's own costs less than a batch for one plan at a time.
            jobs: (level, episode) pairs; every repetition of a level gets a plan of its own.
            seed: Names the randomness of the searches.

        Raises:
            RunError: If an episode does not return what was planned; it names the level.
        """
        for level, episode in jobs:
            plan = self.planner.plan(level, episode, seed)
            policy = PlanPolicy(self.planner, partial(self.planner.plan, episode=episode, seed=seed))
            for played in play(self._single, policy, [(level, episode)], seed=seed, record=self.record):
                prove(played, plan)
                yield played


def prove(played: Episode, plan: Plan) -> None:
    """Hold a played episode against its plan, reward by reward.

    Raises:
        RunError: If they differ.
    """
    if not (np.array_equal(played.actions, plan.actions) and np.array_equal(played.rewards, plan.rewards)):
        raise RunError(
            f"Level {played.level} of {played.env!r}: the plan of {len(plan.actions)} steps and return "
            f"{plan.episode_return:g} became {len(played)} steps and return {played.episode_return:g} "
            f"when played; {_WHY}"
        )


def planned_source(spec: SourceSpec) -> PlannedSource:
    """The source of a description.

    Raises:
        UsageError: For another environment, or an unknown or impossible option.
    """
    planner = Planner(spec.env, _budget(spec.options))
    policy = PlanPolicy(planner)
    record = RecordOptions(source=policy.policy_id, log_probs=flag_option(spec, "log_probs"))
    return PlannedSource(env=spec.env, policy=policy, record=record, planner=planner)


def _budget(options: Mapping[str, Option]) -> int:
    for name in options:
        if name in ("noise", "relabel"):
            raise UsageError(
                f"{NAME} knows one way through a level and no way back to it, so option {name!r} is impossible. "
                "Vary its episodes by playing several on each level: each is searched anew. "
                "In the maze, 'maze-search' recovers from noise."
            )
        if name not in _OPTIONS:
            raise unknown_name(f"option of source {NAME!r}", name, _OPTIONS)
    budget = options.get("budget", DEFAULT_BUDGET)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or budget % 1 != 0:
        raise UsageError(f"budget is {budget!r}; it is a whole number of engine steps, for example 60000.")
    return int(budget)
