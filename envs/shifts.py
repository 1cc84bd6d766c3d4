"""Named shifts: which levels of which environments are trained, validated and tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from envs.errors import UsageError, unknown_name
from envs.spec import LevelSet

LEVEL_UNIVERSE = 2**31 - 1

ROLE_RANGES: dict[str, tuple[int, int]] = {
    "train": (0, 900_000),
    "train_heldout": (900_000, 1_000_000),
    "validation": (1_000_000, 2_000_000),
    "test": (2_000_000, LEVEL_UNIVERSE),
}
"""Role -> first level and one past the last; disjoint, so that no filter can let a level into two roles."""


class Shift(Protocol):
    """For each role a list of levels; roles may lie in different environments. An evaluation protocol is made of it."""

    @property
    def measures(self) -> str:
        """What is new in the held-out levels, in a few words."""
        ...

    def env(self, role: str) -> str:
        """Name of the environment that a role is played in."""
        ...

    def levels(self, role: str, count: int) -> LevelSet:
        """The first `count` levels of a role: a larger set begins with the smaller one.

        Raises:
            UsageError: For an unknown role, or if there are fewer.
        """
        ...

    def holds(self, role: str, level: int) -> bool:
        """Whether a level of the role's environment belongs to the role."""
        ...


@dataclass(frozen=True)
class EnvShift:
    """Every role plays an environment of its own, all of its levels in the role's range.

    Raises:
        UsageError: If a role is missing or unknown.
    """

    measures: str
    envs: Mapping[str, str]
    """Role -> name of its environment."""

    def __post_init__(self) -> None:
        for role in self.envs:
            _range_of(role)
        missing = [role for role in ROLE_RANGES if role not in self.envs]
        if missing:
            raise UsageError(f"A shift names an environment for each of {list(ROLE_RANGES)}; missing: {missing}.")

    def env(self, role: str) -> str:
        """Name of the environment that a role is played in."""
        _range_of(role)
        return self.envs[role]

    def levels(self, role: str, count: int) -> LevelSet:
        """The first `count` levels of a role.

        Raises:
            UsageError: For an unknown role, or if there are fewer.
        """
        start, stop = _range_of(role)
        if not 1 <= count <= stop - start:
            raise UsageError(f"{count} levels of role {role!r} were asked for; allowed: 1 to {stop - start}.")
        return LevelSet.range(self.env(role), start, start + count)

    def holds(self, role: str, level: int) -> bool:
        """Whether a level of the role's environment belongs to the role."""
        start, stop = _range_of(role)
        return start <= level < stop


def _range_of(role: str) -> tuple[int, int]:
    if role not in ROLE_RANGES:
        raise unknown_name("role", role, ROLE_RANGES)
    return ROLE_RANGES[role]
