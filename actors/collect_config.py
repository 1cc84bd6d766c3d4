"""What a collection records, as a frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.mix import Part
from actors.sources import Option, SourceSpec, parse_source
from data.files import format_bytes
from envs.errors import UsageError
from envs.registry import make_spec
from envs.spec import EnvSpec, LevelSet
from metrics.protocols import is_shift, training_levels

_RAGGED_ROW_BYTES = 1024  # a guess
_GUESSED_LENGTH = 50


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Which episodes are recorded. The dataset depends on all of it but `num_actors` and `num_envs`."""

    env: str
    source: str
    """``"random"``, an expert such as ``"maze-search"`` or ``"archive-search"``, a policy that comes with the package
    such as ``"ppo:coinrun"``, or a checkpoint's path."""
    options: dict[str, Option] = field(default_factory=dict)
    """Settings of the source, for example ``noise`` and ``relabel``; see `actors.sources.SourceSpec`."""
    mix: dict[str, float] = field(default_factory=dict)
    """Further sources and the share of the episodes that each plays, for example ``{"random": 0.25}``; `source` plays
    the rest. Settings go into the name: ``"shop-expert?noise=0.3&relabel=true"``."""
    return_fraction: float | None = None
    """Choose the share of the one source in `mix` (give it as 0) so that the mean return is this fraction of what
    `source` reaches alone: estimated on pilot episodes, measured afterwards, and stated in the manifest."""
    levels: LevelSet | None = None
    """Exactly these levels; None takes `num_levels` of the protocol, or from `first_level` up."""
    protocol: str = "strict"
    """Evaluation protocol that the data is for; a shift such as "shop-I3" trains on the first levels that it allows."""
    first_level: int = 0
    num_levels: int = 100
    min_transitions: int = 10_000
    """Rounds of one episode per level are played until at least so many transitions are recorded."""
    whole_rounds: bool = True
    """False stops within a round, the levels in random order, as soon as there are enough transitions: for more levels
    than the transitions can visit."""
    seed: int = 0
    """Experiment seed; with env, level and episode it names the randomness of an episode."""
    num_actors: int = 2
    """Ray actors; 0 plays in this process."""
    num_envs: int = 32
    """Slots per actor."""
    license: str = "MIT"
    """SPDX identifier stored with the dataset."""

    def __post_init__(self) -> None:
        if self.min_transitions < 1:
            raise UsageError(f"min_transitions is {self.min_transitions}; it must be at least 1.")
        if is_shift(self.protocol) and (self.levels is not None or self.first_level):
            raise UsageError(
                f"protocol={self.protocol} chooses the levels itself; leave out levels and first_level, or it."
            )
        if self.num_actors < 0 or self.num_envs < 1:
            raise UsageError(f"num_actors is {self.num_actors} and num_envs {self.num_envs}; they start at 0 and at 1.")
        shares = list(self.mix.values())
        if not all(map(_is_share, shares)) or sum(shares) > 1:
            raise UsageError(f"mix is {self.mix}; shares lie in [0, 1] and leave the rest to {self.source!r}.")
        if self.return_fraction is not None and not (0 < self.return_fraction <= 1 and len(self.mix) == 1):
            raise UsageError(
                f"return_fraction is {self.return_fraction} with {len(self.mix)} further sources; it lies in (0, 1] "
                "and needs one, for example mix.random=0."
            )

    @property
    def level_set(self) -> LevelSet:
        """The levels that are played."""
        if self.levels is not None:
            return self.levels
        if is_shift(self.protocol):
            return training_levels(self.protocol, self.env, self.num_levels)
        return LevelSet.range(self.env, self.first_level, self.first_level + self.num_levels)

    @property
    def source_spec(self) -> SourceSpec:
        """The (first) source that plays."""
        return parse_source(self.env, self.source, self.options)

    @property
    def parts(self) -> list[Part]:
        """Every source with its share, the first one with what the others leave."""
        others = [Part(parse_source(self.env, name), share) for name, share in self.mix.items()]
        return [Part(self.source_spec, 1 - sum(part.share for part in others)), *others]


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def settings_of(config: CollectConfig) -> dict[str, Any]:
    """Everything that the content of the dataset depends on, as JSON values."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    fields["levels"] = config.level_set.to_json()
    for name in ("num_actors", "num_envs", "first_level", "num_levels", "protocol", "license"):
        del fields[name]
    return fields


def estimate_bytes(config: CollectConfig, stored: EnvSpec | None = None) -> int:
    """About how large the dataset will be, from the size of its observations.

    Args:
        config: What is recorded.
        stored: The environment as the dataset describes it; None: as it is.
    """
    one_round = len(config.level_set) * _GUESSED_LENGTH if config.whole_rounds else 0
    transitions = max(config.min_transitions, one_round)
    return int(transitions * row_bytes(stored or make_spec(config.env)))


def row_bytes(spec: EnvSpec) -> int:
    """Bytes of one transition on disk; ragged columns are guessed."""
    columns = spec.observation_columns.values()
    sizes = (int(np.prod(column.shape)) * np.dtype(column.dtype).itemsize for column in columns if not column.ragged)
    return sum(sizes) + _RAGGED_ROW_BYTES * sum(column.ragged for column in columns) + 12


def describe(config: CollectConfig) -> str:
    """One line for a person: what will be recorded, and about how large it will be."""
    sources = " and ".join([config.source, *config.mix])
    return (
        f"{sources} on {config.env}, {config.level_set!r}: at least {config.min_transitions:,} transitions, "
        f"about {format_bytes(estimate_bytes(config))}"
    )
