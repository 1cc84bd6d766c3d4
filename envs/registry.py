"""Names of environments: name -> contract, vector env, tags of levels; and names of shifts between levels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from envs import grid, procgen, quiz
from envs.errors import UsageError, unknown_name
from envs.shifts import Shift
from envs.shop import env as shop
from envs.shop.world.splits import shifts as shop_shifts
from envs.spec import EnvSpec
from envs.vector import LevelVectorEnv, check_num_envs

Build = Callable[..., LevelVectorEnv]
"""Takes the number of slots, and options by keyword."""

Tag = str | int
Tagger = Callable[[int], Mapping[str, Tag]]
"""Level -> its tags: what is true of it and may be stratified by. Every level has the same names."""


@dataclass(frozen=True)
class Entry:
    """How to describe and how to build one environment."""

    spec: Callable[[], EnvSpec]
    build: Build
    tags: Tagger | None = None


_ENTRIES: dict[str, Entry] = {}
_SHIFTS: dict[str, Callable[[], Shift]] = {}


def register(name: str, spec: Callable[[], EnvSpec], build: Build, tags: Tagger | None = None) -> None:
    """Add an environment under a name; a plugin calls this at import.

    Args:
        name: For example ``"mygame/level-set-a"``; must equal ``spec().name``.
        spec: Returns the contract without building anything expensive.
        build: Called with the number of slots and any options as keywords.
        tags: Level -> its tags, if levels of this environment have any.

    Raises:
        UsageError: If the name is taken by something else.
    """
    entry = Entry(spec, build, tags)
    if _ENTRIES.setdefault(name, entry) != entry:
        raise UsageError(f"An environment called {name!r} exists already; register yours under another name.")


def env_names() -> list[str]:
    """Every registered name, sorted."""
    return sorted(_ENTRIES)


def make_spec(name: str) -> EnvSpec:
    """The contract of an environment.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    return _entry(name).spec()


def make_vec(name: str, num_envs: int, **options: Any) -> LevelVectorEnv:
    """An environment with `num_envs` slots.

    Raises:
        UsageError: For an unknown name or option, a wrong number of slots, or where the environment cannot run on
            this machine.
    """
    build = _entry(name).build
    check_num_envs(name, num_envs)  # before anything expensive is built for it
    try:
        inspect.signature(build).bind(num_envs, **options)
    except TypeError as error:
        allowed = ", ".join(list(inspect.signature(build).parameters)[1:]) or "none"
        raise UsageError(f"{name!r} was given options {sorted(options)}. Allowed: {allowed}.") from error
    return build(num_envs, **options)


def all_level_tags(name: str, levels: Iterable[int]) -> list[dict[str, Tag]]:
    """All tags of each level, in their order; an empty list where levels of this environment have none.

    Raises:
        UsageError: For an unknown environment.
    """
    tagger = _entry(name).tags
    return [] if tagger is None else [dict(tagger(level)) for level in levels]


def level_tags(name: str, levels: Iterable[int], tag: str) -> list[Tag]:
    """What a tag says of each level, in their order.

    Args:
        name: The environment.
        levels: Its levels.
        tag: Name of the tag, for example ``"department"`` in the shop.

    Raises:
        UsageError: If levels of this environment have no tags, or not this one (with the closest match).
    """
    tagger = _entry(name).tags
    if tagger is None:
        tagged = ", ".join(env for env in env_names() if _ENTRIES[env].tags is not None)
        raise UsageError(f"Levels of {name!r} have no tags, so there is no {tag!r} to go by; tagged are: {tagged}.")
    values = []
    for level in levels:
        tags = tagger(level)
        if tag not in tags:
            raise unknown_name(f"tag of {name!r}", tag, tags)
        values.append(tags[tag])
    return values


def register_shift(name: str, make: Callable[[], Shift]) -> None:
    """Add a shift; its name then names an evaluation protocol, too. A plugin calls this at import.

    Args:
        name: For example ``"mygame-new-music"``.
        make: Returns the shift; called when it is used.

    Raises:
        UsageError: If the name is taken by something else.
    """
    if _SHIFTS.setdefault(name, make) is not make:
        raise UsageError(f"A shift called {name!r} exists already; register yours under another name.")


def shift_names() -> list[str]:
    """Every registered shift, sorted."""
    return sorted(_SHIFTS)


def find_shift(name: str) -> Shift:
    """A shift by name.

    Raises:
        UsageError: For an unknown name, with the closest match.
    """
    if name not in _SHIFTS:
        raise unknown_name("shift", name, _SHIFTS)
    return _SHIFTS[name]()


def _entry(name: str) -> Entry:
    if name not in _ENTRIES:
        raise unknown_name("environment", name, _ENTRIES)
    return _ENTRIES[name]


for _module in (procgen, grid, quiz, shop):
    _tagger = getattr(_module, "level_tags", None)
    for _name, (_spec, _build) in _module.entries().items():
        register(_name, _spec, _build, _tagger and partial(_tagger, _name))
for _shifts in (grid.shifts(), shop_shifts()):
    for _name, _make in _shifts.items():
        register_shift(_name, _make)
