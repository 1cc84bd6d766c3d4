"""The published protocol: its level ranges, numbers of episodes, action mode of each algorithm, and last weights.

Mediratta et al., "The Generalization Gap in Offline Reinforcement Learning" (ICLR 2024), and its published code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from envs.errors import UsageError
from envs.seeding import rng_for
from envs.spec import EnvSpec, LevelSet
from metrics.protocol import ActionMode, EvaluationProtocol, Role, Split, evenly_spaced

NUM_EPISODES = 100
"""Of the final evaluation, on each split."""
NUM_PERIODIC_EPISODES = 10
"""While training, on each split."""
NUM_VALIDATION_LEVELS = 50


@dataclass(frozen=True)
class Acting:
    """How an algorithm's policy was played."""

    mode: ActionMode
    epsilon: float = 0.0
    """Of greedy actions: the probability of a random one in their place."""


PUBLISHED_ACTING: dict[str, Acting] = {
    "ppo": Acting("sampled"),
    "bc": Acting("sampled"),
    "bct": Acting("sampled"),
    "dt": Acting("sampled"),
    "iql": Acting("greedy"),
    "cql": Acting("greedy", 0.001),
    "bcq": Acting("greedy", 0.001),
}
"""Algorithm -> how it was played. (IQL's validation episodes were sampled, by an omission; here they are greedy.)"""


def paper(
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    num_train: int | None = None,
    num_validation: int | None = None,
    num_test: int | None = None,
    episodes_per_level: int | None = None,
    modes: tuple[ActionMode, ...] | None = None,
    algorithm: str = "",
    num_episodes: int = NUM_EPISODES,
    name: str = "paper",
) -> EvaluationProtocol:
    """The published ranges, and 100 episodes on each split.

    With N one above the highest training level, validation is [N, N + 50) and the test a seeded sample of every level
    that exists, training levels included: `EvaluationProtocol.overlaps` counts what they share. The published code
    draws the level of each episode; here every level of a split is played equally often, which has the same
    expectation and less noise. Where the environment has the constants of the paper's plots (table "paper"), they
    normalize.

    Args:
        spec: The environment.
        train_levels: Levels of the realised mixture, all of them.
        num_train: Played training levels, evenly spaced; None plays as many as there are episodes.
        num_validation: Validation levels; None is 50.
        num_test: Test levels; None is one for each episode.
        episodes_per_level: For sampled actions; None makes up `num_episodes` on splits whose size is not given.
        modes: Action modes; None takes the published one of the algorithm, both for one that was not published.
        algorithm: Name of what learned the policy, for example ``"cql"``.
        num_episodes: On each split.
        name: Of the protocol.

    Raises:
        UsageError: If a number is below 1.
    """
    validation, test = _held_out(spec, max(train_levels) + 1, num_validation, num_test, num_episodes)
    train = evenly_spaced(train_levels, _count("num_train", num_train, num_episodes))
    repeat = partial(_episodes, num_episodes, episodes_per_level)
    splits = (
        Split(Role.TRAIN, train, repeat(train, num_train)),
        Split(Role.VALIDATION, validation, repeat(validation, num_validation)),
        Split(Role.TEST, test, repeat(test, num_test)),
    )
    for split in splits:
        spec.check_levels(split.levels)
    acting = PUBLISHED_ACTING.get(algorithm)
    return EvaluationProtocol(
        name,
        splits,
        modes or ((acting.mode,) if acting else ("sampled", "greedy")),
        "paper" if "paper" in spec.return_bounds else None,
        overlap_allowed=True,
        epsilon=acting.epsilon if acting and modes is None else 0.0,
        weights=("last",),
    )


paper_periodic = partial(paper, num_episodes=NUM_PERIODIC_EPISODES, name="paper-periodic")
"""The same with 10 episodes on each split, as the published code plays while it trains."""


def _held_out(
    spec: EnvSpec, start: int, num_validation: int | None, num_test: int | None, num_episodes: int
) -> tuple[LevelSet, LevelSet]:
    """Validation levels from `start` on, and test levels from everywhere."""
    validation = LevelSet.range(
        spec.name, start, start + _count("num_validation", num_validation, NUM_VALIDATION_LEVELS)
    )
    tested = min(_count("num_test", num_test, num_episodes), spec.level_universe)
    drawn = rng_for("paper test levels", spec.name).choice(
        spec.level_universe, size=tested, replace=False, shuffle=False
    )
    played = evenly_spaced(validation, num_episodes if num_validation is None else None)
    return played, LevelSet.of(spec.name, np.sort(drawn))


def _count(name: str, given: int | None, published: int) -> int:
    if given is not None and given < 1:
        raise UsageError(f"{name} is {given}; it must be at least 1.")
    return published if given is None else given


def _episodes(num_episodes: int, episodes_per_level: int | None, levels: LevelSet, given: int | None) -> int:
    """Repeats on each level of a split."""
    if episodes_per_level is not None:
        return episodes_per_level
    return 1 if given is not None else math.ceil(num_episodes / len(levels))
