"""Names of environments: name -> contract, name -> vector env."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs import grid, procgen, quiz
from envs.errors import UsageError, unknown_name
from envs.shop import env as shop
from envs.spec import EnvSpec
from envs.vector import LevelVectorEnv

Build = Callable[..., LevelVectorEnv]
"""Takes the number of slots, and options by keyword."""


@dataclass(frozen=True)
class Entry:
    """How to describe and how to build one environment."""

    spec: Callable[[], EnvSpec]
    build: Build


_ENTRIES: dict[str, Entry] = {}


def register(name: str, spec: Callable[[], EnvSpec], build: Build) -> None:
    """Add an environment under a name; a plugin calls this at import.

    Args:
        name: For example ``"mygame/level-set-a"``; must equal ``spec().name``.
        spec: Returns the contract without building anything expensive.
        build: Called with the number of slots and any options as keywords.

    Raises:
        UsageError: If the name is taken by something else.
    """
    entry = Entry(spec, build)
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
        UsageError: For an unknown name or option, or where the environment cannot run on this machine.
    """
    build = _entry(name).build
    try:
        inspect.signature(build).bind(num_envs, **options)
    except TypeError as error:
        allowed = ", ".join(list(inspect.signature(build).parameters)[1:]) or "none"
        raise UsageError(f"{name!r} was given options {sorted(options)}. Allowed: {allowed}.") from error
    return build(num_envs, **options)


def _entry(name: str) -> Entry:
    if name not in _ENTRIES:
        raise unknown_name("environment", name, _ENTRIES)
    return _ENTRIES[name]


for _module in (procgen, grid, quiz, shop):
    for _name, (_spec, _build) in _module.entries().items():
        register(_name, _spec, _build)
