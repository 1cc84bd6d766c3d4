"""What is played to judge a policy: roles, splits, and the project's own protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from envs.errors import UsageError, unknown_name
from envs.spec import EnvSpec, LevelSet

ActionMode = Literal["sampled", "greedy"]
ACTION_MODES: tuple[ActionMode, ...] = get_args(ActionMode)

Weights = Literal["best", "last"]
"""Which checkpoint of a run: the one that validated best, or the last."""

MIN_TEST_EPISODES = 500
"""What the strict protocol asks of the test, of each policy in each action mode."""

FIRST_VALIDATION_LEVEL = 1_000_000
FIRST_TEST_LEVEL = 2_000_000


class Role(StrEnum):
    """What a set of levels is for; the value is the split's name in metric names."""

    TRAIN = "train"
    """Levels of the realised mixture."""
    TRAIN_HELDOUT = "train_heldout"
    """Unseen levels of the training distribution, where that differs from validation's and test's."""
    VALIDATION = "validation"
    """Seen by curves, early stopping and the search."""
    TEST = "test"
    """Sealed: playing one needs a permit of `metrics.ledger`."""


@dataclass(frozen=True)
class Split:
    """The levels of one role."""

    role: Role
    levels: LevelSet
    episodes_per_level: int = 1
    """For sampled actions; greedy plays one, because a second would be identical."""

    def __post_init__(self) -> None:
        if self.episodes_per_level < 1:
            raise UsageError(
                f"episodes_per_level of {self.role.value!r} is {self.episodes_per_level}; it must be at least 1."
            )

    @property
    def env(self) -> str:
        """Name of the environment that is played."""
        return self.levels.env

    def jobs(self, mode: ActionMode, epsilon: float = 0.0) -> list[tuple[int, int]]:
        """Every (level, episode) to play, level by level; `epsilon` is the probability of a random greedy action."""
        episodes = 1 if mode == "greedy" and not epsilon else self.episodes_per_level
        return [(level, episode) for level in self.levels for episode in range(episodes)]


@dataclass(frozen=True)
class EvaluationProtocol:
    """Which levels are played for which role, how often, in which action modes, normalized by which table.

    Splits may lie in different environments; `check_interfaces` says whether one policy can play them.

    Raises:
        UsageError: If a role appears twice, there is no mode, or two splits share levels although `overlap_allowed` is
            not set.
    """

    name: str
    splits: tuple[Split, ...]
    modes: tuple[ActionMode, ...] = ("sampled",)
    normalization: str | None = None
    """Name of the table in `EnvSpec.return_bounds`; None takes the environment's first."""
    overlap_allowed: bool = False
    """Whether splits may share levels; the published ranges do."""
    epsilon: float = 0.0
    """The probability of a random action in place of a greedy one."""
    weights: tuple[Weights, ...] = ("best", "last")
    """Which checkpoints of a run are judged in the end, the one that counts first."""

    def __post_init__(self) -> None:
        _check_roles(self)
        for mode in self.modes:
            if mode not in ACTION_MODES:
                raise unknown_name("action mode", str(mode), ACTION_MODES)
        if not self.modes:
            raise UsageError('An evaluation protocol needs at least one action mode: "sampled" or "greedy".')
        if not 0 <= self.epsilon < 1:
            raise UsageError(f"epsilon is {self.epsilon}; it is a probability, at least 0 and below 1.")
        if not self.overlap_allowed:
            check_disjoint({split.role.value: split.levels for split in self.splits})

    @property
    def envs(self) -> tuple[str, ...]:
        """Names of the environments, each once, in the order of the splits."""
        return tuple(dict.fromkeys(split.env for split in self.splits))

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles, in the order of the splits."""
        return tuple(split.role for split in self.splits)

    @property
    def open_roles(self) -> tuple[Role, ...]:
        """All roles but the test: what curves and the search may see."""
        return tuple(role for role in self.roles if role != Role.TEST)

    def split(self, role: Role) -> Split:
        """The split of a role.

        Raises:
            UsageError: If the protocol has no such split.
        """
        for split in self.splits:
            if split.role == role:
                return split
        raise unknown_name("role", str(role), [split.role.value for split in self.splits])

    def overlaps(self) -> dict[tuple[str, str], int]:
        """How many levels each pair of roles shares; pairs that share none are left out."""
        pairs = combinations(self.splits, 2)
        shared = {(a.role.value, b.role.value): a.levels.overlap(b.levels) for a, b in pairs}
        return {pair: count for pair, count in shared.items() if count}

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {
            "name": self.name,
            "splits": [
                {"role": s.role.value, "levels": s.levels.to_json(), "episodes_per_level": s.episodes_per_level}
                for s in self.splits
            ],
            "modes": list(self.modes),
            "normalization": self.normalization,
            "overlap_allowed": self.overlap_allowed,
            "epsilon": self.epsilon,
            "weights": list(self.weights),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EvaluationProtocol:
        """The inverse of `to_json`."""
        splits = tuple(
            Split(Role(item["role"]), LevelSet.from_json(item["levels"]), item["episodes_per_level"])
            for item in value["splits"]
        )
        return cls(
            value["name"],
            splits,
            tuple(value["modes"]),
            value["normalization"],
            value["overlap_allowed"],
            value.get("epsilon", 0.0),
            tuple(value.get("weights", ("best", "last"))),
        )


def strict(
    spec: EnvSpec,
    train_levels: LevelSet,
    *,
    num_train: int | None = None,
    num_validation: int = 100,
    num_test: int = MIN_TEST_EPISODES,
    episodes_per_level: int = 1,
    modes: tuple[ActionMode, ...] = ("sampled",),
) -> EvaluationProtocol:
    """The project's own protocol: all sets disjoint, held-out levels far above any training level.

    `metrics.protocols.build_protocol` also leaves out test levels that look like others.

    Args:
        spec: The environment.
        train_levels: Levels of the realised mixture, all of them.
        num_train: At most this many training levels are played, evenly spaced; None plays all.
        num_validation: Validation levels, from 1,000,000 up.
        num_test: Sealed test levels, from 2,000,000 up.
        episodes_per_level: For sampled actions.
        modes: Action modes.

    Raises:
        UsageError: If a training level lies in a held-out range (even one that is not played), or the environment
            does not have these levels.
    """
    validation = LevelSet.range(spec.name, FIRST_VALIDATION_LEVEL, FIRST_VALIDATION_LEVEL + num_validation)
    test = LevelSet.range(spec.name, FIRST_TEST_LEVEL, FIRST_TEST_LEVEL + num_test)
    if num_validation > FIRST_TEST_LEVEL - FIRST_VALIDATION_LEVEL:
        raise UsageError(
            f"num_validation is {num_validation}; allowed: 1 to {FIRST_TEST_LEVEL - FIRST_VALIDATION_LEVEL}."
        )
    check_disjoint({"train": train_levels, "validation": validation, "test": test})
    level_sets = (evenly_spaced(train_levels, num_train), validation, test)
    for levels in level_sets:
        spec.check_levels(levels)
    roles = (Role.TRAIN, Role.VALIDATION, Role.TEST)
    splits = tuple(Split(role, levels, episodes_per_level) for role, levels in zip(roles, level_sets, strict=True))
    return EvaluationProtocol("strict", splits, modes)


def evenly_spaced(levels: LevelSet, count: int | None) -> LevelSet:
    """At most `count` levels, evenly spaced over the set; None keeps all."""
    if count is None or count >= len(levels):
        return levels
    if count < 1:
        raise UsageError(f"{count} training levels were asked for; at least 1 must be played.")
    picks = np.arange(count) * len(levels) // count
    return LevelSet.of(levels.env, [levels.levels[i] for i in picks])


def check_disjoint(sets: Mapping[str, LevelSet]) -> None:
    """Refuse level sets that share a level.

    Raises:
        UsageError: Naming both sets and how much they share.
    """
    for (first, a), (second, b) in combinations(sets.items(), 2):
        if shared := a.overlap(b):
            raise UsageError(
                f"The levels of {first!r} ({a!r}) and {second!r} ({b!r}) overlap: {shared} in common. "
                "Choose disjoint level sets; held-out levels start at "
                f"{FIRST_VALIDATION_LEVEL} (validation) and {FIRST_TEST_LEVEL} (test)."
            )


def check_interfaces(specs: Sequence[EnvSpec]) -> None:
    """Refuse environments that one policy cannot play.

    Raises:
        UsageError: Naming the first environment that shows or takes something else than the first one of all.
    """
    first = specs[0]
    for spec in specs[1:]:
        for what, ours, theirs in (
            ("observation columns", dict(first.observation_columns), dict(spec.observation_columns)),
            ("number of actions", first.num_actions, spec.num_actions),
            ("candidate column", first.candidate_column, spec.candidate_column),
        ):
            if ours != theirs:
                raise UsageError(
                    f"One policy cannot play both {first.name!r} and {spec.name!r}: the {what} of the first is {ours}, "
                    f"of the second {theirs}. The environments of one evaluation protocol must agree in it."
                )


def _check_roles(protocol: EvaluationProtocol) -> None:
    roles = [split.role for split in protocol.splits]
    if not roles:
        raise UsageError(f"The evaluation protocol {protocol.name!r} has no splits; it needs at least one.")
    if len(set(roles)) != len(roles):
        raise UsageError(f"The evaluation protocol {protocol.name!r} lists a role twice; each role may appear once.")
