"""What a task is: levels, sets of levels, and the contract of an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from envs.errors import UsageError


class LevelId(NamedTuple):
    """One task instance: a Procgen seed, a shop goal, a grid layout."""

    env: str
    level: int


@dataclass(frozen=True)
class LevelSet:
    """A finite set of levels of one environment, in a fixed order.

    Build one with `LevelSet.range` or `LevelSet.of`; there is no "from N on".

    Raises:
        UsageError: If it is empty, has duplicates or a negative level.
    """

    env: str
    levels: tuple[int, ...]  # [L]

    def __post_init__(self) -> None:
        if not self.levels:
            raise UsageError(f"An empty level set of {self.env!r} was given; a level set needs at least one level.")
        if len(set(self.levels)) != len(self.levels):
            raise UsageError(f"A level set of {self.env!r} lists a level twice; each level may appear once.")
        if min(self.levels) < 0:
            raise UsageError(f"A level set of {self.env!r} holds level {min(self.levels)}; levels start at 0.")

    @classmethod
    def range(cls, env: str, start: int, stop: int) -> LevelSet:
        """Levels ``start`` (included) to ``stop`` (excluded)."""
        if stop <= start:
            raise UsageError(f"The level range [{start}, {stop}) of {env!r} is empty; the end must exceed the start.")
        return cls(env, tuple(range(start, stop)))

    @classmethod
    def of(cls, env: str, levels: Iterable[int]) -> LevelSet:
        """An explicit list of levels."""
        return cls(env, tuple(int(level) for level in levels))

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[int]:
        return iter(self.levels)

    def __contains__(self, level: object) -> bool:
        return level in set(self.levels)

    def __repr__(self) -> str:
        return f"LevelSet({self.env!r}, {describe_levels(self.levels)})"

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that identify the env and the levels in order."""
        data = self.env.encode() + b"\0" + np.asarray(self.levels, dtype="<i8").tobytes()
        return hashlib.blake2b(data, digest_size=8).hexdigest()

    def first(self, count: int) -> LevelSet:
        """The first ``count`` levels, in order."""
        if not 1 <= count <= len(self):
            raise UsageError(f"{count} levels were asked of a set of {len(self)}; allowed: 1 to {len(self)}.")
        return LevelSet(self.env, self.levels[:count])

    def overlap(self, other: LevelSet) -> int:
        """How many levels both sets hold (0 for different environments)."""
        return len(set(self.levels) & set(other.levels)) if self.env == other.env else 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; a contiguous range stays two numbers."""
        first, last = self.levels[0], self.levels[-1]
        if _is_range(self.levels):
            return {"env": self.env, "start": first, "stop": last + 1}
        return {"env": self.env, "levels": list(self.levels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LevelSet:
        """The inverse of `to_json`."""
        if "levels" in value:
            return cls.of(value["env"], value["levels"])
        return cls.range(value["env"], value["start"], value["stop"])


def _is_range(levels: tuple[int, ...]) -> bool:
    # The span is compared first: a sample of the whole universe must not be compared with two billion numbers.
    return levels[-1] - levels[0] + 1 == len(levels) and levels == tuple(range(levels[0], levels[-1] + 1))


def describe_levels(levels: tuple[int, ...]) -> str:
    """``"0..199 (200)"`` for a range, otherwise the first few and the count."""
    if _is_range(levels):
        return f"{levels[0]}..{levels[-1]} ({len(levels)})"
    return ", ".join(str(level) for level in levels[:5]) + f", ... ({len(levels)})"


@dataclass(frozen=True)
class ColumnSpec:
    """One observation column.

    A fixed column has one array of `shape` per row. A ragged column has ``n_t`` entries of `shape` in row t. Text is a
    ragged ``uint8`` column of UTF-8 bytes; a list of texts (candidate actions) is the same, joined by
    `envs.text.SEPARATOR`.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    ragged: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"dtype": self.dtype, "shape": list(self.shape), "ragged": self.ragged}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ColumnSpec:
        """The inverse of `to_json`."""
        return cls(value["dtype"], tuple(value["shape"]), value["ragged"])


@dataclass(frozen=True)
class EnvSpec:
    """The contract of an environment; `data/`, `actors/` and `trainers/` know no more about it."""

    name: str
    observation_columns: Mapping[str, ColumnSpec]
    num_actions: int
    """Actions of a fixed action space; the upper bound on candidates where `candidate_column` is set."""
    max_episode_steps: int
    level_universe: int
    """Levels are 0 .. level_universe - 1."""
    return_bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Normalization table name -> (return mapped to 0, return mapped to 1). The first one is the default."""
    candidate_column: str | None = None
    """The column that lists this row's candidate actions, for text environments."""
    action_names: tuple[str, ...] = ()
    final_observation_known: bool = True
    """Whether the frame after the last action is ever shown (Procgen never shows it)."""
    drawn_as: str = ""
    """The environment whose random draws its episodes share, so that both pair up; empty: it has its own."""

    def normalize(self, episode_return: npt.ArrayLike, table: str | None = None) -> npt.NDArray[np.float64]:
        """(R - min) / (max - min) with the named table (default: the first).

        Raises:
            UsageError: If this environment has no such table.
        """
        names = list(self.return_bounds)
        name = names[0] if table is None and names else table
        if name is None or name not in self.return_bounds:
            allowed = ", ".join(names) or "none"
            raise UsageError(f"{self.name!r} has no normalization table {table!r}. Allowed: {allowed}.")
        low, high = self.return_bounds[name]
        return (np.asarray(episode_return, dtype=np.float64) - low) / (high - low)

    def check_levels(self, levels: LevelSet) -> None:
        """Refuse levels of another environment or beyond the universe.

        Raises:
            UsageError: Naming the offending environment or level.
        """
        if levels.env != self.name:
            raise UsageError(f"Levels of {levels.env!r} were given to {self.name!r}; use levels of {self.name!r}.")
        if max(levels.levels) >= self.level_universe:
            raise UsageError(
                f"Level {max(levels.levels)} does not exist in {self.name!r}; allowed: 0 to {self.level_universe - 1}."
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object that holds the whole contract."""
        return {
            "name": self.name,
            "observation_columns": {name: column.to_json() for name, column in self.observation_columns.items()},
            "num_actions": self.num_actions,
            "max_episode_steps": self.max_episode_steps,
            "level_universe": self.level_universe,
            "return_bounds": {name: [float(end) for end in ends] for name, ends in self.return_bounds.items()},
            "candidate_column": self.candidate_column,
            "action_names": list(self.action_names),
            "final_observation_known": self.final_observation_known,
            **({"drawn_as": self.drawn_as} if self.drawn_as else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EnvSpec:
        """The inverse of `to_json`."""
        columns = {name: ColumnSpec.from_json(column) for name, column in value["observation_columns"].items()}
        bounds = {name: (float(low), float(high)) for name, (low, high) in value["return_bounds"].items()}
        return cls(
            name=value["name"],
            observation_columns=columns,
            num_actions=value["num_actions"],
            max_episode_steps=value["max_episode_steps"],
            level_universe=value["level_universe"],
            return_bounds=bounds,
            candidate_column=value["candidate_column"],
            action_names=tuple(value["action_names"]),
            final_observation_known=value["final_observation_known"],
            drawn_as=value.get("drawn_as", ""),
        )
